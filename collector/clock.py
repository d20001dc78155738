"""Clocks, passed in so that tests control them.

Two clocks that are never mixed: epoch milliseconds UTC are the times of events, monotonic seconds are for
deadlines. A jump of the machine's clock moves neither a candle (event time) nor a deadline.
"""

import time
from typing import Protocol


class Clock(Protocol):
    """What the pipeline needs to know about time."""

    def now_ms(self) -> int:
        """Epoch milliseconds, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()


class ManualClock:
    """A clock that is advanced by hand, for tests and simulations without waiting."""

    def __init__(self, now_ms: int = 1_790_000_000_000) -> None:
        self._now_ms = now_ms
        self._monotonic = 0.0

    def now_ms(self) -> int:
        return self._now_ms

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Move both clocks forward."""
        self._now_ms += round(seconds * 1000)
        self._monotonic += seconds

    def jump(self, seconds: float) -> None:
        """Move the wall clock alone, as an NTP step does."""
        self._now_ms += round(seconds * 1000)
