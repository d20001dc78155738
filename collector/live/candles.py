"""The candles that the newest trades are in.

Of a candle only its newest minute changes, as a rule. So what is before that minute is kept as one, and a
batch of trades costs one read of the minutes that it touched, for all markets and intervals together. A whole
candle is read when a minute begins, and when an older one was touched.
"""

import time
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from collector.analytics.candles import INTERVALS, Candle, Minute, align, joined, view
from collector.analytics.completeness import Known
from collector.model import MINUTE_MS
from collector.store.history import History

#: What may be missing of a market's trades is read again after so long; where its data begin, later.
_KNOWN_S, _BEGINNING_S = 5.0, 120.0
_NEVER = (float("-inf"), None)

#: Tells whether candles of an interval and a market are wanted.
Wants = Callable[[str, str], bool]
Minutes = dict[int, Minute]


class _Head(NamedTuple):
    """A candle without its newest minute: None where that is the first one with trades."""

    open_ms: int
    newest_ms: int
    before: Minute | None


class _Wanted(NamedTuple):
    """A candle, the minutes of it that are to be read, and its head where that is known."""

    market: str
    interval: str
    open_ms: int
    opens: Collection[int]
    head: _Head | None


class LiveCandles:
    """Reads candles as trades come; every method raises `BrokerUnavailable` where Redis does not answer."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._heads: dict[tuple[str, str], _Head] = {}
        #: Each with the time it was read at.
        self._known: dict[str, tuple[float, Known]] = {}
        self._beginnings: dict[str, tuple[float, list[int]]] = {}

    def forget(self) -> None:
        """Read all anew: Redis was away, and may have lost something."""
        self._heads.clear()

    def of(self, touched: Mapping[str, Collection[int]], wants: Wants) -> list[Candle]:
        """Return the candles that are wanted of the minutes touched, by market and open."""
        wanted = [
            self._wanted(market, interval, open_ms, opens)
            for market, opens in touched.items()
            for interval, minutes in INTERVALS.items()
            if wants(interval, market)
            for open_ms in sorted({align(each, minutes * MINUTE_MS) for each in opens})
        ]
        reads: dict[str, set[int]] = {}
        for each in wanted:
            reads.setdefault(each.market, set()).update(each.opens)
        stored = self._history.minutes(reads)
        known = self._known_of(reads)
        return [
            candle
            for each in wanted
            for candle in self._candle(each, stored[each.market], known[each.market])
        ]

    def _wanted(self, market: str, interval: str, open_ms: int, touched: Collection[int]) -> _Wanted:
        end_ms = open_ms + INTERVALS[interval] * MINUTE_MS
        opens = [each for each in touched if open_ms <= each < end_ms]
        head = self._heads.get((market, interval))
        if head is not None and head.open_ms == open_ms and opens == [head.newest_ms]:
            return _Wanted(market, interval, open_ms, opens, head)
        return _Wanted(market, interval, open_ms, range(open_ms, end_ms, MINUTE_MS), None)

    def _candle(self, wanted: _Wanted, stored: Minutes, known: Known) -> list[Candle]:
        """Return a candle, and keep what is before its newest minute; an empty list where none is stored."""
        found = {open_ms: stored[open_ms] for open_ms in wanted.opens if open_ms in stored}
        if not found:
            return []
        head = wanted.head
        if head is None:
            *earlier, newest_ms = found
            before = joined([found[open_ms] for open_ms in earlier]) if earlier else None
            head = _Head(wanted.open_ms, newest_ms, before)
            key = wanted.market, wanted.interval
            if key not in self._heads or self._heads[key].open_ms <= wanted.open_ms:
                self._heads[key] = head
        minutes = {head.newest_ms: found[head.newest_ms]}
        if head.before is not None:
            minutes = {wanted.open_ms: head.before, **minutes}
        return view(wanted.market, minutes, wanted.interval, known)

    def _known_of(self, markets: Collection[str]) -> dict[str, Known]:
        now_s = time.monotonic()
        old = [each for each in markets if now_s - self._beginnings.get(each, _NEVER)[0] >= _BEGINNING_S]
        if old:
            found = self._history.opens(old)
            self._beginnings |= {market: (now_s, opens[:1]) for market, opens in found.items()}
        stale = [each for each in markets if now_s - self._known.get(each, _NEVER)[0] >= _KNOWN_S]
        if stale:
            fresh = self._history.known({market: self._beginnings[market][1] for market in stale})
            self._known |= {market: (now_s, known) for market, known in fresh.items()}
        return {market: self._known[market][1] for market in markets}
