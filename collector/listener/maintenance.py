"""Whether an outage is the exchange's maintenance: sockets and REST are quiet together. Pure.

The exchange stops for hours now and then. Its sockets bring nothing then, and REST refuses, or its totals of
the day stand still. Totals that move mean that the exchange trades and only the sockets are broken; where
REST can't be reached at all, the network is.
"""

from collections.abc import Mapping
from decimal import Decimal

MAINTENANCE = "maintenance"
#: REST has been quiet for so long at the least: its totals may lag behind the last trades.
_LEAST_S = 45.0


class RestQuiet:
    """Looks at the totals of the day, one after the other; times are monotonic seconds."""

    def __init__(self) -> None:
        self._turnovers: Mapping[str, Decimal] | None = None
        #: Whether totals have ever moved: those of a market that never trades prove nothing.
        self._has_moved = False
        #: The first and the last of the looks that were quiet, none moving in between.
        self._quiet_s: tuple[float, float] | None = None

    def on_totals(self, turnovers: Mapping[str, Decimal], now_s: float) -> None:
        """Take the turnover of the day of all markets."""
        before, self._turnovers = self._turnovers, turnovers
        if before is not None and _moved(before, turnovers):
            self._has_moved, self._quiet_s = True, None
        else:
            self._note_quiet(now_s)

    def on_refused(self, now_s: float) -> None:
        """Note an answer that is none, such as HTTP 503."""
        self._note_quiet(now_s)

    def on_unreachable(self) -> None:
        """Note that there was no answer at all: the state of the exchange is unknown."""
        self._quiet_s = None

    def explain(self, reason: str, began_s: float) -> str:
        """Return the reason of an outage of all sockets that began then: `reason`, or maintenance."""
        if self._quiet_s is None or not self._has_moved:
            return reason
        first_s, last_s = self._quiet_s
        return MAINTENANCE if last_s - max(first_s, began_s) >= _LEAST_S else reason

    def _note_quiet(self, now_s: float) -> None:
        first_s = self._quiet_s[0] if self._quiet_s else now_s
        self._quiet_s = first_s, now_s


def _moved(before: Mapping[str, Decimal], after: Mapping[str, Decimal]) -> bool:
    """Whether any market has traded between two looks; one that only one of them has proves nothing."""
    return any(before[market] != after[market] for market in before.keys() & after.keys())
