"""Workers: batches in, candles, volumes, change rates and book measures out."""

from tasks.app import app

__all__ = ["app"]
