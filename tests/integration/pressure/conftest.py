"""Real workers, listeners and an exchange on the test server: what routing, limits and lease do together."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import redis

from collector.settings import Settings
from collector.store.keys import Keys
from collector.store.read import Reader
from tests.acceptance.scenarios.processes import Process
from tests.acceptance.scenarios.truth import TruthFile
from tests.doubles.transport import plain_app

START_S = 30
#: Times of production, made short enough to watch.
SHORT_TIMES = {
    "COLLECTOR_MARKETS": "*",
    "COLLECTOR_CONNECTION__CONNECTS_PER_S": "5",
    "COLLECTOR_CONNECTION__STAGGER_S": "0.1",
    "COLLECTOR_CONNECTION__STALL_MIN_S": "60",  # an exchange that has made all its trades is no stall
    "COLLECTOR_PUBLISH__SOCKET_TIMEOUT_S": "2",
    "COLLECTOR_PUBLISH__PROBE_INTERVAL_S": "0.1",
    "COLLECTOR_PUBLISH__LEASE_TTL_S": "2",
    "COLLECTOR_PUBLISH__CONFIRM_TIMEOUT_S": "3",
    "COLLECTOR_PRESSURE__HOLD_S": "0.5",
    "COLLECTOR_HEALTH__INTERVAL_S": "0.3",
    "COLLECTOR_WORKER__VISIBILITY_TIMEOUT_S": "10",
}


class Line:
    """Starts the processes of one test; all are ended with it."""

    def __init__(self, url: str, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.redis = stack.enter_context(redis.Redis.from_url(url, socket_timeout=5))
        self.reader = Reader(self.redis, Settings())
        self.keys = Keys(Settings().store.key_prefix)
        self.truth = TruthFile(folder / "truth.jsonl")
        self.control = stack.enter_context(closing(plain_app(url)))
        self._env = {**SHORT_TIMES, "REDIS_URL": url}
        self._stack = stack
        self._port = ""

    def worker(self, name: str, queues: str, settings: Mapping[str, str] | None = None) -> Process:
        """Start a worker of one process on `queues`; it is not awaited."""
        argv = ("-m", "celery", "-A", "tasks", "worker", "-n", f"{name}@test", "-Q", queues, "-c", "1")
        options = ("--loglevel", "INFO", "--without-gossip", "--without-mingle")
        env = {"COLLECTOR_DATA_DIR": str(self.folder), "REMAP_SIGTERM": "SIGQUIT", **(settings or {})}
        return self._start(name, (*argv, *options), env)

    def ready(self, *workers: Process) -> None:
        """Wait until all answer: one that only says so is not yet subscribed, and deaf to a broadcast."""
        for worker in workers:
            worker.wait_until(lambda name=f"{worker.name}@test": self._ping(name), START_S)

    def exchange(self, **options: object) -> Process:
        """Start the simulator with options; it writes the truth."""
        texts = {"truth": self.folder / "truth.jsonl", **options}
        argv = [part for name, value in texts.items() for part in (f"--{name.replace('_', '-')}", str(value))]
        exchange = self._start("exchange", ("-m", "collector", "simulate", *argv), {})
        exchange.wait_until(lambda: "rest " in exchange.output())
        self._port = exchange.output().split("ws://127.0.0.1:")[1].split("/")[0]
        return exchange

    def listener(self, name: str, settings: Mapping[str, str] | None = None) -> Process:
        """Start `collector run` with a data folder of its own; it is not awaited."""
        place = f"127.0.0.1:{self._port}"
        env = {
            "COLLECTOR_DATA_DIR": str(self.folder / name),
            "COLLECTOR_EXCHANGE__WEBSOCKET_URL": f"ws://{place}/websocket/v1",
            "COLLECTOR_EXCHANGE__REST_URL": f"http://{place}",
            **(settings or {}),
        }
        return self._start(name, ("-m", "collector", "run"), env)

    def counted(self) -> int:
        """Return how many trades are stored."""
        return int(self.redis.hget(self.keys.counters, "trades_counted") or 0)

    def taken_back(self) -> int:
        """Return how many batches of tickers and books the listeners took back from their queues."""
        return self.reader.health().counters.get("state_batches_taken_back", 0)

    def is_stored(self, trades: int) -> bool:
        """Tell whether the exchange has made all its trades, and the workers stored them."""
        return self.truth.read() >= trades <= self.counted() and not any(self.reader.queues().values())

    def report(self) -> str:
        """Say everything that helps to understand a failure."""
        logs = [log.read_text(errors="replace")[-2000:] for log in sorted(self.folder.glob("*.log"))]
        figures = f"made {self.truth.read()}, counted {self.counted()}, {self.reader.health()}"
        return "\n---\n".join([figures, *logs])

    def _ping(self, name: str) -> bool:
        return bool(self.control.control.ping([name], timeout=1, limit=1))

    def _start(self, name: str, argv: tuple[str, ...], env: Mapping[str, str]) -> Process:
        process = Process(name, argv, {**self._env, **env}, self.folder)
        self._stack.callback(process.kill)
        return process.start()


@pytest.fixture
def line(redis_url: str, tmp_path: Path) -> Iterator[Line]:
    """The processes of this test."""
    with ExitStack() as stack:
        yield Line(redis_url, tmp_path, stack)


@pytest.fixture
def since_ms() -> int:
    """Open of the running minute; if little of it is left, of the next."""
    left_s = 60 - time.time() % 60
    if left_s < 12:
        time.sleep(left_s + 0.05)
    return int(time.time() // 60) * 60_000


Eventually = Callable[..., None]
