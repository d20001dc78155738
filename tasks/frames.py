"""`from tasks import frames`: the documented path of `collector.archive.frames`. Loads no Celery."""

from collector.archive.frames import candles, premium, query, trades

__all__ = ["candles", "premium", "query", "trades"]
