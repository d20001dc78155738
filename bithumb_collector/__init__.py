"""Bithumb market data in Python: the collector's results as rows or data frames.

    import bithumb_collector as bc

    bc.candles("btc", "5m", limit=12).pandas()
    bc.ticker("eth").price
    bc.analyze("vwap", "btc", "15m")

Results are read from the Redis of the settings (`REDIS_URL`, else the private server of `collector up` in
`COLLECTOR_DATA_DIR`). A market can be written as `btc`, `KRW-BTC` or `BTC/KRW`. Prices and volumes are exact
`Decimal` in rows; in frames they are floats unless `exact=True`. Times have a time zone.

Importing this package loads no Celery; only `analyze` does.
"""

from bithumb_collector.aio import AsyncReader
from bithumb_collector.functions import (
    analyze,
    candles,
    changes,
    gaps,
    markets,
    orderbook,
    ticker,
    tickers,
    trades,
    volume,
)
from bithumb_collector.result import Result
from bithumb_collector.stream import Stream, stream, stream_blocking
from collector.errors import (
    BrokerUnavailable,
    CollectorError,
    ConfigurationError,
    NoData,
    PipelineError,
)
from collector.live.events import Event
from collector.store.read import Book, Candle, Change, GapRow, Reader, TickerRow, TradeRow, Volume

__all__ = [
    "AsyncReader",
    "Book",
    "BrokerUnavailable",
    "Candle",
    "Change",
    "CollectorError",
    "ConfigurationError",
    "Event",
    "GapRow",
    "NoData",
    "PipelineError",
    "Reader",
    "Result",
    "Stream",
    "TickerRow",
    "TradeRow",
    "Volume",
    "analyze",
    "candles",
    "changes",
    "gaps",
    "markets",
    "orderbook",
    "stream",
    "stream_blocking",
    "ticker",
    "tickers",
    "trades",
    "volume",
]
