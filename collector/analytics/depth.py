"""Measures of an order book: spread, mid, microprice, imbalance, depth.

Sizes are in the base currency, prices in the quote currency. Levels of size 0 (real orders below the printed
precision, bithumb-protocol.md 1.5) are no part of the derived book.
"""

from decimal import Decimal, localcontext
from operator import itemgetter

from msgspec import Struct

from collector.analytics.book_changes import BookChanges, compare
from collector.analytics.exact import EXACT, RATIO, ZERO, ratio
from collector.model import Level, OrderBook

BPS = 10_000

_size = itemgetter(1)


class Book(Struct, frozen=True):
    """An order book as it is read; best level first on both sides.

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


def derive(book: OrderBook, before: OrderBook | Book | None) -> Book:
    """Return the derived book of `book`, which replaces `before`."""
    bids, asks = _solid(book.bids), _solid(book.asks)
    old = (_solid(before.bids), _solid(before.asks)) if before else ((), ())
    changes = compare(old, (bids, asks))
    spread = spread_bps = mid = microprice = None
    with localcontext(EXACT):
        bid_depth, ask_depth = sum(map(_size, bids), ZERO), sum(map(_size, asks), ZERO)
        imbalance = ratio(bid_depth - ask_depth, bid_depth + ask_depth)
        if bids and asks:
            (bid, bid_size), (ask, ask_size) = bids[0], asks[0]
            spread, mid = ask - bid, (ask + bid) / 2
            spread_bps = ratio(spread * BPS, mid)
            # The mid weighted by the best sizes: the side with less behind it pulls the price.
            microprice = RATIO.divide(bid * ask_size + ask * bid_size, bid_size + ask_size)
    return Book(
        market=book.market,
        exchange_ms=book.exchange_ms,
        bids=bids,
        asks=asks,
        spread=spread,
        spread_bps=spread_bps,
        mid=mid,
        microprice=microprice,
        imbalance=imbalance,
        bid_depth=bid_depth,
        ask_depth=ask_depth,
        changed_levels=changes.levels,
        changes=changes,
        received_ms=book.received_ms,
    )


def _solid(side: tuple[Level, ...]) -> tuple[Level, ...]:
    return side if all(map(_size, side)) else tuple(level for level in side if level[1])
