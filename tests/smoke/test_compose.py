"""docker-compose.yml as it is: the demo profile runs without a network and answers from inside."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SERVICES = {"redis", "simulator", "collector", "worker", "analysis", "flower"}


class Project:
    """One Compose project of our file, under a name of its own."""

    def __init__(self, image: str) -> None:
        self._name = f"smoke-{secrets.token_hex(4)}"
        self._environment = {**os.environ, "COLLECTOR_IMAGE": image, "FLOWER_PORT": str(free_port())}

    def __call__(self, *words: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        argv = ["docker", "compose", "-p", self._name, "--profile", "demo", *words]
        return subprocess.run(
            argv, cwd=ROOT, env=self._environment, capture_output=True, text=True, timeout=timeout_s
        )

    def show(self, *words: str) -> list[dict]:
        """What `collector show` prints inside the collector's container; nothing while it is an error."""
        shown = self("exec", "-T", "collector", "collector", "show", *words, "--json")
        return json.loads(shown.stdout) if shown.returncode == 0 else []

    def states(self) -> dict[str, dict]:
        """Docker's own rows, one per service."""
        rows = [json.loads(line) for line in self("ps", "-a", "--format", "json").stdout.splitlines()]
        return {row["Service"]: row for row in rows}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def project(collector_image: object) -> Iterator[Project]:
    """The demo profile, up; whatever happens, containers, network and volumes are gone afterwards."""
    if shutil.which("docker") is None or subprocess.run(["docker", "compose", "version"]).returncode:
        pytest.skip("no `docker compose`, so docker-compose.yml was not run")
    compose = Project(collector_image.tags[0])
    try:
        up = compose("up", "--detach", "--no-build")
        assert up.returncode == 0, up.stderr
        yield compose
    finally:
        compose("down", "--volumes", "--timeout", "5")


def test_demo_profile_runs_and_stops(project: Project, eventually: Callable[..., None]) -> None:
    """Candles are read from inside, every service is well, and all stop by themselves."""
    eventually(lambda: project.show("candles", "KRW-BTC"), 90, "a candle of KRW-BTC")
    candle = project.show("candles", "KRW-BTC")[-1]
    assert candle["market"] == "KRW-BTC"
    assert candle["trade_count"] > 0

    checked = SERVICES - {"simulator"}
    eventually(
        lambda: {name for name, row in project.states().items() if row["Health"] == "healthy"} == checked,
        90,
        "health of every service",
    )
    begin = time.monotonic()
    project("stop")
    assert time.monotonic() - begin < 30
    assert {name: row["ExitCode"] for name, row in project.states().items()} == dict.fromkeys(SERVICES, 0)


def test_ports_are_open_on_loopback_alone() -> None:
    """Nothing listens for the outside world, Redis not even for this machine, in any profile."""
    words = ["docker", "compose", "--profile", "*", "config", "--format", "json"]
    config = json.loads(subprocess.run(words, cwd=ROOT, capture_output=True, check=True).stdout)
    published = {
        name: [port["host_ip"] for port in service.get("ports", [])]
        for name, service in config["services"].items()
        if service.get("ports")
    }
    assert published == {"flower": ["127.0.0.1"]}
