"""The `docker compose` lines of the documents, one after the other, in a project of their own."""

import os
import re
import secrets
import subprocess
from collections.abc import Callable, Iterator, Mapping

import pytest

from tests.acceptance.documented import pages
from tests.acceptance.smoke.conftest import PROMETHEUS
from tests.acceptance.smoke.test_compose import ROOT
from tests.doubles import containers
from tests.doubles.ports import free_port

LINES = [line for line in pages.everything() if line.startswith("docker compose ")]
#: Lines that go on until they are stopped are given this long.
FOLLOW_S = 3


@pytest.fixture
def environment(collector_image: object, prometheus_image: None) -> Iterator[Mapping[str, str]]:
    """Images that are here, ports that are free, and a project that is removed afterwards."""
    containers.need_compose("the `docker compose` lines of the documents")
    name = f"documented-{secrets.token_hex(4)}"
    ports = {name: str(free_port()) for name in ("FLOWER_PORT", "METRICS_PORT", "PROMETHEUS_PORT")}
    found = {
        **os.environ,
        **ports,
        "COMPOSE_PROJECT_NAME": name,
        "COLLECTOR_IMAGE": collector_image.id,
        "PROMETHEUS_IMAGE": PROMETHEUS,
        "BUILD_NETWORK": "host",
    }
    yield found
    words = ["docker", "compose", "-p", name, "--profile", "*", "down", "--volumes", "--timeout", "5"]
    subprocess.run(words, cwd=ROOT, env=found, capture_output=True, timeout=120)


def test_compose_commands_of_the_documents_run(
    environment: Mapping[str, str], eventually: Callable[..., None]
) -> None:
    """Up (simulated exchange), look, scale, follow the logs, down: each with status 0.

    Images are those that are here, nothing is built again; Grafana, which has no stand-in, is left out.
    """
    order = ("demo", "monitoring", "ps", "exec", "scale", "logs", "down")
    in_order = sorted(LINES, key=lambda line: next((n for n, w in enumerate(order) if w in line), 0))
    assert [word for word in order if not any(word in line for line in LINES)] == []
    for line in in_order:
        words = _here(line)
        if "logs" in words:
            with pytest.raises(subprocess.TimeoutExpired) as followed:
                _run(words, environment, FOLLOW_S)
            assert b"listener" in (followed.value.output or b"")
            continue
        if "exec" in words:
            eventually(lambda words=words: _run(words, environment).returncode == 0, 90, line)
        ended = _run(words, environment)
        assert ended.returncode == 0, f"{line}: {ended.stderr}"
        if "scale" in line:
            workers = _run(["docker", "compose", "ps", "-q", "worker"], environment).stdout.split()
            assert len(workers) == int(re.search(r"worker=(\d+)", line)[1])
    assert _run(["docker", "compose", "ps", "-q"], environment).stdout == ""


def _here(line: str) -> list[str]:
    """Return the line for this place: detached, nothing built, in the project of the test."""
    words = re.sub(r" -p \S+", "", line.replace(" --build", " --no-build")).split()
    if "up" in words:
        words += ["--detach"] if "--detach" not in words else []
        profiles = ["simulator"] if "demo" in words else []
        monitoring = ["exporter", "prometheus"] if "monitoring" in words else []
        words += ["--no-build"] if "--no-build" not in words else []
        words += ["redis", "collector", "worker", "analysis", "flower", *profiles, *monitoring]
    if "down" in words:
        words[2:2] = ["--profile", "*"]
    if "exec" in words:
        words.insert(words.index("exec") + 1, "-T")
    return words


def _run(
    words: list[str], environment: Mapping[str, str], timeout_s: float = 120
) -> subprocess.CompletedProcess[str]:
    env = dict(environment)
    return subprocess.run(
        words, cwd=ROOT, env=env, capture_output=True, text=True, timeout=timeout_s, check=False
    )
