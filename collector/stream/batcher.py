"""Collect events into batches that close by count, size or age. Pure.

Trades are facts: every one goes into a batch. Tickers and books are states: while `conflating` is on, the
newest per market replaces the one before, and what was replaced is counted.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any
from zlib import crc32

from collector import batch
from collector.batch import Batch, Kind
from collector.model import EncodedBook, Gap, OrderBook, Source, Ticker, Trade
from collector.settings import BatchSettings

Row = Trade | Ticker | OrderBook | EncodedBook | Gap
#: What a row of each class is a row of.
KINDS: dict[type, Kind] = {
    Trade: Kind.TRADE,
    Ticker: Kind.TICKER,
    OrderBook: Kind.ORDERBOOK,
    EncodedBook: Kind.ORDERBOOK,
    Gap: Kind.GAP,
}
#: Kinds of which the newest per market replaces the rest.
STATES = frozenset({Kind.TICKER, Kind.ORDERBOOK})
#: Factor on the age at which a batch of a kind is closed: tickers sum up what trades carry sooner, and books
#: are many.
_AGES = {Kind.TRADE: 1.0, Kind.TICKER: 3.0, Kind.ORDERBOOK: 1.6, Kind.GAP: 1.0}
#: Share of its age from which on a batch is closed with another one.
_SOON = 0.8
#: A batch with fewer trades is closed sooner in proportion, at the soonest after this share of its age: few
#: trades leave in the cycle in which they were read, many are worth a wait.
_MANY_TRADES, _SOONEST = 100, 0.3
#: About how many bytes a row takes on the wire; books by their levels.
_ROW_BYTES = {Kind.TRADE: 110, Kind.TICKER: 520, Kind.GAP: 80, Kind.ORDERBOOK: 60}
_LEVEL_BYTES = 26
#: Levels of a book that is not looked into: 15 a side.
_LEVELS = 30


#: Later than any time.
_NEVER = batch.LATEST_MS


class _Open:
    """A batch that still takes rows."""

    __slots__ = ("mark_ms", "newest", "opened_s", "rows", "size")

    def __init__(self, now_s: float) -> None:
        self.opened_s = now_s
        self.rows: list[Row] = []
        self.size = 0
        #: Time of the oldest row that nothing else remembers (`collector.batch.mark_of`).
        self.mark_ms = _NEVER
        #: Market -> place of its newest row in `rows`, for states.
        self.newest: dict[str, int] = {}


class Batcher:
    """The open batches of one listener."""

    def __init__(self, settings: BatchSettings, listener: str) -> None:
        self.conflating = False
        #: Factors on the size and age of a batch, set by the pressure policy.
        self.trade_factor = 1.0
        self.state_factor = 1.0
        #: States replaced by a newer one before they were sent, by kind.
        self.conflated: Counter[str] = Counter()
        self._settings = settings
        self._listener = listener
        self._open: dict[tuple[Kind, int], _Open] = {}

    def add(self, row: Row, now_s: float, now_ms: int) -> Batch | None:
        """Take one row; return the batch it filled, if it did."""
        kind = KINDS[type(row)]
        is_state = kind in STATES
        key = (kind, self._queue(row.market) if kind is Kind.TRADE else 0)
        open_batch = self._open.get(key)
        if open_batch is None:
            open_batch = self._open[key] = _Open(now_s)
        rows = open_batch.rows
        if is_state:
            place = open_batch.newest.get(row.market) if self.conflating else None
            if place is not None:
                rows[place] = row
                self.conflated[kind] += 1
                return None
            open_batch.newest[row.market] = len(rows)
        elif isinstance(row, Trade):
            if row.source is Source.STREAM and row.exchange_ms < open_batch.mark_ms:
                open_batch.mark_ms = row.exchange_ms
        elif isinstance(row, Gap) and not row.recovered:
            open_batch.mark_ms = min(row.from_ms, open_batch.mark_ms)
        rows.append(row)
        open_batch.size += _size(kind, row)
        factor = self.state_factor if is_state else self.trade_factor
        settings = self._settings
        if len(rows) >= settings.max_rows * factor or open_batch.size >= settings.max_bytes * factor:
            return self._close(key, now_ms)
        return None

    def due(self, now_s: float, now_ms: int, within_s: float = 0) -> Iterator[Batch]:
        """Yield the batches whose oldest row has waited long enough, and with them those that soon will have.

        What is closed together is sent in one round trip, opens together again, and so stays together.

        Args:
            within_s: what will have waited long enough so many seconds from now is due as well.
        """
        ages = {
            key: (now_s + within_s - it.opened_s) / self._max_age_s(key[0], len(it.rows))
            for key, it in self._open.items()
        }
        if max(ages.values(), default=0) >= 1:
            for key, age in ages.items():
                if age >= _SOON:
                    yield self._close(key, now_ms)

    def close_trades(self, market: str, now_ms: int) -> Batch | None:
        """Return the batch that trades of `market` are collected in, if one is open."""
        key = (Kind.TRADE, self._queue(market))
        return self._close(key, now_ms) if key in self._open else None

    @property
    def oldest_mark_ms(self) -> int | None:
        """Time of the oldest row, epoch ms, that is in an open batch and that nothing else remembers."""
        oldest_ms = min((it.mark_ms for it in self._open.values()), default=_NEVER)
        return None if oldest_ms == _NEVER else oldest_ms

    def flush(self, now_ms: int) -> Iterator[Batch]:
        """Yield everything, however young."""
        for key in list(self._open):
            yield self._close(key, now_ms)

    def pending(self) -> int:
        """Return how many rows wait in open batches."""
        return sum(len(it.rows) for it in self._open.values())

    def _max_age_s(self, kind: Kind, rows: int) -> float:
        share = min(1.0, max(_SOONEST, rows / _MANY_TRADES)) if kind is Kind.TRADE else 1.0
        return self._settings.max_age_ms / 1000 * _AGES[kind] * self._factor(kind) * share

    def _factor(self, kind: Kind) -> float:
        return self.state_factor if kind in STATES else self.trade_factor

    def _close(self, key: tuple[Kind, int], now_ms: int) -> Batch:
        rows: Any = self._open.pop(key).rows
        return batch.make(key[0], rows, listener=self._listener, now_ms=now_ms)

    def _queue(self, market: str) -> int:
        return partition_of(market, self._settings.trade_queues)


def partition_of(market: str, count: int) -> int:
    """Return the share of `market` among `count`, by a hash that is stable over processes and versions."""
    return crc32(market.encode()) % count if count > 1 else 0


def _size(kind: Kind, row: Row) -> int:
    if kind is Kind.ORDERBOOK:
        levels = len(row.bids) + len(row.asks) if isinstance(row, OrderBook) else _LEVELS
        return _ROW_BYTES[kind] + _LEVEL_BYTES * levels
    return _ROW_BYTES[kind]
