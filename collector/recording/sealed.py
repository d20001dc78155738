"""zstd with checksums and an end mark; other programs read it as plain zstd.

    zstd frame, skippable frame BEGINS, zstd frame …, skippable frame ENDS

Each zstd frame ends with a checksum of its content and is handed on only when that is right. The two
skippable frames, which other readers ignore, mark a file with an end, and the end. A file without `BEGINS` is
read without these checks: recordings of earlier versions and of other programs.
"""

import io
import struct
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Literal

from collector.util.compression import zstd

MAGIC = b"\x28\xb5\x2f\xfd"
_SKIPPABLE = struct.Struct("<II")
_SKIPPABLE_MAGIC = 0x184D2A5B
#: A frame ends when it holds so much, or is so old: the more, the better it compresses, and the more is
#: looked at before any of it is handed on.
FRAME_BYTES = 1 << 20
FRAME_S = 60.0
_READ_BYTES = 1 << 16
_PIECE_BYTES = 1 << 20
#: A frame with more content is none of ours, and is handed on as it comes.
_PIECES_HELD_MAX = 64
_CHECKSUM_FLAG = 0b100
_OPTIONS = {int(zstd.CompressionParameter.checksum_flag): 1}
_FLUSH_BLOCK: Literal[1] = 1
_FLUSH_FRAME: Literal[2] = 2


def _mark(text: bytes) -> bytes:
    return _SKIPPABLE.pack(_SKIPPABLE_MAGIC, len(text)) + text


_MARK = struct.pack("<I", _SKIPPABLE_MAGIC)
BEGINS = _mark(b"checked from here to the end")
ENDS = _mark(b"the end")


class SealedWriter:
    """Writes a file; what was flushed can be read back after a kill, as a file that was cut."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb")
        self._compressor = zstd.ZstdCompressor(options=_OPTIONS)
        self._held_bytes = 0
        self._begun_s: float | None = None
        self._has_begun = False

    @property
    def closed(self) -> bool:
        """Whether it is complete."""
        return self._file.closed

    def write(self, data: bytes) -> None:
        """Add some content."""
        now_s = time.monotonic()
        self._begun_s = now_s if self._begun_s is None else self._begun_s
        self._file.write(self._compressor.compress(data))
        self._held_bytes += len(data)
        if not self._has_begun or self._held_bytes >= FRAME_BYTES or now_s - self._begun_s >= FRAME_S:
            self._end_frame()

    def flush(self) -> None:
        """Hand everything so far to the operating system, in a form that can be read back."""
        if self._held_bytes:
            self._file.write(self._compressor.flush(_FLUSH_BLOCK))
        self._file.flush()

    def close(self) -> None:
        """Complete the file."""
        if self.closed:
            return
        try:
            if self._held_bytes:
                self._end_frame()
            self._file.write(ENDS)
        finally:
            self._file.close()

    def _end_frame(self) -> None:
        self._file.write(self._compressor.flush(_FLUSH_FRAME))
        if not self._has_begun:
            self._file.write(BEGINS)
        self._has_begun, self._held_bytes, self._begun_s = True, 0, None


def open_checked(file: BinaryIO) -> io.BufferedReader:
    """Return the content of a zstd file.

    Reading raises:
        EOFError: the file ends before its end.
        zstd.ZstdError: it is damaged.
    """
    return io.BufferedReader(_Stream(_contents(file)), _READ_BYTES)


class _Stream(io.RawIOBase):
    """Pieces of content as a stream."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:  # noqa: ANN401 - whatever has a buffer
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def _contents(file: BinaryIO) -> Iterator[bytes]:
    """Yield the content of one frame after the other."""
    rest = b""
    is_sealed = False
    while rest := _at_least(file, rest, len(BEGINS)):
        if not is_sealed and rest.startswith(BEGINS):
            rest, is_sealed = rest[len(BEGINS) :], True
        elif rest.startswith(ENDS):
            if not is_sealed or rest != ENDS:
                raise zstd.ZstdError("it ends in the middle of something else")
            return
        elif rest.startswith(_MARK) and len(rest) >= len(BEGINS):
            raise zstd.ZstdError("one of its marks is damaged")
        elif is_sealed and not rest.startswith(MAGIC[: len(rest)]):
            break
        else:
            rest = yield from _frame(file, rest)
    if is_sealed or rest.startswith(_MARK):
        raise EOFError("its end is missing")


def _at_least(file: BinaryIO, data: bytes, count: int) -> bytes:
    """Return `data` with more of the file behind, so that it has `count` bytes where the file has as many."""
    while len(data) < count and (more := file.read(_READ_BYTES)):
        data += more
    return data


def _frame(file: BinaryIO, data: bytes) -> Generator[bytes, None, bytes]:
    """Yield the content of one frame that begins with `data`; return what of the file was read behind it.

    With a checksum it is held back until that is known to be right.
    """
    is_checked = bool(data[4:5]) and bool(data[4] & _CHECKSUM_FLAG) and data.startswith(MAGIC)
    decompressor = zstd.ZstdDecompressor()
    held: list[bytes] = []
    while True:
        held.append(decompressor.decompress(data, _PIECE_BYTES))
        if decompressor.eof:
            yield b"".join(held)
            return decompressor.unused_data
        if not is_checked or len(held) > _PIECES_HELD_MAX:
            yield from held
            held.clear()
        data = file.read(_READ_BYTES) if decompressor.needs_input else b""
        if not data and decompressor.needs_input:
            yield from held
            raise EOFError("its last frame is cut")
