"""How one minute of a market is stored: its candle, and its trades as chunks. Pure.

    candle    8 bytes, its version; then the candle, msgpack. Each write makes a version that never was, so an
              equal version means that nobody has written since
    chunk     2 bytes (big-endian), the newest millisecond of the minute once this chunk is stored; then the
              copies of one commit, msgpack. No later chunk has a smaller number there, so a reader that looks
              for newer trades can stop at the first older chunk

The layout before had the candle as JSON, which begins with `[`, and the trades as a hash, millisecond to
rows. It is read as well; the first commit to such a minute writes it anew.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

import msgspec
from msgspec import Struct

from collector.analytics.candles import Minute
from collector.analytics.dedup import SEEN, Row, add
from collector.model import Side, Trade

VERSION_BYTES = 8
#: No version begins with it, nor does JSON: what is compared with it is read, and nothing is written.
UNREAD = b"?"
#: Begins every version.
VERSION_MARK = b"\0"
_JSON = b"["

_encode = msgspec.msgpack.Encoder(decimal_format="string").encode
_decode_candle = msgspec.msgpack.Decoder(Minute).decode
_decode_json_candle = msgspec.json.Decoder(Minute).decode
_decode_json_rows = msgspec.json.Decoder(list[Row]).decode


class _Copy(Struct, frozen=True, array_like=True, gc=False):
    """A `Row` in a chunk."""

    #: After the start of the minute, ms.
    offset_ms: int
    id: int
    price: Decimal
    volume: Decimal
    side: Side
    order: int
    #: After the exchange's time, ms; negative where our clock is behind.
    received_after_ms: int
    seen: int
    nth: int


_decode_copies = msgspec.msgpack.Decoder(list[_Copy]).decode


def write_candle(version: bytes, minute: Minute) -> bytes:
    """Return a candle as it is stored."""
    return version + _encode(minute)


def read_candle(stored: bytes) -> Minute:
    """Return a stored candle, of either layout.

    Raises:
        msgspec.MsgspecError: it is neither.
    """
    if stored.startswith(_JSON):
        return _decode_json_candle(stored)
    return _decode_candle(memoryview(stored)[VERSION_BYTES:])


def version_of(stored: bytes) -> bytes:
    """Return what tells a stored candle from any other: its version; in the layout before, all of it."""
    return stored if is_old(stored) else stored[:VERSION_BYTES]


def is_old(stored: bytes) -> bool:
    """Tell whether a candle, or what `version_of` returned for it, is of the layout before."""
    return stored.startswith(_JSON)


def write_chunk(minute_ms: int, newest_ms: int, copies: Iterable[Trade]) -> bytes:
    """Return new copies of a minute's trades as a chunk; `newest_ms` is the candle's last millisecond."""
    rows = [
        (
            trade.exchange_ms - minute_ms,
            trade.id,
            trade.price,
            trade.volume,
            trade.side,
            trade.order,
            trade.received_ms - trade.exchange_ms,
            SEEN[trade.source],
            trade.nth,
        )
        for trade in copies
    ]
    return _chunk(minute_ms, newest_ms, rows)


def write_all(minute_ms: int, newest_ms: int, rows: Mapping[int, Iterable[Row]]) -> bytes:
    """Return all rows of a minute, by epoch ms, as one chunk."""
    copies = [
        (
            ms - minute_ms,
            row.id,
            row.price,
            row.volume,
            row.side,
            row.order,
            row.received_ms - ms,
            row.seen,
            row.nth,
        )
        for ms in sorted(rows)
        for row in rows[ms]
    ]
    return _chunk(minute_ms, newest_ms, copies)


def read_chunks(minute_ms: int, chunks: Iterable[bytes]) -> dict[int, list[Row]]:
    """Return the rows of `chunks`, oldest chunk first, by epoch ms, as `admit` had made them."""
    rows: dict[int, list[Row]] = {}
    for chunk in chunks:
        for copy in _decode_copies(memoryview(chunk)[2:]):
            ms = minute_ms + copy.offset_ms
            received_ms = ms + copy.received_after_ms
            row = Row(
                copy.id, copy.price, copy.volume, copy.side, copy.order, received_ms, copy.seen, copy.nth
            )
            if ms in rows:
                add(rows[ms], row)
            else:
                rows[ms] = [row]
    return rows


def read_copies(minute_ms: int, chunk: bytes) -> list[tuple[int, Row]]:
    """Return the copies of one chunk, each with its epoch ms, in the order of the exchange."""
    rows = []
    for copy in _decode_copies(memoryview(chunk)[2:]):
        ms = minute_ms + copy.offset_ms
        received_ms = ms + copy.received_after_ms
        row = Row(copy.id, copy.price, copy.volume, copy.side, copy.order, received_ms, copy.seen, copy.nth)
        rows.append((ms, row))
    rows.sort(key=lambda each: (each[0], each[1].order, each[1].id, each[1].nth))
    return rows


def read_old_rows(stored: Mapping[bytes, bytes]) -> dict[int, list[Row]]:
    """Return the rows of a minute in the layout before, by epoch ms."""
    return {int(ms): _decode_json_rows(value) for ms, value in stored.items()}


def _chunk(minute_ms: int, newest_ms: int, copies: Sequence[tuple[object, ...]]) -> bytes:
    return (newest_ms - minute_ms).to_bytes(2, "big") + _encode(copies)
