"""What is complete: one decision for every stretch, beside a plain reading of the rules."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.analytics.candles import Minute, merge, view
from collector.analytics.change import changes
from collector.analytics.completeness import (
    IN_FLIGHT_MS,
    NEVER_MS,
    Known,
    Losses,
    Ongoing,
    Status,
    Watch,
    all_verified,
    known_of,
    ongoing,
    watch_of,
)
from collector.analytics.volume import volumes
from collector.model import MINUTE_MS, Channel, Gap
from tests.samples.rows import BTC, T0, ticker, trade


def gap(from_ms: int, to_ms: int, channel: Channel = Channel.TRADE, *, recovered: bool = False) -> Gap:
    return Gap(BTC, channel, from_ms, to_ms, "stalled", recovered)


def watch(alive: bool = True, markets: tuple[str, ...] = (BTC,), **status: int | str | None) -> Watch:
    return Watch(Status(**{"covered_until_ms": T0, **status}), alive, frozenset(markets))  # type: ignore[arg-type]


def minute(*prices: int) -> Minute:
    trades = [trade(number, price) for number, price in enumerate(prices)]
    return merge(None, trades, trades)


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20))),
    st.none() | st.integers(0, 80),
    st.integers(0, 60),
    st.none() | st.integers(0, 10),
)
def test_losses_are_found_like_one_by_one(
    gaps: list[tuple[int, int]], lasting_ms: int | None, start: int, length: int | None
) -> None:
    """The sorted search agrees with looking at every gap, with a loss that lasts and without an end."""
    stretches = [gap(begin, begin + width) for begin, width in gaps]
    end = 10**9 if length is None else start + length
    touched = any(each.from_ms <= end and each.to_ms >= start for each in stretches)
    touched |= lasting_ms is not None and lasting_ms <= end
    losses = Losses(stretches, None if lasting_ms is None else Ongoing(lasting_ms, "outage"))
    assert losses.touch(start, None if length is None else end) == touched


@given(
    st.lists(st.tuples(st.integers(0, 900_000), st.integers(0, 200_000)), max_size=6),
    st.none() | st.integers(0, 900_000),
    st.integers(0, 900_000),
    st.integers(0, 400_000),
)
def test_the_minutes_of_losses_are_those_they_touch(
    gaps: list[tuple[int, int]], lasting_ms: int | None, start: int, length: int
) -> None:
    """Each once and in order, whole minutes, none outside."""
    losses = Losses(
        [gap(begin, begin + width) for begin, width in gaps],
        None if lasting_ms is None else Ongoing(lasting_ms, "outage"),
    )
    opens = range(start - start % MINUTE_MS, start + length + 1, MINUTE_MS)
    expected = [ms for ms in opens if losses.touch(ms, ms + MINUTE_MS - 1)]
    assert list(losses.minutes(start, start + length)) == expected


def test_only_open_gaps_of_trades_are_losses() -> None:
    """A recovered one and one of another channel are none."""
    losses = Losses([gap(0, 9, recovered=True), gap(20, 29, Channel.ORDERBOOK), gap(40, 49)])
    assert [losses.touch(start, start + 9) for start in (0, 20, 40)] == [False, False, True]


def test_an_outage_counts_while_it_lasts() -> None:
    """From its begin on, whatever is asked; before it all is as it was."""
    known = known_of([T0 - MINUTE_MS], [], watch(outage_since_ms=T0 + 5, outage_reason="stalled"))
    assert known.losses.lasting == Ongoing(T0 + 5, "stalled")
    assert known.is_complete(T0 - MINUTE_MS, T0 + 4)
    assert not known.is_complete(T0 - MINUTE_MS, T0 + 5)
    assert not known.is_complete(T0 + 10**9, T0 + 10**9)


def test_what_came_after_a_dead_listener_is_not_known() -> None:
    """Everything it covered is; an outage it died in does not hide what it lost before."""
    outage = watch(outage_since_ms=T0, now_ms=T0 + 99, pending_from_ms=T0 - 5_000)
    assert ongoing(outage) == Ongoing(T0 - 5_000, "waiting", T0 + 99)
    assert ongoing(watch(alive=False)) == Ongoing(T0 + 1, "no_listener")
    assert ongoing(watch(alive=False, outage_since_ms=T0 - 9, pending_from_ms=T0 - 50)) == Ongoing(
        T0 - 50, "waiting"
    )


@pytest.mark.parametrize(
    ("age_ms", "alive", "held_up"),
    [(0, True, False), (IN_FLIGHT_MS, True, False), (IN_FLIGHT_MS + 1, True, True), (5, False, True)],
)
def test_trades_that_wait_count_once_they_are_held_up(age_ms: int, alive: bool, held_up: bool) -> None:
    """For a moment every trade waits; those of a dead listener wait for its successor."""
    loss = ongoing(watch(alive, pending_from_ms=T0 - age_ms))
    assert (loss is not None and loss.reason == "waiting") == held_up


def test_a_market_belongs_to_the_share_that_lives() -> None:
    """Shares of earlier settings stay behind in Redis; of dead ones the newest counts."""
    old, older = watch(alive=False), watch(alive=False, covered_until_ms=T0 - 500)
    other = watch(markets=("KRW-ETH",))
    assert watch_of(BTC, [older, old, other]) == old
    live = watch(covered_until_ms=T0 - 900)
    assert watch_of(BTC, [older, old, live, other]) == live
    assert watch_of("KRW-XRP", [old, live]) is None
    assert ongoing(None) is None


def test_our_data_begin_with_the_oldest_minute_or_gap() -> None:
    """A quiet market is known from the gap of its start on; gaps of other channels tell nothing."""
    start = gap(T0 - 10 * MINUTE_MS, T0 - 9 * MINUTE_MS, recovered=True)
    assert known_of([T0], [gap(0, 1, Channel.TICKER)]).from_ms == T0
    assert known_of([T0], [start]).from_ms == start.from_ms
    assert known_of([], [start]).from_ms == start.from_ms
    assert known_of([], []).is_empty
    assert known_of([], []).since_ms(T0) is None
    assert not known_of([], []).is_complete(T0)


def test_since_is_named_only_where_a_window_begins_before_the_data() -> None:
    """To the millisecond."""
    known = Known(from_ms=T0)
    assert (known.since_ms(T0), known.since_ms(T0 - 1)) == (None, T0)
    assert (known.is_complete(T0), known.is_complete(T0 - 1)) == (True, False)


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [([True, True], True), ([True, None], None), ([None, False, True], False), ([None], None), ([], None)],
)
def test_several_minutes_are_verified_together(verdicts: list[bool | None], expected: bool | None) -> None:
    """True if all are, false if one is not, else not known."""
    assert all_verified(verdicts) is expected


def test_a_lost_minute_is_a_row_and_a_quiet_one_is_none() -> None:
    """It has no trades, no prices, and is not complete; whoever reads tells quiet from lost."""
    minutes = {T0: minute(100, 102), T0 + 3 * MINUTE_MS: minute(105)}
    lost = [T0 + MINUTE_MS]
    rows = view(BTC, minutes, "1m", Known(Losses([gap(lost[0] + 5, lost[0] + 6)])), missing=lost)
    assert [row.open_ms for row in rows] == [T0, *lost, T0 + 3 * MINUTE_MS]
    assert [(row.trade_count, row.prices, row.complete) for row in rows][1] == (0, None, False)
    assert (rows[1].open, rows[1].vwap, rows[1].base_volume, rows[1].verified) == (None, None, 0, None)


def test_longer_candles_have_what_is_left_of_them() -> None:
    """Prices of the minutes that are there, not complete for the one that is not; or no prices at all."""
    start = T0 - T0 % (5 * MINUTE_MS)
    minutes = {start: minute(100, 102), start + 2 * MINUTE_MS: minute(105)}
    lost = [start + MINUTE_MS, *range(start + 5 * MINUTE_MS, start + 10 * MINUTE_MS, MINUTE_MS)]
    known = Known(Losses([gap(open_ms, open_ms) for open_ms in lost]), start)
    verdicts = {start: True, start + 2 * MINUTE_MS: True}
    first, second = view(BTC, minutes, "5m", known, missing=lost, verdicts=verdicts)
    assert (first.open, first.close, first.trade_count, first.complete) == (100, 105, 3, False)
    assert (second.prices, second.trade_count, second.complete) == (None, 0, False)
    assert (first.verified, second.verified) == (True, None)
    worse = view(BTC, minutes, "5m", known, missing=lost, verdicts=verdicts | {lost[0]: False})
    assert [row.verified for row in worse] == [False, None]


def test_windows_that_reach_a_loss_or_the_begin_of_our_data_are_not_complete() -> None:
    """Volumes and changes alike; they name where the data begin."""
    minutes = {T0 - number * MINUTE_MS: minute(100 + number) for number in range(20)}
    begin = T0 - 19 * MINUTE_MS
    known = Known(Losses([gap(T0 - 6 * MINUTE_MS, T0 - 6 * MINUTE_MS)]), begin)
    for rows in (volumes(BTC, minutes, T0, known), changes(BTC, minutes, ticker(), T0, known)):
        by_window = {row.window: (row.since_ms, row.complete) for row in rows}
        assert [by_window[window] for window in ("1m", "5m", "15m", "1h", "24h")] == [
            *((None, True), (None, True), (None, False), (begin, False), (begin, False)),
        ]


def test_a_change_is_as_good_as_the_price_it_starts_from() -> None:
    """The close before the window is old where trades after it may be missing."""
    minutes = {T0 - 9 * MINUTE_MS: minute(100), T0: minute(110)}
    lossy = Known(Losses([gap(T0 - 7 * MINUTE_MS, T0 - 7 * MINUTE_MS)]), T0 - 9 * MINUTE_MS)
    rows = {row.window: row for row in changes(BTC, minutes, ticker(), T0, lossy)}
    assert (rows["5m"].change_rate, rows["5m"].complete) == (Decimal("0.1"), False)
    assert volumes(BTC, minutes, T0, lossy)[1].complete


def test_the_change_against_the_close_is_the_exchanges_own() -> None:
    """It hangs on the ticker alone: complete unless a newer one may be missing."""
    recent = ticker(exchange_ms=T0)
    for loss_ms, complete in ((T0 - 5, True), (T0 + 5, False)):
        known = Known(Losses([gap(loss_ms, loss_ms)]))
        assert changes(BTC, {}, recent, T0, known)[-1].complete is complete
    assert not changes(BTC, {}, None, T0)[-1].complete
    assert Known(from_ms=NEVER_MS).is_empty
