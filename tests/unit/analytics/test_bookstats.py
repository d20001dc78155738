"""Figures of any order book: equal to `tests.samples.naive`, and small ones by hand."""

from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from collector.analytics import bookstats
from tests.samples import checks
from tests.samples.rows import levels

_SIZES = st.decimals("0.00000001", 50, places=8) | st.just(Decimal("728107452.06423197609921044"))
_SIDES = st.dictionaries(st.integers(1, 40), _SIZES, min_size=1, max_size=15)

BIDS = levels((99, 1), (98, 3), (97, 20))
ASKS = levels((101, 1), (103, 1))


@settings(max_examples=150, deadline=None)
@given(_SIDES, _SIDES, _SIZES)
def test_figures_of_any_book(bids: dict[int, Decimal], asks: dict[int, Decimal], size: Decimal) -> None:
    """As an independent computation finds them, to the last digit."""
    best_bids = levels(*((1000 - off, volume) for off, volume in sorted(bids.items())))
    best_asks = levels(*((1000 + off, volume) for off, volume in sorted(asks.items())))
    checks.check_book(best_bids, best_asks, size)


def test_an_order_pays_level_after_level() -> None:
    """Buying 1.5 takes 1 at 101 and a half at 103; mid 100."""
    buy, sell = bookstats.slippage(BIDS, ASKS, Decimal("1.5")).orders
    assert (buy.quote_volume, buy.levels, buy.worst_price) == (Decimal("152.5"), 2, 103)
    assert sell.average_price == Decimal(148) / Decimal("1.5")


def test_what_the_book_cannot_fill_is_said() -> None:
    """Only two are offered; an empty side fills nothing and has no price."""
    buy, _ = bookstats.slippage(BIDS, ASKS, Decimal(5)).orders
    assert (buy.filled, buy.unfilled) == (2, 3)
    buy, sell = bookstats.slippage(BIDS, (), Decimal(5)).orders
    assert (buy.filled, buy.average_price, buy.slippage_bps) == (0, None, None)
    assert (sell.filled, sell.slippage) == (5, None)


def test_a_wall_is_far_above_the_median_of_its_side() -> None:
    """20 where the median is 3; two asks are too few to say what is usual."""
    (wall,) = bookstats.walls(BIDS, ASKS, Decimal(5))
    assert (wall.side, wall.price, wall.distance_bps) == ("bid", 97, 300)
    assert bookstats.walls(BIDS, ASKS, Decimal(7)) == []


def test_usual_size_is_a_tenth_of_the_thinner_side() -> None:
    """Of 2; nothing where a side is empty."""
    assert bookstats.usual_size(BIDS, ASKS) == Decimal("0.2")
    assert bookstats.usual_size(BIDS, ()) == 0
