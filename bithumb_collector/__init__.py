"""Bithumb market data in Python: what the collector stored, as rows or data frames.

    import bithumb_collector as bc

    bc.candles("btc", "5m", limit=12).pandas()
    bc.ticker("eth").price
    bc.analyze("vwap", "btc", "15m")

Results come from the Redis that the settings name (`REDIS_URL`, else the private server of `collector up` in
`COLLECTOR_DATA_DIR`). Markets are named as people write them: `btc`, `KRW-BTC`, `BTC/KRW`. Prices and volumes
are exact `Decimal` in rows; in frames they are floats unless `exact=True`. Times are aware.

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
from collector.errors import (
    BrokerUnavailable,
    CollectorError,
    ConfigurationError,
    NoData,
    PipelineError,
)
from collector.store.read import Book, Candle, Change, GapRow, Reader, TickerRow, TradeRow, Volume

__all__ = [
    "AsyncReader",
    "Book",
    "BrokerUnavailable",
    "Candle",
    "Change",
    "CollectorError",
    "ConfigurationError",
    "GapRow",
    "NoData",
    "PipelineError",
    "Reader",
    "Result",
    "TickerRow",
    "TradeRow",
    "Volume",
    "analyze",
    "candles",
    "changes",
    "gaps",
    "markets",
    "orderbook",
    "ticker",
    "tickers",
    "trades",
    "volume",
]
