"""When to try again: growing delays with jitter, and one budget for the whole process. Pure.

The exchange allows 10 connection attempts a second per address and blocks for 10 minutes above that, so the
delay starts from the beginning again only after data has flowed for a while, never after a mere handshake.
"""

from collections.abc import Callable
from dataclasses import dataclass

from collector.errors import ConnectFailed
from collector.settings import ConnectionSettings
from collector.util import backoff

TOO_MANY_REQUESTS = 429


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again after `delay_s`."""

    delay_s: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The allowed number of failures in a row is used up."""

    failures: int


@dataclass(frozen=True, slots=True)
class ReconnectPolicy:
    """Decide what follows a failure or a lost connection."""

    settings: ConnectionSettings

    def decide(self, failures: int, cause: Exception | None, random: Callable[[], float]) -> Retry | GiveUp:
        """Return what to do after `failures` failures in a row (at least 1).

        The delay is drawn between half and all of `initial * factor^(failures - 1)`, capped; jitter therefore
        works at the ceiling too. After HTTP 429 it is never below `blocked_wait_s`.
        """
        settings = self.settings
        if settings.retries_max and failures > settings.retries_max:
            return GiveUp(failures)
        ceiling_s = backoff.delay_s(
            failures, settings.backoff_initial_s, settings.backoff_max_s, factor=settings.backoff_factor
        )
        delay_s = ceiling_s * (0.5 + 0.5 * random())
        return Retry(max(delay_s, self._least_wait_s(cause)))

    def _least_wait_s(self, cause: Exception | None) -> float:
        if not isinstance(cause, ConnectFailed):
            return 0.0
        blocked_s = self.settings.blocked_wait_s if cause.status == TOO_MANY_REQUESTS else 0.0
        return max(blocked_s, min(cause.retry_after_s or 0.0, 3600.0))


class ConnectBudget:
    """Spread the connection attempts, or the REST calls, of this process over time."""

    def __init__(self, per_s: float) -> None:
        self._interval_s = 1 / per_s
        self._next_s = float("-inf")

    def reserve(self, now_s: float) -> float:
        """Take the next free slot and return how many seconds it is away."""
        slot_s = max(now_s, self._next_s)
        self._next_s = slot_s + self._interval_s
        return slot_s - now_s
