"""Writes our own form of recording."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from collector.errors import ConfigurationError
from collector.recording import own
from collector.recording.format import Frame, Protocol
from collector.recording.sealed import SealedWriter
from collector.util.atomic_file import sync

FLUSH_S = 1.0
FLUSH_FRAMES = 1_000


class RecordingWriter:
    """Write a recording while a session runs.

    The file is `<path>.part` until `finish`, which gives it its name at once. What was flushed (every second,
    every thousand frames, or by `flush`) survives a kill; such a file can be read, as truncated.

    Attributes:
        frames: how many were added.
        bytes_flushed: size on disk at the last flush.

    Raises:
        ConfigurationError: the file exists already, can't be written, or the disk is full.
    """

    def __init__(self, path: Path, protocol: Protocol, url: str, started_ms: int) -> None:
        self.path = path
        self.frames = 0
        self.bytes_flushed = 0
        self._part = path.with_name(path.name + ".part")
        self._unflushed = 0
        for taken in (path, self._part):
            if taken.exists():
                raise ConfigurationError(f"{taken} exists already: choose another name, or remove it")
        with self._writing():
            self._file = SealedWriter(self._part)
            self._file.write(own.write_header(protocol, url, started_ms))
        self.flush()

    def append(self, frame: Frame) -> None:
        """Add one frame."""
        with self._writing():
            self._file.write(own.write_frame(frame))
        self.frames += 1
        self._unflushed += 1
        if self._unflushed >= FLUSH_FRAMES or time.monotonic() - self._flushed_at >= FLUSH_S:
            self.flush()

    def flush(self) -> None:
        """Hand everything so far to the operating system, in a form that can be read back."""
        with self._writing():
            self._file.flush()
            self.bytes_flushed = self._part.stat().st_size
        self._unflushed, self._flushed_at = 0, time.monotonic()

    @property
    def is_open(self) -> bool:
        """Whether it can still be written to."""
        return not self._file.closed

    def finish(self) -> None:
        """Complete the file and give it its name; more than once is harmless."""
        if not self.is_open:
            return
        with self._writing():
            self._file.close()
            sync(self._part)
            self._part.replace(self.path)
            sync(self.path.parent)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ConfigurationError(f"{self._part} can't be written: {error.strerror}") from None
