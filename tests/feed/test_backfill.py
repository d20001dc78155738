"""Holes are filled from REST, and called recovered only where everything in them was seen."""

import asyncio
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal as D

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.clock import ManualClock, SystemClock
from collector.errors import RestError
from collector.feed import backfill
from collector.feed.backfill import Backfill, Hole, before_midnight_of, first_query, kst_day
from collector.feed.rest_client import RestClient
from collector.model import Side, Source, Trade
from collector.protocol.rest import TradePage
from collector.settings import ExchangeSettings
from collector.simulator import Simulator, SimulatorOptions

S, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
KST = 9 * HOUR
#: Some noon in Korea.
NOON_MS = 20_000 * DAY + 12 * HOUR - KST
MIDNIGHT_MS = NOON_MS - 12 * HOUR


def trade(ms: int, number: int | None = None) -> Trade:
    made = ms * 10_000 if number is None else number
    return Trade("KRW-BTC", made, D(1), D(1), Side.BUY, ms, ms, source=Source.REST)


@dataclass
class Exchange:
    """Past trades of one market, paged as the exchange might: what is not documented can be chosen."""

    times: Iterable[int]
    now_ms: int = NOON_MS
    page_rows: int = 5
    inclusive: bool = False
    crosses_midnight: bool = True
    failures: list[Exception | None] = field(default_factory=list)
    rejected: int = 0
    queries: list[dict[str, str | int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.kept = [trade(ms) for ms in sorted(self.times)]

    async def trades(self, market: str, **query: str | int) -> TradePage:
        self.queries.append({"market": market, **query})
        await asyncio.sleep(0)
        if self.failures and (failure := self.failures.pop(0)):
            raise failure
        kept = self._of_day(query)
        if "cursor" in query:
            ids = [it.id for it in kept]
            kept = kept[: bisect_left(ids, int(query["cursor"])) + self.inclusive]
        page = tuple(reversed(kept[-self.page_rows :]))
        return TradePage(page, self.rejected, page[-1].id if page else None)

    def _of_day(self, query: dict[str, str | int]) -> list[Trade]:
        before_ms = self.now_ms + 1
        days = int(query.get("daysAgo", 0))
        assert 0 <= days <= 7
        midnight_ms = self.now_ms - (self.now_ms + KST) % DAY - days * DAY
        if "to" in query:
            hours, minutes, seconds = map(int, str(query["to"]).split(":"))
            before_ms = midnight_ms + ((hours * 60 + minutes) * 60 + seconds) * S
        elif days:
            before_ms = midnight_ms
        least_ms = 0 if self.crosses_midnight else midnight_ms
        return [it for it in self.kept if least_ms <= it.exchange_ms < before_ms]


class Result:
    """What a backfill reported."""

    def __init__(self) -> None:
        self.times: list[int] = []
        self.done: list[tuple[Hole, bool]] = []

    def on_trades(self, trades: list[Trade]) -> None:
        self.times += [it.exchange_ms for it in trades]

    def on_done(self, hole: Hole, recovered: bool) -> None:
        self.done.append((hole, recovered))


async def fill(exchange: Exchange, *holes: Hole) -> Result:
    """Run a backfill over `holes` until all are done, on a clock that skips the waiting."""
    clock, result = ManualClock(exchange.now_ms), Result()
    work = Backfill(exchange, clock, result.on_trades, result.on_done)
    for hole in holes:
        work.add(hole)
    clock.advance(backfill.SETTLE_S)
    task = asyncio.create_task(work.run())
    try:
        async with asyncio.timeout(10):
            while len(result.done) < len(holes):
                await asyncio.sleep(0)
                assert not task.done(), task.exception()
                if work._waiting and not work._ready:
                    clock.advance(1)
                    work._wake.set()
    finally:
        task.cancel()
        await asyncio.wait({task})
    return result


def hole(from_ms: int, to_ms: int, *, is_known_before: bool = True, market: str = "KRW-BTC") -> Hole:
    return Hole(market, from_ms, to_ms, "disconnected", is_known_before=is_known_before)


@pytest.mark.parametrize("inclusive", [False, True])
async def test_it_pages_back_until_before_the_hole(inclusive: bool) -> None:
    """A trade every second; every trade of the hole comes, also if the cursor is inclusive."""
    exchange = Exchange(range(NOON_MS - 300 * S, NOON_MS, S), inclusive=inclusive)
    wanted = hole(NOON_MS - 60 * S, NOON_MS - 30 * S)
    result = await fill(exchange, wanted)
    assert result.done == [(wanted, True)]
    assert set(range(wanted.from_ms, wanted.to_ms + 1, S)) <= set(result.times)
    assert len(exchange.queries) < 30


async def test_it_fetches_some_seconds_on_either_side() -> None:
    """Events near the ends may have been on their way."""
    exchange = Exchange(range(NOON_MS - 300 * S, NOON_MS, S), page_rows=7)
    result = await fill(exchange, hole(NOON_MS - 60 * S, NOON_MS - 30 * S))
    assert (min(result.times), max(result.times)) == (NOON_MS - 65 * S, NOON_MS - 25 * S)


async def test_nothing_is_fetched_from_before_an_unknown_start() -> None:
    """A minute that is known in no part must not get some of its trades."""
    exchange = Exchange(range(NOON_MS - 300 * S, NOON_MS, S))
    result = await fill(exchange, hole(NOON_MS - 60 * S, NOON_MS, is_known_before=False))
    assert min(result.times) == NOON_MS - 60 * S


async def test_a_new_listing_is_recovered_at_its_first_trade() -> None:
    """There is nothing before it."""
    result = await fill(Exchange([NOON_MS - 20 * S, NOON_MS - 10 * S]), hole(NOON_MS - 60 * S, NOON_MS))
    assert [recovered for _, recovered in result.done] == [True]
    assert len(set(result.times)) == 2


async def test_no_trade_at_all_proves_nothing() -> None:
    """An empty reply may as well be a fault of the exchange."""
    result = await fill(Exchange([]), hole(NOON_MS - 60 * S, NOON_MS))
    assert [recovered for _, recovered in result.done] == [False]


async def test_a_market_without_a_trade_today_is_proved_by_yesterday() -> None:
    """A quiet market: its last trade was yesterday, and replies hold one day only."""
    exchange = Exchange([MIDNIGHT_MS - HOUR], crosses_midnight=True)
    result = await fill(exchange, hole(NOON_MS - HOUR, NOON_MS))
    assert [recovered for _, recovered in result.done] == [True]
    assert result.times == []


async def test_a_row_that_cannot_be_read_leaves_the_hole_open() -> None:
    """It may have been the missing trade."""
    exchange = Exchange(range(NOON_MS - 300 * S, NOON_MS, S), rejected=1)
    result = await fill(exchange, hole(NOON_MS - 60 * S, NOON_MS - 30 * S))
    assert [recovered for _, recovered in result.done] == [False]
    assert result.times


async def test_trades_of_another_market_prove_nothing() -> None:
    """A reply about a market that was not asked for brings no trades and leaves the hole open."""
    exchange = Exchange([NOON_MS - n * S for n in range(30)])
    result = await fill(exchange, hole(NOON_MS - 20 * S, NOON_MS - 10 * S, market="KRW-ETH"))
    assert (result.times, [recovered for _, recovered in result.done]) == ([], [False])


async def test_a_hole_across_midnight_in_korea() -> None:
    """Pages that stop at midnight are continued with `daysAgo`; the part before it is not taken on trust."""
    now_ms = MIDNIGHT_MS + 10 * MINUTE
    times = range(now_ms - 40 * MINUTE, now_ms, 30 * S)
    wanted = hole(MIDNIGHT_MS - 5 * MINUTE, MIDNIGHT_MS + 5 * MINUTE)
    result = await fill(Exchange(times, now_ms=now_ms), wanted)
    assert result.done == [(wanted, True)]
    assert {ms for ms in times if wanted.from_ms <= ms <= wanted.to_ms} <= set(result.times)
    one_day = await fill(Exchange(times, now_ms=now_ms, crosses_midnight=False), wanted)
    assert one_day.done == [(wanted, False)]


async def test_an_old_hole_begins_at_its_own_time() -> None:
    """Three days back: the first page asks for that day and time instead of paging through three days."""
    then_ms = NOON_MS - 3 * DAY
    exchange = Exchange([*range(then_ms - 60 * S, then_ms + 60 * S, S), *range(NOON_MS - HOUR, NOON_MS, S)])
    result = await fill(exchange, hole(then_ms - 10 * S, then_ms))
    assert exchange.queries[0] == {"market": "KRW-BTC", "to": "12:00:06", "daysAgo": 3}
    assert [recovered for _, recovered in result.done] == [True]
    assert len(exchange.queries) < 10


async def test_older_than_seven_days_is_out_of_reach() -> None:
    """Nothing is asked for what the exchange has thrown away."""
    exchange = Exchange([NOON_MS - 9 * DAY])
    result = await fill(exchange, hole(NOON_MS - 9 * DAY, NOON_MS - 8 * DAY - HOUR))
    assert [recovered for _, recovered in result.done] == [False]
    assert exchange.queries == []


async def test_what_is_left_of_a_hole_of_ten_days_is_fetched() -> None:
    """The last seven days come, and the gap stays open."""
    times = [NOON_MS - hours * HOUR for hours in range(1, 24 * 7, 12)]
    exchange = Exchange(times)
    result = await fill(exchange, hole(NOON_MS - 10 * DAY, NOON_MS))
    assert [recovered for _, recovered in result.done] == [False]
    assert set(times) == set(result.times)
    assert all(int(query.get("daysAgo", 0)) <= 7 for query in exchange.queries)


async def test_failures_are_tried_again() -> None:
    """Three refusals, then all is well; the delay grows and is capped."""
    exchange = Exchange(range(NOON_MS - 99 * S, NOON_MS, S), failures=[RestError("HTTP 503")] * 3)
    result = await fill(exchange, hole(NOON_MS - 9 * S, NOON_MS))
    assert [recovered for _, recovered in result.done] == [True]


async def test_it_gives_up_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gap stays, and the next hole is worked on."""
    monkeypatch.setattr(backfill, "_ATTEMPTS_MAX", 3)
    exchange = Exchange([NOON_MS], failures=[RestError("gone")] * 3)
    result = await fill(exchange, hole(NOON_MS - 9 * S, NOON_MS))
    assert [recovered for _, recovered in result.done] == [False]
    assert len(exchange.queries) == 3


async def test_endless_pages_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cursor that goes in circles costs a bounded number of calls."""

    class Circle(Exchange):
        async def trades(self, market: str, **query: str | int) -> TradePage:
            self.queries.append(query)
            return TradePage((trade(NOON_MS),), 0, len(self.queries) % 2)

    monkeypatch.setattr(backfill, "_PAGES_MAX", 50)
    exchange = Circle([])
    result = await fill(exchange, hole(NOON_MS - 60 * S, NOON_MS))
    assert [recovered for _, recovered in result.done] == [False]
    assert len(exchange.queries) == 50


async def test_the_newest_hole_goes_first() -> None:
    """What is closest to now is most wanted."""
    exchange = Exchange([NOON_MS - 2 * HOUR])
    ends = [NOON_MS - minutes * MINUTE for minutes in (50, 10, 30, 20, 40)]
    await fill(exchange, *(hole(end - S, end, market=f"KRW-{end}") for end in ends))
    first_asked = list(dict.fromkeys(query["market"] for query in exchange.queries))
    assert first_asked == [f"KRW-{end}" for end in sorted(ends, reverse=True)]


async def test_a_hole_that_has_just_ended_rests_first() -> None:
    """REST may lag behind the socket; monotonic time counts, not the wall clock."""
    clock, result, exchange = ManualClock(NOON_MS), Result(), Exchange([NOON_MS - HOUR])
    work = Backfill(exchange, clock, result.on_trades, result.on_done)
    task = asyncio.create_task(work.run())
    work.add(hole(NOON_MS - 10 * S, NOON_MS))
    await asyncio.sleep(0.05)
    assert exchange.queries == []
    clock.jump(3600)
    clock.advance(backfill.SETTLE_S)
    work._wake.set()
    await asyncio.sleep(0.05)
    assert len(result.done) == 1
    task.cancel()
    await asyncio.wait({task})


async def test_today_is_the_exchanges_today(eventually_async: Callable[..., Awaitable[None]]) -> None:
    """A machine clock that is a day ahead must not fetch another day."""
    exchange, result = Exchange(range(NOON_MS - 300 * S, NOON_MS, S)), Result()
    clock = ManualClock(NOON_MS + DAY)
    work = Backfill(exchange, clock, result.on_trades, result.on_done, lambda: NOON_MS + 10 * MINUTE)
    task = asyncio.create_task(work.run())
    work.add(hole(NOON_MS - 60 * S, NOON_MS - 30 * S))
    await eventually_async(lambda: result.done)
    task.cancel()
    await asyncio.wait({task})
    assert exchange.queries[0] == {"market": "KRW-BTC", "to": "11:59:36"}
    assert result.done[0][1] is True


async def test_waiting_holes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """With REST away for good, memory does not grow."""
    monkeypatch.setattr(backfill, "_HOLES_MAX", 10)
    result = Result()
    work = Backfill(Exchange([]), ManualClock(NOON_MS), result.on_trades, result.on_done)
    for _ in range(25):
        work.add(hole(NOON_MS - S, NOON_MS))
    assert (len(work), len(result.done)) == (10, 15)


@settings(max_examples=150, deadline=None)
@given(
    seconds=st.lists(st.integers(0, 100_000), max_size=60, unique=True),
    start=st.integers(0, 90_000),
    length=st.integers(0, 20_000),
    page_rows=st.integers(2, 9),
    inclusive=st.booleans(),
    crosses=st.booleans(),
)
def test_recovered_means_that_every_trade_of_the_hole_came(
    seconds: list[int], start: int, length: int, page_rows: int, inclusive: bool, crosses: bool
) -> None:
    """Trades over 28 hours with a midnight among them, any hole, any way of paging."""
    first_ms = NOON_MS - 100_000 * S
    exchange = Exchange(
        [first_ms + second * S for second in seconds],
        page_rows=page_rows,
        inclusive=inclusive,
        crosses_midnight=crosses,
    )
    wanted = hole(first_ms + start * S, min(first_ms + (start + length) * S, NOON_MS))
    result = asyncio.run(fill(exchange, wanted))
    inside = {it.exchange_ms for it in exchange.kept if wanted.from_ms <= it.exchange_ms <= wanted.to_ms}
    ((_, recovered),) = result.done
    if recovered:
        assert inside <= set(result.times)
    if crosses and any(it.exchange_ms < wanted.from_ms for it in exchange.kept):
        assert recovered, exchange.queries


@given(st.integers(0, 7 * DAY), st.integers(0, DAY - 1))
def test_the_first_query_reaches_the_hole_and_no_later_day(age_ms: int, now_of_day_ms: int) -> None:
    """`to` and `daysAgo` together mean a moment just after the hole's end."""
    now_ms = MIDNIGHT_MS + now_of_day_ms
    latest_ms = now_ms - age_ms
    query = first_query(latest_ms, now_ms)
    if not query:
        assert age_ms < 120_000
        return
    clock = datetime.strptime(str(query["to"]), "%H:%M:%S").time()
    day = kst_day(now_ms) - timedelta(days=int(query.get("daysAgo", 0)))
    before_ms = int(datetime.combine(day, clock, UTC).timestamp() * 1000) - KST
    assert latest_ms < before_ms <= latest_ms + 1000 + S


def test_before_midnight() -> None:
    """Of today without `daysAgo`, which must be at least 1."""
    today = date(2026, 5, 7)
    assert before_midnight_of(today, today) == {"to": "00:00:00"}
    assert before_midnight_of(date(2026, 5, 5), today) == {"to": "00:00:00", "daysAgo": 2}


@pytest.mark.server
async def test_over_the_simulators_rest(eventually_async: Callable[..., Awaitable[None]]) -> None:
    """Real HTTP, pages of 500: every trade the simulated exchange made within the hole comes once or more."""
    options = SimulatorOptions(markets=3, rate=0)
    async with Simulator(options) as exchange:
        exchange.make_trades(3000)
        client = RestClient(
            ExchangeSettings(rest_url=exchange.rest_url, rest_requests_per_s=100), SystemClock()
        )
        result, clock = Result(), SystemClock()
        found: list[Trade] = []
        async with client:
            work = Backfill(client, clock, found.extend, result.on_done)
            task = asyncio.create_task(work.run())
            markets = await client.markets()
            now_ms = clock.now_ms()
            for market in markets:
                work.add(Hole(market, now_ms - 10 * MINUTE, now_ms, "start", is_known_before=False))
            await eventually_async(lambda: len(result.done) == len(markets), 15, "the backfill")
            task.cancel()
            await asyncio.wait({task})
        made = exchange.trades_made
    assert len({(it.market, it.id) for it in found}) == made == 3000
    assert all(recovered for _, recovered in result.done)
