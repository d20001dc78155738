"""The archive's files: found, read, replaced in one step, locked while they change.

A file is written under a temporary name, synced and renamed, so a reader sees the complete old or new one. A
file that cannot be read is renamed and reported, and never deleted.
"""

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path

from collector.archive import ArchiveBusy, ArchiveUnavailable, library, manifest, parquet
from collector.archive.parquet import Arrow
from collector.archive.partitions import (
    DAMAGED,
    DAY_FILE,
    day_in,
    day_of,
    folder_of,
    hour_name,
    in_force,
    span_of,
)
from collector.archive.schema import Table
from collector.archive.sorted_rows import Part, by_market, joined
from collector.util.atomic_file import TEMPORARY, replacing
from collector.util.file_lock import FileLock

log = logging.getLogger(__name__)

LOCK = ".lock"
#: Rows of each hour that are in memory while a day is made of them.
JOINED_AT_ONCE = 8192


class Files:
    """The Parquet files below `root`; who only reads puts nothing aside."""

    def __init__(self, root: Path, *, read_only: bool = False) -> None:
        self.root = root
        self._read_only = read_only

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the right to change files; given back by the kernel even if this process is killed.

        Raises:
            ArchiveBusy: another process has it.
            ArchiveUnavailable: the folder can't be made.
        """
        with refusals(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.root / LOCK)
            is_ours = lock.acquire()
        with lock:
            if not is_ours:
                raise ArchiveBusy(f"another process is writing {self.root}: it will do the work")
            yield

    def days(self, table: Table) -> list[date]:
        """Return the days there are files of, oldest first."""
        folder = self.root / f"channel={table.name}"
        return sorted(day for path in folder.glob("date=*") if (day := day_in(path)))

    def of_day(self, table: Table, day: date) -> list[Path]:
        """Return the files that make up a day."""
        folder = self.root / folder_of(table, day)
        try:
            return [folder / name for name in in_force(os.listdir(folder))]
        except FileNotFoundError:
            return []

    def within(self, table: Table, from_ms: int | None, to_ms: int | None) -> list[Path]:
        """Return the files that may hold anything of `from_ms … to_ms`, oldest first."""
        paths = [path for day in self.days(table) for path in self.of_day(table, day)]
        return [path for path in paths if _touches(span_of(path), from_ms, to_ms)]

    def place(self, table: Table, hour_ms: int) -> Path:
        """Return the file that holds an hour: its own, or its day's once that is compacted."""
        folder = self.root / folder_of(table, day_of(hour_ms))
        day = folder / DAY_FILE
        return day if day.exists() else folder / hour_name(hour_ms)

    def read(self, table: Table, path: Path, span: tuple[int, int] | None = None) -> Arrow | None:
        """Return a file's rows, None where there is none; one that can't be read is put aside.

        Args:
            table: of which channel.
            path: of the file.
            span: only rows from the first millisecond to before the second.
        """
        if not path.exists():
            return None
        try:
            return parquet.read(table, path, span)
        except FileNotFoundError:
            return None
        except unreadable() as error:
            self._put_aside(path, first_line(error))
            return None

    def is_sound(self, table: Table, path: Path) -> bool:
        """Whether there is such a file and every page of it can be read; one that can't be is put aside."""
        if not path.exists():
            return False
        try:
            for _ in parquet.batches(table, path):
                pass
        except FileNotFoundError:
            return False
        except unreadable() as error:
            self._put_aside(path, first_line(error))
            return False
        return True

    def parts(self, table: Table, path: Path, size: int = parquet.ROW_GROUP) -> Iterator[Part]:
        """Yield the rows of a sound file in order, those of one market at a time, `size` at the most.

        Raises:
            ArchiveUnavailable: it can't be read after all.
        """
        try:
            for rows in parquet.batches(table, path, size):
                yield from by_market(rows)
        except unreadable() as error:
            raise ArchiveUnavailable(f"{path} can't be read: {first_line(error)}") from error

    def _put_aside(self, path: Path, reason: str) -> None:
        if self._read_only:
            log.warning("%s is damaged (%s): left out", path, reason)
            return
        aside = path.with_name(path.name + DAMAGED)
        log.error("%s is damaged (%s): put aside as %s", path, reason, aside.name)
        with refusals(path):
            path.replace(aside)

    def write(self, table: Table, path: Path, parts: Iterable[Arrow]) -> None:
        """Put a file in place, its rows in order of the key, in as many parts as they come in.

        Raises:
            ArchiveUnavailable: it can't be written; the one before is still there.
        """
        with refusals(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as temporary:
                with temporary.open("wb") as file:
                    parquet.write(table, parts, file)
                entry = manifest.entry_of(temporary)
                manifest.allow(path, entry)
            manifest.settle(path, entry)

    def compact(self, table: Table, day: date) -> bool:
        """Make one file of a day's hours; return whether anything was done.

        Raises:
            ArchiveUnavailable: the file can't be written; the hours are still there.
        """
        folder = self.root / folder_of(table, day)
        names = [path.name for path in folder.glob("[0-2][0-9].parquet")]
        target = folder / DAY_FILE
        if names and not target.exists():
            hours = [folder / name for name in sorted(names) if self.is_sound(table, folder / name)]
            if not hours:
                return False
            self.write(table, target, self._joined(table, hours))
        with refusals(folder):
            for name in names:
                (folder / name).unlink(missing_ok=True)
            if names:
                manifest.prune(folder)
        return bool(names)

    def _joined(self, table: Table, hours: Sequence[Path]) -> Iterable[Arrow]:
        """Return the rows of a day's hours in order of the key."""
        if table.key[:2] == ("market", table.time):
            return joined([self.parts(table, path, JOINED_AT_ONCE) for path in hours])
        rows = [part for path in hours for _, part in self.parts(table, path)]
        return [parquet.in_order(table, library("pyarrow").concat_tables(rows))] if rows else []

    def remove(self, table: Table, day: date) -> None:
        """Forget a day, its damaged files too."""
        folder = self.root / folder_of(table, day)
        with refusals(folder):
            for path in folder.iterdir():
                path.unlink(missing_ok=True)
            folder.rmdir()

    def clear_leftovers(self) -> None:
        """Remove what a killed writer left; only while `locked`."""
        with refusals(self.root):
            for path in self.root.glob(f"channel=*/date=*/.*{TEMPORARY}"):
                path.unlink(missing_ok=True)


def damage(table: Table, path: Path) -> str | None:
    """Return what is wrong with a file in one line, None where nothing is or the file is gone."""
    try:
        parquet.read(table, path)
    except FileNotFoundError:
        return None
    except unreadable() as error:
        return first_line(error)
    return None


def unreadable() -> tuple[type[Exception], ...]:
    """Return what reading a damaged file raises."""
    return OSError, KeyError, ValueError, library("pyarrow").ArrowException


def first_line(error: Exception) -> str:
    """Return what is wrong, in one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def sizes(paths: Sequence[Path]) -> int:
    """Return the bytes of files together."""
    return sum(path.stat().st_size for path in paths)


def _touches(span: tuple[int, int], from_ms: int | None, to_ms: int | None) -> bool:
    first_ms, last_ms = span
    return (to_ms is None or first_ms <= to_ms) and (from_ms is None or last_ms >= from_ms)


@contextmanager
def refusals(path: Path) -> Iterator[None]:
    """Turn the system's refusal into one sentence."""
    try:
        yield
    except OSError as error:
        raise ArchiveUnavailable(
            f"{path} can't be written ({error.strerror or error}): free some space or set COLLECTOR_DATA_DIR"
        ) from error
