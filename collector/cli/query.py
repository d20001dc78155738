"""`collector query`: one SELECT over the archive and what is newer in Redis."""

import logging
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from collector.archive.partitions import FOLDER
from collector.archive.schema import ROUNDED
from collector.archive.sql import QuerySession, Result
from collector.cli.lookback import jsonable, open_history
from collector.cli.render import output
from collector.cli.render.table import Column, RenderedTable
from collector.cli.render.values import zone_name
from collector.settings import Settings

log = logging.getLogger(__name__)


def query(settings: Settings, sql: str, *, as_json: bool, rows_max: int, vertical: bool = False) -> int:
    """Print what `sql` gives; return the exit code.

    Args:
        settings: where archive and Redis are, the time zone, what a query may take.
        sql: one SELECT.
        as_json: all rows as an array of objects instead of a table.
        rows_max: rows of a table.
        vertical: every row as a record, one line a column.

    Raises:
        ConfigurationError: bad SQL, more than reading, or the extra is not installed.
        BrokerUnavailable: neither Redis nor an archive.
        PipelineError: out of memory, or a file turned out to be damaged when rows had been printed.
    """
    with open_history(settings) as session:
        if session.is_empty:
            log.warning("nothing is archived in %s yet, and Redis has nothing", settings.data_dir / FOLDER)
        _warn_of_rounded(session, sql)
        if as_json:
            _write_json(session.select(sql))
        else:
            output.show([_table(session.select(sql, rows_max + 1), rows_max, vertical=vertical)])
    return 0


def _warn_of_rounded(session: QuerySession, sql: str) -> None:
    """Name the numbers of the views in `sql` that their columns can't hold."""
    words = {word.lower() for word in re.findall(r"\w+", sql)}
    views = {name.partition(".")[0] for name in session.rounded} & words
    found = [f"{view}.{name} {count:,}" for view in sorted(views) for name, count in _rounded(session, view)]
    if found:
        log.warning("rounded to fit their columns, all digits in the column `rounded`: %s", ", ".join(found))


def _rounded(session: QuerySession, view: str) -> list[tuple[Any, ...]]:
    """Return columns and how many of their numbers are rounded; footers count rows twice that are renewed."""
    return session.rows(
        f"SELECT name, count(*) FROM (SELECT unnest(json_keys({ROUNDED})) AS name FROM {view}"  # noqa: S608
        f" WHERE {ROUNDED} IS NOT NULL) GROUP BY 1 ORDER BY 1"
    )


def _write_json(result: Result) -> None:
    """Write an array of objects as the rows come: a large answer needs no memory."""
    comma = ""
    output.write("[")
    for rows in result.batches():
        objects = (dict(zip(result.columns, map(jsonable, row), strict=True)) for row in rows)
        output.write(comma + ",\n".join(msgspec.json.encode(each).decode() for each in objects))
        comma = ","
    output.write("]")


def _table(result: Result, rows_max: int, *, vertical: bool) -> RenderedTable:
    """Return whole columns, the first ones first; a single row that is too wide for them as a record."""
    rows = next(result.batches(), [])
    shown = rows[:rows_max]
    columns = [
        Column(name, _cells(values), right=_is_number(values), rank=place if len(shown) > 1 else 0)
        for place, name in enumerate(result.columns)
        for values in [[row[place] for row in shown]]
    ]
    notes = []
    if any(isinstance(value, datetime) and value.tzinfo for row in shown for value in row):
        notes.append(f"times in {zone_name()}")
    if len(rows) > rows_max:
        notes.append(f"the first {rows_max} rows; all of them: --json, or --rows")
    note = "; ".join(notes) if rows else "no rows"
    return RenderedTable("", columns, note, hint="--vertical shows every column", vertical=vertical)


def _cells(values: Sequence[Any]) -> list[str]:
    times = [value for value in values if isinstance(value, datetime)]
    return [_time(value, times) if isinstance(value, datetime) else _cell(value) for value in values]


def _time(value: datetime, column: Sequence[datetime]) -> str:
    """Return a time as precisely as its column needs."""
    if any(time.microsecond for time in column):
        unit = "microseconds" if any(time.microsecond % 1000 for time in column) else "milliseconds"
    else:
        unit = "seconds" if any(time.second for time in column) else "minutes"
    return value.replace(tzinfo=None).isoformat(" ", unit)


def _cell(value: object) -> str:
    match value:
        case None:
            return "NULL"
        case bool():
            return "yes" if value else "no"
        case int():
            return str(value)
        case str():
            return "".join(char if char.isprintable() else repr(char)[1:-1] for char in value)
        case float():
            return f"{value:.12g}"
        case list() | dict():
            return msgspec.json.encode(jsonable(value)).decode()
        case _:
            return str(jsonable(value))


def _is_number(values: Sequence[Any]) -> bool:
    return any(
        not isinstance(value, str | list | dict | bool | datetime) for value in values if value is not None
    )
