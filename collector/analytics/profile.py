"""Where it was traded: average prices and the volume by price."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, localcontext

from msgspec import Struct

from collector.analytics.candles import Minute, total
from collector.analytics.exact import EXACT, ZERO, ratio
from collector.analytics.traded import Traded, sums
from collector.errors import ConfigurationError

#: Rows of a profile anyone may ask for.
ROWS_MAX = 1000
#: Rows the value area grows by at a time.
STRIDE = 2


class ProfileRow(Struct, frozen=True):
    """What was traded at `from_price` or above, below `to_price`."""

    from_price: Decimal
    to_price: Decimal
    base_volume: Decimal
    buy_volume: Decimal
    sell_volume: Decimal
    value_area: bool


class Profile(Struct, frozen=True):
    """Volume by price, lowest first; point of control and value area are given by the edges of their rows."""

    step: Decimal
    point_of_control_from: Decimal
    point_of_control_to: Decimal
    value_area_from: Decimal
    value_area_to: Decimal
    value_area_share: Decimal | None
    base_volume: Decimal
    rows: list[ProfileRow]


def vwap(minutes: Iterable[Minute]) -> Decimal | None:
    """Return the volume-weighted average price.

    Formula: quote volume / base volume.
    Source: S. Berkowitz, D. Logue and E. Noser, "The Total Cost of Transactions on the NYSE", Journal of
        Finance 43 (1988) 97-112.
    """
    quote, buy, sell, _ = total(minutes)
    return ratio(quote, EXACT.add(buy, sell))


def twap(minutes: Mapping[int, Minute], opens: Iterable[int], before: Decimal | None) -> Decimal | None:
    """Return the time-weighted average price.

    Formula: the mean of the closes at the end of every minute. A minute without a trade keeps the last
        price; minutes before the first known price have none.
    Source: the usual benchmark of time-sliced execution; R. Almgren and N. Chriss, "Optimal Execution of
        Portfolio Transactions", Journal of Risk 3 (2001) 5-39 (their minimum-impact schedule).

    Args:
        minutes: candles by open, epoch ms.
        opens: opens of the minutes of the window, oldest first.
        before: the price as the window began, if known.
    """
    prices = closes(minutes, opens, before)
    known = [price for price in prices if price is not None]
    with localcontext(EXACT):
        summed = sum(known, ZERO)
    return ratio(summed, Decimal(len(known)))


def closes(
    minutes: Mapping[int, Minute], opens: Iterable[int], before: Decimal | None
) -> list[Decimal | None]:
    """Return the price at the end of each minute: the last one known, None as long as there is none."""
    price, prices = before, []
    for open_ms in opens:
        if open_ms in minutes:
            price = minutes[open_ms].last.price
        prices.append(price)
    return prices


def volume_profile(
    trades: Sequence[Traded], rows: int, share: Decimal, step: Decimal | None = None
) -> Profile:
    """Return the volume by price of `trades`, of which there is at least one.

    Formula: rows of `step` from the lowest to the highest price, edges at multiples of the step; without one
        the smallest 1, 2 or 5 times a power of ten that makes at most `rows`. The point of control is the
        row with most volume, of equals the one nearest to the middle, then the lower. The value area grows
        from it, each time by the two rows above or the two below, whichever hold more (of equals those
        above), until it holds `share` of the volume.
    Source: J. P. Steidlmayer's Market Profile; CBOT Market Profile, a guide (1991), part "value area".

    Raises:
        ConfigurationError: `step` makes more than `ROWS_MAX` rows.
    """
    prices = [trade.price for trade in trades]
    low, high = min(prices), max(prices)
    step = step or round_step(low, high, rows)
    groups = _rows(trades, low, high, step)
    volumes = [EXACT.add(buy, sell) for buy, sell in groups]
    control = _control(volumes)
    first, last = _value_area(volumes, control, share)
    with localcontext(EXACT):
        base = low // step * step
        edges = [base + step * number for number in range(len(groups) + 1)]
        inside, whole = sum(volumes[first : last + 1], ZERO), sum(volumes, ZERO)
    return Profile(
        step=step,
        point_of_control_from=edges[control],
        point_of_control_to=edges[control + 1],
        value_area_from=edges[first],
        value_area_to=edges[last + 1],
        value_area_share=ratio(inside, whole),
        base_volume=whole,
        rows=[
            ProfileRow(edges[n], edges[n + 1], volumes[n], buy, sell, first <= n <= last)
            for n, (buy, sell) in enumerate(groups)
        ],
    )


def round_step(low: Decimal, high: Decimal, rows: int) -> Decimal:
    """Return the smallest 1, 2 or 5 times a power of ten that cuts `low … high` into at most `rows` rows."""
    with localcontext(EXACT):
        if low == high:
            return Decimal((0, (1,), int(low.normalize().as_tuple().exponent)))
        power = Decimal(1).scaleb(((high - low) / 1).adjusted() - len(str(rows)) - 1)
        while True:
            for digit in (1, 2, 5):
                if _row_count(low, high, power * digit) <= rows:
                    return power * digit
            power *= 10


def _row_count(low: Decimal, high: Decimal, step: Decimal) -> int:
    return int(high // step) - int(low // step) + 1


def _rows(
    trades: Iterable[Traded], low: Decimal, high: Decimal, step: Decimal
) -> list[tuple[Decimal, Decimal]]:
    """Return buy and sell volume of each row."""
    with localcontext(EXACT):
        count = _row_count(low, high, step)
        if count > ROWS_MAX:
            raise ConfigurationError(f"step {step:f} makes {count} rows of prices: at most {ROWS_MAX}")
        members: list[list[Traded]] = [[] for _ in range(count)]
        for trade in trades:
            members[int(trade.price // step) - int(low // step)].append(trade)
    return [sums(group)[1:] for group in members]


def _control(volumes: Sequence[Decimal]) -> int:
    off_middle = [abs(2 * number - (len(volumes) - 1)) for number in range(len(volumes))]
    return min(range(len(volumes)), key=lambda number: (-volumes[number], off_middle[number], number))


def _value_area(volumes: Sequence[Decimal], control: int, share: Decimal) -> tuple[int, int]:
    """Return the first and the last row of the value area."""
    first = last = control
    with localcontext(EXACT):
        wanted = sum(volumes, ZERO) * share
        while sum(volumes[first : last + 1], ZERO) < wanted:
            above = volumes[last + 1 : last + 1 + STRIDE]
            below = volumes[max(0, first - STRIDE) : first]
            if above and (not below or sum(above) >= sum(below)):
                last += len(above)
            else:
                first -= len(below)
    return first, last
