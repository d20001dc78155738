"""Rolling volumes: what was traded in the last minute, hour, day."""

from collections.abc import Mapping
from decimal import Decimal

from msgspec import Struct

from collector.analytics.candles import Minute, total
from collector.analytics.completeness import ALL_KNOWN, Known
from collector.analytics.exact import EXACT, ratio
from collector.analytics.windows import WINDOWS, window_start_ms


class Volume(Struct, frozen=True):
    """What was traded in one window; `vwap` is None where nothing was.

    Attributes:
        since_ms: where our data begin, epoch ms, if the window begins before them.
        complete: false where trades of the window may be missing.
    """

    market: str
    window: str
    base_volume: Decimal
    quote_volume: Decimal
    buy_volume: Decimal
    sell_volume: Decimal
    vwap: Decimal | None
    trade_count: int
    since_ms: int | None
    complete: bool


def volume(
    market: str,
    minutes: Mapping[int, Minute],
    window: str,
    length: int,
    as_of_ms: int,
    known: Known = ALL_KNOWN,
) -> Volume:
    """Sum the `minutes` (by open, epoch ms) of the window of `length` minutes that ends at `as_of_ms`.

    Formula: base = sum of volume, quote = sum of price * volume, buy and sell = base by the taker's side.
    Source: the exchange's own fields of a candle and a ticker (docs/architecture.md).
    """
    start_ms = window_start_ms(as_of_ms, length)
    quote, buy, sell, count = total(
        minute for open_ms, minute in minutes.items() if start_ms <= open_ms <= as_of_ms
    )
    base = EXACT.add(buy, sell)
    return Volume(
        market=market,
        window=window,
        base_volume=base,
        quote_volume=quote,
        buy_volume=buy,
        sell_volume=sell,
        vwap=ratio(quote, base),
        trade_count=count,
        since_ms=known.since_ms(start_ms),
        complete=known.is_complete(start_ms),
    )


def volumes(
    market: str, minutes: Mapping[int, Minute], as_of_ms: int, known: Known = ALL_KNOWN
) -> list[Volume]:
    """Return the volume of every standard window."""
    return [volume(market, minutes, window, length, as_of_ms, known) for window, length in WINDOWS.items()]
