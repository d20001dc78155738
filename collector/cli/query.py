"""`collector query`: one SELECT over the archive and what is newer in Redis."""

import logging
from typing import Any

import msgspec

from collector.archive.layout import FOLDER
from collector.archive.sql import Result
from collector.cli.lookback import jsonable, open_history
from collector.cli.render import output
from collector.cli.render.sheet import Column, Sheet
from collector.settings import Settings

log = logging.getLogger(__name__)


def query(settings: Settings, sql: str, *, as_json: bool, rows_max: int) -> int:
    """Print what `sql` gives; return the exit code.

    Raises:
        ConfigurationError: bad SQL, more than reading, or the extra is not installed.
        BrokerUnavailable: neither Redis nor an archive.
        PipelineError: out of memory, or a file turned out to be damaged when rows had been printed.
    """
    with open_history(settings) as session:
        if session.is_empty:
            log.warning("nothing is archived in %s yet, and Redis has nothing", settings.data_dir / FOLDER)
        if as_json:
            _write_json(session.select(sql))
        else:
            output.show([_sheet(session.select(sql, rows_max + 1), rows_max)])
    return 0


def _write_json(result: Result) -> None:
    """Write an array of objects as the rows come: a large answer needs no memory."""
    comma = ""
    output.write("[")
    for rows in result.batches():
        objects = (dict(zip(result.columns, map(jsonable, row), strict=True)) for row in rows)
        output.write(comma + ",\n".join(msgspec.json.encode(each).decode() for each in objects))
        comma = ","
    output.write("]")


def _sheet(result: Result, rows_max: int) -> Sheet:
    rows = next(result.batches(), [])
    shown = rows[:rows_max]
    columns = tuple(
        Column(name, [_cell(row[place]) for row in shown], right=_is_number([row[place] for row in shown]))
        for place, name in enumerate(result.columns)
    )
    more = f"the first {rows_max} rows; all of them: --json, or --rows" if len(rows) > rows_max else ""
    return Sheet("", columns, more or ("no rows" if not rows else ""))


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case int() | str():
            return str(value)
        case float():
            return f"{value:.12g}"
        case list() | dict():
            return msgspec.json.encode(jsonable(value)).decode()
        case _:
            return str(jsonable(value))


def _is_number(values: list[Any]) -> bool:
    return any(not isinstance(value, str | list | dict | bool) for value in values if value is not None)
