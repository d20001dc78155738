"""Volatility and correlation against numpy, and the rankings of markets by hand."""

from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.analytics import rankings, risk
from collector.analytics.candles import Minute, merge
from collector.analytics.change import End
from collector.analytics.completeness import ALL_KNOWN
from collector.model import MINUTE_MS
from tests.samples import checks, naive
from tests.samples.rows import T0, trade

_WALKS = st.lists(st.decimals("0.5", "2", places=4), min_size=5, max_size=60)


@settings(max_examples=100, deadline=None)
@given(_WALKS)
def test_volatility_of_any_prices(prices: list[Decimal]) -> None:
    """As numpy has it, to nine digits."""
    checks.check_volatility(prices)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_correlation_of_any_prices(data: st.DataObject) -> None:
    """As numpy has it, to nine digits; None where a price never moves."""
    first = data.draw(_WALKS)
    second = data.draw(st.lists(st.decimals("0.5", "2", places=4), min_size=len(first), max_size=len(first)))
    (found,) = risk.correlation({"A": first, "B": second}, [("A", "B")])
    moved = all(len({b / a for a, b in pairwise(side)}) > 1 for side in (first, second))
    assert (found.correlation is not None) == moved
    if found.correlation is not None:
        assert float(found.correlation) == pytest.approx(
            naive.correlation(first, second), rel=naive.REL, abs=1e-9
        )


def test_prices_nobody_knows_yet_make_no_return() -> None:
    """Unknown minutes are left out; too few of both are no correlation."""
    prices = {"A": [None, Decimal(1), Decimal(2), Decimal(1)], "B": [Decimal(n) for n in (1, 2, 3, 4)]}
    (found,) = risk.correlation(prices, [("A", "B")])
    assert (found.return_count, found.correlation) == (2, None)
    assert risk.realised_volatility([None, Decimal(5)]).realised_volatility is None


def test_a_price_that_doubles_and_halves() -> None:
    """Two returns of ln 2, which is 0.6931471805599453094172…, make a variance of twice its square."""
    found = risk.realised_volatility([Decimal(1), Decimal(2), Decimal(1)])
    assert abs((found.realised_variance or 0) - 2 * Decimal("0.6931471805599453094172321215") ** 2) < Decimal(
        "1e-26"
    )


def test_movers_are_ordered_and_counted() -> None:
    """Unmoved and unknown markets are in neither list."""
    ends = {"UP": (10, 11), "UPPER": (10, 15), "DOWN": (10, 9), "SAME": (10, 10), "NEW": (None, 5)}
    prices = {
        name: tuple(End(Decimal(p), T0) if p is not None else None for p in pair)
        for name, pair in ends.items()
    }
    found = rankings.top_movers(prices, "15m", 1, T0, dict.fromkeys(ends, ALL_KNOWN))  # type: ignore[arg-type]
    assert (found.market_count, found.rising_count, found.falling_count) == (4, 2, 1)
    assert [(row.market, row.change_rate) for row in found.risers] == [("UPPER", Decimal("0.5"))]
    assert [(row.market, row.change_rate) for row in found.fallers] == [("DOWN", Decimal("-0.1"))]


def minutes(*volumes: int) -> dict[int, Minute]:
    """Return candles of one trade each at price 1, minute by minute from `T0`."""
    made = {}
    for number, size in enumerate(volumes):
        one = [trade(number, 1, size, exchange_ms=T0 + number * MINUTE_MS)]
        made[T0 + number * MINUTE_MS] = merge(None, one, one)
    return made


def test_a_spike_is_a_multiple_of_the_windows_before() -> None:
    """Windows of two minutes: 12 now, 4 and 2 before, so four times the mean of 3."""
    markets = {"A": minutes(2, 2, 1, 1, 6, 6), "B": minutes(1, 1, 1, 1, 1, 1)}
    now_ms = T0 + 5 * MINUTE_MS + 1
    found = rankings.volume_spikes(markets, now_ms, 2, 2, Decimal(3))
    assert [(row.market, row.relative_volume, row.usual_volume) for row in found.spikes] == [("A", 4, 3)]
    assert rankings.volume_spikes(markets, now_ms, 2, 2, Decimal("4.1")).spikes == []


@pytest.mark.parametrize(("behind", "whole"), [(0, 0), (1, 0), (2, 1), (9, 4), (100, 12)])
def test_windows_before_the_data_begins_are_not_usual(behind: int, whole: int) -> None:
    """A collector that has just started sees no spikes for want of a past."""
    newest_ms = T0 + 1000 * MINUTE_MS
    start_ms = newest_ms - MINUTE_MS  # of the window of two minutes
    assert rankings.whole_windows(start_ms - behind * MINUTE_MS, newest_ms, 2, 12) == whole
