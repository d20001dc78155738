"""Does this worker really take from its queues? If not, it ends, and whoever runs it starts it again.

After a reset of the connection to Redis a Celery worker may sit there with a heartbeat and consume nothing
(celery#10205). No report of its own shows that, so what is looked at is the queues: batches wait in them, and
the worker holds none and finishes none, look after look.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import redis
from billiard import active_children
from celery.signals import worker_ready, worker_shutting_down
from celery.worker import state

from collector.errors import CollectorError
from collector.store.redis_client import client, translated

log = logging.getLogger(__name__)

LOOK_S = 2.0
#: Longer than Celery rests between two attempts to reach Redis, 32 s at the most.
DEAF_AFTER_S = 60.0
#: What `sysexits.h` calls a temporary failure: try again.
EXIT_STATUS = 75


@dataclass(frozen=True, slots=True)
class Look:
    """What a worker does and what it could do at one moment.

    Attributes:
        waiting: batches in its queues.
        held: tasks in its hands, running or waiting for their rate limit.
        taken: tasks it has begun since its start.
    """

    waiting: int
    held: int
    taken: int


class ConsumerActivity:
    """Decides from look to look; times are monotonic seconds. Pure."""

    def __init__(self, deaf_after_s: float, look_s: float) -> None:
        self._deaf_after_s = deaf_after_s
        self._longest_look_s = 3 * look_s
        self._taken = -1
        self._idle_since_s: float | None = None
        self._looked_s = float("-inf")

    def is_deaf(self, look: Look | None, now_s: float) -> bool:
        """Return whether nothing was taken for too long while something waited; None: nobody could look.

        A look that comes late proves nothing about the time before: the process itself stood still.
        """
        is_late = now_s - self._looked_s > self._longest_look_s
        self._looked_s = now_s
        if look is None or not look.waiting or look.held or look.taken != self._taken or is_late:
            self._taken = -1 if look is None else look.taken
            self._idle_since_s = None
            return False
        if self._idle_since_s is None:
            self._idle_since_s = now_s
        return now_s - self._idle_since_s >= self._deaf_after_s


class Watch(threading.Thread):
    """Looks every `LOOK_S` seconds until stopped; calls `end` once the worker is deaf."""

    def __init__(self, look: Callable[[], Look], end: Callable[[], None]) -> None:
        super().__init__(name="liveness", daemon=True)
        self._look, self._end = look, end
        self._hearing = ConsumerActivity(DEAF_AFTER_S, LOOK_S)
        self._stopped = threading.Event()

    def run(self) -> None:
        """Check until stopped; while Redis does not answer, the worker is not judged."""
        while not self._stopped.wait(LOOK_S):
            found: Look | None = None
            with suppress(CollectorError):
                found = self._look()
            if self._hearing.is_deaf(found, time.monotonic()):
                log.critical(
                    "nothing taken for %g s although %s: ending, to be started again", DEAF_AFTER_S, found
                )
                self._end()
                return

    def stop(self) -> None:
        """End the thread at its next cycle."""
        self._stopped.set()


def look(connection: redis.Redis, queues: Callable[[], list[str]]) -> Look:
    """Ask Redis what waits, and Celery what this worker does.

    Raises:
        BrokerUnavailable: Redis does not answer.
    """
    held, taken = len(state.reserved_requests), state.all_total_count[0]
    with translated(), connection.pipeline(transaction=False) as pipe:
        for queue in queues():
            pipe.llen(queue)
        return Look(sum(pipe.execute()), held, taken)


def end() -> None:
    """Leave at once; what the worker holds comes back after the visibility timeout."""
    kill_children()
    os._exit(EXIT_STATUS)


def kill_children() -> None:
    """Kill the processes of the pool."""
    for child in active_children():
        if child.pid is not None:
            with suppress(OSError):
                os.kill(child.pid, signal.SIGKILL)


_running: list[Watch] = []


@worker_ready.connect
def start(sender: Any, **_: object) -> None:  # noqa: ANN401 - Celery's consumer
    """Watch this worker; Celery calls this once it consumes."""

    def queues() -> list[str]:
        return list(sender.app.amqp.queues.consume_from)  # anew: `celery control cancel_consumer` changes it

    watch = Watch(lambda: look(client(), queues), end)
    watch.start()
    _running.append(watch)


@worker_shutting_down.connect
def stop(**_: object) -> None:
    """Stop watching; Celery calls this when a stop begins."""
    while _running:
        _running.pop().stop()
