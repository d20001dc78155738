"""Change rates: the newest price against the price a window ago, and against yesterday's close."""

from collections.abc import Mapping
from decimal import Decimal

from msgspec import Struct

from collector.analytics.candles import Minute
from collector.analytics.exact import EXACT, ratio
from collector.analytics.windows import WINDOWS, window_start_ms
from collector.model import Ticker

PREV_CLOSE = "prev_close"


class Change(Struct, frozen=True):
    """`change_rate` is the signed ratio (to - from) / from; None where a price is unknown."""

    market: str
    window: str
    change_rate: Decimal | None
    from_price: Decimal | None
    to_price: Decimal | None


def change(market: str, window: str, from_price: Decimal | None, to_price: Decimal | None) -> Change:
    """Compare two prices.

    Formula: (newest price - price as the window began) / price as the window began, the latter being the
        close of the newest candle before the window.
    Source: the exchange's own `signed_change_rate`, with the window's start for the previous close.
    """
    rate = None
    if from_price is not None and to_price is not None:
        rate = ratio(EXACT.subtract(to_price, from_price), from_price)
    return Change(market, window, rate, from_price, to_price)


def close_before(minutes: Mapping[int, Minute], time_ms: int) -> Decimal | None:
    """Return the close of the newest candle that opened before `time_ms`, None where there is none."""
    newest = max((open_ms for open_ms in minutes if open_ms < time_ms), default=None)
    return None if newest is None else minutes[newest].last.price


def changes(market: str, minutes: Mapping[int, Minute], ticker: Ticker | None, as_of_ms: int) -> list[Change]:
    """Return the change of every standard window, and against the previous close where there is a ticker.

    A window's `from_price` is the close of the newest candle before it: the price as the window began.
    """
    to_price = close_before(minutes, as_of_ms + 1)
    rows = [
        change(market, window, close_before(minutes, window_start_ms(as_of_ms, length)), to_price)
        for window, length in WINDOWS.items()
    ]
    if ticker:
        rows.append(change(market, PREV_CLOSE, ticker.prev_closing_price, ticker.price))
    else:
        rows.append(change(market, PREV_CLOSE, None, to_price))
    return rows
