"""The bytes of a spool segment: records that can be distinguished from damage. Pure.

A record is `magic, crc32, length, written_ms, payload`, little-endian; the checksum covers all that follows
it. The magic lets a reader find the next sound record behind a damaged stretch, so a flipped byte costs one
record, and it distinguishes records from the zeros a file system may leave behind after a power cut.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

MAGIC = b"\xabSP1"
HEADER = struct.Struct("<4sIIQ")  # magic, crc32, length of the payload in bytes, written_ms
CHECKED = struct.Struct("<IQ")  # the part of the header that the checksum covers


@dataclass(frozen=True, slots=True)
class Record:
    """A sound record: where it lies in its segment, when it was written, what it holds."""

    offset: int
    end: int
    written_ms: int
    payload: bytes


def pack(payload: bytes, written_ms: int) -> bytes:
    """Return `payload` as a record."""
    checked = CHECKED.pack(len(payload), written_ms) + payload
    return MAGIC + zlib.crc32(checked).to_bytes(4, "little") + checked


def record_at(data: bytes, offset: int) -> Record | None:
    """Return the record that starts at `offset`, or None where no sound one does."""
    if len(data) - offset < HEADER.size:
        return None
    magic, crc, length, written_ms = HEADER.unpack_from(data, offset)
    start = offset + HEADER.size
    end = start + length
    if magic != MAGIC or end > len(data) or zlib.crc32(memoryview(data)[start - CHECKED.size : end]) != crc:
        return None
    return Record(offset, end, written_ms, data[start:end])


def scan(data: bytes) -> Iterator[Record]:
    """Yield every sound record, in order, and step over whatever is damaged."""
    offset = 0
    while offset >= 0:
        if record := record_at(data, offset):
            yield record
            offset = record.end
        else:
            offset = data.find(MAGIC, offset + 1)
