"""The functions of `bithumb_collector`. Each opens a connection to Redis, reads, and closes it.

Source: what the workers stored of the exchange's WebSocket streams, and of its REST API after a gap.
A market is a code or another spelling of it: `KRW-BTC`, `btc`, `BTC/KRW`.

All functions can raise these errors:

- `NoData`: the market is unknown; the message suggests similar markets.
- `ConfigurationError`: an argument or a setting is invalid; the message contains the remedy.
- `BrokerUnavailable`: Redis does not answer.
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
    """Return the codes of all markets with stored data, sorted: `["KRW-BTC", …]`."""
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

    Shape: a sequence of `Candle`, one per interval. A minute without trades has no candle.

    Units: prices and `quote_volume` (turnover) in the quote currency; `base_volume`, `buy_volume` and
    `sell_volume` (by the taker's side) in the base currency; `open_time` with a time zone.

    Source: the stored trades, each counted exactly once. Intervals are aligned to midnight in Korea.
    `complete` is false where trades may be missing. `verified` is true where the exchange's own candles are
    equal, false where they differ, None where they have not been compared.

    Args:
        market: a code or another spelling: `KRW-BTC`, `btc`, `BTC/KRW`.
        interval: 1m 3m 5m 15m 30m 1h 4h 1d.
        start: the first open: epoch ms, `datetime`, or text (`2026-11-30 09:00`, `yesterday`, `-2h`).
        end: the last open, included; written like `start`.
        limit: number of newest candles.

    Raises:
        NoData: the market is unknown.
        ConfigurationError: no such interval, or not a time.
    """
    first_ms, last_ms = _stretch(start, end)
    with Reader() as reader:
        return _result(reader.candles(market, interval, first_ms, last_ms, limit), CANDLES)


def trades(
    market: str, start: Moment | None = None, end: Moment | None = None, limit: int | None = None
) -> Result[TradeRow]:
    """Return the trades of a market from `start` to `end`, oldest first.

    Shape: a sequence of `TradeRow` in the exchange's order.

    Units: `price` in the quote currency, `volume` in the base currency, `exchange_ms` and `received_ms` in
    epoch ms UTC. `side` is the taker's: `"buy"` or `"sell"`.

    Source: the sockets and backfills, as long as Redis keeps them (`COLLECTOR_STORE__TRADE_RETENTION_H`).
    Older trades are in the archive: `collector query`, `tasks.frames`.

    Args:
        market: as for `candles`.
        start: time of the first trade, as for `candles`.
        end: time of the last trade, as for `candles`.
        limit: number of newest trades.

    Raises:
        NoData: the market is unknown.
        ConfigurationError: not a time.
    """
    first_ms, last_ms = _stretch(start, end)
    with Reader() as reader:
        return _result(reader.trades(market, first_ms, last_ms, limit), TRADES)


def ticker(market: str) -> TickerRow:
    """Return the newest ticker of a market.

    Units: prices and `quote_volume_24h` in the quote currency, `base_volume_24h` in the base currency;
    `change_rate` is a signed ratio (0.0117 is 1.17 %). Source: the exchange; None is a value that it did not
    provide.

    Raises:
        NoData: the market is unknown, or has no ticker yet.
    """
    with Reader() as reader:
        return reader.ticker(market)


def tickers(markets: Iterable[str] | str | None = None) -> Result[TickerRow]:
    """Return the newest tickers of all markets, or of those in `markets`, one row per market.

    Args:
        markets: names, or one text such as `btc,eth` or `KRW-*`; None for all.

    Raises:
        NoData: a market is unknown, or a pattern matches none.
    """
    with Reader() as reader:
        return _result(reader.tickers(markets), TICKERS)


def orderbook(market: str) -> Book:
    """Return the newest order book of a market with its measures.

    Shape: `bids` and `asks` are tuples of (price, size), best level first, at most 15 each.

    Units: prices, `spread`, `mid` and `microprice` in the quote currency; sizes, `bid_depth` and `ask_depth`
    in the base currency; `spread_bps` in basis points of the mid; `imbalance` from -1 (all asks) to 1 (all
    bids).

    Raises:
        NoData: the market is unknown, or has no order book yet.
    """
    with Reader() as reader:
        return reader.book(market)


def volume(market: str) -> Result[Volume]:
    """Return the traded volume of the last 1m, 5m, 15m, 1h and 24h, by side, with the VWAP.

    Shape: one `Volume` per window; windows end at the newest event of any market. Units: `quote_volume` and
    `vwap` in the quote currency, other volumes in the base currency. `since_ms` is the beginning of the data
    where the window begins earlier.

    Raises:
        NoData: the market is unknown.
    """
    with Reader() as reader:
        return _result(reader.volume(market), VOLUMES)


def changes(market: str) -> Result[Change]:
    """Return the price change over 1m, 5m, 15m, 1h, 24h and since the previous close.

    Shape: one `Change` per window. `change_rate` is a signed ratio (0.0117 is 1.17 %).

    Raises:
        NoData: the market is unknown.
    """
    with Reader() as reader:
        return _result(reader.changes(market), CHANGES)


def gaps(market: str | None = None) -> Result[GapRow]:
    """Return the gaps of a market, or of all markets: intervals in which data may be missing.

    Shape: one `GapRow` per market, channel, start and reason, oldest first; recovered gaps are included, and
    so are outages in progress. `from_ms` and `to_ms` are epoch ms UTC.

    Raises:
        NoData: the market is unknown.
    """
    with Reader() as reader:
        return _result(reader.gaps(market), GAPS)


def analyze(name: str, *arguments: str, timeout_s: float = 10, **named: object) -> dict[str, Any]:
    """Return the result of an analysis that a worker computes, for instance `analyze("vwap", "btc", "15m")`.

    `collector analyze --list` lists the analyses; docs/analyses.md has their fields, formulas and sources.

    Args:
        name: the analysis.
        arguments: market and window, in the order of docs/analyses.md.
        timeout_s: longest wait for a worker.
        named: further parameters by name.

    Raises:
        NoData: the market is unknown, or there are no data for the window.
        ConfigurationError: no such analysis, or an invalid argument.
        PipelineError: no worker answered within `timeout_s` seconds.
    """
    from collector.broker.ask import ask  # loads Celery

    return ask(name, *arguments, timeout_s=timeout_s, **named)


def _stretch(start: Moment | None, end: Moment | None) -> tuple[int | None, int | None]:
    settings, now_ms = current(), SystemClock().now_ms()
    return (
        epoch_ms(start, "start", settings, now_ms, ends=False),
        epoch_ms(end, "end", settings, now_ms, ends=True),
    )


def _result(rows: list[Any], shape: Shape) -> Result[Any]:
    return Result(rows, shape, current().zone)
