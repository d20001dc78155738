"""The functions of the public face. Each opens a connection to Redis, reads, and closes it.

Every function raises:
    NoData: the market was never seen; the message names markets that may have been meant.
    ConfigurationError: an argument means nothing; the message says what to write.
    BrokerUnavailable: Redis does not answer.
"""

from collections.abc import Iterable
from typing import Any

from bithumb_collector.moments import Moment, epoch_ms
from bithumb_collector.result import Result, Shape
from collector.archive.schema import Kind
from collector.clock import SystemClock
from collector.settings import current
from collector.store.read import Book, Candle, Change, GapRow, Reader, TickerRow, TradeRow, Volume

_VOLUMES = {
    "base_volume": Kind.VOLUME,
    "quote_volume": Kind.TURNOVER,
    "buy_volume": Kind.VOLUME,
    "sell_volume": Kind.VOLUME,
}
_OHLC = dict.fromkeys(("open", "high", "low", "close"), Kind.PRICE)

CANDLES = Shape(
    Candle,
    (
        *("open_time", *_OHLC, *_VOLUMES),
        *("vwap", "trade_count", "complete", "verified", "market", "interval"),
    ),
    decimals={**_OHLC, **_VOLUMES, "vwap": Kind.RATIO},
    times=("open_time",),
)
TRADES = Shape(
    TradeRow,
    ("exchange_ms", "price", "volume", "side", "id", "market", "received_ms"),
    decimals={"price": Kind.PRICE, "volume": Kind.VOLUME},
    times=("exchange_ms", "received_ms"),
)
TICKERS = Shape(
    TickerRow,
    TickerRow.__struct_fields__,
    decimals={
        **dict.fromkeys(("price", "change_price", "prev_closing_price", "open", "high", "low"), Kind.PRICE),
        "change_rate": Kind.RATE,
        "base_volume_24h": Kind.VOLUME,
        "quote_volume_24h": Kind.TURNOVER,
    },
)
VOLUMES = Shape(Volume, Volume.__struct_fields__, decimals={**_VOLUMES, "vwap": Kind.RATIO})
CHANGES = Shape(
    Change,
    Change.__struct_fields__,
    decimals={"change_rate": Kind.RATIO, "from_price": Kind.PRICE, "to_price": Kind.PRICE},
)
GAPS = Shape(
    GapRow,
    ("from_ms", "to_ms", "market", "channel", "reason", "recovered"),
    times=("from_ms", "to_ms"),
)


def markets() -> list[str]:
    """Return the codes of all markets there are data of, sorted: `["KRW-BTC", …]`."""
    with Reader() as reader:
        return reader.markets()


def candles(
    market: str,
    interval: str = "1m",
    start: Moment | None = None,
    end: Moment | None = None,
    limit: int | None = None,
) -> Result[Candle]:
    """Return the candles of a market that open from `start` to `end`, oldest first.

    Source: the trades this system counted, each exactly once. Units: prices and `quote_volume` (turnover) in
    the quote currency, `base_volume`, `buy_volume` and `sell_volume` (taker's side) in the base currency.
    Intervals are aligned to midnight in Korea. `complete` is false where trades may be missing; `verified`
    is whether the exchange's own candles agree, None where that was not compared yet. A minute in which
    nothing was traded has no candle.

    Args:
        interval: 1m 3m 5m 15m 30m 1h 4h 1d.
        start: the first moment: epoch ms, `datetime`, or text (`2026-11-30 09:00`, `yesterday`, `-2h`).
        end: the last moment, likewise; included.
        limit: the newest so many.
    """
    first_ms, last_ms = _stretch(start, end)
    with Reader() as reader:
        return _result(reader.candles(market, interval, first_ms, last_ms, limit), CANDLES)


def trades(
    market: str, start: Moment | None = None, end: Moment | None = None, limit: int | None = None
) -> Result[TradeRow]:
    """Return the executions of a market from `start` to `end` that Redis still keeps, oldest first.

    Order: that of the exchange. `side` is the taker's, `"buy"` or `"sell"`; `price` is in the quote currency,
    `volume` in the base currency. Older trades are in the archive: `collector query`, `tasks.frames`.

    Args:
        start: the first moment, as of `candles`.
        end: the last moment, as of `candles`.
        limit: the newest so many.
    """
    first_ms, last_ms = _stretch(start, end)
    with Reader() as reader:
        return _result(reader.trades(market, first_ms, last_ms, limit), TRADES)


def ticker(market: str) -> TickerRow:
    """Return the newest ticker of a market; `change_rate` is a signed ratio, 0.0117 is 1.17 %."""
    with Reader() as reader:
        return reader.ticker(market)


def tickers(markets: Iterable[str] | str | None = None) -> Result[TickerRow]:
    """Return the newest tickers: of all markets, or of names and patterns such as `btc,eth` or `KRW-*`."""
    with Reader() as reader:
        return _result(reader.tickers(markets), TICKERS)


def orderbook(market: str) -> Book:
    """Return the newest order book of a market, best level first, with its measures.

    Shape: `bids` and `asks` are tuples of (price, size), at most 15; `spread` and `mid` in the quote
    currency, `spread_bps` in basis points of the mid, `imbalance` from -1 (all asks) to 1 (all bids).
    """
    with Reader() as reader:
        return reader.book(market)


def volume(market: str) -> Result[Volume]:
    """Return what was traded in the last 1m, 5m, 15m, 1h and 24h, by side, with the VWAP."""
    with Reader() as reader:
        return _result(reader.volume(market), VOLUMES)


def changes(market: str) -> Result[Change]:
    """Return the change of price over 1m, 5m, 15m, 1h, 24h and since the previous close, as signed ratios."""
    with Reader() as reader:
        return _result(reader.changes(market), CHANGES)


def gaps(market: str | None = None) -> Result[GapRow]:
    """Return the stretches in which data of a market, or of all, may be missing, recovered ones included."""
    with Reader() as reader:
        return _result(reader.gaps(market), GAPS)


def analyze(name: str, *arguments: str, timeout_s: float = 10, **named: object) -> dict[str, Any]:
    """Return the answer of an analysis that a worker computes, for instance `analyze("vwap", "btc", "15m")`.

    `collector analyze --list` names them all; docs/analyses.md has formulas, units and sources.

    Raises:
        PipelineError: no worker answered within `timeout_s` seconds.
    """
    from collector.broker.ask import ask  # Celery, for those who ask workers

    return ask(name, *arguments, timeout_s=timeout_s, **named)


def _stretch(start: Moment | None, end: Moment | None) -> tuple[int | None, int | None]:
    settings, now_ms = current(), SystemClock().now_ms()
    return (
        epoch_ms(start, "start", settings, now_ms, ends=False),
        epoch_ms(end, "end", settings, now_ms, ends=True),
    )


def _result(rows: list[Any], shape: Shape) -> Result[Any]:
    return Result(rows, shape, current().zone)
