"""Holes are filled from REST, and called recovered only where every trade in them was seen."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from collector.clock import ManualClock, SystemClock
from collector.errors import RestError
from collector.feed import backfill
from collector.feed.backfill import Backfill, MissingStretch
from collector.feed.paging import Proof, Seen, judge
from collector.feed.rest_client import RestClient
from collector.model import Trade
from collector.protocol.rest import TradePage
from collector.settings import ExchangeSettings
from collector.simulator import Simulator, SimulatorOptions
from tests.doubles.exchange import DAY, HOUR, KST, MINUTE, Exchange, Rules, S

#: Some noon in Korea.
NOON_MS = 20_000 * DAY + 12 * HOUR - KST
MIDNIGHT_MS = NOON_MS - 12 * HOUR


def exchange(times: Iterable[int], now_ms: int = NOON_MS, **changes: Any) -> Exchange:
    """An exchange with a trade at each of `times`."""
    names = set(Rules.__dataclass_fields__)
    rules = Rules(**{name: value for name, value in changes.items() if name in names})
    others = {name: value for name, value in changes.items() if name not in names}
    return Exchange([(ms, 1) for ms in times], ManualClock(now_ms), rules, **others)


class Result:
    """What a backfill reported."""

    def __init__(self) -> None:
        self.trades: list[Trade] = []
        self.done: list[tuple[MissingStretch, bool]] = []

    @property
    def times(self) -> list[int]:
        return [it.exchange_ms for it in self.trades]

    @property
    def recovered(self) -> list[bool]:
        return [recovered for _, recovered in self.done]

    def on_done(self, hole: MissingStretch, recovered: bool) -> None:
        self.done.append((hole, recovered))


async def fill(
    source: Exchange,
    *holes: MissingStretch,
    totals: Callable[..., bool | None] | None = None,
    **options: Any,
) -> Result:
    """Run a backfill over `holes` until all are done, on a clock that skips the waiting."""
    clock, result = source.clock, Result()
    if totals is not None:
        options["totals"] = lambda *asked: totals(result, *asked)
    work = Backfill(
        source, clock, result.trades.extend, result.on_done, page_rows=source.rules.rows_max, **options
    )
    for hole in holes:
        work.add(hole)
    clock.advance(backfill.SETTLE_S)
    task = asyncio.create_task(work.run())
    try:
        async with asyncio.timeout(20):
            while len(result.done) < len(holes):
                await asyncio.sleep(0)
                assert not task.done(), task.exception()
                if work._waiting and not work._ready and not work._busy:
                    clock.advance(1)
                    work._wake.set()
    finally:
        task.cancel()
        await asyncio.wait({task})
    return result


def hole(
    from_ms: int, to_ms: int, *, is_known_before: bool = True, market: str = "KRW-BTC"
) -> MissingStretch:
    return MissingStretch(market, from_ms, to_ms, "disconnected", is_known_before=is_known_before)


@pytest.mark.parametrize("cursor", ["exclusive", "inclusive", "refused", "ignored"])
@pytest.mark.parametrize("ids", ["unique", "shared", "none"])
async def test_it_pages_back_until_before_the_hole(cursor: Any, ids: Any) -> None:
    """A trade every half second: each of the hole comes exactly once, whatever the exchange makes of ids."""
    source = exchange(range(NOON_MS - 300 * S, NOON_MS, 500), cursor=cursor, ids=ids)
    wanted = hole(NOON_MS - 60 * S, NOON_MS - 30 * S)
    result = await fill(source, wanted)
    assert result.done == [(wanted, True)]
    assert result.times == sorted(set(result.times), reverse=True)
    assert set(range(wanted.from_ms, wanted.to_ms + 1, 500)) <= set(result.times)
    assert len(source.queries) < 80


async def test_it_fetches_some_seconds_on_either_side() -> None:
    """Events near the ends may have been on their way."""
    source = exchange(range(NOON_MS - 300 * S, NOON_MS, S), rows_max=7)
    result = await fill(source, hole(NOON_MS - 60 * S, NOON_MS - 30 * S))
    assert (min(result.times), max(result.times)) == (NOON_MS - 65 * S, NOON_MS - 25 * S)


async def test_nothing_is_fetched_from_before_an_unknown_start() -> None:
    """A minute that is known in no part must not get some of its trades."""
    source = exchange(range(NOON_MS - 300 * S, NOON_MS, S))
    result = await fill(source, hole(NOON_MS - 60 * S, NOON_MS - S, is_known_before=False))
    assert min(result.times) == NOON_MS - 60 * S


@pytest.mark.parametrize("ids", ["unique", "shared", "none"])
async def test_trades_of_one_millisecond_are_all_different(ids: Any) -> None:
    """Four at one price, two at another, across the ends of pages; numbered among their equals."""
    ms = NOON_MS - 40 * S
    made = [(ms - S, 1), *[(ms, 1)] * 4, *[(ms, 2)] * 2, (ms + 1, 1), (NOON_MS, 1)]
    source = Exchange([(ms - 20 * S, 1), *made], ManualClock(NOON_MS), Rules(ids=ids, rows_max=8))
    result = await fill(source, hole(ms - 2 * S, ms + 2 * S))
    assert result.recovered == [True]
    kinds = [(int(it.price), it.order, it.nth) for it in result.trades if it.exchange_ms == ms]
    assert sorted(kinds) == [(1, 0, 1), (1, 1, 2), (1, 2, 3), (1, 3, 4), (2, 4, 1), (2, 5, 2)]


async def test_a_millisecond_that_fills_more_than_a_page() -> None:
    """By their ids, if each has one; without, the hole stays open."""
    ms = NOON_MS - 40 * S + 500
    made = [
        (ms - 20 * S, 1),
        (ms - 3, 1),
        (ms - 3, 2),
        *[(ms, price % 3) for price in range(1, 24)],
        (NOON_MS, 1),
    ]
    for ids, cursor, recovered in (
        ("unique", "exclusive", True),
        ("unique", "inclusive", True),
        ("unique", "ignored", False),
        ("shared", "exclusive", False),
        ("none", "exclusive", False),
    ):
        rules = Rules(ids=ids, cursor=cursor)  # type: ignore[arg-type]
        result = await fill(Exchange(made, ManualClock(NOON_MS), rules), hole(ms - 2 * S, ms + 2 * S))
        assert result.recovered == [recovered]
        assert not recovered or result.times.count(ms) == 23


async def test_a_new_listing_is_recovered_at_its_first_trade() -> None:
    """There is nothing before it."""
    result = await fill(
        exchange([NOON_MS - 20 * S, NOON_MS - 10 * S, NOON_MS]), hole(NOON_MS - 60 * S, NOON_MS - S)
    )
    assert result.recovered == [True]
    assert len(result.times) == 3


async def test_no_trade_at_all_proves_nothing() -> None:
    """An empty reply may as well be a fault of the exchange."""
    result = await fill(exchange([]), hole(NOON_MS - 60 * S, NOON_MS))
    assert result.recovered == [False]


@pytest.mark.parametrize("midnight", ["crosses", "ends", "strict"])
async def test_a_market_without_a_trade_today_is_proved_by_an_earlier_day(midnight: Any) -> None:
    """A quiet market: its last trade was three days ago."""
    source = exchange([MIDNIGHT_MS - 3 * DAY + HOUR], midnight=midnight)
    result = await fill(source, hole(NOON_MS - HOUR, NOON_MS - 5 * MINUTE))
    assert (result.recovered, result.times) == ([True], [])


async def test_a_row_that_cannot_be_read_leaves_the_hole_open() -> None:
    """It may have been the missing trade."""
    source = exchange(range(NOON_MS - 300 * S, NOON_MS, S), rejected=1)
    result = await fill(source, hole(NOON_MS - 60 * S, NOON_MS - 30 * S))
    assert result.recovered == [False]
    assert result.times


async def test_trades_of_another_market_prove_nothing() -> None:
    """A reply about a market that was not asked for brings no trades and leaves the hole open."""
    source = exchange([NOON_MS - n * S for n in range(30)])
    result = await fill(source, hole(NOON_MS - 20 * S, NOON_MS - 10 * S, market="KRW-ETH"))
    assert (result.times, result.recovered) == ([], [False])


@pytest.mark.parametrize(("midnight", "recovered"), [("crosses", True), ("ends", True), ("strict", False)])
async def test_a_hole_across_midnight_in_korea(midnight: Any, recovered: bool) -> None:
    """Pages that stop at midnight are continued; of a second that can't be asked for nothing is claimed."""
    now_ms = MIDNIGHT_MS + 10 * MINUTE
    times = range(now_ms - 40 * MINUTE, now_ms, 30 * S)
    wanted = hole(MIDNIGHT_MS - 5 * MINUTE, MIDNIGHT_MS + 5 * MINUTE)
    result = await fill(exchange(times, now_ms, midnight=midnight), wanted)
    assert result.done == [(wanted, recovered)]
    assert {ms for ms in times if wanted.from_ms <= ms <= wanted.to_ms} <= set(result.times)


async def test_an_old_hole_begins_at_its_own_time() -> None:
    """Three days back: the first page asks for that day and time instead of paging through three days."""
    then_ms = NOON_MS - 3 * DAY
    source = exchange([*range(then_ms - 60 * S, then_ms + 60 * S, S), *range(NOON_MS - HOUR, NOON_MS, S)])
    result = await fill(source, hole(then_ms - 10 * S, then_ms))
    assert source.queries[1] == {"market": "KRW-BTC", "to": "12:00:06", "daysAgo": 3}
    assert result.recovered == [True]
    assert len(source.queries) < 15


async def test_older_than_seven_days_is_out_of_reach() -> None:
    """Nothing is asked for what the exchange has thrown away."""
    source = exchange([NOON_MS - 9 * DAY])
    result = await fill(source, hole(NOON_MS - 9 * DAY, NOON_MS - 8 * DAY - HOUR))
    assert result.recovered == [False]
    assert source.queries == []


async def test_what_is_left_of_a_hole_of_ten_days_is_fetched() -> None:
    """The last seven days come, and the gap stays open."""
    times = [NOON_MS - hours * HOUR for hours in range(1, 24 * 7, 12)]
    source = exchange(times, midnight="ends")
    result = await fill(source, hole(NOON_MS - 10 * DAY, NOON_MS))
    assert result.recovered == [False]
    assert set(times) == set(result.times)
    assert all(int(query.get("daysAgo", 0)) <= 7 for query in source.queries)


async def test_failures_are_tried_again() -> None:
    """Three refusals, then all is well; the delay grows and is capped."""
    source = exchange(range(NOON_MS - 99 * S, NOON_MS, S), failures=[RestError("HTTP 503")] * 3)
    result = await fill(source, hole(NOON_MS - 9 * S, NOON_MS - S))
    assert result.recovered == [True]


async def test_it_gives_up_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gap stays, and the next hole is worked on."""
    monkeypatch.setattr(backfill, "_ATTEMPTS_MAX", 3)
    source = exchange([NOON_MS], failures=[RestError("gone")] * 3)
    result = await fill(source, hole(NOON_MS - 9 * S, NOON_MS))
    assert result.recovered == [False]
    assert len(source.queries) == 3


async def test_an_exchange_that_does_not_heed_what_it_is_asked_for_proves_nothing() -> None:
    """Neither cursor nor time: always the newest page. An old hole stays open, a near one does not."""
    source = exchange(range(NOON_MS - 900 * S, NOON_MS, S), cursor="ignored", heeds_to=False, rows_max=20)
    result = await fill(
        source, hole(NOON_MS - 600 * S, NOON_MS - 500 * S), hole(NOON_MS - 9 * S, NOON_MS - S)
    )
    assert sorted((it.to_ms, recovered) for it, recovered in result.done) == [
        (NOON_MS - 500 * S, False),
        (NOON_MS - S, True),
    ]
    assert len(source.queries) < 40


async def test_it_ends_though_a_gap_comes_in_the_same_moment() -> None:
    """A listener that stops may queue one more gap: its cancellation must not be lost."""
    source, result = exchange([NOON_MS]), Result()
    work = Backfill(source, source.clock, result.trades.extend, result.on_done)
    work.add(hole(NOON_MS - 10 * S, NOON_MS))  # it rests first, and is waited for
    task = asyncio.create_task(work.run())
    await asyncio.sleep(0.01)
    work.add(hole(NOON_MS - 20 * S, NOON_MS))
    await asyncio.sleep(0)
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=1)
    assert done


async def test_endless_pages_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many pages there are, a hole costs a bounded number of calls."""
    monkeypatch.setattr(backfill, "_PAGES_MAX", 50)
    monkeypatch.setattr(backfill, "UNPROVEN_MAX", 0)
    source = exchange(range(NOON_MS - 900 * S, NOON_MS, S), rows_max=2)
    result = await fill(source, hole(NOON_MS - 800 * S, NOON_MS))
    assert result.recovered == [False]
    assert len(source.queries) <= 51


async def test_the_newest_hole_goes_first() -> None:
    """What is closest to now is most wanted."""
    source = exchange([NOON_MS - 2 * HOUR])
    ends = [NOON_MS - minutes * MINUTE for minutes in (50, 10, 30, 20, 40)]
    await fill(source, *(hole(end - S, end, market=f"KRW-{end}") for end in ends))
    first_asked = list(dict.fromkeys(query["market"] for query in source.queries))
    assert first_asked == [f"KRW-{end}" for end in sorted(ends, reverse=True)]


async def test_a_hole_that_has_just_ended_rests_first() -> None:
    """REST may lag behind the socket; monotonic time counts, not the wall clock."""
    source, result = exchange([NOON_MS - HOUR, NOON_MS]), Result()
    clock = source.clock
    work = Backfill(source, clock, result.trades.extend, result.on_done)
    task = asyncio.create_task(work.run())
    work.add(hole(NOON_MS - 10 * S, NOON_MS))
    await asyncio.sleep(0.05)
    assert source.queries == []
    clock.jump(3600)
    clock.advance(backfill.SETTLE_S)
    work._wake.set()
    await asyncio.sleep(0.05)
    assert len(result.done) == 1
    task.cancel()
    await asyncio.wait({task})


async def test_today_is_the_exchanges_today(eventually_async: Callable[..., Awaitable[None]]) -> None:
    """A machine clock that is a day ahead must not fetch another day."""
    source, result = exchange(range(NOON_MS - 300 * S, NOON_MS, S)), Result()
    clock = ManualClock(NOON_MS + DAY)
    work = Backfill(source, clock, result.trades.extend, result.on_done, lambda: NOON_MS + 10 * MINUTE)
    task = asyncio.create_task(work.run())
    work.add(hole(NOON_MS - 60 * S, NOON_MS - 30 * S))
    await eventually_async(lambda: result.done)
    task.cancel()
    await asyncio.wait({task})
    assert {"market": "KRW-BTC", "to": "11:59:36"} in source.queries
    assert result.done[0][1] is True


async def test_waiting_holes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """With REST away for good, memory does not grow."""
    monkeypatch.setattr(backfill, "_HOLES_MAX", 10)
    result = Result()
    work = Backfill(exchange([]), ManualClock(NOON_MS), result.trades.extend, result.on_done)
    for _ in range(25):
        work.add(hole(NOON_MS - S, NOON_MS))
    assert (len(work), len(result.done)) == (10, 15)


# -- REST lags


@pytest.mark.parametrize("lag_s", [0, 3, 12, 15, 45])
async def test_rest_that_lags_is_asked_again_until_it_is_past_the_hole(lag_s: int) -> None:
    """A page that ends before the hole does proves nothing."""
    source = exchange(range(NOON_MS - 300 * S, NOON_MS + 300 * S, S), lag_ms=lag_s * S)
    wanted = hole(NOON_MS - 10 * S, NOON_MS)
    result = await fill(source, wanted)
    assert result.done == [(wanted, True)]
    assert set(range(wanted.from_ms, wanted.to_ms + 1, S)) <= set(result.times)
    assert len(source.queries) < 60
    assert source.clock.now_ms() - NOON_MS <= max(lag_s * 2, 5) * S


async def test_while_rest_lags_one_market_asks_for_all() -> None:
    """A hundred markets: those whose holes REST can't have come to the end of are not asked for each time."""
    markets = [f"KRW-{number}" for number in range(100)]
    all_times = range(NOON_MS - 300 * S, NOON_MS + 60 * S, S)
    sources = [exchange(all_times, lag_ms=20 * S, market=market) for market in markets]
    for source in sources:
        source.clock = sources[0].clock
    holes = [hole(NOON_MS - 10 * S, NOON_MS, market=market) for market in markets]
    result = await fill(_Both(*sources), *holes)  # type: ignore[arg-type]
    assert result.recovered == [True] * 100
    first_look, last_look, probes = 1, 4, 2
    assert sum(len(source.queries) for source in sources) < 100 * (first_look + last_look + probes)


async def test_a_quiet_market_is_proved_by_a_busy_one() -> None:
    """REST shows newer trades of another market, so it has come past the hole; no waiting then."""
    source = exchange(range(NOON_MS - 300 * S, NOON_MS + 300 * S, S), lag_ms=8 * S)
    quiet = exchange([NOON_MS - HOUR, NOON_MS - 2 * S], lag_ms=8 * S, market="KRW-QUIET")
    quiet.clock = source.clock
    both = _Both(source, quiet)
    holes = (hole(NOON_MS - 10 * S, NOON_MS), hole(NOON_MS - 10 * S, NOON_MS, market="KRW-QUIET"))
    result = await fill(both, *holes)  # type: ignore[arg-type]
    assert result.recovered == [True, True]
    assert NOON_MS - 2 * S in [it.exchange_ms for it in result.trades if it.market == "KRW-QUIET"]
    assert source.clock.now_ms() - NOON_MS < 30 * S


class _Both:
    """Two markets of one exchange."""

    def __init__(self, *markets: Exchange) -> None:
        self.clock, self.rules = markets[0].clock, markets[0].rules
        self._of = {market.market: market for market in markets}

    async def trades(self, market: str, **query: str | int) -> TradePage:
        return await self._of[market].trades(market, **query)


async def test_where_nothing_is_traded_any_more_the_wait_is_bounded() -> None:
    """Nothing shows how far REST is; it is taken to be a minute behind at the most."""
    result = await fill(
        source := exchange([NOON_MS - 2 * HOUR]), hole(NOON_MS - 10 * S, NOON_MS), lag_max_s=60
    )
    assert result.recovered == [True]
    assert 60 * S <= source.clock.now_ms() - NOON_MS < 80 * S


async def test_a_trade_of_the_socket_that_rest_does_not_show_is_waited_for() -> None:
    """However long: REST is behind, whatever it is taken to be."""
    source = exchange([NOON_MS - HOUR, NOON_MS - 5 * S, NOON_MS + S], lag_ms=100 * S)
    result = await fill(
        source, hole(NOON_MS - 10 * S, NOON_MS), lag_max_s=60, streamed_ms=lambda _: NOON_MS + S
    )
    assert result.recovered == [True]
    assert NOON_MS - 5 * S in result.times


async def test_a_row_stamped_a_day_ahead_is_handed_on_and_misleads_nobody() -> None:
    """It stands among the rows of its moment; pages go on, and REST is not taken to be a day further."""
    source = exchange(range(NOON_MS - 300 * S, NOON_MS + 20 * S, S), rows_max=7)
    odd = source.trades_made[297]
    ahead = structs.replace(odd, exchange_ms=odd.exchange_ms + DAY - 1)
    made = source.trades

    async def trades(market: str, **query: str | int) -> TradePage:
        page = await made(market, **query)
        return TradePage(tuple(ahead if row.id == odd.id else row for row in page.trades), page.rejected)

    source.trades = trades  # type: ignore[method-assign]
    result = await fill(source, hole(NOON_MS - 10 * S, NOON_MS))
    assert result.recovered == [True]
    assert ahead.exchange_ms in result.times
    assert set(range(NOON_MS - 10 * S, NOON_MS + 1, S)) - {odd.exchange_ms} <= set(result.times)


# -- the exchange's totals


async def test_totals_that_agree_prove_more_than_pages() -> None:
    """A row can't be read and nothing is newer than the hole, and yet nothing is missing."""
    source = exchange([NOON_MS - HOUR, NOON_MS - 5 * S], rejected=1)
    result = await fill(source, hole(NOON_MS - 10 * S, NOON_MS), totals=lambda *_: True)
    assert result.recovered == [True]


async def test_totals_are_told_what_the_pages_prove_and_when_it_is_for_the_last_time() -> None:
    """Three more tries where the pages show everything and the totals do not agree."""
    source = exchange(range(NOON_MS - 300 * S, NOON_MS + 60 * S, S))
    told: list[tuple[bool, bool]] = []

    def totals(_: MissingStretch, is_complete: bool, is_last: bool) -> bool:
        told.append((is_complete, is_last))
        return is_last

    result = await fill(source, hole(NOON_MS - 10 * S, NOON_MS), totals=lambda _, *asked: totals(*asked))
    assert told == [(True, False)] * 3 + [(True, True)]
    assert result.recovered == [True]


async def test_what_rest_has_lost_too_is_not_recovered() -> None:
    """The pages look whole; the day's totals do not agree."""
    source = exchange(range(NOON_MS - 300 * S, NOON_MS + 60 * S, S), lost=frozenset({295}))
    lost_ms = source.trades_made[295].exchange_ms
    result = await fill(
        source, hole(NOON_MS - 10 * S, NOON_MS), totals=lambda result, *_: lost_ms in result.times
    )
    assert result.recovered == [False]
    assert NOON_MS - 6 * S in result.times


@pytest.mark.parametrize(
    ("proof", "changes"),
    [
        (Proof.RECOVERED, {}),
        (Proof.RECOVERED, {"newest_ms": 1, "fresh_ms": 100}),
        (Proof.STALE, {"newest_ms": 1, "fresh_ms": 99}),
        (Proof.STALE, {"newest_ms": 1, "fresh_ms": None}),
        (Proof.STALE, {"newest_ms": None, "fresh_ms": None}),
        (Proof.STALE, {"newest_ms": 1, "fresh_ms": 100, "streamed_ms": 2}),
        (Proof.RECOVERED, {"newest_ms": 1, "fresh_ms": 100, "streamed_ms": 10_000}),  # stamped ahead: doubted
        (Proof.RECOVERED, {"newest_ms": 1, "asked_ms": 400}),
        (Proof.STALE, {"newest_ms": 1, "asked_ms": 400, "streamed_ms": 2}),
        (Proof.UNPROVEN, {"covered": False}),
        (Proof.STALE, {"covered": False, "newest_ms": None}),  # the first trade of a market may be behind
        (Proof.UNPROVEN, {"covered": False, "newest_ms": None, "asked_ms": 400}),
        (Proof.UNPROVEN, {"rejected": 1, "newest_ms": None}),
        (Proof.UNPROVEN, {"rejected": 1}),
        (Proof.LOST, {"covered": False, "is_too_old": True}),
    ],
)
def test_what_a_look_proves(proof: Proof, changes: dict[str, Any]) -> None:
    """A hole that ended at 100, asked for at 300, REST being 300 behind at the most."""
    values: dict[str, Any] = {
        "is_too_old": False, "newest_ms": 100, "fresh_ms": None, "streamed_ms": None,
        "asked_ms": 300, "lag_max_ms": 300,
    }  # fmt: skip
    seen = Seen(changes.pop("covered", True), 100, changes.pop("rejected", 0))
    assert judge(seen, 100, **{**values, **changes}) is proof


def test_totals_beside_what_the_pages_prove() -> None:
    """That they agree is proof enough; that they do not takes a proof away, and no other word back."""
    assert {proof.beside(True) for proof in Proof} == {Proof.RECOVERED}
    assert Proof.RECOVERED.beside(False) is Proof.UNPROVEN
    others = set(Proof) - {Proof.RECOVERED}
    assert {proof.beside(False) for proof in others} == others
    assert [proof.beside(None) for proof in Proof] == [*Proof]


# -- whatever the rules


def times_near(start_ms: int) -> st.SearchStrategy[list[tuple[int, int]]]:
    """Draw trades, many of them in one millisecond and equal: (ms, price)."""
    moments = st.one_of(
        st.integers(0, 3), st.integers(0, 90).map(lambda s: s * S), st.integers(0, 40_000_000)
    )
    return st.lists(st.tuples(moments.map(lambda ms: start_ms + ms), st.sampled_from([1, 1, 2])), max_size=40)


@settings(max_examples=400, deadline=None)
@given(
    data=st.data(),
    ids=st.sampled_from(["unique", "shared", "none", "unordered"]),
    cursor=st.sampled_from(["exclusive", "inclusive", "refused", "ignored"]),
    midnight=st.sampled_from(["crosses", "ends", "strict"]),
    lag_s=st.sampled_from([0, 0, 7, 15, 40]),
    heeds_to=st.sampled_from([True, True, True, False]),
    rows_max=st.integers(2, 9),
    lost=st.frozensets(st.integers(0, 40), max_size=1),
    start_of_day=st.booleans(),
)
def test_recovered_means_that_every_trade_of_the_hole_came(
    data: st.DataObject,
    ids: Any,
    cursor: Any,
    midnight: Any,
    lag_s: int,
    heeds_to: bool,
    rows_max: int,
    lost: frozenset[int],
    start_of_day: bool,
) -> None:
    """Each as often as it was made, never more often, whatever the exchange does; lost ones by the totals."""
    start_ms = MIDNIGHT_MS - 30 * S if start_of_day else NOON_MS
    made = data.draw(times_near(start_ms))
    from_ms = start_ms + data.draw(st.integers(-2, 60_000))
    to_ms = from_ms + data.draw(st.integers(0, 60_000))
    now_ms = to_ms + data.draw(st.sampled_from([0, 0, 0, 30 * S, HOUR, DAY]))
    made = [(ms, price) for ms, price in made if ms <= now_ms + 10 * S]  # nothing comes from the future
    rules = Rules(
        ids=ids, cursor=cursor, midnight=midnight, lag_ms=lag_s * S, heeds_to=heeds_to, rows_max=rows_max
    )
    source = Exchange(made, ManualClock(now_ms), rules, lost)
    wanted = hole(from_ms, to_ms)

    def totals(result: Result, *_: object) -> bool | None:
        """Trusted where something is lost; they speak of all that was made until the hole's end."""
        return _inside(source.trades_made, wanted) == _inside(result.trades, wanted) if lost else None

    result = asyncio.run(fill(source, wanted, totals=totals))
    came, true = _inside(result.trades, wanted), _inside(source.trades_made, wanted)
    assert not came - true, "a trade came more often than it was made"
    assert result.recovered == [True] or came <= true
    if result.recovered == [True]:
        assert came == true
    fits = max(Counter(it.exchange_ms // S for it in source.trades_made).values(), default=0) < rows_max
    has_older = any(it.exchange_ms < from_ms - 5 * S for it in source.trades_made)
    if fits and has_older and heeds_to and not lost and midnight != "strict":
        assert result.recovered == [True], source.queries


def _inside(trades: Iterable[Trade], wanted: MissingStretch) -> Counter[tuple[int, Any]]:
    return Counter(
        (it.exchange_ms, it.price) for it in trades if wanted.from_ms <= it.exchange_ms <= wanted.to_ms
    )


@pytest.mark.server
async def test_over_the_simulators_rest(eventually_async: Callable[..., Awaitable[None]]) -> None:
    """Real HTTP, pages of 500, a thousand trades of one millisecond: each comes once."""
    options = SimulatorOptions(markets=3, rate=0)
    async with Simulator(options) as exchange:
        exchange.make_trades(3000)
        client = RestClient(
            ExchangeSettings(rest_url=exchange.rest_url, rest_requests_per_s=100), SystemClock()
        )
        result, clock = Result(), SystemClock()
        async with client:
            work = Backfill(client, clock, result.trades.extend, result.on_done, lag_max_s=1)
            task = asyncio.create_task(work.run())
            markets = await client.markets()
            now_ms = clock.now_ms()
            for market in markets:
                work.add(MissingStretch(market, now_ms - 10 * MINUTE, now_ms, "start", is_known_before=False))
            await eventually_async(lambda: len(result.done) == len(markets), 15, "the backfill")
            task.cancel()
            await asyncio.wait({task})
        made = exchange.trades_made
    assert len(result.trades) == made == 3000
    assert all(result.recovered)
