"""A whole system as the README starts it, against a simulated exchange, for the commands of the documents."""

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from collector.host.redis_server import find_url
from collector.settings import Settings
from tests.acceptance.deploy.fleet import Exchange
from tests.acceptance.documented import pages
from tests.acceptance.scenarios.processes import clean_environment
from tests.acceptance.scenarios.system import SHORT_TIMES
from tests.doubles.ports import free_port

SYSTEM = "collector up --markets KRW-BTC,KRW-ETH --workers 2 --flower"
START_S, STOP_S, RUN_S = 60, 15, 60
#: Where a whole system stands in the documents -> what this one has.
ADDRESSES = re.compile(r"redis://(127\.0\.0\.1:6379|redis\.internal:6379|host)/0")
PLACEHOLDERS = {
    "NAME": "vwap",
    "MARKET": "KRW-BTC",
    "tasks.analysis.NAME": "tasks.analysis.vwap",
    "…": "ticker",
}


@dataclass
class Documented:
    """The folder a reader is in, and what leads from it to the system."""

    folder: Path
    env: Mapping[str, str]
    flower_port: int
    metrics_port: int

    @property
    def redis_url(self) -> str:
        """Address of the private Redis: what the README has as `REDIS_URL`."""
        return find_url(Settings(data_dir=self.folder / "data"))

    def argv(self, command: str) -> tuple[list[str], dict[str, str]]:
        """Return a command line with this system's ports, addresses and day, and its environment."""
        variables, words = pages.split(ADDRESSES.sub(lambda _: self.redis_url, command))
        words = [PLACEHOLDERS.get(word, word) for word in words]
        words = [re.sub(r"\b5555\b", str(self.flower_port), word) for word in words]
        words = [re.sub(r"\b946[45]\b", str(self.metrics_port), word) for word in words]
        words = [re.sub(r"^2026-09-21$", f"{datetime.now(UTC):%Y-%m-%d}", word) for word in words]
        if words[:2] == ["collector", "metrics"] and "--port" not in words:
            words += ["--port", str(self.metrics_port)]
        return words, {**self.env, **variables}

    def run(
        self, command: str, replacing: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        words, env = self.argv(command)
        words = [(replacing or {}).get(word, word) for word in words]
        return subprocess.run(
            words, cwd=self.folder, env=env, capture_output=True, text=True, timeout=RUN_S, check=False
        )


@contextmanager
def started(
    words: list[str], env: Mapping[str, str], folder: Path, ready: Callable[[str], object]
) -> Iterator[subprocess.Popen[bytes]]:
    """Yield a running command once `ready` of its output; ask it to stop and wait for its end."""
    log = folder / f"{abs(hash(tuple(words)))}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(words, cwd=folder, env=dict(env), stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + START_S
        while not ready(log.read_text(errors="replace")):
            said = f"{shlex.join(words)}:\n{log.read_text(errors='replace')[-3000:]}"
            assert process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.1)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        finally:
            process.kill()


@pytest.fixture(scope="session")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exchange]:
    """`collector simulate`, trading all the time."""
    with Exchange(tmp_path_factory.mktemp("exchange"), rate=40, trades=1_000_000) as running:
        yield running


@pytest.fixture(scope="session")
def environment(exchange: Exchange, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What stands for the live exchange, the installed programs on the way, and a home nobody lives in."""
    where = {name: value for name, value in exchange.env.items() if name != "COLLECTOR_MARKETS"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {
        **clean_environment(),
        **SHORT_TIMES,
        **where,
        "PATH": path,
        "HOME": str(tmp_path_factory.mktemp("home")),
        "FLOWER_BASIC_AUTH": "operator:secret",
    }


@pytest.fixture(scope="session")
def documented(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Documented]:
    """The system of the README's second block, with analyses that repeat, samples and an archive soon."""
    folder = tmp_path_factory.mktemp("documented")
    soon = {
        "COLLECTOR_ARCHIVE__INTERVAL_S": "5",
        "COLLECTOR_ANALYSIS__PERIODIC": "vwap KRW-BTC 15m; top_movers * 1h; walls KRW-BTC",
        "COLLECTOR_ANALYSIS__PERIODIC_S": "1",
    }
    system = Documented(folder, environment, free_port(), free_port())
    words, env = system.argv(SYSTEM)
    words += ["--flower-port", str(system.flower_port)]
    with started(words, {**env, **soon}, folder, lambda _: has_candles(system)) as process:
        yield system
    assert process.returncode == 0  # SIGTERM ends a service as it should


def has_candles(system: Documented) -> bool:
    """Whether a candle can be shown."""
    shown = system.run("collector show candles KRW-BTC --json")
    return shown.returncode == 0 and "open_ms" in shown.stdout
