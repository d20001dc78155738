"""The ingest tasks: one batch of one channel into the store.

Each takes the batch's text (`collector.batch`) as its only argument. Keyword arguments are tolerated so that
newer listeners and older workers can run side by side.
"""

from collector import routing
from collector.batch import GapBatch, TickerBatch, TradeBatch, WrittenBookBatch, decode
from collector.store.store import Store
from tasks.app import app
from tasks.delivery import IngestTask, recover


@app.task(name=routing.INGEST_TRADES, base=IngestTask, bind=True)
def trades(
    self: IngestTask, /, text: str, *, retried: bool = False, everywhere: bool = False, **_: object
) -> None:
    """Count every trade of the batch once in its candle.

    Args:
        retried: it was a dead letter before.
        everywhere: then it left a gap of every market.
    """

    def work(store: Store, text: str) -> None:
        batch = decode(text, TradeBatch)
        store.put_trades(batch.rows, batch.created_ms)
        if retried:
            recover(store, str(self.request.id), text, everywhere=everywhere)

    self.deliver(text, work)


@app.task(name=routing.INGEST_ORDERBOOKS, base=IngestTask, bind=True, carries_facts=False)
def orderbooks(self: IngestTask, /, text: str, **_: object) -> None:
    """Keep the newest order book per market."""
    self.deliver(text, lambda store, text: store.put_books(decode(text, WrittenBookBatch).rows))


@app.task(name=routing.INGEST_TICKERS, base=IngestTask, bind=True, carries_facts=False)
def tickers(self: IngestTask, /, text: str, **_: object) -> None:
    """Keep the newest ticker per market."""

    def work(store: Store, text: str) -> None:
        batch = decode(text, TickerBatch)
        store.put_tickers(batch.rows, batch.created_ms)

    self.deliver(text, work)


@app.task(name=routing.INGEST_GAPS, base=IngestTask, bind=True)
def gaps(
    self: IngestTask, /, text: str, *, retried: bool = False, everywhere: bool = False, **_: object
) -> None:
    """Record gaps, opened or recovered; `retried` and `everywhere` as of trades."""

    def work(store: Store, text: str) -> None:
        store.put_gaps(decode(text, GapBatch).rows)
        if retried:
            recover(store, str(self.request.id), text, everywhere=everywhere)

    self.deliver(text, work)
