"""Answers of analyses: figures by name, whatever the analysis is, and tables for lists of figures."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation

from rich.console import RenderableType

from collector.cli.render import values
from collector.cli.render.moments import moments
from collector.cli.render.table import Column, RenderedTable

#: More decimals than this come from a division, and nobody reads them.
EXACT_PLACES, ROUNDED_PLACES = 8, 4
LIST_ROWS = 20
#: What all answers of one question have in common.
_ABOUT = ("market", "window")


def answer(name: str, figures: Mapping[str, object]) -> Iterator[RenderableType]:
    """Yield the single figures as one table, then a table for each list of figures."""
    single = {key: value for key, value in figures.items() if not isinstance(value, list | dict)}
    said = f"times in {values.zone_name()}" if any(map(_is_time, single)) else ""
    yield RenderedTable(
        name,
        (
            Column("figure", [title(key) for key in single], right=False),
            Column("value", [figure(key, value) for key, value in single.items()], said=(said, said)),
        ),
    )
    for key, value in figures.items():
        if isinstance(value, dict):
            yield from answer(title(key), value)
        elif isinstance(value, list):
            yield _table(title(key), value)


def kept_answers(name: str, answers: Sequence[Mapping[str, object]]) -> RenderableType:
    """Return the single figures of answers of one analysis, one answer a row; market and window once."""
    about = [str(answers[0][key]) for key in ("market", "window") if key in answers[0]]
    rows = [
        {key: value for key, value in row.items() if not isinstance(value, list | dict) and key not in _ABOUT}
        for row in answers
    ]
    return RenderedTable(f"{name} {' '.join(about)}", _columns(rows[-LIST_ROWS:]), _more(len(rows)))


def _more(count: int) -> str:
    return f"the newest {LIST_ROWS} of {count}; --json has all" if count > LIST_ROWS else ""


def figure(key: str, value: object) -> str:
    """Return one figure: times by their `_ms`, decimals with separators, anything else as it is."""
    match value:
        case None:
            return values.NOTHING
        case bool():
            return "yes" if value else "no"
        case int() if _is_time(key):
            return values.second(value)
        case int() if not key.endswith("id"):
            return values.count(value)
        case str():
            return _decimal(value)
        case _:
            return str(value)


def title(key: str) -> str:
    """Return the name of a figure for people."""
    return key.removesuffix("_ms").replace("_", " ")


def _decimal(text: str) -> str:
    try:
        value = Decimal(text)
    except InvalidOperation:
        return text
    return values.fixed(value, _places([value])) if value.is_finite() else text


def _places(numbers: Sequence[Decimal]) -> int:
    """Return the decimals of an exact figure, fewer of one that comes from a division."""
    exact = values.places(numbers, EXACT_PLACES + 1)
    small = all(abs(value) < 1 for value in numbers)
    return exact if exact <= EXACT_PLACES else EXACT_PLACES if small else ROUNDED_PLACES


def _table(name: str, rows: Sequence[object]) -> RenderableType:
    if not rows:
        return f"{name}: none"
    shown = rows[:LIST_ROWS]
    note = f"the first {LIST_ROWS} of {len(rows)}; --json has all" if len(rows) > LIST_ROWS else ""
    return RenderedTable(name, _columns(shown), note)


def _columns(rows: Sequence[object]) -> list[Column]:
    if all(isinstance(row, Mapping) for row in rows):
        keys = list(dict.fromkeys(key for row in rows if isinstance(row, Mapping) for key in row))
        return [
            _column(key, [row.get(key) for row in rows if isinstance(row, Mapping)], number)
            for number, key in enumerate(keys)
        ]
    cells = [row if isinstance(row, list) else [row] for row in rows]
    width = max(map(len, cells))
    return [
        Column("", [figure("", row[number]) if number < len(row) else "" for row in cells], rank=number)
        for number in range(width)
    ]


def _column(key: str, column: Sequence[object], rank: int) -> Column:
    times_ms = [value for value in column if isinstance(value, int) or value is None]
    if _is_time(key) and len(times_ms) == len(column):
        return moments(title(key), times_ms, right=True, rank=rank)
    return Column(title(key), _cells(key, column), rank=rank)


def _is_time(key: str) -> bool:
    return key.endswith("_ms")


def _cells(key: str, column: Sequence[object]) -> list[str]:
    """Return one key of all rows; numbers with their decimal points under each other."""
    try:
        numbers = [Decimal(value) if isinstance(value, str) else Decimal("NaN") for value in column]
    except InvalidOperation:
        numbers = []
    if numbers and all(value.is_finite() for value in numbers):
        decimals = _places(numbers)
        return [values.fixed(value, decimals) for value in numbers]
    return [figure(key, value) for value in column]
