"""What a window of trades says beyond its sums: VWAP, TWAP, imbalance, trades that stand out.

Every function takes values and returns values; a mean of nothing is None.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, localcontext
from statistics import median
from typing import Protocol, TypeVar

from tasks.enrich.candles import Minute, total
from tasks.enrich.exact import EXACT, RATIO, ZERO, ratio


class Priced(Protocol):
    """Anything with a price and a volume."""

    @property
    def price(self) -> Decimal: ...

    @property
    def volume(self) -> Decimal: ...


T = TypeVar("T", bound=Priced)

#: Scales the median absolute deviation to the standard deviation of a normal distribution
#: (Iglewicz and Hoaglin 1993, who also propose 3.5 as the limit).
MAD_TO_SIGMA = Decimal("0.6745")
LARGE_Z = Decimal("3.5")


def vwap(minutes: Iterable[Minute]) -> Decimal | None:
    """Return the volume-weighted average price: quote volume by base volume."""
    quote, buy, sell, _ = total(minutes)
    return ratio(quote, EXACT.add(buy, sell))


def twap(minutes: Mapping[int, Minute], opens: Iterable[int], before: Decimal | None) -> Decimal | None:
    """Return the time-weighted average price: the mean of the closes at the end of every minute.

    A minute without a trade keeps the last price; minutes before the first known price have none.

    Args:
        minutes: candles by open, epoch ms.
        opens: opens of the minutes of the window, oldest first.
        before: the price as the window began, if known.
    """
    price, prices = before, []
    for open_ms in opens:
        if open_ms in minutes:
            price = minutes[open_ms].last.price
        if price is not None:
            prices.append(price)
    with localcontext(EXACT):
        summed = sum(prices, ZERO)
    return ratio(summed, Decimal(len(prices)))


def imbalance(minutes: Iterable[Minute]) -> Decimal | None:
    """Return (buy - sell) / (buy + sell) volume of the takers, from -1 (all sell) to 1 (all buy)."""
    _, buy, sell, _ = total(minutes)
    return ratio(EXACT.subtract(buy, sell), EXACT.add(buy, sell))


def large_trades(trades: Sequence[T], limit_z: Decimal = LARGE_Z) -> list[tuple[T, Decimal, Decimal | None]]:
    """Return the trades whose value stands out, each with its value and robust z-score, in the order given.

    The score is 0.6745 * (value - median) / MAD: unlike mean and deviation, median and MAD are not moved by
    the very trades that are looked for. Where more than half of the values are equal the MAD is 0 and the
    score is None; then whatever is above the median by the factor 1 + `limit_z` stands out.
    """
    if not trades:
        return []
    with localcontext(EXACT):
        values = [trade.price * trade.volume for trade in trades]
        centre = median(values)
        deviation = median(abs(value - centre) for value in values)
        ceiling = centre * (1 + limit_z)
    scored = zip(trades, values, strict=True)
    if not deviation:
        return [(trade, value, None) for trade, value in scored if value > ceiling]
    scores = ((trade, value, _robust_z(value, centre, deviation)) for trade, value in scored)
    return [(trade, value, score) for trade, value, score in scores if score > limit_z]


def _robust_z(value: Decimal, centre: Decimal, deviation: Decimal) -> Decimal:
    return RATIO.divide(RATIO.multiply(MAD_TO_SIGMA, EXACT.subtract(value, centre)), deviation)
