"""What is compared with the exchange's candles and when, and what follows from it."""

from decimal import Decimal as D
from functools import lru_cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.analytics.auditing import WINDOW, Ask, Looked, Plan, runs, touched
from collector.analytics.candles import Minute
from collector.analytics.minutes import absorb
from collector.analytics.reconcile import Figures, Match, figures_of
from collector.model import MINUTE_MS
from tests.samples.rows import BTC, trade

S = 1_000
M0 = 1_789_997_580_000
ETH = "KRW-ETH"


@lru_cache(maxsize=4096)
def minute(open_ms: int, *prices: int) -> Minute:
    """Our minute of trades at these prices."""
    made = [trade(n, price, exchange_ms=open_ms + n) for n, price in enumerate(prices)]
    found = absorb(None, {}, made).minute
    assert found
    return found


def theirs(open_ms: int, *prices: int) -> dict[int, Figures]:
    """The exchange's candle of the same."""
    return {open_ms: figures_of(minute(open_ms, *prices))}


class Bench:
    """A plan of one market, what both sides have, and a clock."""

    def __init__(self, **changes: int) -> None:
        values = {"settle_ms": 3 * S, "interval_ms": 60 * S, "lag_max_ms": 60 * S} | changes
        self.plan = Plan(**values)
        self.plan.begin(BTC, M0)
        self.now_ms = M0 + MINUTE_MS + 3 * S
        self.ours: dict[int, Minute] = {}
        self.theirs: dict[int, Figures] = {}
        self.gaps: list[tuple[int, int]] = []
        self.streamed_ms: int | None = None
        self.verdicts: dict[int, bool] = {}
        self.quiet: set[int] = set()
        self.lacking: list[int] = []
        self.asked: list[Ask] = []

    def look(self) -> Looked | None:
        """Compare what is due now, if anything is."""
        ask = self.plan.next([BTC], self.now_ms)
        if ask is None:
            return None
        self.asked.append(ask)
        if not ask.candles and self.ours.keys() & set(ask.opens):
            ask = self.plan.insist(ask, self.now_ms)
        if not ask.candles:
            looked = self.plan.take_quiet(ask)
        else:
            shown = {ms: it for ms, it in self.theirs.items() if ms < ask.end_ms}
            page = dict(sorted(shown.items(), reverse=True)[: ask.candles])
            looked = self.plan.take(ask, self.ours, page, self.gaps, self.streamed_ms, self.now_ms)
        self.verdicts |= looked.verdicts
        self.quiet |= set(looked.quiet)
        self.lacking += looked.lacking
        return looked

    def run(self, seconds: int) -> None:
        """Compare whatever becomes due within some seconds."""
        for _ in range(seconds):
            while self.look():
                pass
            self.now_ms += S


def test_a_minute_is_compared_soon_after_it_closed_and_once() -> None:
    """Not before it has settled; the running minute is on the page, to show how far REST is."""
    bench = Bench()
    bench.now_ms -= 1
    assert bench.look() is None
    bench.now_ms += 1
    bench.ours, bench.theirs = {M0: minute(M0, 5)}, theirs(M0, 5) | theirs(M0 + MINUTE_MS, 5)
    bench.run(60)
    assert bench.asked == [Ask(BTC, (M0,), M0 + 2 * MINUTE_MS, 2)]
    assert bench.verdicts == {M0: True}


def test_several_minutes_go_with_one_call() -> None:
    """The interval is long, or REST was away; the newest first where they fill more than a page."""
    bench = Bench()
    bench.now_ms = M0 + 300 * MINUTE_MS + 3 * S
    opens = range(M0, bench.now_ms - MINUTE_MS, MINUTE_MS)
    bench.ours = {ms: minute(ms, 7) for ms in opens}
    bench.theirs = {ms: figures_of(it) for ms, it in bench.ours.items()} | theirs(opens[-1] + MINUTE_MS, 7)
    bench.look()
    assert (len(bench.asked[0].opens), bench.asked[0].opens[-1]) == (WINDOW, opens[-1])
    bench.run(10)
    assert bench.verdicts == dict.fromkeys(opens, True)
    assert all(ask.candles <= 200 for ask in bench.asked)
    assert len(bench.asked) == 2


def test_equal_figures_of_a_rest_that_lags_prove_nothing() -> None:
    """Both sides lack the last trades: REST has not come to the end of the minute."""
    bench = Bench()
    bench.ours, bench.theirs = {M0: minute(M0, 5)}, theirs(M0, 5)
    bench.run(20)
    assert bench.verdicts == {}
    bench.theirs = theirs(M0, 5, 6) | theirs(M0 + MINUTE_MS, 5)
    bench.run(20)
    assert (bench.verdicts, bench.lacking) == ({M0: False}, [M0])


def test_another_market_shows_how_far_rest_is() -> None:
    """A quiet market has no newer candle of its own."""
    bench = Bench()
    bench.plan.begin(ETH, M0)
    bench.ours, bench.theirs = {M0: minute(M0, 5)}, theirs(M0, 5)
    bench.look()
    assert bench.verdicts == {}
    ask = bench.plan.next([ETH], bench.now_ms)
    assert ask
    bench.plan.take(ask, {}, theirs(M0 + MINUTE_MS, 5), (), None, bench.now_ms)
    bench.run(10)
    assert bench.verdicts == {M0: True}


def test_where_nothing_is_traded_any_more_the_longest_lag_is_waited_for() -> None:
    """Unless a socket brought later trades: then REST is behind, however long that takes."""
    for streamed_ms, verdicts in ((None, {M0: True}), (M0 + 90 * S, {})):
        bench = Bench()
        bench.ours, bench.theirs = {M0: minute(M0, 5)}, theirs(M0, 5)
        bench.streamed_ms = streamed_ms
        bench.run(50)
        assert bench.verdicts == {}
        bench.run(20)
        assert {ms: it for ms, it in bench.verdicts.items() if ms == M0} == verdicts


def test_minutes_without_a_trade_are_compared_too() -> None:
    """The exchange leaves them out of its reply."""
    bench = Bench()
    bench.now_ms = M0 + 5 * MINUTE_MS + 3 * S
    bench.theirs = theirs(M0 + 5 * MINUTE_MS, 1)
    bench.look()
    assert bench.quiet == set(bench.verdicts) == {M0 + n * MINUTE_MS for n in range(5)}
    assert runs(bench.quiet) == [(M0, M0 + 5 * MINUTE_MS)]


def test_what_the_exchange_has_more_is_confirmed_fetched_and_compared_again() -> None:
    """Trades may still be on their way; then a gap, and once it is fetched another look at once."""
    bench = Bench()
    bench.ours = {M0: minute(M0, 5)}
    bench.theirs = theirs(M0, 5, 6) | theirs(M0 + MINUTE_MS, 5)
    bench.run(4)
    assert (bench.verdicts, bench.lacking) == ({}, [])
    bench.run(4)
    assert (bench.verdicts, bench.lacking) == ({M0: False}, [M0])
    bench.ours = {M0: minute(M0, 5, 6)}
    bench.plan.fetched(BTC, M0, M0 + MINUTE_MS - 1, bench.now_ms)
    bench.run(4)
    assert (bench.verdicts, bench.lacking) == ({M0: True}, [M0])


def test_a_trade_on_its_way_to_the_store_is_no_gap() -> None:
    """It is there at the second look."""
    bench = Bench()
    bench.theirs = theirs(M0, 5) | theirs(M0 + MINUTE_MS, 5)
    bench.run(3)
    bench.ours = {M0: minute(M0, 5)}
    bench.run(20)
    assert (bench.verdicts[M0], bench.lacking) == (True, [])


def test_a_gap_that_is_known_gets_time_to_be_closed() -> None:
    """Its own backfill is at work; a gap that stays is fetched again some minutes later."""
    bench = Bench()
    bench.theirs = theirs(M0, 5) | theirs(M0 + MINUTE_MS, 5)
    bench.gaps = [(M0 + 10, M0 + 20)]
    bench.run(280)
    assert (M0 in bench.lacking, bench.verdicts[M0]) == (False, False)
    bench.run(40)
    assert M0 in bench.lacking


def test_what_rest_has_lost_too_is_fetched_a_bounded_number_of_times() -> None:
    """And stays different."""
    bench = Bench()
    bench.ours = {M0: minute(M0, 5)}
    bench.theirs = theirs(M0, 5, 6)
    for _ in range(200):
        bench.run(60)
        bench.plan.fetched(BTC, M0, M0, bench.now_ms)
    assert 2 <= bench.lacking.count(M0) <= 6
    assert bench.verdicts[M0] is False
    bench.ours = {M0: minute(M0, 5, 6)}
    bench.plan.fetched(BTC, M0, M0, bench.now_ms)
    bench.run(5)
    assert bench.verdicts[M0] is True


def test_a_minute_of_which_we_have_more_differs_in_the_end() -> None:
    """REST may lag for a while; no gap is opened."""
    bench = Bench()
    bench.ours = {M0: minute(M0, 5, 6)}
    bench.theirs = theirs(M0, 5) | theirs(M0 + MINUTE_MS, 5)
    bench.run(100)
    assert bench.verdicts.get(M0) is None
    bench.run(2000)
    assert (bench.verdicts[M0], bench.lacking.count(M0)) == (False, 0)


def test_nothing_is_expected_of_a_time_before_our_data() -> None:
    """Candles of the exchange from before say nothing about us."""
    bench = Bench()
    bench.plan.fetched(BTC, M0 - 10 * MINUTE_MS, M0 - 1, bench.now_ms)
    bench.theirs = theirs(M0 - MINUTE_MS, 5) | theirs(M0, 5) | theirs(M0 + MINUTE_MS, 5)
    bench.ours = {M0: minute(M0, 5)}
    bench.run(20)
    assert bench.verdicts == {M0: True}


def test_a_stretch_that_was_fetched_is_compared_again() -> None:
    """Also where its minutes were decided before; what is not yet due stays so."""
    bench = Bench()
    bench.ours, bench.theirs = {M0: minute(M0, 5)}, theirs(M0, 5) | theirs(M0 + MINUTE_MS, 5)
    bench.run(5)
    bench.ours = {M0: minute(M0, 5, 6)}
    bench.theirs |= theirs(M0, 5, 6)
    bench.plan.fetched(BTC, M0 + 5, M0 + 5 * MINUTE_MS, bench.now_ms)
    bench.run(5)
    assert [ask.opens for ask in bench.asked] == [(M0,), (M0,)]


def test_a_comparison_that_failed_is_made_later() -> None:
    """REST or Redis was away."""
    bench = Bench()
    bench.ours, bench.theirs = {M0: minute(M0, 5)}, theirs(M0, 5) | theirs(M0 + MINUTE_MS, 5)
    ask = bench.plan.next([BTC], bench.now_ms)
    assert ask
    bench.plan.failed(ask, bench.now_ms)
    bench.run(10)
    assert bench.verdicts == {}
    bench.run(1)
    assert bench.verdicts[M0] is True


def test_looks_do_not_drift_away_from_the_end_of_the_minute() -> None:
    """However late each is: the next minute is looked at when it has settled."""
    bench = Bench()
    for n in range(50):
        bench.now_ms = M0 + (n + 1) * MINUTE_MS + 3 * S
        assert bench.look()
        bench.now_ms += 20 * S
        bench.plan.fetched(BTC, M0 + n * MINUTE_MS, M0 + n * MINUTE_MS, bench.now_ms)
        bench.run(5)
        bench.theirs = theirs(M0 + (n + 2) * MINUTE_MS, 5)


def test_a_longer_interval_puts_more_minutes_into_one_call() -> None:
    """Fewer calls, later verdicts."""
    bench = Bench(interval_ms=300 * S)
    opens = range(M0, M0 + 30 * MINUTE_MS, MINUTE_MS)
    bench.ours = {open_ms: minute(open_ms, 5) for open_ms in opens}
    bench.theirs = {open_ms: figures_of(it) for open_ms, it in bench.ours.items()}
    bench.run(16 * 60)
    assert [len(ask.opens) for ask in bench.asked] == [5, 5, 5]


def test_markets_take_turns() -> None:
    """Whoever was asked longest ago is next; each minute of each is asked for."""
    plan = Plan(3 * S, 60 * S, 60 * S)
    markets = [f"KRW-{n}" for n in range(50)]
    for market in markets:
        plan.begin(market, M0)
    asked = []
    for n in range(120):
        ask = plan.next(markets, M0 + MINUTE_MS + 3 * S + n * S)
        if ask:
            asked.append(ask.market)
            plan.take(ask, {}, theirs(ask.end_ms - MINUTE_MS, 1), (), None, ask.end_ms)
    assert sorted(asked[:50]) == sorted(markets)
    assert sorted(asked[50:100]) == sorted(markets)


def test_a_market_whose_turnover_stands_still_needs_no_call() -> None:
    """If we have nothing of it either; a trade of ours has the exchange asked."""
    for ours, candles in (({}, 0), ({M0: minute(M0, 5)}, 0)):
        bench = Bench()
        bench.ours = ours
        for second in range(-30, 200, 10):
            bench.plan.note_turnover(BTC, D(7), M0 + second * S)
        bench.now_ms = M0 + 2 * MINUTE_MS - S
        looked = bench.look()
        assert looked
        assert bench.asked[0].candles == candles
        assert bench.quiet == (set() if ours else {M0})


@pytest.mark.parametrize(
    "turnovers",
    [
        [(-30, 7), (30, 8), (60, 8), (120, 8), (180, 8)],
        [(10, 7), (60, 7), (120, 7), (180, 7)],
        [(-30, 7), (60, 7), (110, 7)],
        [(-30, 7)],
        [],
    ],
)
def test_a_turnover_proves_no_more_than_it_shows(turnovers: list[tuple[int, int]]) -> None:
    """It moved, or was not seen before the minute, or REST may lag by more than it was looked at."""
    bench = Bench()
    for second, turnover in turnovers:
        bench.plan.note_turnover(BTC, D(turnover), M0 + second * S)
    bench.now_ms = M0 + 2 * MINUTE_MS - S
    bench.look()
    assert bench.asked[0].candles > 0


def test_runs_and_touched() -> None:
    """Minutes as stretches, and stretches as minutes."""
    assert runs([]) == []
    assert runs([M0 + MINUTE_MS, M0, M0 + 3 * MINUTE_MS]) == [
        (M0, M0 + 2 * MINUTE_MS),
        (M0 + 3 * MINUTE_MS, M0 + 4 * MINUTE_MS),
    ]
    assert list(touched(M0 + 1, M0 + MINUTE_MS)) == [M0, M0 + MINUTE_MS]


BUSY, QUIET = set(range(0, 60, 4)), {3, 30, 58}
#: Minute and second of a trade.
MOMENTS = st.tuples(st.integers(0, 3), st.sampled_from(sorted(BUSY | QUIET)))


@settings(max_examples=60, deadline=None)
@given(
    lost=st.sets(MOMENTS, max_size=12),
    late=st.dictionaries(MOMENTS, st.integers(1, 30)),
    lag_s=st.integers(0, 45),
    gone=st.sets(MOMENTS, max_size=2),
    is_busy=st.booleans(),
)
def test_a_proven_minute_is_the_exchanges_for_good(
    lost: set[tuple[int, int]],
    late: dict[tuple[int, int], int],
    lag_s: int,
    gone: set[tuple[int, int]],
    is_busy: bool,
) -> None:
    """Trades are lost, or late in the store, REST lags, and has lost some for good: no verdict is wrong."""
    seconds = BUSY if is_busy else QUIET
    made = [(m, s) for m in range(4) for s in sorted(seconds)]
    bench = Bench()
    bench.now_ms = M0
    brought: set[tuple[int, int]] = set()

    def at(key: tuple[int, int]) -> int:
        return M0 + key[0] * MINUTE_MS + key[1] * S

    def of(keys: Any) -> dict[int, Minute]:
        by_minute: dict[int, list[int]] = {}
        for key in keys:
            by_minute.setdefault(M0 + key[0] * MINUTE_MS, []).append(key[1] + 1)
        return {ms: minute(ms, *prices) for ms, prices in by_minute.items()}

    for _ in range(480):
        stored = {k for k in made if k not in lost and at(k) + late.get(k, 0) * S <= bench.now_ms} | brought
        bench.ours = of(sorted(stored))
        bench.theirs = {
            ms: figures_of(it)
            for ms, it in of([key for key in made if at(key) <= bench.now_ms - lag_s * S]).items()
        }
        looked = bench.look()
        for open_ms in looked.lacking if looked else ():
            whole = {k for k in made if M0 + k[0] * MINUTE_MS == open_ms and k not in gone}
            brought |= {k for k in whole if at(k) <= bench.now_ms - lag_s * S}
            bench.plan.fetched(BTC, open_ms, open_ms + MINUTE_MS - 1, bench.now_ms)
        true = of(made)
        for open_ms, is_equal in (looked.verdicts if looked else {}).items():
            if is_equal:
                assert bench.ours.get(open_ms) == true.get(open_ms), "called proven, and is not"
        bench.now_ms += S
    for n in range(3):
        is_lost = bool(lost & gone & set(made) & {(n, s) for s in range(60)})
        assert bench.verdicts[M0 + n * MINUTE_MS] is not is_lost


def test_each_kind_of_difference_is_counted_once_for_a_minute() -> None:
    """However often it is looked at."""
    bench = Bench()
    bench.ours = {M0: minute(M0, 5)}
    bench.theirs = theirs(M0, 5, 6) | theirs(M0 + MINUTE_MS, 5)
    counts: dict[Match, int] = {}
    for _ in range(600):
        bench.ours[bench.now_ms // MINUTE_MS * MINUTE_MS] = minute(0, 5)
        bench.theirs[bench.now_ms // MINUTE_MS * MINUTE_MS] = figures_of(minute(0, 5))
        looked = bench.look()
        for kind, count in (looked.found if looked else {}).items():
            counts[kind] = counts.get(kind, 0) + count
        bench.now_ms += S
    assert counts == {Match.LESS: 1, Match.EQUAL: 9}
