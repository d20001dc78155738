"""The systemd units: what they start runs, what they stop ends in time, systemd finds no fault."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from collector.settings import Settings
from collector.store.read import Reader
from tests.acceptance.scenarios.processes import clean_environment
from tests.acceptance.scenarios.waits import until
from tests.doubles.ports import free_port

UNITS = sorted((Path(__file__).resolve().parents[3] / "deploy" / "systemd").glob("*.service"))
PREFIX = "/opt/bithumb/.venv/bin"
BIN = str(Path(sys.executable).parent)
#: How long each may take to stop before its unit's TimeoutStopSec: the promised 10 s for all.
STOP_S = 10
FLOWER, METRICS = "5555", "9464"


def lines(unit: Path, name: str) -> list[str]:
    """The values of one directive, systemd's `%` written out."""
    values = re.findall(rf"^{name}=(.*)$", unit.read_text(), re.MULTILINE)
    return [value.replace("%i", "1").replace("%%", "%") for value in values]


@pytest.mark.server
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_finds_no_fault(unit: Path, tmp_path: Path) -> None:
    """`systemd-analyze verify` accepts the unit with the programs of this installation."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here, so the units were only run, not verified")
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace(PREFIX, BIN))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.timeout(120)
def test_commands_of_the_units_run_and_stop_in_time(
    settings: Settings, redis_url: str, tmp_path: Path
) -> None:
    """All units' commands side by side make a system; SIGTERM to the main process ends each with status 0."""
    processes: dict[str, subprocess.Popen[bytes]] = {}
    ports = {FLOWER: str(free_port()), METRICS: str(free_port())}
    page = str(free_port())
    with Reader(redis_url, settings) as reader:
        try:
            for unit in UNITS:
                processes[unit.stem] = start(unit, redis_url, tmp_path, ports, page)
            until(lambda: len(reader.workers()) == 3, 60, "all workers report")
            until(lambda: answers(f"http://127.0.0.1:{ports[METRICS]}/healthz"), 20, "the exporter answers")
            until(lambda: answers(f"http://127.0.0.1:{ports[FLOWER]}/healthcheck"), 20, "Flower answers")
            until(lambda: answers(f"http://127.0.0.1:{page}/v1/info"), 20, "the page answers")
            assert {name: process.poll() for name, process in processes.items()} == dict.fromkeys(processes)
            assert sorted(queue for worker in reader.workers() for queue in worker["queues"]) == [
                *("alert", "analysis", "archive", "orderbook", "ticker", "trade")
            ]
            begin = time.monotonic()
            for process in processes.values():
                process.terminate()
            statuses = {name: process.wait(STOP_S) for name, process in processes.items()}
        finally:
            for process in processes.values():
                process.kill()
                process.wait(5)
    assert statuses == dict.fromkeys(processes, 0)
    assert time.monotonic() - begin < STOP_S
    assert all(int(lines(unit, "TimeoutStopSec")[0]) >= STOP_S for unit in UNITS)


def start(
    unit: Path, redis_url: str, folder: Path, ports: dict[str, str], page: str
) -> subprocess.Popen[bytes]:
    """Start the unit's command with its own environment, as systemd would, but on free ports."""
    home = folder / unit.stem
    home.mkdir()
    own = dict(line.split("=", 1) for line in lines(unit, "Environment"))
    env = {**clean_environment(), "REDIS_URL": redis_url, **own, "COLLECTOR_DATA_DIR": str(home)}
    env["COLLECTOR_SERVE__PORT"] = page
    command = lines(unit, "ExecStart")[0].replace(PREFIX, BIN)
    for usual, free in ports.items():
        command = command.replace(usual, free)
    argv = command.split()
    with (home / "log").open("wb") as log:
        return subprocess.Popen(argv, env=env, cwd=home, stdout=log, stderr=log, start_new_session=True)


def answers(address: str) -> bool:
    try:
        return httpx.get(address, timeout=2).status_code == 200
    except httpx.TransportError:
        return False


def test_units_are_found() -> None:
    """Listener, workers, alerts, Flower, metrics and page each have a unit that restarts by itself."""
    assert {unit.stem.removeprefix("bithumb-") for unit in UNITS} == {
        *("listener", "worker@", "analysis", "alerts", "flower", "metrics", "serve")
    }
    assert {restart for unit in UNITS for restart in lines(unit, "Restart")} == {"always"}
    assert os.environ.get("REDIS_URL") is None
