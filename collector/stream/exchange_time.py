"""What time is it at the exchange? Learned from its own data, never from one event and never from our clock.

Hosts sleep, their clocks are slow, fast or stepped, and single events are stamped hours ahead. Time here is
the exchange's, carried on by monotonic seconds. Those stand still while a host sleeps: the next events put
that right.

evidence                                     counts
an event near the time as known              moves it
an event near the `Date` of an HTTP reply    moves it, however far it was off
the host's clock                             until there is anything better
events far from all these                    once enough of them, one after the other, agree
"""

import math
from email.utils import parsedate_to_datetime

from collector.clock import Clock

#: An event that is ahead of the time by more than this is doubted.
AHEAD_MS = 10_000
#: An event up to this much older than the time is as it should be; older trades come in snapshots.
BEHIND_MS = 60_000
#: The host's clock may be wrong by so much and still confirm the first events.
_WALL_MS = 60_000
#: Doubted events agree with each other if they differ by no more than this.
_AGREES_MS = 10_000
#: So many doubted events in a row move the time: ahead, and against a `Date` header or back in time.
_AGREEING, _AGREEING_AGAINST_EVIDENCE = 2, 10
#: A `Date` header counts as evidence against events for so long.
_HINT_KEPT_S = 600.0
#: The time may be ahead of the newest events by their shortest delay within this span.
_WINDOW_S = 10.0
#: The host's clock is taken as it is while it is no further off.
_CLOCK_TOLERANCE_MS = 10_000


class ExchangeTime:
    """The exchange's clock.

    Args:
        wall_ms: the host's clock, epoch ms.
        now_s: the monotonic clock, as in all methods.
    """

    def __init__(self, wall_ms: int, now_s: float) -> None:
        #: When the newest event was believed, monotonic; -inf before the first.
        self.believed_s = -math.inf
        #: Everything is kept as an offset: epoch ms of the exchange minus monotonic ms.
        self._offset = wall_ms - now_s * 1000
        self._wall: float | None = self._offset
        self._hint: float | None = None
        self._hint_s = -math.inf
        #: The largest offsets of this window and of the one before.
        self._largest = self._largest_before = -math.inf
        self._window_s = -math.inf
        self._doubted_ms = 0
        self._doubted: float | None = None
        self._agreeing = 0

    @property
    def is_known(self) -> bool:
        """Whether anything but the host's clock speaks for this time."""
        return self.believed_s > -math.inf or self._hint is not None

    def at(self, moment_s: float) -> int:
        """Return the exchange's epoch milliseconds at a monotonic moment, about."""
        return round(self._offset + moment_s * 1000)

    def hint(self, server_ms: int, now_s: float) -> None:
        """Take the `Date` of an HTTP reply: it never moves a time that came from events by itself."""
        self._hint, self._hint_s = server_ms - now_s * 1000, now_s
        if self.believed_s == -math.inf:
            self._offset = self._hint

    def saw(self, exchange_ms: int, now_s: float) -> bool:
        """Learn from an event's time; return whether it is believed."""
        offset = exchange_ms - now_s * 1000
        if -BEHIND_MS <= offset - self._offset <= AHEAD_MS:
            self._believe(offset, now_s)
            return True
        if self.is_vouched_for(exchange_ms, now_s) or self._is_repeated(exchange_ms, offset, now_s):
            self._largest = self._largest_before = -math.inf
            self._believe(offset, now_s)
            return True
        return False

    def _believe(self, offset: float, now_s: float) -> None:
        """Follow the events that took the shortest way: the largest offset of this window and the last."""
        self._doubted, self._agreeing, self._wall = None, 0, None
        self.believed_s = now_s
        if now_s - self._window_s >= _WINDOW_S:
            self._largest_before, self._largest, self._window_s = self._largest, offset, now_s
        self._largest = max(self._largest, offset)
        self._offset = max(self._largest_before, self._largest)

    def is_vouched_for(self, exchange_ms: int, now_s: float) -> bool:
        """Return whether something other than events supports this time: a `Date`, the clock at the start."""
        offset = exchange_ms - now_s * 1000
        if self._hint is not None and abs(offset - self._hint) <= AHEAD_MS:
            return True
        return self._wall is not None and abs(offset - self._wall) <= _WALL_MS

    def _is_repeated(self, exchange_ms: int, offset: float, now_s: float) -> bool:
        """Return whether enough doubted events in a row agree; the fills of one order are one event."""
        if self._doubted is None or abs(offset - self._doubted) > _AGREES_MS:
            self._agreeing = 1
        elif exchange_ms != self._doubted_ms:
            self._agreeing += 1
        self._doubted, self._doubted_ms = offset, exchange_ms
        is_back, is_hinted = offset < self._offset, now_s - self._hint_s < _HINT_KEPT_S
        if is_back and is_hinted:
            return False  # old trades of a snapshot, of markets that stood still since
        is_against = is_hinted or (is_back and self.believed_s > -math.inf)
        return self._agreeing >= (_AGREEING_AGAINST_EVIDENCE if is_against else _AGREEING)


def date_ms(date: str | None, age: str | None = None) -> int | None:
    """Return the time that the headers of an HTTP reply name, epoch ms; None if they name none.

    Args:
        date: the header `Date`, of whole seconds.
        age: the header `Age`: how long the reply lay in a cache.
    """
    try:
        sent = parsedate_to_datetime(date or "")
    except ValueError:
        return None
    waited_s = int(age) if age and age.isdecimal() else 0
    return int(sent.timestamp() + waited_s) * 1000 + 500


class ExchangeClock:
    """The host's clock, but the exchange's time where the two are far apart."""

    def __init__(self, clock: Clock, time: ExchangeTime) -> None:
        self._clock = clock
        self._time = time

    def now_ms(self) -> int:
        """Epoch milliseconds, UTC."""
        wall_ms = self._clock.now_ms()
        if not self._time.is_known:
            return wall_ms
        exchange_ms = self._time.at(self._clock.monotonic())
        return wall_ms if abs(wall_ms - exchange_ms) <= _CLOCK_TOLERANCE_MS else exchange_ms

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back."""
        return self._clock.monotonic()

    @property
    def host_is_ahead_ms(self) -> int:
        """By how much the host's clock is ahead of the exchange's time; 0 while it is close enough."""
        ahead_ms = self._clock.now_ms() - self._time.at(self._clock.monotonic())
        return ahead_ms if self._time.is_known and abs(ahead_ms) > _CLOCK_TOLERANCE_MS else 0
