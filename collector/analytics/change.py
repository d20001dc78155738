"""Change rates: the newest price against the price a window ago, and against yesterday's close."""

from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple

from msgspec import Struct

from collector.analytics.candles import Minute
from collector.analytics.completeness import ALL_KNOWN, Known
from collector.analytics.exact import EXACT, ratio
from collector.analytics.windows import WINDOWS, window_start_ms
from collector.model import Ticker

PREV_CLOSE = "prev_close"


class Change(Struct, frozen=True):
    """`change_rate` is the signed ratio (to - from) / from; None where a price is unknown.

    Attributes:
        since_ms: where our data begin, epoch ms, if the window begins before them.
        complete: false where a price is unknown, or trades since the first of them may be missing.
    """

    market: str
    window: str
    change_rate: Decimal | None
    from_price: Decimal | None
    to_price: Decimal | None
    since_ms: int | None = None
    complete: bool = True


class End(NamedTuple):
    """A price, and since when it may have been another: the open of the minute that ended with it."""

    price: Decimal
    open_ms: int


def change(
    market: str,
    window: str,
    start: End | None,
    end: End | None,
    start_ms: int,
    known: Known = ALL_KNOWN,
) -> Change:
    """Compare the price as a window began, `start`, with the newest, `end`.

    Formula: (newest price - price as the window began) / price as the window began, the latter being the
        close of the newest candle before the window.
    Source: the exchange's own `signed_change_rate`, with the window's start for the previous close.
    """
    is_complete = start is not None and end is not None and known.is_complete(min(start.open_ms, start_ms))
    return Change(
        market=market,
        window=window,
        change_rate=_rate(start.price if start else None, end.price if end else None),
        from_price=start.price if start else None,
        to_price=end.price if end else None,
        since_ms=known.since_ms(start_ms),
        complete=is_complete,
    )


def end_before(minutes: Mapping[int, Minute], time_ms: int) -> End | None:
    """Return the close of the newest candle that opened before `time_ms`, None where there is none."""
    newest = max((open_ms for open_ms in minutes if open_ms < time_ms), default=None)
    return None if newest is None else End(minutes[newest].last.price, newest)


def changes(
    market: str,
    minutes: Mapping[int, Minute],
    ticker: Ticker | None,
    as_of_ms: int,
    known: Known = ALL_KNOWN,
) -> list[Change]:
    """Return the change of every standard window, and against the previous close where there is a ticker.

    A window's `from_price` is the close of the newest candle before it: the price as the window began.
    """
    end = end_before(minutes, as_of_ms + 1)
    rows = []
    for window, length in WINDOWS.items():
        start_ms = window_start_ms(as_of_ms, length)
        rows.append(change(market, window, end_before(minutes, start_ms), end, start_ms, known))
    return [*rows, _against_close(market, ticker, end, known)]


def _against_close(market: str, ticker: Ticker | None, end: End | None, known: Known) -> Change:
    """Return the exchange's own figures, which are incomplete only where a newer ticker may be missing."""
    if ticker is None:
        return Change(market, PREV_CLOSE, None, None, end.price if end else None, complete=False)
    before = ticker.prev_closing_price
    is_newest = not known.losses.touch(ticker.exchange_ms)
    rate = _rate(before, ticker.price)
    return Change(market, PREV_CLOSE, rate, before, ticker.price, complete=is_newest and before is not None)


def _rate(start: Decimal | None, end: Decimal | None) -> Decimal | None:
    return None if start is None or end is None else ratio(EXACT.subtract(end, start), start)
