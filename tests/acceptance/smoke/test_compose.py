"""docker-compose.yml as it is: the demo profile runs without a network and answers from inside."""

import json
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.acceptance.smoke.conftest import PROMETHEUS
from tests.doubles import containers
from tests.doubles.ports import free_port

ROOT = Path(__file__).resolve().parents[3]
HEALTH_S = 150
JOBS = ("bithumb", "flower", "prometheus")
SERVICES = {"redis", "simulator", "collector", "worker", "analysis", "flower", "exporter", "prometheus"}
WITHOUT_HEALTHCHECK = {"simulator", "prometheus"}


class Project:
    """One Compose project of our file, under a name of its own."""

    def __init__(self, image: str) -> None:
        self._name = f"smoke-{secrets.token_hex(4)}"
        self.ports = {name: free_port() for name in ("FLOWER_PORT", "METRICS_PORT", "PROMETHEUS_PORT")}
        images = {"COLLECTOR_IMAGE": image, "PROMETHEUS_IMAGE": PROMETHEUS}
        self._environment = {**os.environ, **images, **{name: str(p) for name, p in self.ports.items()}}

    def __call__(self, *words: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        argv = ["docker", "compose", "-p", self._name, "--profile", "demo", "--profile", "monitoring", *words]
        return subprocess.run(
            argv, cwd=ROOT, env=self._environment, capture_output=True, text=True, timeout=timeout_s
        )

    def show(self, *words: str, service: str = "collector") -> list[dict]:
        """What `collector show` prints inside a container; nothing while it is an error."""
        shown = self("exec", "-T", service, "collector", "show", *words, "--json")
        return json.loads(shown.stdout) if shown.returncode == 0 else []

    def states(self) -> dict[str, dict]:
        """Docker's own rows, one per service."""
        rows = [json.loads(line) for line in self("ps", "-a", "--format", "json").stdout.splitlines()]
        return {row["Service"]: row for row in rows}


@pytest.fixture
def project(collector_image: object, prometheus_image: None) -> Iterator[Project]:
    """The profiles demo and monitoring, but Grafana, of which there is no stand-in; all gone afterwards."""
    containers.need_compose("docker-compose.yml, run")
    compose = Project(collector_image.id)
    try:
        up = compose("up", "--detach", "--no-build", *sorted(SERVICES))
        assert up.returncode == 0, up.stderr
        yield compose
    finally:
        compose("down", "--volumes", "--timeout", "5")


def test_demo_profile_runs_stops_and_keeps_its_data(
    project: Project, eventually: Callable[..., None]
) -> None:
    """Candles are read from inside, every service is well, all stop by themselves, and data stay."""
    eventually(lambda: project.show("candles", "KRW-BTC"), 90, "a candle of KRW-BTC")
    candle = project.show("candles", "KRW-BTC")[-1]
    assert candle["market"] == "KRW-BTC"
    assert candle["trade_count"] > 0

    wait_for_health(project, SERVICES - WITHOUT_HEALTHCHECK)
    assert hardening(project) == dict.fromkeys(SERVICES, (True, ["ALL"], ["no-new-privileges:true"]))
    assert reaches_redis(project, "worker")
    assert not reaches_redis(project, "simulator")
    assert networks_of_redis(project) == [True]
    eventually(lambda: targets(project) == dict.fromkeys(JOBS, "up"), 30, "every target of Prometheus is up")
    ready = httpx.get(f"http://127.0.0.1:{project.ports['METRICS_PORT']}/readyz", timeout=5)
    assert (ready.status_code, ready.text) == (200, "ready\n")
    assert alerts(project) == set()
    begin = time.monotonic()
    project("stop")
    assert time.monotonic() - begin < 30
    assert {name: row["ExitCode"] for name, row in project.states().items()} == dict.fromkeys(SERVICES, 0)

    project("down")
    project("up", "--detach", "--no-build", "analysis")
    eventually(lambda: project.show("candles", "KRW-BTC", service="analysis"), 30, "Redis with its data")
    kept = project.show("candles", "KRW-BTC", service="analysis")
    assert candle["open_ms"] in {row["open_ms"] for row in kept}

    project("up", "--detach", "--no-build", "worker")
    project("stop", "worker")
    assert project.states()["worker"]["ExitCode"] in {0, 128 + signal.SIGTERM}, "stopped while it starts"


def wait_for_health(project: Project, services: set[str]) -> None:
    """Wait until Docker calls every service healthy; a failure names those it does not, with their logs."""
    deadline = time.monotonic() + HEALTH_S
    while unwell := {name for name, row in project.states().items() if row["Health"] != "healthy"} & services:
        if time.monotonic() > deadline:
            logs = project("logs", "--tail", "15", *unwell).stdout
            pytest.fail(f"not healthy within {HEALTH_S} s: {sorted(unwell)}\n{logs}")
        time.sleep(1)


def hardening(project: Project) -> dict[str, tuple[bool, list[str], list[str]]]:
    """Of each container: a read-only file system, the capabilities it lacks, and what it can't gain."""
    found = {}
    for name, row in project.states().items():
        words = ["docker", "inspect", "--format", "{{json .HostConfig}}", row["ID"]]
        host = json.loads(subprocess.run(words, capture_output=True, check=True).stdout)
        found[name] = host["ReadonlyRootfs"], host["CapDrop"], host["SecurityOpt"]
    return found


def reaches_redis(project: Project, service: str) -> bool:
    """Whether a service can open a connection to Redis by its name.

    By its address is the engine's affair: without the firewall of the machine it keeps no networks apart.
    """
    program = "import socket; socket.create_connection(('redis', 6379), 2)"
    return project("exec", "-T", service, "python", "-c", program).returncode == 0


def networks_of_redis(project: Project) -> list[bool]:
    """Of each network that Redis is in: whether it is without a way out."""
    words = ["docker", "inspect", "--format", "{{json .NetworkSettings.Networks}}"]
    found = subprocess.run([*words, project.states()["redis"]["ID"]], capture_output=True, check=True).stdout
    inspect = ["docker", "network", "inspect", "--format", "{{.Internal}}", *json.loads(found)]
    return [
        line == "true"
        for line in subprocess.run(inspect, capture_output=True, text=True, check=True).stdout.split()
    ]


def targets(project: Project) -> dict[str, str]:
    """Health of each scrape job, as Prometheus sees it."""
    found = httpx.get(f"http://127.0.0.1:{project.ports['PROMETHEUS_PORT']}/api/v1/targets", timeout=5).json()
    return {target["labels"]["job"]: target["health"] for target in found["data"]["activeTargets"]}


def alerts(project: Project) -> set[str]:
    """Alerts that fire."""
    found = httpx.get(f"http://127.0.0.1:{project.ports['PROMETHEUS_PORT']}/api/v1/alerts", timeout=5).json()
    return {alert["labels"]["alertname"] for alert in found["data"]["alerts"] if alert["state"] == "firing"}


def test_ports_are_open_on_loopback_alone() -> None:
    """Nothing listens for the outside world, Redis not even for this machine, in any profile."""
    containers.need_compose("which ports docker-compose.yml opens")
    words = ["docker", "compose", "--profile", "*", "config", "--format", "json"]
    config = json.loads(subprocess.run(words, cwd=ROOT, capture_output=True, check=True).stdout)
    published = {
        name: [port["host_ip"] for port in service.get("ports", [])]
        for name, service in config["services"].items()
        if service.get("ports")
    }
    assert published.keys() == {"flower", "exporter", "prometheus", "grafana", "serve"}
    assert {address for addresses in published.values() for address in addresses} == {"127.0.0.1"}
