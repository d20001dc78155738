"""Who pushes: imbalance of the takers, VPIN, and trades that stand out.

Every function takes values and returns values; a share of nothing is None.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal, localcontext
from statistics import median

from msgspec import Struct

from collector.analytics.candles import Minute, total
from collector.analytics.exact import EXACT, RATIO, ZERO, ratio
from collector.analytics.traded import PricedT, Traded
from collector.model import Side

#: Scales the median absolute deviation to the standard deviation of a normal distribution.
MAD_TO_SIGMA = Decimal("0.6745")
LARGE_Z = Decimal("3.5")


class Vpin(Struct, frozen=True):
    """`vpin` runs from 0 (every bucket balanced) to 1 (every bucket one-sided); None without volume."""

    vpin: Decimal | None
    buckets: int
    bucket_volume: Decimal | None
    trade_count: int


def imbalance(minutes: Iterable[Minute]) -> Decimal | None:
    """Return the order-flow imbalance, from -1 (all sell) to 1 (all buy).

    Formula: (buy - sell) / (buy + sell), volumes of the takers in the base currency.
    Source: T. Chordia, R. Roll and A. Subrahmanyam, "Order imbalance, liquidity, and market returns",
        Journal of Financial Economics 65 (2002) 111-130.
    """
    _, buy, sell, _ = total(minutes)
    return ratio(EXACT.subtract(buy, sell), EXACT.add(buy, sell))


def vpin(trades: Sequence[Traded], buckets: int) -> Vpin:
    """Return the volume-synchronised probability of informed trading.

    The taker's side is known, so volume need not be classified by price moves as in the paper.

    Formula: trades, in order, fill n buckets of equal volume V; a trade that does not fit is split.
        VPIN = sum of |buy - sell| over the buckets / (n V). Meaningful with several trades a bucket: fewer
        make every bucket one-sided.
    Source: D. Easley, M. López de Prado and M. O'Hara, "Flow Toxicity and Liquidity in a High-Frequency
        World", Review of Financial Studies 25 (2012) 1457-1493.
    """
    with localcontext(EXACT):
        volume = sum((trade.volume for trade in trades), ZERO)
        # In units of 1/n of the base currency a bucket holds exactly the volume of all trades.
        unbalanced = sum(map(abs, _imbalances(trades, volume, buckets)), ZERO)
        whole = volume * buckets
    return Vpin(ratio(unbalanced, whole), buckets, ratio(volume, Decimal(buckets)), len(trades))


def large_trades(
    trades: Sequence[PricedT], limit_z: Decimal = LARGE_Z
) -> list[tuple[PricedT, Decimal, Decimal | None]]:
    """Return the trades whose value stands out, each with its value and robust z-score, in the order given.

    Unlike mean and deviation, median and MAD are not moved by the very trades that are looked for. Where
    more than half of the values are equal the MAD is 0 and the score is None; then whatever is above the
    median by the factor 1 + `limit_z` stands out.

    Formula: z = 0.6745 (value - median) / MAD, the MAD being the median of |value - median|; large is
        z > `limit_z`.
    Source: B. Iglewicz and D. Hoaglin, "How to Detect and Handle Outliers" (1993), who propose 3.5.
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


def _imbalances(trades: Iterable[Traded], bucket: Decimal, scale: int) -> Iterable[Decimal]:
    """Yield buy minus sell volume of each bucket, volumes being counted `scale`-fold."""
    net, room = ZERO, bucket
    for trade in trades:
        left = trade.volume * scale
        while left:
            part = min(left, room)
            net += part if trade.side is Side.BUY else -part
            left, room = left - part, room - part
            if not room:
                yield net
                net, room = ZERO, bucket


def _robust_z(value: Decimal, centre: Decimal, deviation: Decimal) -> Decimal:
    return RATIO.divide(RATIO.multiply(MAD_TO_SIGMA, EXACT.subtract(value, centre)), deviation)
