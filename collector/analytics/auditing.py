"""Which minutes to compare with the exchange's candles next, and what a comparison means. Pure.

Every closed minute of every market is looked at soon after it closed, the newest first, several with one
call.

a look finds                what follows
equal                       proven once REST is known to have come past the minute; before, another look
the exchange has more       another look, since trades may still be on their way to the store; if that finds
                            the same, a gap: its trades are fetched, and the minute is looked at again
we have more, other prices  other looks, since REST may lag; in the end the minute differs

REST is past a minute if it has shown a candle of a later one, of any market, or if the minute closed longer
ago than REST is taken to lag and no socket brought later trades. A market whose day's turnover did not change
over a minute had no trade in it.
"""

import math
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from collector.analytics.candles import Minute
from collector.analytics.reconcile import Figures, Match, figures_of, match
from collector.analytics.verdicts import fingerprint_of
from collector.model import MINUTE_MS
from collector.util import backoff

#: Reason of the gaps that a comparison opens; a backfill alone does not close them.
AUDIT = "audit"
#: Minutes of one call, beside those that are still running: the exchange gives 200 candles.
WINDOW = 190
#: A reply includes the running minute while the newest that is asked for is no older than this.
_NEAR_MS = 4 * MINUTE_MS
#: Time until a minute is looked at again: REST may lag; trades may be on their way; a gap is being fetched.
_LAGS_MS, _CONFIRM_MS, _FETCHING_MS = 5_000, 5_000, 60_000
#: A market of which a comparison failed waits so long for the next.
_FAILED_MS = 10_000
#: A turnover that was not looked at for longer may have been another in between, and the same again.
_UNSEEN_MS = 180_000
#: After a gap of the minute is fetched, its trades take so long to the store.
_STORED_MS = 2_000
#: A gap that is known already is expected to be closed by its own backfill within this time.
_KNOWN_GAP_MS = 5 * MINUTE_MS
#: Fetches of one minute, each twice as long after the one before.
_FETCHES_MAX = 6
#: Looks at a minute of which the exchange has less, or other prices: over about ten minutes.
_LOOKS_MAX, _FIRST_PAUSE_MS = 8, 5_000
#: Minutes of a market that wait for another look; older ones are left to the audit of the day.
_AGAIN_MAX = 1_440
_NEVER_MS = 1 << 62


class Ask(NamedTuple):
    """A comparison of the minutes `opens`: with so many candles of the exchange that open before `end_ms`.

    With 0 `candles` the exchange need not be asked if we have no trade in any of the minutes.
    """

    market: str
    opens: tuple[int, ...]
    end_ms: int
    candles: int


class Looked(NamedTuple):
    """What a comparison found, by the open of the minute."""

    #: Minutes that are decided, and whether they are the exchange's.
    verdicts: dict[int, bool]
    #: Those of them that neither side had a trade in.
    quiet: list[int]
    #: Minutes whose trades have to be fetched.
    lacking: list[int]
    #: Of each kind of difference, how many minutes were decided or are to be fetched.
    found: dict[Match, int]


@dataclass(slots=True)
class _Again:
    """A minute that waits for another look."""

    not_before_ms: int
    looks: int = 0
    fetches: int = 0
    #: Fingerprint of our minute when the exchange had more, and since when a known gap explains that.
    lacked: str = ""
    known_since_ms: int = 0


@dataclass(slots=True)
class _Market:
    next_ms: int
    known_from_ms: int
    asked_ms: int = 0
    #: Not asked before, since a comparison has failed.
    not_before_ms: int = 0
    again: dict[int, _Again] = field(default_factory=dict)
    #: The day's turnover, since when it is the same, and until when.
    turnover: Decimal | None = None
    same_from_ms: int = 0
    same_until_ms: int = 0


class Plan:
    """What is to be compared, of all markets. Times are the exchange's, epoch ms.

    Args:
        settle_ms: time after the end of a minute before it is looked at.
        interval_ms: new minutes of a market wait until they are so many together.
        lag_max_ms: REST is taken to lag no more, where nothing shows how much.
    """

    def __init__(self, settle_ms: int, interval_ms: int, lag_max_ms: int) -> None:
        self._settle_ms, self._interval_ms, self._lag_max_ms = settle_ms, interval_ms, lag_max_ms
        self._markets: dict[str, _Market] = {}
        #: Markets that were due, the one that waits longest first; made anew once it is empty.
        self._line: deque[str] = deque()
        #: Open of the newest candle of any market that REST has shown; whether sockets brought later trades.
        self._shown_ms = 0
        self._is_behind = False

    def __contains__(self, market: str) -> bool:
        return market in self._markets

    def begin(self, market: str, from_ms: int) -> None:
        """Compare `market` from the minute of `from_ms` on; before it nothing of ours is to be expected."""
        open_ms = from_ms - from_ms % MINUTE_MS
        self._markets[market] = _Market(open_ms, open_ms)

    def waiting(self) -> int:
        """Return how many minutes wait for another look."""
        waiting = (again for state in self._markets.values() for again in state.again.values())
        return sum(again.not_before_ms < _NEVER_MS for again in waiting)

    def next(self, markets: Iterable[str], now_ms: int) -> Ask | None:
        """Return what to compare now, None for nothing; of several markets the one that waits longest."""
        known = dict.fromkeys(market for market in markets if market in self._markets)
        market = self._first_due(known.keys(), now_ms)
        if market is None:
            due = [market for market in known if self._is_due(market, now_ms)]
            self._line = deque(sorted(due, key=lambda name: self._markets[name].asked_ms))
            market = self._first_due(known.keys(), now_ms)
        if market is None:
            return None
        return self._ask(market, self._markets[market], self._newest_closed(now_ms), now_ms)

    def _first_due(self, markets: Set[str], now_ms: int) -> str | None:
        """Return the first market in the line that is due, and take the line up to it away."""
        while self._line:
            market = self._line.popleft()
            if market in markets and self._is_due(market, now_ms):
                return market
        return None

    def take(
        self,
        ask: Ask,
        ours: Mapping[int, Minute],
        theirs: Mapping[int, Figures],
        gaps: Collection[tuple[int, int]],
        streamed_ms: int | None,
        now_ms: int,
    ) -> Looked:
        """Take what a comparison brought.

        Args:
            ask: what was asked for.
            ours: our minutes, by open.
            theirs: all candles of the reply.
            gaps: stretches of the market's trades that are known to be missing.
            streamed_ms: the newest trade of any market that a socket brought, None if unknown.
            now_ms: when the exchange was asked.
        """
        self._shown_ms = max(self._shown_ms, *theirs, 0)
        self._is_behind = streamed_ms is not None and self._shown_ms + MINUTE_MS <= streamed_ms
        state = self._markets[ask.market]
        looked = Looked({}, [], [], {})
        for open_ms in ask.opens:
            minute, other = ours.get(open_ms), theirs.get(open_ms)
            kind = match(figures_of(minute) if minute else None, other)
            if kind is Match.EQUAL:
                self._take_equal(state, looked, open_ms, is_quiet=minute is None, now_ms=now_ms)
            elif kind is Match.LESS:
                is_known = any(from_ms < open_ms + MINUTE_MS and open_ms <= to_ms for from_ms, to_ms in gaps)
                self._take_less(state, looked, open_ms, fingerprint_of(minute), is_known, now_ms)
            else:
                self._take_more(state, looked, open_ms, kind, now_ms)
        return looked

    def take_quiet(self, ask: Ask) -> Looked:
        """Take minutes in which neither the exchange's totals nor our trades moved."""
        state = self._markets[ask.market]
        for open_ms in ask.opens:
            state.again.pop(open_ms, None)
        return Looked(dict.fromkeys(ask.opens, True), list(ask.opens), [], {Match.EQUAL: len(ask.opens)})

    def insist(self, ask: Ask, now_ms: int) -> Ask:
        """Return the comparison of the same minutes for which the exchange is asked."""
        return _asked(ask.market, ask.opens, now_ms)

    def failed(self, ask: Ask, now_ms: int) -> None:
        """Take note that a comparison could not be made: its minutes wait for the next."""
        state = self._markets[ask.market]
        state.not_before_ms = now_ms + _FAILED_MS
        new = [open_ms for open_ms in ask.opens if open_ms not in state.again]
        state.next_ms = min((state.next_ms, *new))

    def fetched(self, market: str, from_ms: int, to_ms: int, now_ms: int) -> None:
        """Take note that the trades of a stretch were fetched: its minutes are looked at again soon."""
        state = self._markets.get(market)
        if state is None:
            return
        for open_ms in touched(max(from_ms, state.known_from_ms), to_ms):
            if open_ms < state.next_ms and (open_ms in state.again or len(state.again) < _AGAIN_MAX):
                again = state.again.setdefault(open_ms, _Again(now_ms + _STORED_MS))
                again.not_before_ms = min(again.not_before_ms, now_ms + _STORED_MS)

    def note_turnover(self, market: str, turnover: Decimal, asked_ms: int) -> None:
        """Take the day's turnover of a market as REST's ticker shows it, asked for at `asked_ms`."""
        state = self._markets.get(market)
        if state is None:
            return
        if state.turnover != turnover or asked_ms - state.same_until_ms > _UNSEEN_MS:
            state.turnover, state.same_from_ms = turnover, asked_ms
        state.same_until_ms = asked_ms

    def _newest_closed(self, now_ms: int) -> int:
        return (now_ms - self._settle_ms) // MINUTE_MS * MINUTE_MS - MINUTE_MS

    def _is_due(self, market: str, now_ms: int) -> bool:
        state = self._markets[market]
        if now_ms < state.not_before_ms:
            return False
        closed_ms = self._newest_closed(now_ms) + MINUTE_MS - state.next_ms
        if closed_ms >= max(self._interval_ms, MINUTE_MS):
            return True
        return any(again.not_before_ms <= now_ms for again in state.again.values())

    def _ask(self, market: str, state: _Market, newest_ms: int, now_ms: int) -> Ask:
        state.asked_ms = now_ms
        opens = set(range(state.next_ms, newest_ms + 1, MINUTE_MS))
        state.next_ms = max(state.next_ms, newest_ms + MINUTE_MS)
        if opens and self._is_quiet(state, min(opens), newest_ms):
            return Ask(market, tuple(sorted(opens)), 0, 0)
        opens |= {open_ms for open_ms, again in state.again.items() if again.not_before_ms <= now_ms}
        last_ms = max(opens)
        left = sorted(open_ms for open_ms in opens if open_ms <= last_ms - WINDOW * MINUTE_MS)
        for open_ms in left[-_AGAIN_MAX:]:
            state.again.setdefault(open_ms, _Again(now_ms))
        opens.difference_update(left)
        for open_ms in sorted(state.again)[:-_AGAIN_MAX]:
            del state.again[open_ms]
        return _asked(market, tuple(sorted(opens)), now_ms)

    def _is_quiet(self, state: _Market, first_ms: int, last_ms: int) -> bool:
        """Return whether the day's turnover stood still over the minutes from `first_ms` to `last_ms`."""
        return (
            state.turnover is not None
            and state.same_from_ms <= first_ms
            and last_ms + MINUTE_MS + self._lag_max_ms <= state.same_until_ms
        )

    def _is_past(self, open_ms: int, now_ms: int) -> bool:
        """Return whether REST has come past a minute, so that its candle can't grow any more."""
        end_ms = open_ms + MINUTE_MS
        return self._shown_ms >= end_ms or (not self._is_behind and now_ms - end_ms >= self._lag_max_ms)

    def _take_equal(
        self, state: _Market, looked: Looked, open_ms: int, *, is_quiet: bool, now_ms: int
    ) -> None:
        if not self._is_past(open_ms, now_ms):
            state.again.setdefault(open_ms, _Again(0)).not_before_ms = now_ms + _LAGS_MS
            return
        state.again.pop(open_ms, None)
        looked.verdicts[open_ms] = True
        _count(looked, Match.EQUAL)
        if is_quiet:
            looked.quiet.append(open_ms)

    def _take_less(
        self, state: _Market, looked: Looked, open_ms: int, lacked: str, is_known: bool, now_ms: int
    ) -> None:
        again = state.again.setdefault(open_ms, _Again(0))
        if again.lacked != lacked:
            again.lacked, again.not_before_ms = lacked, now_ms + _CONFIRM_MS
            return
        looked.verdicts[open_ms] = False
        if is_known and not again.fetches:
            again.known_since_ms = again.known_since_ms or now_ms
            if now_ms - again.known_since_ms < _KNOWN_GAP_MS:
                again.not_before_ms = now_ms + 2 * _CONFIRM_MS
                return
        if again.fetches >= _FETCHES_MAX:
            again.not_before_ms = _NEVER_MS  # but for what another backfill brings
            return
        again.not_before_ms = now_ms + _doubled(_FETCHING_MS, again.fetches)
        again.fetches += 1
        looked.lacking.append(open_ms)
        if again.fetches == 1:
            _count(looked, Match.LESS)

    def _take_more(self, state: _Market, looked: Looked, open_ms: int, kind: Match, now_ms: int) -> None:
        again = state.again.setdefault(open_ms, _Again(0))
        if again.looks < _LOOKS_MAX:
            again.not_before_ms = now_ms + _doubled(_FIRST_PAUSE_MS, again.looks)
            again.looks += 1
            return
        del state.again[open_ms]
        looked.verdicts[open_ms] = False
        _count(looked, kind)


def _asked(market: str, opens: tuple[int, ...], now_ms: int) -> Ask:
    """Return the comparison of `opens`, with the running minute on the page if they are near."""
    is_near = now_ms - opens[-1] <= _NEAR_MS + MINUTE_MS
    end_ms = (now_ms if is_near else opens[-1]) // MINUTE_MS * MINUTE_MS + MINUTE_MS
    return Ask(market, opens, end_ms, (end_ms - opens[0]) // MINUTE_MS)


def asks_of(market: str, opens: Iterable[int]) -> list[Ask]:
    """Return the comparisons that cover `opens`, all of them long closed."""
    asks: list[Ask] = []
    some: list[int] = []
    for open_ms in sorted(opens):
        if some and open_ms - some[0] >= WINDOW * MINUTE_MS:
            asks.append(_asked(market, tuple(some), some[-1] + 2 * _NEAR_MS))
            some = []
        some.append(open_ms)
    return [*asks, _asked(market, tuple(some), some[-1] + 2 * _NEAR_MS)] if some else asks


def _count(looked: Looked, kind: Match) -> None:
    looked.found[kind] = looked.found.get(kind, 0) + 1


def runs(opens: Iterable[int]) -> list[tuple[int, int]]:
    """Return minutes that follow each other as stretches: the first open, and the end of the last."""
    found: list[tuple[int, int]] = []
    for open_ms in sorted(opens):
        if found and found[-1][1] == open_ms:
            found[-1] = found[-1][0], open_ms + MINUTE_MS
        else:
            found.append((open_ms, open_ms + MINUTE_MS))
    return found


def touched(from_ms: int, to_ms: int) -> Sequence[int]:
    """Return the opens of the minutes that a stretch touches, both ends included."""
    return range(from_ms - from_ms % MINUTE_MS, to_ms + 1, MINUTE_MS)


def _doubled(first_ms: int, times: int) -> int:
    """Return the pause after so many tries; their number is bounded, so its length is."""
    return round(backoff.delay_s(times + 1, first_ms / 1000, math.inf) * 1000)
