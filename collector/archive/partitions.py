"""Where a row lives: channel, day and hour of its event time, UTC. Pure."""

import re
from collections.abc import Collection, Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from collector.archive.schema import Table
from collector.util.korean_time import DAY_MS

#: Below the data folder.
FOLDER = "archive"
HOUR_MS = 3_600_000
DAY_FILE = "day.parquet"
SUFFIX = ".parquet"
DAMAGED = ".damaged"


def hour_of(time_ms: int) -> int:
    """Return the start of the hour that holds `time_ms`."""
    return time_ms - time_ms % HOUR_MS


def day_of(time_ms: int) -> date:
    """Return the day, UTC, that holds `time_ms`."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).date()


def start_ms(day: date) -> int:
    """Return the first millisecond of a day, UTC."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000


def hour_name(hour_ms: int) -> str:
    """Return the file name of an hour within its day."""
    return f"{hour_ms % DAY_MS // HOUR_MS:02d}{SUFFIX}"


def folder_of(table: Table, day: date) -> Path:
    """Return the folder of a day, below the archive's."""
    return Path(f"channel={table.name}", f"date={day.isoformat()}")


def day_in(folder: Path) -> date | None:
    """Return the day a folder is named after, None where it is named otherwise."""
    try:
        return date.fromisoformat(folder.name.removeprefix("date="))
    except ValueError:
        return None


def span_of(path: Path) -> tuple[int, int]:
    """Return the first and the last millisecond that a file of a day's folder may hold."""
    day = day_in(path.parent)
    if day is None:
        raise ValueError(f"{path} is not in the folder of a day")
    if path.name == DAY_FILE:
        return start_ms(day), start_ms(day) + DAY_MS - 1
    first_ms = start_ms(day) + int(path.stem) * HOUR_MS
    return first_ms, first_ms + HOUR_MS - 1


def in_force(names: Collection[str]) -> list[str]:
    """Return the files of a day that count: a day's file replaces those of its hours."""
    if DAY_FILE in names:
        return [DAY_FILE]
    return sorted(name for name in names if re.fullmatch(rf"\d\d{re.escape(SUFFIX)}", name))


def hours_between(from_ms: int, to_ms: int) -> range:
    """Return the hours that hold anything of `from_ms … to_ms`, both included."""
    return range(hour_of(from_ms), to_ms + 1, HOUR_MS)


def expired(days: Iterable[date], newest: date, retention_days: int) -> list[date]:
    """Return the days that are older than `retention_days` before the newest; 0 keeps all."""
    if not retention_days:
        return []
    limit = newest - timedelta(days=retention_days)
    return [day for day in days if day <= limit]
