"""Patterns of any trades: equal to `tests.samples.naive`, and small figures by hand."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.analytics import flow, profile, trade_clustering
from collector.errors import ConfigurationError
from collector.model import Side, Trade
from tests.samples import checks
from tests.samples.rows import T0, trade

_PRICES = st.decimals("0.01", "0.2", places=3) | st.decimals(99, 101, places=1) | st.just(Decimal("1.4E-7"))
_VOLUMES = st.decimals("0.00000001", 5, places=8) | st.just(Decimal("728107452.06423197609921044"))


@st.composite
def streams(draw: st.DrawFn) -> list[Trade]:
    """Draw trades in order, with many in the same millisecond."""
    one = st.tuples(_PRICES, _VOLUMES, st.sampled_from(Side), st.sampled_from([0, 0, 1, 3, 40, 5000]))
    time_ms, trades = T0, []
    for number, (price, volume, side, pause_ms) in enumerate(draw(st.lists(one, min_size=1, max_size=40))):
        time_ms += pause_ms
        trades.append(trade(number, price, volume, side=side, exchange_ms=time_ms))
    return trades


def at(*rows: tuple[int, object, Side]) -> list[Trade]:
    """Return trades of volume 1 from (ms after `T0`, price, side)."""
    return [trade(n, price, exchange_ms=T0 + ms, side=side) for n, (ms, price, side) in enumerate(rows)]


@settings(max_examples=150, deadline=None)
@given(streams(), st.integers(0, 60), st.integers(2, 4))
def test_bursts_sweeps_and_runs_of_any_trades(trades: list[Trade], gap_ms: int, levels: int) -> None:
    """As an independent computation finds them."""
    checks.check_arrivals(trades, gap_ms, levels)


@settings(max_examples=150, deadline=None)
@given(streams(), st.integers(1, 60))
def test_vpin_of_any_trades(trades: list[Trade], buckets: int) -> None:
    """Equal to the last digit, and between 0 and 1."""
    found = checks.check_flow(trades, buckets)
    assert found is not None
    assert 0 <= found <= 1


@settings(max_examples=150, deadline=None)
@given(streams(), st.integers(1, 60))
def test_profile_of_any_trades(trades: list[Trade], rows: int) -> None:
    """As an independent computation finds it; never more rows than asked for."""
    found = checks.check_profile(trades, rows)
    assert 1 <= len(found.rows) <= rows
    assert found.value_area_share is not None
    assert found.value_area_share >= Decimal("0.7")


def test_a_sweep_walks_one_way_through_the_book() -> None:
    """Three buys upwards in 2 ms; the cheaper one after them belongs to someone else."""
    buys = at(
        (0, 100, Side.BUY), (1, 101, Side.BUY), (2, 103, Side.BUY), (3, 99, Side.BUY), (90, 110, Side.BUY)
    )
    (sweep,) = trade_clustering.sweeps(buys, 10, 2)
    assert (sweep.levels, sweep.from_price, sweep.to_price, sweep.cost_bps) == (3, 100, 103, 300)


def test_order_within_a_millisecond_does_not_hide_a_sweep() -> None:
    """Where the exchange does not say it, the sells of one millisecond count from the best price down."""
    sells = at((0, 98, Side.SELL), (0, 100, Side.SELL), (0, 99, Side.SELL))
    (sweep,) = trade_clustering.sweeps(sells, 0, 2)
    assert (sweep.from_price, sweep.to_price) == (100, 98)


def test_alternating_sides_make_more_runs_than_chance() -> None:
    """Ten runs of one where 6 are expected, variance 20/9: z = 4 / sqrt(20/9) = 2.68."""
    mixed = trade_clustering.runs(at(*((n, 100, list(Side)[n % 2]) for n in range(10))))
    assert (mixed.run_count, mixed.expected_run_count) == (10, 6)
    assert round(mixed.z_score or 0, 2) == Decimal("2.68")
    assert trade_clustering.runs(at((0, 1, Side.BUY))).z_score is None


def test_vpin_splits_a_trade_between_buckets() -> None:
    """Buy 3, sell 1 in two buckets of 2: imbalances 2 and 0."""
    both = [trade(1, 1, 3), trade(2, 1, 1, side=Side.SELL)]
    assert flow.vpin(both, 2).vpin == Decimal("0.5")
    assert flow.vpin([], 2).vpin is None


def test_a_step_that_makes_too_many_rows_is_refused() -> None:
    """One line that says how many there may be."""
    with pytest.raises(ConfigurationError, match=r"step 0\.0001 makes 20001 rows of prices: at most 1000"):
        profile.volume_profile(at((0, 1, Side.BUY), (0, 3, Side.BUY)), 24, Decimal("0.7"), Decimal("0.0001"))


def test_a_step_of_ones_own_makes_the_rows() -> None:
    """Prices 9, 11 and 20 in rows of 10: two below 20, and 20 itself."""
    trades = at((0, 9, Side.BUY), (0, 11, Side.BUY), (0, 20, Side.SELL))
    found = profile.volume_profile(trades, 24, Decimal(1), Decimal(10))
    assert [(row.from_price, row.base_volume) for row in found.rows] == [(0, 1), (10, 1), (20, 1)]
    assert (found.point_of_control_from, found.point_of_control_to) == (10, 20)
