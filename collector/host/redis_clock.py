"""The time of Redis: the one clock by which machines with clocks of their own judge the age of a batch."""

import threading

import redis

from collector.clock import Clock

#: Redis is asked again after so long.
SYNC_S = 10.0
#: A wall clock that moved so far against the monotonic one was set, or the machine has slept.
JUMP_MS = 500


class RedisClock:
    """Tells Redis' time without asking for it each time; any thread may ask.

    Args:
        client: with a `socket_timeout`.
        clock: this machine's.

    Every method raises:
        redis.RedisError: it is time to ask Redis, and it does not answer.
    """

    def __init__(self, client: redis.Redis, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._lock = threading.Lock()
        self._synced_s: float | None = None
        self._ours_ms = self._theirs_ms = 0

    def now_ms(self) -> int:
        """Return epoch milliseconds by Redis' clock."""
        with self._lock:
            passed_ms = self._passed_ms()
            if passed_ms is None:
                self._sync()
                passed_ms = 0
            return self._theirs_ms + passed_ms

    def ahead_ms(self) -> int:
        """Return how far this machine's clock is ahead of Redis'; negative where it is behind."""
        now_ms = self.now_ms()
        return self._clock.now_ms() - now_ms

    def _passed_ms(self) -> int | None:
        """Return the time since Redis was asked, None where it has to be asked again."""
        if self._synced_s is None:
            return None
        passed_s = self._clock.monotonic() - self._synced_s
        passed_ms = round(passed_s * 1000)
        jumped_ms = abs(self._clock.now_ms() - self._ours_ms - passed_ms)
        return None if passed_s > SYNC_S or jumped_ms > JUMP_MS else passed_ms

    def _sync(self) -> None:
        before_s = self._clock.monotonic()
        seconds, micros = self._client.time()
        self._synced_s = self._clock.monotonic()
        half_ms = round((self._synced_s - before_s) * 500)
        self._theirs_ms = seconds * 1000 + micros // 1000 + half_ms
        self._ours_ms = self._clock.now_ms()
