"""Times that are far ahead of all others, and so are doubted. Pure.

The exchange stamps events, and one stamp in a million may be wrong, by up to a day. What is judged by the
newest time (where rolling windows end, which ticker is the newest) must not follow one event. Which of two
times is right is decided by a third: the arrival beside the stamp, another market, or the same market later.
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

from collector.model import Ticker, Trade

#: A stamp may be ahead of its arrival by as much as clocks usually differ.
LEAP_MS = 60_000


class Stamp(NamedTuple):
    """When the exchange made a state, in the unit of its kind, and when it came, epoch ms."""

    time: int
    received_ms: int

    @property
    def ahead_ms(self) -> int:
        """By how much it is ahead of its arrival; books are stamped in microseconds."""
        return (self.time // 1000 if self.time > _MICROSECONDS_FROM else self.time) - self.received_ms


#: As milliseconds this is the year 5138.
_MICROSECONDS_FROM = 10**14


def is_newer(state: Stamp, known: Stamp) -> bool:
    """Return whether `state` is to replace the one that is known.

    The later stamp wins, of equals the later arrival; but a known stamp that is far more ahead of its arrival
    than this one gives way to what came after it.
    """
    if known.ahead_ms - state.ahead_ms > LEAP_MS and state.received_ms >= known.received_ms:
        return True
    return tuple(state) > tuple(known)


class Moment(NamedTuple):
    """How far the exchange's time has come, as one batch shows it; epoch ms, 0 = it does not.

    `known_ms` is beyond doubt. `doubted_ms`, of `market`, is further ahead and stands alone.
    """

    known_ms: int = 0
    doubted_ms: int = 0
    market: str = ""


def newest_moment(events: Iterable[Trade | Ticker]) -> Moment:
    """Return how far the exchange's time has come.

    A time is beyond doubt if it is not ahead of its arrival, or if another market agrees: the clock of
    arrivals may be slow.
    """
    known_ms = 0
    doubted: dict[str, int] = {}
    for event in events:
        ms = event.exchange_ms
        if ms - event.received_ms > LEAP_MS:
            doubted[event.market] = max(ms, doubted.get(event.market, 0))
        elif ms > known_ms:
            known_ms = ms
    falling = sorted(((ms, market) for market, ms in doubted.items()), reverse=True)
    for (ms, _), (next_ms, _) in pairwise(falling):
        if ms - next_ms <= LEAP_MS:
            known_ms = max(known_ms, ms)
            break
    ms, market = falling[0] if falling else (0, "")
    return Moment(known_ms, ms, market) if ms > known_ms else Moment(known_ms)


def newest_trades(events: Iterable[Trade | Ticker]) -> dict[str, int]:
    """Return the newest time of each market's trades, of one that is beyond doubt if there is one."""
    sure: dict[str, int] = {}
    doubted: dict[str, int] = {}
    for event in events:
        if isinstance(event, Trade):
            market, ms = event.market, event.exchange_ms
            newest = doubted if ms - event.received_ms > LEAP_MS else sure
            if ms > newest.get(market, 0):
                newest[market] = ms
    return doubted | sure
