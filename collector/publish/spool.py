"""The disk buffer: trade batches wait here while the broker is away. First in, first out, bounded.

    spool/
      lock                held by the one owner (flock)
      id                  a name of what is in it, another one after damage
      cursor              how far the oldest segment is acknowledged, and from when on its trades are
      0000000007.spool    segments, oldest first, append-only, deleted once acknowledged
      0000000008.spool

What a crash can do, and what the next owner does about it:

- a torn tail (process killed or power lost during a write): cut, reported as `Damage(torn=True)`;
- a damaged stretch with sound records behind it: skipped, counted in `corrupt_records`, reported;
- a lost or damaged cursor: records come again, consumers are idempotent.

Numbers of segments are never used twice and an owner appends only to segments of its own, so a stale cursor
never hides a record. One thread owns a spool; nothing here is guarded against a second.
"""

import os
import re
import secrets
import zlib
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from collector.clock import Clock
from collector.errors import ConfigurationError, SpoolFull
from collector.publish import segment as records
from collector.util.atomic_file import TEMPORARY, replacing, sync
from collector.util.file_lock import FileLock

MB = 1 << 20
#: Segments the bound is split into at least: space comes back only when a whole one is acknowledged.
LEAST_SEGMENTS = 8
_NAME = re.compile(r"\d{10}\.spool")
#: Trades of a record may be so much older than those of the record before it.
APART_MS = 10_000
#: Where the age of the oldest lost record is unknown.
LONG_MS = 600_000


class Times(NamedTuple):
    """Of one payload, epoch ms; zeros where there is none.

    Attributes:
        from_ms, to_ms: from when to when its trades or gaps are.
        mark_ms: the oldest of them that nothing else remembers.
    """

    from_ms: int = 0
    to_ms: int = 0
    mark_ms: int = 0


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes of a segment that hold no sound record: what a `Gap` is recorded from.

    The lost trades are between `from_ms` and `to_ms`, as their record has it. Where that is lost too, they
    are between a bit before the trades of the record before it and the writing of the one behind it, or of
    the file.
    """

    segment: int
    offset: int
    size: int
    from_ms: int
    to_ms: int
    torn: bool


@dataclass(slots=True)
class _Segment:
    number: int
    path: Path
    size: int = 0
    pending: deque[int] = field(default_factory=deque)  # offsets of records not acknowledged, oldest first
    times: deque[Times] = field(default_factory=deque)  # of the same records

    @property
    def position(self) -> int:
        return self.pending[0] if self.pending else self.size


class Spool:
    """A bounded first-in-first-out of payloads that survives a crash at any byte.

    Args:
        directory: made if missing; belongs to this spool alone.
        max_bytes: bound of all segments together.
        segment_bytes: size of a segment, about; less if the bound asks for it.
        fsync_interval_s: at most this much time lies between an append and its fsync, given that the owner
            calls `sync_if_due` now and then; 0 = after every append.
        clock: when records are written, the exchange's time at best, and when the next fsync is due.
        times_of: reads the times of a payload of an earlier owner.

    Raises:
        ConfigurationError: the directory cannot be used or has another owner.
    """

    def __init__(
        self,
        directory: Path,
        *,
        max_bytes: int,
        segment_bytes: int,
        fsync_interval_s: float,
        clock: Clock,
        times_of: Callable[[bytes], Times] = lambda _: Times(),
    ) -> None:
        self.directory = directory
        #: Damaged stretches with sound records behind them, since this spool was opened.
        self.corrupt_records = 0
        self._max_bytes = max_bytes
        self._segment_bytes = min(segment_bytes, max_bytes // LEAST_SEGMENTS)
        self._fsync_interval_s = fsync_interval_s
        self._clock = clock
        self._segments: deque[_Segment] = deque()
        self._damage: list[Damage] = []
        self._peeked: bytes | None = None
        self._writer: int | None = None  # descriptor of the newest segment, None before the first append
        self._unsynced = False
        self._cursor_moved = False
        self._synced_at = clock.monotonic()
        self._times_of = times_of
        self._before_ms: int | None = None  # from when on the trades of the last sound record read are
        self._lock = _own(directory)
        try:
            self.id = self._load_id()
            self._last_number = self._recover()
            self._name_anew()
        except OSError as error:
            self._lock.release()
            raise ConfigurationError(_unusable(directory, error)) from error

    def __len__(self) -> int:
        """Return how many payloads wait."""
        return sum(len(segment.pending) for segment in self._segments)

    def __repr__(self) -> str:
        return f"<Spool {self.directory}: {len(self)} waiting, {self.bytes_used} of {self._max_bytes} bytes>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def bytes_pending(self) -> int:
        """Bytes on disk from the oldest waiting record on."""
        return sum(segment.size - segment.position for segment in self._segments)

    @property
    def bytes_used(self) -> int:
        """Bytes on disk of all segments: what the bound is about."""
        return sum(segment.size for segment in self._segments)

    @property
    def fill(self) -> float:
        """Share of the bound in use, 0 to 1."""
        return self.bytes_used / self._max_bytes

    @property
    def oldest_mark_ms(self) -> int | None:
        """Time of the oldest that waits and that nothing else remembers, epoch ms."""
        marks = (times.mark_ms for segment in tuple(self._segments) for times in tuple(segment.times))
        return min(filter(None, marks), default=None)

    def take_damage(self) -> list[Damage]:
        """Return the damage found since the last call; the caller records a `Gap` for each."""
        damage, self._damage = self._damage, []
        return damage

    def append(self, payload: bytes, times: Times = Times()) -> None:  # noqa: B008 - immutable
        """Put `payload`, which is of these times, behind all others.

        Raises:
            SpoolFull: the bound would be passed or the disk refuses; nothing of `payload` is kept.
        """
        record = records.pack(payload, self._clock.now_ms())
        if self.bytes_used + len(record) > self._max_bytes:
            used = f"{self.bytes_used / MB:.1f} of {self._max_bytes / MB:.1f} MB, {len(self)} batches waiting"
            raise SpoolFull(f"the spool is full ({used}): bring Redis back or raise COLLECTOR_SPOOL__MAX_MB")
        try:
            segment = self._segment_for(len(record))
            self._write(segment, record)
        except OSError as error:
            raise SpoolFull(_unusable(self.directory, error)) from error
        self._cursor_moved |= not len(self)
        segment.pending.append(segment.size)
        segment.times.append(times)
        segment.size += len(record)

    def peek(self) -> bytes | None:
        """Return the oldest payload not acknowledged, the same one until `ack`; None when none waits.

        Raises:
            SpoolFull: the disk cannot be read.
        """
        while self._peeked is None and self._segments:
            segment = self._segments[0]
            if segment.pending:
                self._peeked = self._read(segment)
            else:
                self._finish(segment)
        return self._peeked

    def ack(self) -> None:
        """Mark the payload that `peek` returned as delivered; without one, do nothing."""
        if self._peeked is None:
            return
        self._peeked = None
        self._cursor_moved = True
        segment = self._segments[0]
        _drop_oldest(segment)
        if not segment.pending:
            self._finish(segment)

    def sync(self) -> None:
        """Make all appended payloads and the acknowledgements durable.

        Raises:
            SpoolFull: the disk refuses.
        """
        if self._cursor_moved:
            self._save_cursor()
        try:
            self._fsync()
        except OSError as error:
            raise SpoolFull(_unusable(self.directory, error)) from error

    def sync_if_due(self) -> None:
        """`sync` if the interval has passed since the last."""
        if self._is_due():
            self.sync()

    def close(self) -> None:
        """Sync, and let go of the directory. Closing twice is harmless."""
        if self._lock.fd < 0:
            return
        try:
            self.sync()
        finally:
            self._close_writer()
            self._lock.release()

    # Writing

    def _segment_for(self, size: int) -> _Segment:
        if self._writer is not None:
            newest = self._segments[-1]
            if newest.size + size <= self._segment_bytes or newest.size == 0:
                return newest
            self._fsync()
            self._close_writer()
        return self._begin_segment()

    def _begin_segment(self) -> _Segment:
        self._last_number += 1
        path = self.directory / f"{self._last_number:010}.spool"
        self._writer = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._segments.append(_Segment(self._last_number, path))
        sync(self.directory)
        return self._segments[-1]

    def _write(self, segment: _Segment, record: bytes) -> None:
        """Write all of `record` at the end of the segment, or nothing."""
        assert self._writer is not None  # noqa: S101  `_segment_for` has just seen to it
        try:
            _pwrite_all(self._writer, record, segment.size)
            self._unsynced = True
            if self._is_due():
                self._fsync()
        except OSError:
            # Should this fail as well, the next record overwrites the remains or recovery steps over them.
            with suppress(OSError):
                os.ftruncate(self._writer, segment.size)
            raise

    def _is_due(self) -> bool:
        return self._clock.monotonic() - self._synced_at >= self._fsync_interval_s

    def _fsync(self) -> None:
        self._synced_at = self._clock.monotonic()
        if self._writer is not None and self._unsynced:
            os.fsync(self._writer)
        self._unsynced = False

    def _close_writer(self) -> None:
        if self._writer is not None:
            os.close(self._writer)
        self._writer = None

    # Reading

    def _read(self, segment: _Segment) -> bytes | None:
        """Return the oldest waiting payload; drop it and return None if it went bad since it was indexed."""
        offset = segment.pending[0]
        end = segment.pending[1] if len(segment.pending) > 1 else segment.size
        try:
            with segment.path.open("rb") as file:
                file.seek(offset)
                record = records.record_at(file.read(end - offset), 0)
        except FileNotFoundError:
            record = None
        except OSError as error:
            raise SpoolFull(_unusable(self.directory, error)) from error
        times = segment.times[0]
        if record:
            self._before_ms = _earlier(times.from_ms, record.written_ms)
            return record.payload
        _drop_oldest(segment)
        from_ms = times.from_ms or self._from_ms(self._clock.now_ms())
        self._report(segment, offset, end, from_ms, times.to_ms or self._clock.now_ms(), torn=False)
        with suppress(OSError):
            self._name_anew()
        return None

    def _finish(self, segment: _Segment) -> None:
        """Delete the oldest segment: all of it is acknowledged."""
        if len(self._segments) == 1:
            self._close_writer()
            self._unsynced = False
        self._segments.popleft()
        self._cursor_moved = True
        # A file that can't be deleted now lies before the cursor: the next owner tries again.
        with suppress(OSError):
            segment.path.unlink()

    def _save_cursor(self) -> None:
        number = self._segments[0].number if self._segments else self._last_number + 1
        position = self._segments[0].position if self._segments else 0
        oldest = next((times for segment in self._segments for times in segment.times), Times())
        text = f"{number} {position} {oldest.from_ms}".encode()
        # Losing the cursor only means sending again, so a full disk must not stop the way back.
        with suppress(OSError):
            self._replace("cursor", b"%s %08x\n" % (text, zlib.crc32(text)))
            self._cursor_moved = False

    def _replace(self, name: str, content: bytes) -> None:
        with replacing(self.directory / name, durable=False) as new:
            new.write_bytes(content)

    # Recovery

    def _recover(self) -> int:
        """Index what an earlier owner left; return the highest segment number it can have used."""
        first, acknowledged, self._before_ms = self._load_cursor()
        paths = sorted(path for path in self.directory.iterdir() if _NAME.fullmatch(path.name))
        for path in paths:
            number = int(path.stem)
            if number < first:
                path.unlink()
            else:
                self._index(path, acknowledged if number == first else 0, is_last=path == paths[-1])
        self._before_ms = None
        return max([first, *(int(path.stem) for path in paths)])

    def _load_cursor(self) -> tuple[int, int, int | None]:
        """Return (segment, offset) before which all is acknowledged, and from when on trades are behind it.

        (0, 0, None) if that is not known.
        """
        with suppress(OSError, ValueError):
            text, _, crc = (self.directory / "cursor").read_bytes().rstrip().rpartition(b" ")
            if zlib.crc32(text) == int(crc, 16):
                number, offset, *oldest = map(int, text.split())
                return number, offset, (oldest[0] or None) if oldest else None
        return 0, 0, None

    def _load_id(self) -> str:
        """Return the name of what is in the spool, empty where it has none."""
        with suppress(OSError):
            return (self.directory / "id").read_text().strip()[:64]
        return ""

    def _name_anew(self) -> None:
        """Give a name to what is in the spool; what is damaged is not what had the name before."""
        if self._damage or not self.id:
            self.id = secrets.token_hex(8)
            self._replace("id", self.id.encode())

    def _index(self, path: Path, acknowledged: int, *, is_last: bool) -> None:
        """Note where the waiting records of a segment lie. One whole segment at a time is in memory."""
        data = path.read_bytes()
        segment = _Segment(int(path.stem), path, size=len(data))
        self._segments.append(segment)
        end = 0
        for record in records.scan(data):
            times = self._times_of(record.payload) if record.offset >= acknowledged else Times()
            if record.offset > max(end, acknowledged):
                to_ms = max(times.to_ms, record.written_ms)
                self._report(segment, end, record.offset, self._from_ms(to_ms), to_ms, torn=False)
            if record.offset >= acknowledged:
                segment.pending.append(record.offset)
                segment.times.append(times)
                self._before_ms = _earlier(times.from_ms, record.written_ms)
            end = record.end
        if len(data) > max(end, acknowledged):
            to_ms = path.stat().st_mtime_ns // 1_000_000
            self._report(segment, end, len(data), self._from_ms(to_ms), to_ms, torn=is_last)
        if len(data) > end:
            os.truncate(path, end)
            segment.size = end

    def _from_ms(self, to_ms: int) -> int:
        """Return from when on the trades of a lost record that ends at `to_ms` are, at the earliest."""
        return min(to_ms - LONG_MS if self._before_ms is None else self._before_ms - APART_MS, to_ms)

    def _report(
        self, segment: _Segment, start: int, end: int, from_ms: int, to_ms: int, *, torn: bool
    ) -> None:
        self.corrupt_records += not torn
        self._damage.append(Damage(segment.number, start, end - start, from_ms, to_ms, torn))


def _earlier(from_ms: int, written_ms: int) -> int:
    """Return from when on the trades of a record are; 0 is not known."""
    return min(from_ms, written_ms) if from_ms else written_ms


def _drop_oldest(segment: _Segment) -> None:
    segment.pending.popleft()
    segment.times.popleft()


def _own(directory: Path) -> FileLock:
    """Take `directory` for this process alone; return the lock that holds it."""
    lock = FileLock(directory / "lock")
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        is_ours = lock.acquire()
    except OSError as error:
        raise ConfigurationError(_unusable(directory, error)) from error
    if not is_ours:
        raise ConfigurationError(
            f"the spool {directory} belongs to a running listener: stop it or change COLLECTOR_DATA_DIR"
        )
    for left in directory.glob(f".*{TEMPORARY}"):
        left.unlink(missing_ok=True)
    return lock


def _unusable(directory: Path, error: OSError) -> str:
    return f"the spool {directory} is unusable ({error.strerror or error}): check disk space and permissions"


def _pwrite_all(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written
