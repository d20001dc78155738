"""REST's tickers as a second witness: the exchange's totals of the day, also of markets that are quiet."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Protocol

from collector.errors import RestError, RestLimited, RestRefused, RestUnreachable
from collector.feed.rest_client import TICKERS_MAX
from collector.listener.maintenance import RestQuiet
from collector.listener.pipeline import EventPipeline
from collector.model import Source
from collector.protocol.rest import DayTotal
from collector.util.korean_time import KST_MS

log = logging.getLogger(__name__)

#: A trade of a ticker that is so far ahead of the exchange's time is stamped in Korean time.
_AHEAD_MS = 3_600_000
#: The first look comes so long after the start.
_FIRST_S = 5.0


class DayTotals(Protocol):
    """A source of the totals of the day; `RestClient` in production."""

    async def day_totals(self, markets: Sequence[str]) -> Sequence[DayTotal]:
        """Return the totals of up to `TICKERS_MAX` markets."""
        ...


class Witness:
    """Asks again and again.

    Args:
        interval_s: from look to look; 0 is never.
        quiet: is shown each look: whether the exchange rests.
    """

    def __init__(
        self, rest: DayTotals, pipeline: EventPipeline, interval_s: float, quiet: RestQuiet | None = None
    ) -> None:
        self._rest = rest
        self._quiet = quiet or RestQuiet()
        self._pipeline = pipeline
        self._interval_s = interval_s

    async def run(self, markets: Callable[[], Sequence[str]]) -> None:
        """Ask about `markets()` until cancelled."""
        if not self._interval_s:
            return
        await asyncio.sleep(min(_FIRST_S, self._interval_s))
        while True:
            await self.look(markets())
            await asyncio.sleep(self._interval_s)

    async def look(self, markets: Sequence[str]) -> None:
        """Ask once, and compare; where REST does not answer, the next look will do."""
        turnovers: dict[str, Decimal] = {}
        failure: RestError | None = None
        for start in range(0, len(markets), TICKERS_MAX):
            try:
                await self._ask(markets[start : start + TICKERS_MAX], turnovers)
            except RestLimited:
                return  # calls pause, so the state of the exchange is unknown
            except RestError as error:
                log.debug("the totals of the day can't be read: %s", error)
                failure = error
        if failure is None or turnovers:
            self._quiet.on_totals(turnovers, self._pipeline.now_s())
        elif isinstance(failure, RestUnreachable):
            self._quiet.on_unreachable()
        else:
            self._quiet.on_refused(self._pipeline.now_s())

    async def _ask(self, markets: Sequence[str], turnovers: dict[str, Decimal]) -> None:
        """Ask about some markets; one that is not listed any more costs all, so halves are asked about."""
        try:
            rows = await self._rest.day_totals(markets)
        except RestRefused:
            middle = len(markets) // 2
            if middle:
                await self._ask(markets[:middle], turnovers)
                await self._ask(markets[middle:], turnovers)
            return
        pipeline = self._pipeline
        now_s, latest_ms = pipeline.now_s(), pipeline.exchange_ms() + _AHEAD_MS
        for row in rows:
            turnovers[row.market] = row.turnover
            trade_ms = row.trade_ms if row.trade_ms <= latest_ms else row.trade_ms - KST_MS
            pipeline.totals.ticker(row.market, row.turnover, trade_ms, trade_ms, Source.REST, now_s)
