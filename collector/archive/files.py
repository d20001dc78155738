"""The archive's files: found, read, replaced in one step, locked while they change.

A file is written under a temporary name, synced and renamed, so a reader sees the complete old or new one. A
file that cannot be read is renamed and reported, and never deleted.
"""

import logging
import os
from collections.abc import Iterator, Sequence
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
from collector.util.atomic_file import TEMPORARY, replacing
from collector.util.file_lock import FileLock

log = logging.getLogger(__name__)

LOCK = ".lock"


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
        with _refusals(self.root):
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

    def read(self, table: Table, path: Path) -> Arrow | None:
        """Return a file's rows, None where there is none; one that can't be read is put aside."""
        if not path.exists():
            return None
        try:
            return parquet.read(table, path)
        except FileNotFoundError:
            return None
        except unreadable() as error:
            self._put_aside(path, first_line(error))
            return None

    def _put_aside(self, path: Path, reason: str) -> None:
        if self._read_only:
            log.warning("%s is damaged (%s): left out", path, reason)
            return
        aside = path.with_name(path.name + DAMAGED)
        log.error("%s is damaged (%s): put aside as %s", path, reason, aside.name)
        with _refusals(path):
            path.replace(aside)

    def write(self, table: Table, path: Path, rows: Arrow) -> None:
        """Put a file in place.

        Raises:
            ArchiveUnavailable: it can't be written; the one before is still there.
        """
        with _refusals(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as temporary:
                with temporary.open("wb") as file:
                    parquet.write(table, rows, file)
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
            hours = [rows for name in sorted(names) if (rows := self.read(table, folder / name)) is not None]
            if not hours:
                return False
            together = library("pyarrow").concat_tables(hours)
            self.write(table, target, parquet.in_order(table, together))
        with _refusals(folder):
            for name in names:
                (folder / name).unlink(missing_ok=True)
            if names:
                manifest.prune(folder)
        return bool(names)

    def remove(self, table: Table, day: date) -> None:
        """Forget a day, its damaged files too."""
        folder = self.root / folder_of(table, day)
        with _refusals(folder):
            for path in folder.iterdir():
                path.unlink(missing_ok=True)
            folder.rmdir()

    def clear_leftovers(self) -> None:
        """Remove what a killed writer left; only while `locked`."""
        with _refusals(self.root):
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
def _refusals(path: Path) -> Iterator[None]:
    """Turn the system's refusal into one sentence."""
    try:
        yield
    except OSError as error:
        raise ArchiveUnavailable(
            f"{path} can't be written ({error.strerror or error}): free some space or set COLLECTOR_DATA_DIR"
        ) from error
