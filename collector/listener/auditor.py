"""Compare every closed minute of every market with the exchange's candle, inside the REST budget.

What to compare and what it means is decided by `collector.analytics.auditing`. Here the exchange and the
store are asked, verdicts are written, gaps are opened where the exchange has counted more than is stored, and
closed where every minute they touch is the exchange's to the last digit.

Once a day, after midnight in Korea, the whole day before is gone through: what has no verdict is compared,
and the day's result is stored and logged.
"""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Protocol

from collector.analytics.auditing import Ask, Looked, Plan, asks_of, runs, touched
from collector.analytics.reconcile import Figures, Match
from collector.analytics.verdicts import written
from collector.clock import Clock
from collector.errors import BrokerUnavailable, RestError
from collector.feed.backfill import MissingStretch
from collector.model import MINUTE_MS, Gap
from collector.protocol.rest import ExchangeCandle
from collector.settings import AuditSettings
from collector.store.verified import DayResult, Ours, Verified
from collector.util.korean_time import DAY_MS, date_of, day_start_ms

log = logging.getLogger(__name__)

#: Gaps that the day's totals have opened: they alone can close them.
NOT_BY_CANDLES = frozenset({"totals"})
#: Time between two looks for something to compare.
_POLL_S = 0.2
#: Failures are logged at most so often.
_WARN_AGAIN_S = 60.0
#: Minutes stored before this run are compared too, as far back as one page reaches.
_BACK_MS = 180 * MINUTE_MS
#: A day is gone through so long after its end, when its last minutes have been looked at; and it is summed up
#: so long after its last comparison, when what was lacking is fetched.
_AFTER_MIDNIGHT_MS, _BEFORE_RESULT_MS = 10 * MINUTE_MS, 5 * MINUTE_MS
_COUNTED = {
    Match.EQUAL: "audit_minutes_equal",
    Match.LESS: "audit_minutes_less",
    Match.MORE: "audit_minutes_more",
    Match.PRICES: "audit_minutes_prices",
}


@dataclass(slots=True)
class _Day:
    """A day that is gone through: the markets and comparisons that are left, and when it is summed up."""

    start_ms: int
    markets: deque[str]
    asks: deque[Ask] = field(default_factory=deque)
    ends_ms: int | None = None


class CandleSource(Protocol):
    """Whatever gives the exchange's one-minute candles; `RestClient` in production."""

    async def candles(self, market: str, end_ms: int, count: int) -> tuple[ExchangeCandle, ...]:
        """Return up to `count` candles that open before `end_ms`, newest first."""
        ...


class Auditor:
    """The rotating audit of one listener.

    `counts` holds `audit_calls`, `audit_failures`, `audit_minutes_{equal|less|more|prices}`,
    `audit_gaps_opened` and `audit_gaps_closed`.

    Args:
        exchange: gives candles.
        store: holds our minutes and takes the verdicts.
        markets: returns the collected markets.
        exchange_ms: returns the exchange's time.
        streamed_ms: returns the time of the newest trade of any market from a socket; None if unknown.
        open_gap: called with market, start and end (epoch ms) of trades that are missing here.
        close_gap: called with a gap of which every minute is the exchange's.
        share: the listener's, `i/n`, which names its results.
        is_behind: whether trades wait on their way to the store; then nothing is compared.
        lag_max_s: as `COLLECTOR_EXCHANGE__REST_LAG_MAX_S`.
    """

    def __init__(
        self,
        exchange: CandleSource,
        store: Verified,
        clock: Clock,
        settings: AuditSettings,
        *,
        markets: Callable[[], Iterable[str]],
        exchange_ms: Callable[[], int],
        streamed_ms: Callable[[], int | None],
        open_gap: Callable[[str, int, int], None],
        close_gap: Callable[[Gap], None],
        is_behind: Callable[[], bool],
        lag_max_s: float,
        share: str,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._exchange, self._store, self._clock = exchange, store, clock
        self._pause_s = 1 / settings.requests_per_s
        self._markets, self._exchange_ms, self._streamed_ms = markets, exchange_ms, streamed_ms
        self._open_gap, self._close_gap, self._is_behind = open_gap, close_gap, is_behind
        self._share, self._is_daily = share, settings.daily
        #: The day that is gone through now, and the start of the one that was last.
        self._day: _Day | None = None
        self._done_ms: int | None = None
        self._plan = Plan(
            round(settings.settle_s * 1000), round(settings.interval_s * 1000), round(lag_max_s * 1000)
        )
        self._warned_s = float("-inf")

    async def run(self) -> None:
        """Compare until cancelled."""
        started_ms = self._exchange_ms()
        while True:
            await self._begin(started_ms)
            try:
                has_asked = not self._is_behind() and (await self._look() or await self._look_at_day())
            except (RestError, BrokerUnavailable) as error:
                self.counts["audit_failures"] += 1
                self._warn(error)
                has_asked = True
            await asyncio.sleep(self._pause_s if has_asked else _POLL_S)

    def on_fetched(self, stretch: MissingStretch) -> None:
        """Take the end of a backfill, recovered or not: the minutes it touches are compared again."""
        self._plan.fetched(stretch.market, stretch.from_ms, stretch.to_ms, self._exchange_ms())

    def on_turnover(self, market: str, turnover: Decimal, asked_ms: int) -> None:
        """Take a market's turnover of the day from REST's ticker, asked for at this time of the exchange."""
        self._plan.note_turnover(market, turnover, asked_ms)

    def waiting(self) -> int:
        """Return how many minutes wait for another look."""
        return self._plan.waiting()

    async def _begin(self, started_ms: int) -> None:
        """Take up markets that are new: from their oldest minute that is stored, or from our start."""
        for market in [market for market in self._markets() if market not in self._plan]:
            now_ms = self._exchange_ms()
            try:
                oldest_ms = await asyncio.to_thread(self._store.oldest, market, _BACK_MS, now_ms)
            except BrokerUnavailable:
                return  # asked again, before anything is compared
            self._plan.begin(market, started_ms if oldest_ms is None else oldest_ms)

    async def _look(self) -> bool:
        """Make the comparison that is due; return whether there was one."""
        ask = self._plan.next(self._markets(), self._exchange_ms())
        if ask is None:
            return False
        try:
            await self._compare(ask)
        except (RestError, BrokerUnavailable):
            self._plan.failed(ask, self._exchange_ms())
            raise
        return True

    async def _look_at_day(self) -> bool:
        """Make a comparison that the day before lacks, or sum it up; return whether there was work."""
        now_ms = self._exchange_ms()
        start_ms = day_start_ms(now_ms - _AFTER_MIDNIGHT_MS) - DAY_MS
        if not self._is_daily or self._done_ms == start_ms:
            return False
        day = self._day
        if day is None or day.start_ms != start_ms:
            if await asyncio.to_thread(self._store.results, start_ms, self._share):
                self._done_ms = start_ms
                return False
            day = self._day = _Day(start_ms, deque(self._markets()))
        if day.asks:
            await self._compare(day.asks[0])
            day.asks.popleft()
        elif day.markets:
            day.asks.extend(await asyncio.to_thread(self._undecided, day.markets[0], start_ms))
            day.markets.popleft()
        elif day.ends_ms is None:
            day.ends_ms = now_ms + _BEFORE_RESULT_MS
        elif now_ms >= day.ends_ms:
            await asyncio.to_thread(self._sum_up, tuple(self._markets()), start_ms)
            self._day, self._done_ms = None, start_ms
        else:
            return False
        return True

    def _undecided(self, market: str, start_ms: int) -> list[Ask]:
        """Return the comparisons that a market's day lacks, from where our data begin."""
        oldest_ms = self._store.oldest(market, 2 * DAY_MS, start_ms + DAY_MS - 1)
        if oldest_ms is None:
            return []
        opens = range(max(oldest_ms, start_ms), start_ms + DAY_MS, MINUTE_MS)
        minutes = self._store.ours(market, opens).minutes
        verdicts = self._store.read(market, start_ms, start_ms + DAY_MS - 1)
        undecided = [open_ms for open_ms in opens if verdicts.of(open_ms, minutes.get(open_ms)) is None]
        return asks_of(market, undecided)

    def _sum_up(self, markets: Sequence[str], start_ms: int) -> None:
        """Store and log the result of a day."""
        opens = range(start_ms, start_ms + DAY_MS, MINUTE_MS)
        equal = differing = unknown = 0
        for market in markets:
            oldest_ms = self._store.oldest(market, 2 * DAY_MS, start_ms + DAY_MS - 1)
            mine = [open_ms for open_ms in opens if oldest_ms is not None and open_ms >= oldest_ms]
            minutes = self._store.ours(market, mine).minutes
            verdicts = self._store.read(market, start_ms, start_ms + DAY_MS - 1)
            found = Counter(verdicts.of(open_ms, minutes.get(open_ms)) for open_ms in mine)
            equal, differing, unknown = equal + found[True], differing + found[False], unknown + found[None]
        result = DayResult(len(markets), equal + differing + unknown, equal, differing, unknown)
        if not result.minutes:
            return  # we had not begun then
        self._store.put_result(start_ms, self._share, result)
        level = logging.INFO if equal == result.minutes else logging.WARNING
        log.log(level, "%s in Korea: %s", date_of(start_ms), result)

    async def _compare(self, ask: Ask) -> None:
        asked_ms = self._exchange_ms()
        if not ask.candles:
            ours = await asyncio.to_thread(self._store.ours, ask.market, ask.opens)
            if not ours.minutes:
                await self._conclude(ask, ours, self._plan.take_quiet(ask))
                return
            ask = self._plan.insist(ask, asked_ms)
        self.counts["audit_calls"] += 1
        candles = await self._exchange.candles(ask.market, ask.end_ms, ask.candles)
        ours = await asyncio.to_thread(self._store.ours, ask.market, ask.opens)
        theirs = {candle.open_ms: figures(candle) for candle in candles}
        gaps = [(gap.from_ms, gap.to_ms) for gap in ours.gaps]
        streamed_ms = self._streamed_ms()
        looked = self._plan.take(ask, ours.minutes, theirs, gaps, streamed_ms, asked_ms)
        await self._conclude(ask, ours, looked)

    async def _conclude(self, ask: Ask, ours: Ours, looked: Looked) -> None:
        """Write what a comparison found, open gaps, and close those that are proven to be none any more."""
        market = ask.market
        for kind, count in looked.found.items():
            self.counts[_COUNTED[kind]] += count
        quiet = set(looked.quiet)
        verdicts = {
            open_ms: written(is_equal, ours.minutes.get(open_ms))
            for open_ms, is_equal in looked.verdicts.items()
            if open_ms not in quiet
        }
        await asyncio.to_thread(self._store.write, market, verdicts, runs(looked.quiet))
        for from_ms, end_ms in runs(looked.lacking):
            log.debug("the exchange has counted more than is stored of %s at %d", market, from_ms)
            self.counts["audit_gaps_opened"] += 1
            self._open_gap(market, from_ms, end_ms - 1)
        for gap in ours.gaps:
            if gap.reason not in NOT_BY_CANDLES and await self._is_proven(gap, looked):
                self.counts["audit_gaps_closed"] += 1
                self._close_gap(gap)

    async def _is_proven(self, gap: Gap, looked: Looked) -> bool:
        """Return whether all minutes that a gap touches are the exchange's, if this look was at one."""
        opens = touched(gap.from_ms, gap.to_ms)
        if not any(looked.verdicts.get(open_ms) for open_ms in opens):
            return False
        return await asyncio.to_thread(self._store.is_proven, gap.market, gap.from_ms, gap.to_ms)

    def _warn(self, error: Exception) -> None:
        now_s = self._clock.monotonic()
        if now_s - self._warned_s >= _WARN_AGAIN_S:
            self._warned_s = now_s
            log.warning("minutes can't be compared with the exchange's: %s", error)


def figures(candle: ExchangeCandle) -> Figures:
    """Return what is compared of the exchange's candle."""
    return Figures(*(getattr(candle, name) for name in Figures.__struct_fields__))
