"""Build whole order books from changes (legacy stream). Pure, one builder per socket.

The legacy stream sends changes without a sequence number and, beside them, whole books. A book therefore
starts from a whole one, takes the changes that are newer, and is dropped and asked for again when a change
comes first or the sides cross. It is published only while it is in step.
"""

from collections import Counter
from dataclasses import dataclass
from decimal import Decimal

from collector.model import BookChange, Level, OrderBook


@dataclass(slots=True)
class _Sides:
    exchange_us: int
    bids: dict[Decimal, Decimal]
    asks: dict[Decimal, Decimal]


class BookBuilder:
    """The books of one socket's markets."""

    #: Levels published a side; the exchange's whole books have 30.
    DEPTH = 30

    def __init__(self) -> None:
        #: Markets whose book has to be asked for again.
        self.missing: set[str] = set()
        self.surprises: Counter[str] = Counter()
        self._books: dict[str, _Sides] = {}

    def replace(self, book: OrderBook) -> OrderBook | None:
        """Start again from a whole book; an older one than what is known is ignored."""
        known = self._books.get(book.market)
        if known and book.exchange_us < known.exchange_us:
            self.surprises["book_went_back"] += 1
            return None
        if _is_crossed(book.bids, book.asks):
            self._drop(book.market, "crossed_book")
            return None
        self._books[book.market] = _Sides(book.exchange_us, dict(book.bids), dict(book.asks))
        self.missing.discard(book.market)
        return book

    def change(self, change: BookChange) -> OrderBook | None:
        """Apply a change; return the whole book, or None where there is none in step."""
        book = self._books.get(change.market)
        if book is None:
            self._drop(change.market, "change_before_book")
            return None
        if change.exchange_us < book.exchange_us:
            self.surprises["change_went_back"] += 1
            return None
        _apply(book.bids, change.bids)
        _apply(book.asks, change.asks)
        book.exchange_us = change.exchange_us
        bids = tuple(sorted(book.bids.items(), reverse=True)[: self.DEPTH])
        asks = tuple(sorted(book.asks.items())[: self.DEPTH])
        if _is_crossed(bids, asks):
            self._drop(change.market, "crossed_book")
            return None
        return OrderBook(change.market, change.exchange_us, change.received_ms, bids, asks)

    def _drop(self, market: str, surprise: str) -> None:
        """Forget a book that is not in step, count why, and have it asked for again."""
        self._books.pop(market, None)
        self.missing.add(market)
        self.surprises[surprise] += 1


def _is_crossed(bids: tuple[Level, ...], asks: tuple[Level, ...]) -> bool:
    return bool(bids and asks and bids[0][0] >= asks[0][0])


def _apply(side: dict[Decimal, Decimal], levels: tuple[Level, ...]) -> None:
    for price, size in levels:
        if size:
            side[price] = size
        else:
            side.pop(price, None)
