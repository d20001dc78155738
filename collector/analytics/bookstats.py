"""What an order book would do: its depth curve, the cost of a market order, imbalance at n levels, walls.

Sides are best level first, without levels of size 0. Distances are in basis points of the mid.
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal, localcontext
from statistics import median

from msgspec import Struct

from collector.analytics.exact import EXACT, RATIO, ZERO, ratio
from collector.model import Level, Side

BPS = 10_000
#: Levels a side must have before one of them can stand out.
WALL_LEVELS_MIN = 3

#: Levels of one side, best first.
Levels = Sequence[Level]


class DepthPoint(Struct, frozen=True):
    """What could be traded up to `price`: base and quote volume."""

    price: Decimal
    distance_bps: Decimal | None
    base_volume: Decimal
    quote_volume: Decimal


class DepthCurve(Struct, frozen=True):
    """The curves of both sides, best level first; without a mid there are no distances."""

    mid: Decimal | None
    bids: list[DepthPoint]
    asks: list[DepthPoint]


class Fill(Struct, frozen=True):
    """What a market order would get. Prices are None where it would get nothing."""

    side: Side
    filled: Decimal
    unfilled: Decimal
    quote_volume: Decimal
    levels: int
    average_price: Decimal | None
    worst_price: Decimal | None
    slippage: Decimal | None
    slippage_bps: Decimal | None


class Slippage(Struct, frozen=True):
    """What a market order of `size` (base currency) would get on either side."""

    size: Decimal
    mid: Decimal | None
    orders: list[Fill]


class LevelImbalance(Struct, frozen=True):
    """Size of the best `levels` of both sides, and their imbalance from -1 (all asks) to 1 (all bids)."""

    levels: int
    imbalance: Decimal | None
    bid_depth: Decimal
    ask_depth: Decimal


class Wall(Struct, frozen=True):
    """A level far larger than is usual on its side of the book. `side` is `bid` or `ask`."""

    side: str
    price: Decimal
    size: Decimal
    relative_size: Decimal
    distance_bps: Decimal | None


def mid_price(bids: Levels, asks: Levels) -> Decimal | None:
    """Return the middle of the best prices, None where a side is empty."""
    if not bids or not asks:
        return None
    with localcontext(EXACT):
        return (bids[0][0] + asks[0][0]) / 2


def depth_curve(bids: Levels, asks: Levels, levels: int) -> DepthCurve:
    """Return how much could be traded up to each of the best `levels` prices.

    Formula: sums of size and of price * size from the best level on; distance_bps = |price - mid| / mid *
        10000.
    Source: the supply and demand curves of a book; R. Næs and J. Skjeltorp, "Order book characteristics and
        the volume-volatility relation", Journal of Financial Markets 9 (2006) 408-432.
    """
    mid = mid_price(bids, asks)
    return DepthCurve(mid, list(_curve(bids[:levels], mid)), list(_curve(asks[:levels], mid)))


def slippage(bids: Levels, asks: Levels, size: Decimal) -> Slippage:
    """Return what a market order to buy and one to sell `size` would cost against the mid.

    Formula: the order takes levels from the best on. slippage = average price - mid to buy, mid - average
        price to sell; slippage_bps = slippage / mid * 10000. What the visible book cannot fill is `unfilled`
        and has no price.
    Source: A. Perold, "The Implementation Shortfall", Journal of Portfolio Management 14 (1988) 4-9.
    """
    mid = mid_price(bids, asks)
    orders = [_fill(Side.BUY, asks, size, mid), _fill(Side.SELL, bids, size, mid)]
    return Slippage(size, mid, orders)


def usual_size(bids: Levels, asks: Levels) -> Decimal:
    """Return a tenth of what the thinner side holds: a size for `slippage` where none is asked for."""
    with localcontext(EXACT):
        return min(_depth(bids), _depth(asks)) / 10


def book_imbalance(bids: Levels, asks: Levels, levels: int) -> list[LevelImbalance]:
    """Return the imbalance of the best 1, 2 … `levels` levels, as far as the deeper side goes.

    Formula: (bid size - ask size) / (bid size + ask size), sizes summed over the best n levels.
    Source: R. Cont, A. Kukanov and S. Stoikov, "The Price Impact of Order Book Events", Journal of Financial
        Econometrics 12 (2014) 47-88; M. Gould and J. Bonart, "Queue Imbalance as a One-Tick-Ahead Price
        Predictor in a Limit Order Book", Market Microstructure and Liquidity 2 (2016).
    """
    deepest = min(levels, max(len(bids), len(asks)))
    return [_imbalance(bids[:count], asks[:count]) for count in range(1, deepest + 1)]


def walls(bids: Levels, asks: Levels, times: Decimal) -> list[Wall]:
    """Return the levels of at least `times` the median size of their side, nearest to the mid first.

    Formula: relative size = size / median size of the visible levels of the side; a side of fewer than three
        levels has no walls.
    Source: our own definition of the traders' word; the median is not moved by the walls themselves.
    """
    mid = mid_price(bids, asks)
    found = [*_walls("bid", bids, times, mid), *_walls("ask", asks, times, mid)]
    return sorted(found, key=lambda wall: (wall.distance_bps is None, wall.distance_bps or ZERO))


def _curve(side: Levels, mid: Decimal | None) -> Iterator[DepthPoint]:
    base = quote = ZERO
    for price, size in side:
        base, quote = EXACT.add(base, size), EXACT.fma(price, size, quote)
        yield DepthPoint(price, _distance_bps(price, mid), base, quote)


def _distance_bps(price: Decimal, mid: Decimal | None) -> Decimal | None:
    return None if mid is None else ratio(EXACT.multiply(abs(EXACT.subtract(price, mid)), Decimal(BPS)), mid)


def _fill(side: Side, levels: Levels, size: Decimal, mid: Decimal | None) -> Fill:
    left, quote, worst, used = size, ZERO, None, 0
    for price, offered in levels:
        if not left:
            break
        part = min(left, offered)
        left, quote = EXACT.subtract(left, part), EXACT.fma(price, part, quote)
        worst, used = price, used + 1
    filled = EXACT.subtract(size, left)
    cost = cost_bps = None
    if mid is not None:
        with localcontext(EXACT):  # the cost of the whole order: quotients round once, at the end
            whole = (quote - mid * filled) if side is Side.BUY else (mid * filled - quote)
            cost, cost_bps = ratio(whole, filled), ratio(whole * BPS, mid * filled)
    return Fill(side, filled, left, quote, used, ratio(quote, filled), worst, cost, cost_bps)


def _depth(side: Levels) -> Decimal:
    with localcontext(EXACT):
        return sum((size for _, size in side), ZERO)


def _imbalance(bids: Levels, asks: Levels) -> LevelImbalance:
    bid, ask = _depth(bids), _depth(asks)
    share = ratio(EXACT.subtract(bid, ask), EXACT.add(bid, ask))
    return LevelImbalance(max(len(bids), len(asks)), share, bid, ask)


def _walls(name: str, side: Levels, times: Decimal, mid: Decimal | None) -> Iterator[Wall]:
    if len(side) < WALL_LEVELS_MIN:
        return
    with localcontext(EXACT):
        usual = median(size for _, size in side)
        far = [(price, size) for price, size in side if size >= usual * times]
    for price, size in far:
        yield Wall(name, price, size, RATIO.divide(size, usual), _distance_bps(price, mid))
