"""Fill holes in the trade stream from REST: newest hole first, inside the budget, beside the live stream.

Pages of `/v1/trades/ticks` come newest first. A hole counts as recovered only if the pages reached back to
before it. What the pages bring goes down the same line as live trades; copies are recognised there.
"""

import asyncio
import heapq
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Protocol

from collector.clock import Clock
from collector.errors import RestError
from collector.model import Trade
from collector.protocol.rest import TradePage, oldest_ms

log = logging.getLogger(__name__)

#: Fetched on either side of a hole: events near its ends may have been on their way.
OVERLAP_MS = 5_000
#: The `to` parameter is used only for holes that ended this long ago; nearer ones start at the newest trade.
_RECENT_MS = 120_000
#: A hole rests this long after its end: REST may lag behind the socket.
SETTLE_S = 2.0
#: Tries of one hole, about two hours: REST may be away for longer than the sockets were.
_ATTEMPTS_MAX = 30
_FIRST_RETRY_S, _LONGEST_RETRY_S = 2.0, 300.0
#: Failures are logged from this try on, half a minute after the first, and at most so often; after a lost
#: connection every market fails alike, and `collector.listener.outages` reports how many gaps wait.
_LOUD_ATTEMPT = 5
_WARN_AGAIN_S = 30.0
_PAGES_MAX = 2_000
_HOLES_MAX = 100_000
#: Holes worked on at once; the REST budget bounds them together.
_AT_ONCE = 4
_KST = timedelta(hours=9)
_DAYS_MAX = 7


@dataclass(frozen=True, slots=True)
class Hole:
    """A stretch of one market's trades to fetch again, by the exchange's time."""

    market: str
    from_ms: int
    to_ms: int
    reason: str
    #: Whether the trades before it are known: only then may it be fetched with some overlap.
    is_known_before: bool = True


@dataclass(order=True, slots=True)
class _Job:
    """Newest hole first: ordered by the negated end."""

    not_before_s: float
    minus_to_ms: int
    hole: Hole = field(compare=False)
    attempt: int = field(default=1, compare=False)


class OutOfReach(RestError):
    """The hole is older, or larger, than what the exchange gives back."""


class TradeSource(Protocol):
    """Whatever can page past trades; `RestClient` in production."""

    async def trades(self, market: str, **query: str | int) -> TradePage:
        """Return one page, newest first."""
        ...


class Backfill:
    """Work through the holes, a few at once.

    Args:
        on_trades: called with the trades of a page that belong to a hole.
        on_done: called once per hole with whether it was recovered.
        exchange_ms: tells the exchange's time, which decides what "today" is; `clock` may be wrong.
    """

    def __init__(
        self,
        source: TradeSource,
        clock: Clock,
        on_trades: Callable[[list[Trade]], None],
        on_done: Callable[[Hole, bool], None],
        exchange_ms: Callable[[], int] | None = None,
    ) -> None:
        self.requests = 0
        self._source = source
        self._clock = clock
        self._on_trades = on_trades
        self._on_done = on_done
        self._exchange_ms = exchange_ms or clock.now_ms
        self._ready: list[_Job] = []
        self._waiting: list[_Job] = []
        self._wake = asyncio.Event()
        self._busy = 0
        self._warned_s = float("-inf")

    def add(self, hole: Hole) -> None:
        """Queue a hole."""
        if len(self) >= _HOLES_MAX:
            log.error("too many gaps wait for backfill: one of %s stays", hole.market)
            self._on_done(hole, False)
            return
        rest_s = SETTLE_S - (self._exchange_ms() - hole.to_ms) / 1000
        not_before_s = self._clock.monotonic() + min(max(rest_s, 0.0), SETTLE_S)
        heapq.heappush(self._waiting, _Job(not_before_s, -hole.to_ms, hole))
        self._wake.set()

    def __len__(self) -> int:
        """Return how many holes are not filled yet."""
        return len(self._ready) + len(self._waiting) + self._busy

    async def run(self) -> None:
        """Fill holes until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(_AT_ONCE):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            job = await self._next()
            self._busy += 1
            try:
                await self._fill(job)
            finally:
                self._busy -= 1

    async def _next(self) -> _Job:
        while True:
            now_s = self._clock.monotonic()
            while self._waiting and self._waiting[0].not_before_s <= now_s:
                due = heapq.heappop(self._waiting)
                due.not_before_s = 0.0
                heapq.heappush(self._ready, due)
            if self._ready:
                return heapq.heappop(self._ready)
            self._wake.clear()
            wait_s = self._waiting[0].not_before_s - now_s if self._waiting else None
            try:
                await asyncio.wait_for(self._wake.wait(), wait_s)
            except TimeoutError:
                continue

    async def _fill(self, job: _Job) -> None:
        hole = job.hole
        try:
            recovered = await self._fetch(hole)
        except OutOfReach as error:
            log.error("a gap of %s stays: %s", hole.market, error)
            recovered = False
        except RestError as error:
            if job.attempt < _ATTEMPTS_MAX:
                delay_s = min(_FIRST_RETRY_S * 2 ** (job.attempt - 1), _LONGEST_RETRY_S)
                if job.attempt >= _LOUD_ATTEMPT:
                    self._warn(hole, delay_s, error)
                job.attempt += 1
                job.not_before_s = self._clock.monotonic() + delay_s
                heapq.heappush(self._waiting, job)
                return
            log.error("backfill of %s given up: %s", hole.market, error)
            recovered = False
        self._on_done(hole, recovered)

    def _warn(self, hole: Hole, delay_s: float, error: RestError) -> None:
        """Say what failed, but not once for each of hundreds of markets."""
        now_s = self._clock.monotonic()
        if now_s - self._warned_s >= _WARN_AGAIN_S:
            self._warned_s = now_s
            waiting = f"{len(self)} more wait"
            log.warning(
                "backfill of %s failed, again in %.0f s (%s): %s", hole.market, delay_s, waiting, error
            )

    async def _fetch(self, hole: Hole) -> bool:
        """Page back over `hole`; tell whether everything in it has been seen.

        That is so if the pages reached a trade before it, or if the exchange has trades of that day but none
        older (a new listing). No trade at all proves nothing, and neither does a day before without any:
        whether pages cross midnight in Korea is not known for sure.
        """
        earliest_ms = hole.from_ms - OVERLAP_MS * hole.is_known_before
        latest_ms = hole.to_ms + OVERLAP_MS
        reached_ms: int | None = None
        rejected = 0
        async for page in self._pages(hole.market, earliest_ms, latest_ms):
            ours = [trade for trade in page.trades if trade.market == hole.market]
            wanted = [trade for trade in ours if earliest_ms <= trade.exchange_ms <= latest_ms]
            if wanted:
                self._on_trades(wanted)
            rejected += page.rejected + len(page.trades) - len(ours)
            reached_ms = min(filter(None, (reached_ms, oldest_ms(ours))), default=None)
            if reached_ms is not None and reached_ms < earliest_ms:
                break
        if reached_ms is None or rejected:
            return False
        return reached_ms < hole.from_ms or kst_day(earliest_ms) == kst_day(latest_ms)

    async def _pages(self, market: str, earliest_ms: int, latest_ms: int) -> AsyncIterator[TradePage]:
        """Yield pages from the newest back to `earliest_ms`, Korean day by day; one more if all are empty.

        Raises:
            OutOfReach: the exchange keeps trades for 7 days only.
        """
        now_ms = self._exchange_ms()
        today = kst_day(now_ms)
        oldest_day = today - timedelta(days=_DAYS_MAX)
        if kst_day(latest_ms) < oldest_day:
            raise OutOfReach(f"trades are kept for {_DAYS_MAX} days")
        query = first_query(latest_ms, now_ms)
        day, last_day = min(kst_day(latest_ms), today), kst_day(earliest_ms) - timedelta(days=1)
        for _ in range(_PAGES_MAX):
            self.requests += 1
            page = await self._source.trades(market, **query)
            yield page
            if page.trades:
                last_day = kst_day(earliest_ms)
            if page.trades and page.cursor is not None and page.cursor != query.get("cursor"):
                query = {**query, "cursor": page.cursor}
            elif day > max(last_day, oldest_day):
                query = before_midnight_of(day, today)
                day -= timedelta(days=1)
            elif kst_day(earliest_ms) < oldest_day:
                raise OutOfReach(f"trades are kept for {_DAYS_MAX} days, all of them were fetched")
            else:
                return
        raise OutOfReach(f"more than {_PAGES_MAX} pages")


def kst_day(time_ms: int) -> date:
    """Return the Korean calendar day of an epoch time."""
    return (datetime.fromtimestamp(time_ms / 1000, UTC) + _KST).date()


def first_query(latest_ms: int, now_ms: int) -> dict[str, str | int]:
    """Return the parameters of the first page for trades up to `latest_ms`."""
    if now_ms - latest_ms < _RECENT_MS:
        return {}
    days = (kst_day(now_ms) - kst_day(latest_ms)).days
    wall = datetime.fromtimestamp(latest_ms / 1000, UTC) + _KST + timedelta(seconds=1)
    if wall.date() != kst_day(latest_ms):  # the second after 23:59:59 belongs to the next day
        return before_midnight_of(wall.date(), kst_day(now_ms))
    query: dict[str, str | int] = {"to": wall.strftime("%H:%M:%S")}
    return {**query, "daysAgo": days} if days else query


def before_midnight_of(day: date, today: date) -> dict[str, str | int]:
    """Return the parameters for trades before 00:00 KST of `day`."""
    days = (today - day).days
    return {"to": "00:00:00", "daysAgo": days} if days else {"to": "00:00:00"}
