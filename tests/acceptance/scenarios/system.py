"""The system under test, every part its own process as in production: Redis, workers, exchange, listeners.

Redis and the workers serve one scenario after the other; exchange and listeners are new for each.
"""

import os
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from collector.errors import CollectorError
from collector.host.redis_server import PrivateRedis
from collector.settings import RedisSettings, Settings
from collector.store.keys import Keys
from collector.store.read import Health, Reader
from tests.acceptance.scenarios.disk import small_disk
from tests.acceptance.scenarios.host_clock import HostClock
from tests.acceptance.scenarios.processes import Process
from tests.acceptance.scenarios.proxy import ProxyThread
from tests.acceptance.scenarios.truth import TruthFile
from tests.doubles.ports import free_port

#: Times of production, made short enough to watch.
SHORT_TIMES = {
    "COLLECTOR_CONNECTION__CONNECTS_PER_S": "5",
    "COLLECTOR_CONNECTION__OPEN_TIMEOUT_S": "2",
    "COLLECTOR_CONNECTION__BACKOFF_INITIAL_S": "0.2",
    "COLLECTOR_CONNECTION__BACKOFF_MAX_S": "1",
    "COLLECTOR_CONNECTION__BLOCKED_WAIT_S": "1",
    "COLLECTOR_CONNECTION__HEALTHY_AFTER_S": "2",
    "COLLECTOR_CONNECTION__FIRST_MESSAGE_TIMEOUT_S": "2",
    "COLLECTOR_CONNECTION__STALL_MIN_S": "1.5",
    "COLLECTOR_CONNECTION__STALL_MAX_S": "3",
    "COLLECTOR_CONNECTION__STAGGER_S": "0.2",
    "COLLECTOR_AUDIT__INTERVAL_S": "2",
    "COLLECTOR_EXCHANGE__REST_LAG_MAX_S": "2",
    "COLLECTOR_EXCHANGE__REST_BLOCKED_S": "2",
    "COLLECTOR_PUBLISH__SOCKET_TIMEOUT_S": "1",
    "COLLECTOR_PUBLISH__PROBE_INTERVAL_S": "0.2",
    "COLLECTOR_PUBLISH__LEASE_TTL_S": "2",
    "COLLECTOR_PUBLISH__CONFIRM_TIMEOUT_S": "2",
    "COLLECTOR_PRESSURE__HOLD_S": "1",
    "COLLECTOR_HEALTH__INTERVAL_S": "0.5",
    "COLLECTOR_WORKER__VISIBILITY_TIMEOUT_S": "5",
}
QUEUES = "trade,orderbook,ticker"
LOOK_TIMEOUT_S = 0.2
#: A batch whose acknowledgement got lost comes back after the visibility timeout.
RETURNED_WITHIN_S = 30.0
REDIS_MEMORY_MB = 128


class System:
    """Everything that runs, and what can be done to it.

    Args:
        folder: for logs, spools and Redis' files.
        workers: Celery workers; the first is a single process, as `collector up` and Compose start them, the
            second has a pool of two, and so on.
        times: settings of workers and listeners.
    """

    def __init__(self, folder: Path, *, workers: int = 1, times: Mapping[str, str] = SHORT_TIMES) -> None:
        self.folder = folder
        self.server = PrivateRedis(
            Settings(data_dir=folder / "data", redis=RedisSettings(max_memory_mb=REDIS_MEMORY_MB))
        )
        self.workers: list[Process] = []
        self.listeners: list[Process] = []
        self.exchange: Process | None = None
        self.exchange_port = 0
        self.proxy: ProxyThread | None = None
        self.truth = TruthFile(folder / "none")
        #: The clocks of the listeners' host, in the scenarios that have one; since when it sleeps, monotonic.
        self.host_clock: HostClock | None = None
        self._asleep_since_s: float | None = None
        #: What ended without our doing, in words.
        self.deaths: list[str] = []
        self._down: set[Process] = set()
        self._worker_count = workers
        self._settings = dict(times)
        self._keys = Keys(Settings().store.key_prefix)
        self._runs = 0
        #: Size of Redis' newest file when the run began: what is older is of another run.
        self.server_bytes: dict[Path, int] = {}
        self._disks = ExitStack()
        self._stack = ExitStack()

    # Life

    def __enter__(self) -> Self:
        self.server.start()
        self._stack.callback(self._stop_redis)
        self.redis = self._client(timeout_s=2)
        self.look = self._client(timeout_s=LOOK_TIMEOUT_S)
        self.reader = Reader(self.redis, Settings())
        self.workers = [self._worker(number) for number in range(self._worker_count)]
        for worker in self.workers:
            worker.start()
            self._stack.callback(worker.kill)
        for worker in self.workers:
            worker.wait_until(lambda: len(self.reader.health().workers) == self._worker_count)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end_run()
        self._stack.close()

    def begin_run(
        self,
        *,
        exchange: Mapping[str, str],
        listeners: int = 1,
        settings: Mapping[str, str] | None = None,
        proxied: bool = False,
        spool_kb: int | None = None,
        clock_s: float | None = None,
    ) -> None:
        """Start an exchange (`exchange`: options of `collector simulate`) and listeners, the store empty.

        Args:
            clock_s: by how much the clock of the listeners' host is ahead, where that can be changed.
        """
        self._runs += 1
        run = self.folder / f"run{self._runs}"
        run.mkdir()
        self._wait_until_all_returned()
        self.forget()
        self.server_bytes = self._server_bytes()
        self.deaths = []
        self._down.clear()
        self.host_clock = None if clock_s is None else HostClock(run / "host-clock")
        self._asleep_since_s = None
        if self.host_clock is not None:
            self.host_clock.step(clock_s or 0.0)
        self.exchange = self._start_exchange(exchange, run)
        port = self.exchange_port
        if proxied:
            self.proxy = ProxyThread(port)
            port = self.proxy.start()
        for number in range(listeners):  # not after the exchange is up: both take a while to start
            self.listeners.append(self._start_listener(number, port, run, settings or {}, spool_kb))
        self.exchange.wait_until(lambda: "rest " in self.exchange_output())

    def end_run(self) -> None:
        """End exchange and listeners, however they are."""
        for listener in self.listeners:
            listener.kill()
        if self.proxy is not None:
            self.proxy.stop()
        if self.exchange is not None:
            self.exchange.kill()
        self.listeners, self.proxy, self.exchange = [], None, None
        self._disks.close()

    def forget(self) -> None:
        """Delete all results; Celery's own keys stay, because its workers are running."""
        keys = [key for key in self.redis.scan_iter(f"{self._keys.prefix}*") if b"health:worker" not in key]
        if keys:
            self.redis.delete(*keys)

    def newest_file(self) -> Path:
        """Return the file that Redis appends to."""
        *_, newest = sorted((self.server.folder / "appendonlydir").glob("*.incr.aof"))
        return newest

    def _server_bytes(self) -> dict[Path, int]:
        newest = self.newest_file()
        return {newest: newest.stat().st_size}

    def _wait_until_all_returned(self) -> None:
        """Wait for batches of the run before that come once more: in this run's store they would be new."""
        until_s = time.monotonic() + RETURNED_WITHIN_S
        while self.redis.hlen("unacked") or any(self.redis.llen(queue) for queue in QUEUES.split(",")):
            assert time.monotonic() < until_s, f"batches of the run before stay:\n{self.report()}"
            time.sleep(0.05)

    # What it looks like

    def made(self) -> int:
        """Return how many trades the exchange has made."""
        return self.truth.read()

    def counted(self) -> int | None:
        """Return how many trades are stored, None while Redis does not answer."""
        try:
            return int(self.look.hget(self._keys.counters, "trades_counted") or 0)
        except redis.RedisError:
            return None

    def health(self) -> Health | None:
        """Return `show health`, None while Redis does not answer."""
        with suppress(CollectorError):
            return self.reader.health()
        return None

    def counters(self) -> dict[str, int]:
        """Return the sums of all counters, and how many sockets the listeners that live have lost."""
        health = self.health()
        if health is None:
            return {}
        lost = (row["losses"] for listener in health.listeners for row in listener["connections"])
        return {**health.counters, "sockets_lost": sum(lost)}

    def open_trade_gaps(self) -> int:
        """Return in how many stretches trades are missing."""
        return len(self.reader.open_trade_gaps(self.reader.markets()))

    def is_quiet(self) -> bool:
        """Whether nothing is on its way: no batch, nothing unconfirmed, nothing on disk, no backfill."""
        health = self.health()
        if health is None:
            return False
        alive = {listener.pid for listener in self.listeners}
        ours = [listener for listener in health.listeners if listener["pid"] in alive]
        on_disk = sum(listener["spool_bytes"] for listener in ours)
        waiting = sum(listener["backfills_waiting"] for listener in ours)
        unconfirmed = self.redis.hlen(self._keys.unconfirmed)
        queued = sum(length for name, length in health.queues.items() if name != "dead-letters")
        return bool(ours) and not (on_disk or waiting or unconfirmed or queued)

    def exchange_output(self) -> str:
        """Return what the exchange printed."""
        return self.exchange.output() if self.exchange else ""

    def report(self) -> str:
        """Say everything that helps to understand a failure."""
        parts = [f"made {self.made()}, counted {self.counted()}, health {self.health()}", *self.deaths]
        with suppress(redis.RedisError, CollectorError):
            parts += [f"open: {gap}" for gap in self.reader.open_trade_gaps(self.reader.markets())]
        with suppress(redis.RedisError):
            parts.append(f"unacked, by time: {self.redis.zrange('unacked_index', 0, -1, withscores=True)}")
            parts += [
                f"unacked {tag!r}: {text[-300:]!r}" for tag, text in self.redis.hgetall("unacked").items()
            ]
        for process in (*self.listeners, *self.workers):
            parts.append(f"--- {process.name} (lives {process.lives}, status {process.status})")
            parts.append(process.output())
        return "\n".join(parts)

    # Its supervisor

    def supervise(self) -> None:
        """Start again what ended by itself, as `collector up` does, and remember that it did."""
        for process in (*self.workers, *self.listeners):
            if process not in self._down and not process.is_alive:
                self.deaths.append(f"{process.name} ended with status {process.status}")
                process.start()

    def kill(self, processes: Sequence[Process]) -> None:
        """`kill -9` processes and all they started; they stay down until `restart`."""
        self._down.update(processes)
        for process in processes:
            process.send_signal(signal.SIGKILL)

    def stop(self, processes: Sequence[Process]) -> None:
        """Ask processes to stop gracefully; they stay down until `restart`."""
        self._down.update(processes)
        for process in processes:
            process.stop()

    def restart(self, processes: Sequence[Process]) -> None:
        """Start what was killed or stopped; it comes up on its own time."""
        for process in processes:
            process.kill()
            process.start()
        self._down.difference_update(processes)

    # The host of the listeners

    def suspend(self) -> None:
        """Let the listeners' host sleep; behind a proxy, what is sent meanwhile vanishes."""
        if self._asleep_since_s is not None:
            return
        for listener in self.listeners:
            listener.send_signal(signal.SIGSTOP)
        if self.proxy is not None:
            self.proxy.blackhole()
        self._asleep_since_s = time.monotonic()

    def wake(self) -> None:
        """Wake it: its monotonic clock has stood still; behind a proxy, its connections are dead."""
        if self.host_clock is None or self._asleep_since_s is None:
            return
        if self.proxy is not None:
            self.proxy.resume()
            self.proxy.cut()
        self.host_clock.stood_still(time.monotonic() - self._asleep_since_s)
        self._asleep_since_s = None
        for listener in self.listeners:
            listener.send_signal(signal.SIGCONT)

    def step_clock(self, seconds: float) -> None:
        """Step the clock of the listeners' host."""
        assert self.host_clock is not None
        self.host_clock.step(seconds)

    def put_clock_right(self) -> None:
        """Step it to where it belongs."""
        assert self.host_clock is not None
        self.host_clock.put_right()

    # Parts

    def _start_exchange(self, options: Mapping[str, str], run: Path) -> Process:
        self.truth = TruthFile(run / "truth.jsonl")
        self.exchange_port = free_port()
        options = {"port": str(self.exchange_port), "truth": str(run / "truth.jsonl"), **options}
        argv = [part for name, value in options.items() for part in (f"--{name}", value)]
        return Process("exchange", ("-m", "collector", "simulate", *argv), {}, run).start()

    def _start_listener(
        self, number: int, port: int, run: Path, settings: Mapping[str, str], spool_kb: int | None
    ) -> Process:
        folder = run / f"listener{number}"
        folder.mkdir()
        if spool_kb:
            self._disks.enter_context(small_disk(folder / "spool", spool_kb))
        env = self.listener_env(port, folder, settings)
        return Process(folder.name, ("-m", "collector", "run"), env, folder).start()

    def listener_env(self, port: int, folder: Path, settings: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of a listener that keeps its data in `folder`."""
        return {
            **self._settings,
            "REDIS_URL": self.server.url,
            "COLLECTOR_DATA_DIR": str(folder),
            "COLLECTOR_MARKETS": "*",
            "COLLECTOR_EXCHANGE__WEBSOCKET_URL": f"ws://127.0.0.1:{port}/websocket/v1",
            "COLLECTOR_EXCHANGE__REST_URL": f"http://127.0.0.1:{self.exchange_port}",
            **(self.host_clock.environment() if self.host_clock else {}),
            **settings,
        }

    def _worker(self, number: int) -> Process:
        name = f"worker{number}"
        pool = ("-c", "2") if number % 2 else ("-P", "solo")
        argv = ("-m", "celery", "-A", "tasks", "worker", "-n", f"{name}@%h", "-Q", QUEUES, *pool)
        options = ("--loglevel", "WARNING", "--without-gossip", "--without-mingle")
        env = {
            **self._settings,
            "REDIS_URL": self.server.url,
            "COLLECTOR_DATA_DIR": str(self.folder),
            "REMAP_SIGTERM": "SIGQUIT",
        }
        return Process(name, (*argv, *options), env, self.folder)

    def _client(self, timeout_s: float) -> redis.Redis:
        return redis.Redis.from_url(
            self.server.url,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
        )

    def _stop_redis(self) -> None:
        if self.server.pid is not None:
            os.kill(self.server.pid, signal.SIGCONT)
        self.look.close()
        self.redis.close()
        self.server.stop()


def wait_for_room_in_the_minute(seconds: float) -> None:
    """Wait, if need be, so that at least `seconds` of the running minute are left."""
    left = 60 - time.time() % 60
    if left < seconds:
        time.sleep(left + 0.05)
