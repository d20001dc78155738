"""What an order book says: spread, mid, microprice, imbalance, depth.

Sizes are in the base currency, prices in the quote currency. Levels of size 0 (real orders below the printed
precision, bithumb-protocol.md 1.5) are no part of the derived book.
"""

from collections.abc import Sequence
from decimal import Decimal, localcontext

from msgspec import Struct

from collector.model import Level, OrderBook
from tasks.enrich.book_changes import BookChanges, compare
from tasks.enrich.exact import EXACT, RATIO, ratio

BPS = 10_000


class Book(Struct, frozen=True):
    """An order book as it is stored and read; best level first on both sides.

    Measures that need both sides are None where one is empty. `imbalance` runs from -1 (all asks) to 1 (all
    bids). `changed_levels` and `changes` compare with the book this one replaced.
    """

    market: str
    exchange_ms: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    spread: Decimal | None
    spread_bps: Decimal | None
    mid: Decimal | None
    microprice: Decimal | None
    imbalance: Decimal | None
    bid_depth: Decimal
    ask_depth: Decimal
    changed_levels: int
    changes: BookChanges
    received_ms: int


def derive(book: OrderBook, before: Book | None) -> Book:
    """Return the derived book of `book`, which replaces `before`."""
    bids, asks = _solid(book.bids), _solid(book.asks)
    old = (before.bids, before.asks) if before else ((), ())
    changes = compare(old, (bids, asks))
    bid_depth, ask_depth = _depth(bids), _depth(asks)
    spread, mid = _spread_and_mid(bids, asks)
    return Book(
        market=book.market,
        exchange_ms=book.exchange_ms,
        bids=bids,
        asks=asks,
        spread=spread,
        spread_bps=None if spread is None or mid is None else ratio(spread * BPS, mid),
        mid=mid,
        microprice=_microprice(bids, asks),
        imbalance=ratio(EXACT.subtract(bid_depth, ask_depth), EXACT.add(bid_depth, ask_depth)),
        bid_depth=bid_depth,
        ask_depth=ask_depth,
        changed_levels=changes.levels,
        changes=changes,
        received_ms=book.received_ms,
    )


def _solid(side: Sequence[Level]) -> tuple[Level, ...]:
    return tuple(level for level in side if level[1])


def _depth(side: Sequence[Level]) -> Decimal:
    with localcontext(EXACT):
        return sum((size for _, size in side), Decimal(0))


def _spread_and_mid(bids: Sequence[Level], asks: Sequence[Level]) -> tuple[Decimal | None, Decimal | None]:
    if not bids or not asks:
        return None, None
    bid, ask = bids[0][0], asks[0][0]
    with localcontext(EXACT):
        return ask - bid, (ask + bid) / 2


def _microprice(bids: Sequence[Level], asks: Sequence[Level]) -> Decimal | None:
    """Return the mid weighted by the best sizes: the side with less behind it pulls the price."""
    if not bids or not asks:
        return None
    (bid, bid_size), (ask, ask_size) = bids[0], asks[0]
    with localcontext(EXACT):
        weighted, weight = bid * ask_size + ask * bid_size, bid_size + ask_size
    return RATIO.divide(weighted, weight)
