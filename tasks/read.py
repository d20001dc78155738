"""`from tasks.read import Reader`: the documented path of `collector.store.read`. Loads no Celery."""

from collector.store.read import (
    Book,
    Candle,
    Change,
    GapRow,
    Health,
    MarketRow,
    Reader,
    TickerRow,
    TradeRow,
    Volume,
    plain,
    to_json,
)

__all__ = [
    "Book",
    "Candle",
    "Change",
    "GapRow",
    "Health",
    "MarketRow",
    "Reader",
    "TickerRow",
    "TradeRow",
    "Volume",
    "plain",
    "to_json",
]
