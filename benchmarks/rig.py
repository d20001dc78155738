"""What an overload run consists of, each part a process: Redis, slowed-down workers, exchange, listener."""

import signal
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self

import psutil
import redis

from benchmarks.flood import Pace
from collector.host.redis_server import PrivateRedis
from collector.settings import RedisSettings, Settings
from collector.store.keys import Keys
from collector.store.read import Reader
from tests.acceptance.scenarios.processes import Process
from tests.acceptance.scenarios.truth import TruthFile

MARKETS = 100
LOOK_TIMEOUT_S = 0.3
#: The brake looks so often, and lets a worker save up so much.
SLICE_S = 0.02
CREDIT_S = 0.05
ALL_QUEUES = "trade,orderbook,ticker"
#: One socket, so that the truth of what was sent is simple; silent channels are meant. Where the machine has
#: other work, the listener may be behind its socket for a while: its own limit is measured elsewhere.
LISTENER = {
    "COLLECTOR_CONNECTION__PING_TIMEOUT_S": "60",
    "COLLECTOR_MARKETS": "*",
    "COLLECTOR_REDUNDANCY": "1",
    "COLLECTOR_CONNECTION__STALL_MIN_S": "1000",
    "COLLECTOR_CONNECTION__STALL_MAX_S": "2000",
}
#: For measuring what workers sustain: nothing is merged or spooled.
NO_PRESSURE = {
    "COLLECTOR_PRESSURE__QUEUE_HIGH": "1000000",
    "COLLECTOR_PRESSURE__QUEUE_MAX": "2000000",
    "COLLECTOR_PRESSURE__AGE_HIGH_MS": "1000000",
    "COLLECTOR_PUBLISH__STATE_EXPIRES_S": "3600",
}


class Brake:
    """Lets each process have `share` of a core, as on a slower machine: SIGSTOP once it has used it up.

    What counts is the time a process really ran: on a busy machine it would otherwise get even less.
    """

    def __init__(self, share: float) -> None:
        self.processes: list[Process] = []
        self._share = share
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        allowed_s: dict[Process, float] = {}
        while not self._over.wait(SLICE_S):
            for process in list(self.processes):
                used_s = _cpu_s(process)
                allowed = allowed_s.get(process, used_s) + self._share * SLICE_S
                # What is not used is forgotten, but for some slices.
                allowed_s[process] = min(allowed, used_s + CREDIT_S)
                process.send_signal(signal.SIGCONT if used_s < allowed else signal.SIGSTOP)
        for process in self.processes:
            process.send_signal(signal.SIGCONT)


def _cpu_s(process: Process) -> float:
    """Return the seconds of processor time that a process and its children have used."""
    total_ns = 0
    with suppress(psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
        parent = psutil.Process(process.pid)
        for one in (parent, *parent.children(recursive=True)):
            total_ns += int(Path(f"/proc/{one.pid}/schedstat").read_text().split()[0])
    return total_ns / 1e9


class Rig:
    """The system of one run.

    Args:
        folder: an empty one, for logs, spool and Redis' files.
        worker_queues: the queues of each worker, comma lists; one process each.
        braked: which of the workers run slowly.
        share: how slowly.
    """

    def __init__(
        self, folder: Path, worker_queues: Sequence[str], braked: Sequence[int], share: float
    ) -> None:
        self.folder = folder
        self.server = PrivateRedis(Settings(data_dir=folder / "data", redis=RedisSettings(max_memory_mb=512)))
        self.brake = Brake(share)
        self.truth = TruthFile(folder / "truth.jsonl")
        self.keys = Keys(Settings().store.key_prefix)
        self._queues = worker_queues
        self._braked = braked
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self.server.start()
        self._stack.callback(self.server.stop)
        self.redis = redis.Redis.from_url(
            self.server.url, socket_timeout=LOOK_TIMEOUT_S, socket_connect_timeout=LOOK_TIMEOUT_S
        )
        self._stack.callback(self.redis.close)
        self.reader = Reader(self.redis, Settings())
        self.workers = [self._worker(number, queues) for number, queues in enumerate(self._queues)]
        for worker in self.workers:
            self._stack.callback(worker.kill)
            worker.start()
        for worker in self.workers:
            worker.wait_until(lambda: len(self.reader.workers()) == len(self.workers))
        self.brake.processes = [self.workers[number] for number in self._braked]
        self._stack.enter_context(self.brake)
        return self

    def __exit__(self, *_: object) -> None:
        self.pause_redis(paused=False)
        self._stack.close()

    def start_load(self, pace: Pace, settings: Mapping[str, str] | None = None) -> None:
        """Start the exchange, then the listener."""
        options = {
            "markets": MARKETS, "trades": pace.trades, "books": pace.books, "tickers": pace.tickers,
            "seconds": pace.seconds, "after": pace.after, "truth": self.folder / "truth.jsonl",
        }  # fmt: skip
        argv = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        env = {"PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
        exchange = Process("exchange", ("-m", "benchmarks.flood", *argv), env, self.folder).start()
        self._stack.callback(exchange.kill)
        exchange.wait_until(lambda: "port " in exchange.output())
        place = f"127.0.0.1:{exchange.output().split()[-1]}"
        self.listener = Process(
            "listener", ("-m", "collector", "run"),
            {
                **LISTENER,
                "REDIS_URL": self.server.url,
                "COLLECTOR_DATA_DIR": str(self.folder / "listener"),
                "COLLECTOR_EXCHANGE__WEBSOCKET_URL": f"ws://{place}/websocket/v1",
                "COLLECTOR_EXCHANGE__REST_URL": f"http://{place}",
                **(settings or {}),
            },
            self.folder,
        ).start()  # fmt: skip
        self._stack.callback(self.listener.kill)
        self.listener.wait_until(self.truth_or_books)

    def truth_or_books(self) -> bool:
        """Tell whether anything has been stored yet."""
        return bool(self.counters().get("batches"))

    def counters(self) -> dict[str, int]:
        """Return what the workers counted so far; nothing while Redis does not tell."""
        with suppress(redis.RedisError):
            found: dict[Any, Any] = self.redis.hgetall(self.keys.counters)
            return {name.decode(): int(number) for name, number in found.items()}
        return {}

    def taken(self, names: Sequence[str]) -> int:
        """Return how many rows the workers have dealt with, by the counters of that kind."""
        found = self.counters()
        return sum(found.get(name, 0) for name in names)

    def kill_worker(self) -> None:
        """`kill -9` the first worker and its child."""
        self.brake.processes.remove(self.workers[0])
        self.workers[0].kill()

    def pause_redis(self, *, paused: bool) -> None:
        """Stop Redis with SIGSTOP: connections stay open, nothing answers; or let it go on."""
        if self.server.pid is not None:
            with suppress(psutil.NoSuchProcess):
                psutil.Process(self.server.pid).send_signal(signal.SIGSTOP if paused else signal.SIGCONT)

    def memory_mb(self) -> float:
        """Return the listener's resident memory in MiB."""
        with suppress(psutil.NoSuchProcess):
            return float(psutil.Process(self.listener.pid).memory_info().rss) / (1 << 20)
        return 0.0

    def mode_log(self) -> list[str]:
        """Return the lines in which the listener tells why it changed its mode."""
        lines = self.listener.log.read_text(errors="replace").splitlines()
        return [line for line in lines if " mode " in f" {line}"]

    def _worker(self, number: int, queues: str) -> Process:
        name = f"worker{number}"
        argv = ("-m", "celery", "-A", "tasks", "worker", "-n", f"{name}@%h", "-Q", queues, "-P", "solo")
        options = ("--loglevel", "WARNING", "--without-gossip", "--without-mingle")
        env = {
            "REDIS_URL": self.server.url,
            "COLLECTOR_DATA_DIR": str(self.folder),
            "COLLECTOR_HEALTH__INTERVAL_S": "0.5",
            "REMAP_SIGTERM": "SIGQUIT",
        }
        return Process(name, (*argv, *options), env, self.folder)


def sustained(
    folder: Path, workers: int, share: float, pace: Pace, counters: Sequence[str], seconds: float
) -> float:
    """Return how many rows a second `workers` take of a load that is too much for them, by `counters`."""
    folder.mkdir()
    with Rig(folder, [ALL_QUEUES] * workers, range(workers), share) as rig:
        rig.start_load(pace, NO_PRESSURE)
        time.sleep(1)
        before, started = rig.taken(counters), time.monotonic()
        time.sleep(seconds)
        return (rig.taken(counters) - before) / (time.monotonic() - started)
