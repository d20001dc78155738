"""Compare every closed minute of every market with the exchange's candle, inside the REST budget.

What to compare and what it means is decided by `collector.analytics.auditing`. Here the exchange and the
store are asked, verdicts are written, gaps are opened where the exchange has counted more than is stored, and
closed where every minute they touch is the exchange's to the last digit.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Protocol

from collector.analytics.auditing import Ask, Looked, Plan, runs, touched
from collector.analytics.reconcile import Figures, Match
from collector.analytics.verdicts import written
from collector.clock import Clock
from collector.errors import BrokerUnavailable, RestError
from collector.feed.backfill import Hole
from collector.model import Gap
from collector.protocol.rest import ExchangeCandle
from collector.settings import AuditSettings
from collector.store.verified import Ours, Verified

log = logging.getLogger(__name__)

#: Reason of the gaps that a comparison opens; a backfill alone does not close them.
AUDIT = "audit"
#: Gaps that the day's totals have opened: they alone can close them.
NOT_BY_CANDLES = frozenset({"totals"})
#: Time between two looks for something to compare.
_POLL_S = 0.2
#: Failures are logged at most so often.
_WARN_AGAIN_S = 60.0
#: Minutes stored before this run are compared too, as far back as one page reaches.
_BACK_MS = 180 * 60_000
_COUNTED = {
    Match.EQUAL: "audit_minutes_equal",
    Match.LESS: "audit_minutes_less",
    Match.MORE: "audit_minutes_more",
    Match.PRICES: "audit_minutes_prices",
}


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
        markets: tells which markets are collected.
        exchange_ms: tells the exchange's time.
        streamed_ms: tells the time of the newest trade of any market that a socket brought; None if unknown.
        open_gap: called with market, start and end (epoch ms) of trades that are missing here.
        close_gap: called with a gap of which every minute is the exchange's.
        is_behind: tells whether trades wait on their way to the store: then nothing is compared.
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
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._exchange, self._store, self._clock = exchange, store, clock
        self._pause_s = 1 / settings.requests_per_s
        self._markets, self._exchange_ms, self._streamed_ms = markets, exchange_ms, streamed_ms
        self._open_gap, self._close_gap, self._is_behind = open_gap, close_gap, is_behind
        self._plan = Plan(
            round(settings.settle_s * 1000), round(settings.interval_s * 1000), round(lag_max_s * 1000)
        )
        self._warned_s = float("-inf")

    async def run(self) -> None:
        """Compare until cancelled."""
        started_ms = self._exchange_ms()
        while True:
            await self._begin(started_ms)
            ask = None if self._is_behind() else self._plan.next(self._markets(), self._exchange_ms())
            if ask is None:
                await asyncio.sleep(_POLL_S)
                continue
            try:
                await self._compare(ask)
            except (RestError, BrokerUnavailable) as error:
                self.counts["audit_failures"] += 1
                self._plan.failed(ask, self._exchange_ms())
                self._warn(error)
            await asyncio.sleep(self._pause_s)

    def on_fetched(self, hole: Hole) -> None:
        """Take the end of a backfill, recovered or not: the minutes it touches are compared again."""
        self._plan.fetched(hole.market, hole.from_ms, hole.to_ms, self._exchange_ms())

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
        """Tell whether every minute that a gap touches is the exchange's, if this look was at one of them."""
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
