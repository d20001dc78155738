"""A long recording in several files, and the index that holds them together.

`session.zst` becomes `session.0001.zst`, `session.0002.zst` … and `session.zst` itself is the index: JSON
lines. The first is a header, each of the others describes a complete file:

    {"format":"bithumb-recording-index","version":1,"protocol":"current"}
    {"file":"session.0001.zst","first_us":…,"last_us":…,"frames":…,"bytes":…}

The index is replaced whole each time a file is complete, so a kill costs the index the running file only;
that one stays beside it as `….part`, readable by its own name.
"""

from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple, Self

import msgspec

from collector.errors import ConfigurationError
from collector.recording.format import Frame, Protocol
from collector.recording.writer import RecordingWriter
from collector.util.atomic_file import replacing

FORMAT: Literal["bithumb-recording-index"] = "bithumb-recording-index"
VERSION = 1


class Limits(NamedTuple):
    """When a file is full: bytes on disk, seconds from its first frame; None = never."""

    max_bytes: int | None = None
    max_s: float | None = None


class Header(msgspec.Struct, kw_only=True):
    """The first line of an index."""

    format: Literal["bithumb-recording-index"] = FORMAT
    version: int = VERSION
    protocol: Protocol


class Part(msgspec.Struct, kw_only=True, frozen=True):
    """One whole file of a recording; times are the receipt of its first and last frame."""

    file: str
    first_us: int
    last_us: int
    frames: int
    bytes: int


class Index(NamedTuple):
    """What the files of a recording hold, oldest first."""

    protocol: Protocol
    parts: tuple[Part, ...]

    def within(self, from_us: int | None, to_us: int | None) -> tuple[Part, ...]:
        """Return the files that may hold frames received from `from_us` to `to_us`."""
        return tuple(
            part
            for part in self.parts
            if (from_us is None or part.last_us >= from_us) and (to_us is None or part.first_us <= to_us)
        )


class RotatingWriter:
    """Writes like `RecordingWriter`, into a new file whenever one is full.

    Raises:
        ConfigurationError: a file of that name exists already, can't be written, or the disk is full.
    """

    def __init__(self, path: Path, protocol: Protocol, url: str, started_ms: int, limits: Limits) -> None:
        if path.exists():
            raise ConfigurationError(f"{path} exists already: choose another name, or remove it")
        self.frames = 0
        self._path, self._protocol, self._url, self._limits = path, protocol, url, limits
        self._parts: list[Part] = []
        self._first_us = self._last_us = 0
        self._writer = self._open(started_ms)

    def append(self, frame: Frame) -> None:
        """Add one frame, to a new file if the running one is full."""
        if self._is_full(frame.received_us):
            self._close()
            self._writer = self._open(frame.received_ms)
        if not self._writer.frames:
            self._first_us = frame.received_us
        self._last_us = frame.received_us
        self._writer.append(frame)
        self.frames += 1

    def finish(self) -> None:
        """Complete the last file and the index; more than once is harmless."""
        if self._writer.is_open:
            self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish()

    def _is_full(self, now_us: int) -> bool:
        if not self._writer.frames:
            return False
        max_bytes, max_s = self._limits
        return (max_bytes is not None and self._writer.bytes_flushed >= max_bytes) or (
            max_s is not None and now_us - self._first_us >= max_s * 1e6
        )

    def _open(self, started_ms: int) -> RecordingWriter:
        name = f"{self._path.stem}.{len(self._parts) + 1:04}{self._path.suffix}"
        return RecordingWriter(self._path.with_name(name), self._protocol, self._url, started_ms)

    def _close(self) -> None:
        writer = self._writer
        writer.finish()
        self._parts.append(
            Part(
                file=writer.path.name,
                first_us=self._first_us,
                last_us=self._last_us,
                frames=writer.frames,
                bytes=writer.path.stat().st_size,
            )
        )
        self._write_index()

    def _write_index(self) -> None:
        lines = [msgspec.json.encode(line) for line in (Header(protocol=self._protocol), *self._parts)]
        try:
            with replacing(self._path) as new:
                new.write_bytes(b"\n".join((*lines, b"")))
        except OSError as error:
            raise ConfigurationError(f"{self._path} can't be written: {error.strerror}") from None


_decode_header = msgspec.json.Decoder(Header).decode
_decode_part = msgspec.json.Decoder(Part).decode


def read_index(path: Path) -> Index | None:
    """Return the index at `path`, None where it is something else.

    Raises:
        ConfigurationError: an index of a later version, or a damaged one.
    """
    try:
        with path.open("rb") as file:
            head = file.readline(1 << 10)
            try:
                header = _decode_header(head)
            except (msgspec.DecodeError, UnicodeError, RecursionError):
                return None
            lines = file.read().splitlines()
    except OSError as error:
        raise ConfigurationError(f"Recording {path} can't be opened: {error.strerror}") from None
    if header.version != VERSION:
        raise ConfigurationError(f"A recording of version {header.version} needs a newer collector")
    try:
        return Index(header.protocol, tuple(map(_decode_part, lines)))
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ConfigurationError(f"The index {path} is damaged ({error})") from None
