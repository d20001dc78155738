"""The clock of periodic tasks: a thread of a worker that sends itself work, instead of a scheduler process.

It ends with its worker, so there is nothing else to keep alive and no schedule file to damage; a worker that
starts again just goes on. Of several workers with the same clock one sends per interval.
"""

import logging
import threading
from collections.abc import Callable

import redis
from kombu.exceptions import OperationalError

from collector.errors import CollectorError
from collector.store.redis_client import translated

log = logging.getLogger(__name__)

#: A task is due this much earlier than its interval, so that clocks need not agree to the millisecond.
EARLY = 0.9


class PeriodicSender(threading.Thread):
    """Calls `send` every `interval_s` until stopped, unless another worker did.

    Args:
        name: of the thread, and in the log.
        client: the Redis where the clocks agree.
        key: expires when the next call is due.
        interval_s: seconds between two calls.
        send: sends the task.
    """

    def __init__(
        self, name: str, client: redis.Redis, key: str, interval_s: float, send: Callable[[], object]
    ) -> None:
        super().__init__(name=f"{name}-clock", daemon=True)
        self._what, self._redis, self._key, self._interval_s, self._send = name, client, key, interval_s, send
        self._stopped = threading.Event()

    def run(self) -> None:
        """Send until stopped; while Redis is away, nothing is due."""
        while not self._stopped.is_set():
            try:
                if claim(self._redis, self._key, self._interval_s * EARLY):
                    self._send()
            except (CollectorError, OperationalError) as error:
                log.warning("%s: %s", self._what, error)
            self._stopped.wait(self._interval_s)

    def stop(self) -> None:
        """End the thread at its next cycle."""
        self._stopped.set()


def claim(client: redis.Redis, key: str, seconds: float) -> bool:
    """Return whether this is the first to ask in so many seconds."""
    with translated():
        return bool(client.set(key, "1", nx=True, px=max(1, int(seconds * 1000))))
