"""How much prices move, and how much they move together.

Logarithms and roots have no exact decimal: everything here runs in the 28-digit context `RATIO`.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal, localcontext
from itertools import pairwise

from msgspec import Struct

from collector.analytics.exact import RATIO, ZERO

#: The market never closes: 365 days of 1440 minutes.
MINUTES_PER_YEAR = 525_600
#: Two points always lie on a line.
CORRELATED_MIN = 3

#: Prices minute by minute, None where none is known yet.
Prices = Sequence[Decimal | None]


class Volatility(Struct, frozen=True):
    """Volatility as a ratio (0.01 = 1 %); None where there are no two prices."""

    realised_variance: Decimal | None
    realised_volatility: Decimal | None
    annualised_volatility: Decimal | None
    return_count: int


class Correlation(Struct, frozen=True):
    """How two markets move together, from -1 to 1; None where one did not move or there is too little."""

    market: str
    other: str
    correlation: Decimal | None
    return_count: int


def log_returns(prices: Prices) -> list[Decimal | None]:
    """Return the logarithm of each price by the one before; None where either is unknown or not positive."""
    return [
        RATIO.ln(RATIO.divide(new, old)) if old and new and old > 0 and new > 0 else None
        for old, new in pairwise(prices)
    ]


def realised_volatility(prices: Prices) -> Volatility:
    """Return the realised volatility of prices at the ends of consecutive minutes.

    Formula: r = ln(close / close before) for each minute, 0 where none was traded; variance = sum of r²;
        volatility = sqrt(variance), of the whole window; annualised = sqrt(variance * 525600 / number of r).
    Source: T. Andersen, T. Bollerslev, F. Diebold and P. Labys, "Modeling and Forecasting Realized
        Volatility", Econometrica 71 (2003) 579-625.
    """
    returns = [value for value in log_returns(prices) if value is not None]
    if not returns:
        return Volatility(None, None, None, 0)
    with localcontext(RATIO):
        variance = sum((value * value for value in returns), ZERO)
        annual = (variance * MINUTES_PER_YEAR / len(returns)).sqrt()
        return Volatility(variance, variance.sqrt(), annual, len(returns))


def correlation(prices: Mapping[str, Prices], pairs: Sequence[tuple[str, str]]) -> list[Correlation]:
    """Return the correlation of each of `pairs` of markets, by their prices in the same minutes.

    Formula: Pearson's r of the two markets' log returns over the minutes in which both have one,
        sum of (x - x̄)(y - ȳ) / sqrt(sum of (x - x̄)² * sum of (y - ȳ)²); a minute without a trade has the
        return 0. Markets that trade less than once a minute look less correlated than they are.
    Source: K. Pearson, Proceedings of the Royal Society 58 (1895) 240-242; the bias of short intervals:
        T. Epps, "Comovements in Stock Prices in the Very Short Run", JASA 74 (1979) 291-298.
    """
    returns = {market: log_returns(series) for market, series in prices.items()}
    return [_correlation(market, other, returns) for market, other in pairs]


def _correlation(market: str, other: str, returns: Mapping[str, Sequence[Decimal | None]]) -> Correlation:
    both = [
        (x, y)
        for x, y in zip(returns[market], returns[other], strict=True)
        if x is not None and y is not None
    ]
    coefficient = _pearson(both) if len(both) >= CORRELATED_MIN else None
    return Correlation(market, other, coefficient, len(both))


def _pearson(points: Sequence[tuple[Decimal, Decimal]]) -> Decimal | None:
    with localcontext(RATIO):
        mean_x, mean_y = (sum(column, ZERO) / len(points) for column in zip(*points, strict=True))
        xx = xy = yy = ZERO
        for x, y in points:
            dx, dy = x - mean_x, y - mean_y
            xx, xy, yy = xx + dx * dx, xy + dx * dy, yy + dy * dy
        return max(Decimal(-1), min(Decimal(1), xy / (xx * yy).sqrt())) if xx and yy else None
