"""The report of a live worker: `health:worker:{hostname}`, every second; it expires soon after its death.

With `COLLECTOR_WORKER__METRICS_PORT` it also serves `/metrics`, `/healthz` and `/readyz`.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec
import redis
from celery.signals import task_postrun, task_prerun, worker_ready, worker_shutting_down
from celery.worker import state

from collector.clock import SystemClock
from collector.errors import CollectorError, ConfigurationError
from collector.host import garbage
from collector.host.metrics import Snapshot
from collector.host.redis_clock import RedisClock
from collector.host.web import Web
from collector.settings import current
from collector.store.keys import Keys
from collector.store.redis_client import client, translated
from tasks.expiry import redis_clock

log = logging.getLogger(__name__)

#: How many intervals a report outlives its worker.
MISSED_REPORTS = 5
#: A clock that is off by more is logged once.
CLOCK_OFF_MAX_MS = 2_000
PORT_SETTING = "COLLECTOR_WORKER__METRICS_PORT"


class Heartbeat(threading.Thread):
    """Writes a report every `interval_s` seconds until stopped."""

    def __init__(
        self, client: redis.Redis, key: str, report: Callable[[], dict[str, Any]], interval_s: float
    ) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._redis, self._key, self._report, self._interval_s = client, key, report, interval_s
        self._stopped = threading.Event()
        self.redis_answers = False

    def run(self) -> None:
        """Report until stopped; a Redis that is away is tried again at the next beat."""
        while not self._stopped.is_set():
            try:
                self._beat()
                self.redis_answers = True
            except CollectorError as error:
                self.redis_answers = False
                log.warning("heartbeat: %s", error)
            self._stopped.wait(self._interval_s)

    def stop(self) -> None:
        """End the thread at its next cycle; the report expires by itself."""
        self._stopped.set()

    def look(self) -> Snapshot:
        """Return the worker's report, and whether its last report reached Redis."""
        return Snapshot(workers=[self._report()], system={} if self.redis_answers else {"redis_up": 0})

    def _beat(self) -> None:
        ttl_ms = int(self._interval_s * MISSED_REPORTS * 1000)
        with translated():
            self._redis.set(self._key, msgspec.json.encode(self._report()), px=ttl_ms)


class BusyTime:
    """How long this process has worked on tasks: of a pool of child processes its main process has none."""

    def __init__(self) -> None:
        self._since_s: dict[str, float] = {}
        self._over_s = 0.0
        self._lock = threading.Lock()

    def begin(self, task_id: str, **_: object) -> None:
        """Take note that a task begins; called by Celery in the thread that runs it."""
        with self._lock:
            self._since_s[task_id] = time.monotonic()

    def end(self, task_id: str, **_: object) -> None:
        """Take note that it is over."""
        with self._lock:
            self._over_s += time.monotonic() - self._since_s.pop(task_id, time.monotonic())

    def ms(self) -> int:
        """Return it in milliseconds, with tasks that run."""
        with self._lock:
            running_s = sum(time.monotonic() - since_s for since_s in self._since_s.values())
            return round((self._over_s + running_s) * 1000)


class Report:
    """The report of a worker; counts are those of its main process."""

    def __init__(
        self,
        hostname: str,
        queues: list[str],
        clock: SystemClock,
        ahead_ms: Callable[[], int | None] = lambda: None,
        busy_ms: Callable[[], int | None] = lambda: None,
    ) -> None:
        self._hostname, self._queues, self._clock = hostname, queues, clock
        self._started_ms = clock.now_ms()
        self._done = 0
        self._last_task_ms: int | None = None
        self._ahead_ms, self._busy_ms = ahead_ms, busy_ms

    def __call__(self) -> dict[str, Any]:
        """Return the report; `last_task_ms` is as fine as the interval of reports."""
        done = state.all_total_count[0] - len(state.active_requests)
        if done > self._done:
            self._done, self._last_task_ms = done, self._clock.now_ms()
        return {
            "hostname": self._hostname,
            "pid": os.getpid(),
            "started_ms": self._started_ms,
            "tasks_done": done,
            "tasks_active": len(state.active_requests),
            "last_task_ms": self._last_task_ms,
            "queues": self._queues,
            "clock_ahead_ms": self._ahead_ms(),
            "busy_ms": self._busy_ms(),
        }


class ClockCheck:
    """How far this machine's clock is ahead of Redis', logged once where it is far."""

    def __init__(self, clock: RedisClock) -> None:
        self._clock = clock
        self._is_said = False

    def __call__(self) -> int | None:
        """Return it in milliseconds; None where Redis does not answer."""
        try:
            ahead_ms = self._clock.ahead_ms()
        except redis.RedisError:
            return None
        if abs(ahead_ms) > CLOCK_OFF_MAX_MS and not self._is_said:
            self._is_said = True
            way = "ahead of" if ahead_ms > 0 else "behind"
            log.warning("this machine's clock is %.1f s %s Redis': use NTP", abs(ahead_ms) / 1000, way)
        return ahead_ms


class Served:
    """The port of a worker; open until stopped."""

    def __init__(self, port: int, heartbeat: Heartbeat) -> None:
        self._web = Web(port, heartbeat.look, SystemClock().now_ms, setting=PORT_SETTING)

    def stop(self) -> None:
        """Close the port."""
        self._web.close()


_running: list[Heartbeat | Served] = []
_busy = BusyTime()
task_prerun.connect(_busy.begin)
task_postrun.connect(_busy.end)


@worker_ready.connect
def start(sender: Any, **_: object) -> None:  # noqa: ANN401 - Celery's consumer
    """Start this worker's heartbeat; Celery calls this once it consumes."""
    settings = current()
    queues = sorted(sender.app.amqp.queues.consume_from)
    key = Keys(settings.store.key_prefix).worker(sender.hostname)
    has_children = sender.pool.__module__.startswith("celery.concurrency.prefork")
    busy = (lambda: None) if has_children else _busy.ms
    report = Report(sender.hostname, queues, SystemClock(), ClockCheck(redis_clock()), busy)
    heartbeat = Heartbeat(client(), key, report, settings.health.interval_s)
    heartbeat.start()
    _running.append(heartbeat)
    _count_start(Keys(settings.store.key_prefix).workers_started)
    garbage.settle()
    if port := settings.worker.metrics_port:
        try:
            _running.append(Served(port, heartbeat))
        except ConfigurationError as error:
            log.error("%s", error)


def _count_start(key: str) -> None:
    """Have listeners send tickers and books once more: a worker that died may have taken some along."""
    try:
        with translated():
            client().incr(key)
    except CollectorError as error:
        log.warning("the start of this worker could not be counted: %s", error)


@worker_shutting_down.connect
def stop(**_: object) -> None:
    """Stop the heartbeat; Celery calls this when a stop begins."""
    while _running:
        _running.pop().stop()
