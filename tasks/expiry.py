"""Whether a task waited too long for its worker, judged by Redis' clock, and counted.

Celery compares the sender's clock with the worker's: a worker whose clock is some seconds ahead would drop
every ticker and book in silence. Senders write `expires` by Redis' clock, and `Request` compares with it.
"""

import logging
import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import redis
from celery import Task as CeleryTask
from celery.worker.request import Request as CeleryRequest
from celery.worker.state import revoked

from collector import routing
from collector.clock import SystemClock
from collector.counters import Counter
from collector.host.redis_clock import RedisClock
from collector.settings import current
from collector.store.keys import Keys
from collector.store.redis_client import client, translated

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    _Task = CeleryTask[Any, Any]
else:
    _Task = CeleryTask  # generic in its type stubs alone

COUNTERS = {
    routing.INGEST_TICKERS: Counter.TICKERS_EXPIRED,
    routing.INGEST_ORDERBOOKS: Counter.BOOKS_EXPIRED,
}
#: Drops are logged at most so often.
SAY_EVERY_S = 60.0


@lru_cache(maxsize=1)
def redis_clock() -> RedisClock:
    """Return this process's view of Redis' time."""
    return RedisClock(client(), SystemClock())


def deadline(seconds: float) -> datetime:
    """Return the moment by Redis' clock that is `seconds` from now.

    Raises:
        BrokerUnavailable: it does not answer.
    """
    with translated():
        return datetime.fromtimestamp(redis_clock().now_ms() / 1000 + seconds, UTC)


class Request(CeleryRequest):
    """A task as a worker receives it."""

    def maybe_expire(self) -> Literal[True] | None:
        """Drop a task that waited too long; keep it while the time of Redis is unknown."""
        expires: datetime | None = self.expires
        try:
            late_ms = 0 if expires is None else redis_clock().now_ms() - round(expires.timestamp() * 1000)
        except redis.RedisError:
            return None
        if late_ms <= 0:
            return None
        revoked.add(self.id)
        _count(str(self.name), int(self.request_dict.get("rows", 1)), late_ms)
        return True


class Task(_Task):
    """What all our tasks are made of."""

    abstract = True
    Request = f"{__name__}:Request"


_said_s = float("-inf")


def _count(task: str, rows: int, late_ms: int) -> None:
    global _said_s
    counter = COUNTERS.get(task, Counter.TASKS_EXPIRED)
    try:
        client().hincrby(Keys(current().store.key_prefix).counters, counter, rows)
    except redis.RedisError as error:
        log.warning("%d %s could not be counted: %s", rows, counter, error)
    if time.monotonic() - _said_s > SAY_EVERY_S:
        _said_s = time.monotonic()
        log.warning(
            "%s is %.1f s too old and is dropped; the counter %s has the number of dropped ones",
            task,
            late_ms / 1000,
            counter,
        )
