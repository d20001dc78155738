"""How the newest order book of a market is stored: as it was written, beside the one before. Pure.

A hash with these fields; its measures and what changed are derived when it is read:

    stamp   {exchange_us}:{received_ms}:{slot}, and `=` where the book before had the same levels
    0, 1    levels of the last two different books, as in `EncodedBook`; `slot` names the newer

The layout before had a stamp without a slot, and in `value` the derived book. It is read as well, and is the
book before for the first that is stored in a slot.
"""

from collections.abc import Sequence

import msgspec

from collector.analytics.depth import Book, derive
from collector.batch import read_levels
from collector.model import OrderBook

#: What has to be read of the hash, in this order, for `read_book`.
FIELDS = ("stamp", "0", "1", "value")
_SAME = "="
_decode_old = msgspec.json.Decoder(Book).decode


def read_book(market: str, fields: Sequence[bytes | None]) -> Book | None:
    """Return the book of a market from its `FIELDS`, None where there is none."""
    stamp, *slots, old = fields
    if stamp is None:
        return None
    exchange_us, received_ms, *rest = stamp.decode().split(":")
    if not rest:
        return _decode_old(old) if old else None
    number = int(rest[0][0])
    book = _book(market, int(exchange_us), int(received_ms), slots[number])
    if rest[0].endswith(_SAME):
        return derive(book, book)
    other = slots[1 - number]
    if other is not None:
        return derive(book, _book(market, 0, 0, other))
    return derive(book, _decode_old(old) if old else None)


def _book(market: str, exchange_us: int, received_ms: int, levels: bytes | None) -> OrderBook:
    bids, asks = read_levels(levels or b"[]")
    return OrderBook(market, exchange_us, received_ms, bids, asks)
