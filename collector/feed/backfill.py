"""Fill gaps in the trade stream from REST: newest gap first, inside the budget, beside the live stream.

A gap is recovered only where that is proven: the day's totals agree (where they are trusted), or the pages
of `/v1/trades/ticks` reach from before the gap to after it. REST may lag behind the socket, so a page that
ends before the gap does proves nothing, and is asked for again. What the pages bring goes down the same line
as live trades; the store recognises copies.
"""

import asyncio
import heapq
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from collector.clock import Clock
from collector.errors import RestError, RestRefused
from collector.feed.paging import DAYS_MAX, RECENT_MS, Name, Proof, Seen, Walk, judge
from collector.model import Trade
from collector.protocol.rest import TradePage
from collector.util import backoff
from collector.util.korean_time import date_of

log = logging.getLogger(__name__)

#: Fetched on either side of a gap: events near its ends may have been on their way.
OVERLAP_MS = 5_000
#: A gap rests this long after its end: REST may lag behind the socket.
SETTLE_S = 2.0
#: Tries of one gap that fail, about two hours: REST may be away for longer than the sockets were.
_ATTEMPTS_MAX = 30
_FIRST_RETRY_S, _LONGEST_RETRY_S = 2.0, 300.0
#: Tries that end before the gap does, about seven minutes; and that prove nothing for another reason.
_STALE_MAX, UNPROVEN_MAX = 30, 3
_STALE_GROWTH, _LONGEST_STALE_S = 1.5, 15.0
#: A newest trade seen within this time determines how far REST has come, without another request.
_KNOWN_S = 1.0
#: Failures are logged from this try on, half a minute after the first, and at most so often; after a lost
#: connection every market fails alike, and `collector.listener.outages` reports how many gaps wait.
_LOUD_FAILURES = 5
_WARN_AGAIN_S = 30.0
_PAGES_MAX = 2_000
_HOLES_MAX = 100_000
#: Gap worked on at once; the REST budget bounds them together.
_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class MissingStretch:
    """A stretch of one market's trades to fetch again, by the exchange's time."""

    market: str
    from_ms: int
    to_ms: int
    reason: str
    #: Whether the trades before it are known: only then may it be fetched with some overlap.
    is_known_before: bool = True

    @property
    def earliest_ms(self) -> int:
        """Nothing older is fetched."""
        return self.from_ms - OVERLAP_MS * self.is_known_before

    @property
    def latest_ms(self) -> int:
        """Nothing newer is fetched."""
        return self.to_ms + OVERLAP_MS


@dataclass(order=True, slots=True)
class _Job:
    """Newest gap first: ordered by the negated end."""

    not_before_s: float
    minus_to_ms: int
    gap: MissingStretch = field(compare=False)
    failures: int = field(default=0, compare=False)
    stale: int = field(default=0, compare=False)
    unproven: int = field(default=0, compare=False)
    #: The trades that were handed on already.
    given: set[Name] = field(default_factory=set, compare=False)


class TradeSource(Protocol):
    """Whatever can page past trades; `RestClient` in production."""

    async def trades(self, market: str, **query: str | int) -> TradePage:
        """Return one page, newest first."""
        ...


def _unknown(*_: object) -> None:
    """Return None: unknown."""


class Backfill:
    """Work through the gaps, a few at once.

    `counts` holds `backfills_recovered`, `backfills_given_up`, and `backfills_stale`: tries that ended before
    the gap did, because REST lags.

    Args:
        on_trades: called with the trades of a page that belong to a gap, each once for each gap.
        on_done: called once per gap with whether it was recovered.
        exchange_ms: returns the exchange's time, which decides what "today" is; `clock` may be wrong.
        totals: returns whether the exchange's totals of the day agree with what we have of a gap's market, at
            a moment after the gap's end: True, False, or None where they are not trusted or are missing.
            Called after `on_trades`, with whether the pages show everything that the exchange has of the gap,
            and whether this is the last call.
        streamed_ms: returns the time of the newest trade of a market that a socket brought; None if unknown.
        lag_max_s: REST is taken to be no further behind the socket, where nothing shows how far it is.
        page_rows: rows of a full page.
    """

    def __init__(
        self,
        source: TradeSource,
        clock: Clock,
        on_trades: Callable[[list[Trade]], None],
        on_done: Callable[[MissingStretch, bool], None],
        exchange_ms: Callable[[], int] | None = None,
        *,
        totals: Callable[[MissingStretch, bool, bool], bool | None] = _unknown,
        streamed_ms: Callable[[str], int | None] = _unknown,
        lag_max_s: float = 60.0,
        page_rows: int = 500,
    ) -> None:
        self.requests = 0
        self.counts: Counter[str] = Counter()
        self._source = source
        self._clock = clock
        self._on_trades = on_trades
        self._on_done = on_done
        self._exchange_ms = exchange_ms or clock.now_ms
        self._totals = totals
        self._streamed_ms = streamed_ms
        self._lag_max_ms = round(lag_max_s * 1000)
        self._page_rows = page_rows
        #: The newest trade of any market that REST has shown, and when it was seen.
        self._fresh_ms: int | None = None
        self._fresh_s = float("-inf")
        self._ready: list[_Job] = []
        self._waiting: list[_Job] = []
        self._busy = 0
        self._wake = asyncio.Event()
        self._warned_s = float("-inf")

    def add(self, gap: MissingStretch) -> None:
        """Queue a gap."""
        if len(self) >= _HOLES_MAX:
            log.error("too many gaps wait for backfill: one of %s stays", gap.market)
            self._end(gap, recovered=False)
            return
        rest_s = SETTLE_S - (self._exchange_ms() - gap.to_ms) / 1000
        not_before_s = self._clock.monotonic() + min(max(rest_s, 0.0), SETTLE_S)
        heapq.heappush(self._waiting, _Job(not_before_s, -gap.to_ms, gap))
        self._wake.set()

    def __len__(self) -> int:
        """Return how many gaps are not done yet, those that are being asked for among them."""
        return len(self._ready) + len(self._waiting) + self._busy

    async def run(self) -> None:
        """Fill gaps until cancelled."""
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
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _fill(self, job: _Job) -> None:
        if self._would_be_stale(job):
            self._again(job, _KNOWN_S)
            return
        try:
            proof, reason = await self._look(job)
        except RestError as error:
            self._failed(job, error)
            return
        match proof:
            case Proof.RECOVERED:
                self._end(job.gap, recovered=True)
            case Proof.STALE if job.stale < _STALE_MAX:
                self.counts["backfills_stale"] += 1
                self._again(
                    job, backoff.delay_s(job.stale + 1, SETTLE_S, _LONGEST_STALE_S, factor=_STALE_GROWTH)
                )
                job.stale += 1
            case Proof.UNPROVEN if job.unproven < UNPROVEN_MAX:
                job.unproven += 1
                self._again(job, backoff.delay_s(job.unproven + 1, _FIRST_RETRY_S, _LONGEST_RETRY_S))
            case _:
                level = logging.ERROR if proof is Proof.LOST else logging.DEBUG
                log.log(level, "a gap of %s stays: %s", job.gap.market, reason or proof.value)
                self._end(job.gap, recovered=False)

    def _would_be_stale(self, job: _Job) -> bool:
        """Return whether REST can't have come to the gap's end: another gap has just asked how far it is."""
        gap = job.gap
        return (
            job.stale > 0
            and self._fresh_ms is not None
            and self._fresh_ms < gap.to_ms
            and self._clock.monotonic() - self._fresh_s < _KNOWN_S
            and self._exchange_ms() - gap.to_ms < self._lag_max_ms
        )

    async def _look(self, job: _Job) -> tuple[Proof, str]:
        """Page back over a gap; return what that proves, and why it does not prove more.

        Raises:
            RestError: REST can't be reached, or refuses for a time.
        """
        gap = job.gap
        asked_ms, fresh_ms = self._exchange_ms(), self._fresh_ms
        if (date_of(asked_ms) - date_of(gap.latest_ms)).days > DAYS_MAX:
            return Proof.LOST, f"trades are kept for {DAYS_MAX} days"
        newest_ms = None
        if asked_ms - gap.latest_ms >= RECENT_MS and (fresh_ms is None or fresh_ms < gap.to_ms):
            newest_ms = await self._look_at_now(gap.market)
        seen = await self._walk(job, asked_ms)
        if seen.newest_ms is not None:
            self._note_fresh(seen.newest_ms)
            newest_ms = seen.newest_ms
        pages = judge(
            seen,
            gap.to_ms,
            is_too_old=(date_of(asked_ms) - date_of(gap.earliest_ms)).days > DAYS_MAX,
            newest_ms=newest_ms,
            fresh_ms=fresh_ms,
            streamed_ms=self._streamed_ms(gap.market),
            asked_ms=asked_ms,
            lag_max_ms=self._lag_max_ms,
        )
        is_complete, is_last = pages is Proof.RECOVERED, job.unproven >= UNPROVEN_MAX
        totals = self._totals(gap, is_complete, is_complete and is_last)
        log.debug(
            "gap of %s until %d (%s): pages: %s; totals: %s; try %d",
            *(gap.market, gap.to_ms, gap.reason, pages.name, totals, job.stale + job.unproven + 1),
        )
        return pages.beside(totals), seen.reason

    async def _walk(self, job: _Job, now_ms: int) -> Seen:
        gap = job.gap
        walk = Walk(
            gap.market, gap.earliest_ms, gap.latest_ms, gap.from_ms, now_ms, self._page_rows, job.given
        )
        for _ in range(_PAGES_MAX):
            if walk.query is None:
                return walk.seen()
            self.requests += 1
            try:
                page = await self._source.trades(gap.market, **walk.query)
            except RestRefused:
                if not walk.refuse():
                    raise
                continue
            if trades := walk.take(page):
                self._on_trades(trades)
        return replace(walk.seen(), is_covered=False, reason=f"more than {_PAGES_MAX} pages")

    async def _look_at_now(self, market: str) -> int | None:
        """Return how far REST has come, from the newest trade of `market`: old pages do not show it."""
        self.requests += 1
        page = await self._source.trades(market)
        newest_ms = max((trade.exchange_ms for trade in page.trades), default=None)
        if newest_ms is not None:
            self._note_fresh(newest_ms)
        return newest_ms

    def _note_fresh(self, newest_ms: int) -> None:
        self._fresh_ms = max(newest_ms, self._fresh_ms or 0)
        self._fresh_s = self._clock.monotonic()

    def _failed(self, job: _Job, error: RestError) -> None:
        job.failures += 1
        if job.failures >= _ATTEMPTS_MAX:
            log.error("backfill of %s given up: %s", job.gap.market, error)
            self._end(job.gap, recovered=False)
            return
        delay_s = backoff.delay_s(job.failures, _FIRST_RETRY_S, _LONGEST_RETRY_S)
        if job.failures >= _LOUD_FAILURES:
            self._warn(job.gap, delay_s, error)
        self._again(job, delay_s)

    def _again(self, job: _Job, delay_s: float) -> None:
        job.not_before_s = self._clock.monotonic() + delay_s
        heapq.heappush(self._waiting, job)
        self._wake.set()

    def _end(self, gap: MissingStretch, *, recovered: bool) -> None:
        self.counts["backfills_recovered" if recovered else "backfills_given_up"] += 1
        self._on_done(gap, recovered)

    def _warn(self, gap: MissingStretch, delay_s: float, error: RestError) -> None:
        """Say what failed, but not once for each of hundreds of markets."""
        now_s = self._clock.monotonic()
        if now_s - self._warned_s >= _WARN_AGAIN_S:
            self._warned_s = now_s
            waiting = f"{len(self)} more wait"
            log.warning(
                "backfill of %s failed, again in %.0f s (%s): %s", gap.market, delay_s, waiting, error
            )
