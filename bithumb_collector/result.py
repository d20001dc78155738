"""Results as rows, and as polars, pandas or Arrow data frames.

The libraries are imported on use. The extra `history` installs polars and pyarrow, `pandas` installs pandas.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from importlib import import_module
from types import ModuleType
from typing import Any, Generic, TypeVar, get_args, get_type_hints, overload
from zoneinfo import ZoneInfo

from collector.archive.decimals import Fixed, rounded_text
from collector.archive.schema import DECIMALS, ROUNDED, Kind
from collector.errors import ConfigurationError
from collector.store.read import to_json

Row = TypeVar("Row")
#: A pandas or polars DataFrame, or a pyarrow Table.
Frame = Any

#: The extra that brings a library.
EXTRAS = {"pandas": "pandas", "polars": "history", "pyarrow": "history"}


@dataclass(frozen=True, slots=True)
class Shape:
    """How rows of a kind become columns.

    Attributes:
        row: the class of the rows; its annotations are the types of the other columns.
        columns: names in order, each a field of the row.
        decimals: columns with decimals, and their kinds; a quotient (`Kind.RATIO`) has no exact decimal.
        times: columns with epoch milliseconds or an aware `datetime`, which become timestamps with a time
            zone; the first is the index in pandas.
    """

    row: type[Any]
    columns: tuple[str, ...]
    decimals: Mapping[str, Kind] = field(default_factory=dict)
    times: tuple[str, ...] = ()

    def plain(self) -> dict[str, type]:
        """Return the columns that are neither decimals nor times: bool, int or str."""
        hints = get_type_hints(self.row)
        names = (name for name in self.columns if name not in self.decimals and name not in self.times)
        return {name: _plain(hints[name]) for name in names}


def _plain(hint: Any) -> type:  # noqa: ANN401 - an annotation
    parts = get_args(hint) or (hint,)
    return next((kind for kind in (bool, int) if kind in parts), str)


class Result(Sequence[Row], Generic[Row]):
    """A sequence of rows, oldest first, that converts to a data frame.

    Args:
        rows: frozen structs with the fields of the JSON output.
        shape: the columns of the data frame.
        zone: the time zone of timestamps in frames (`COLLECTOR_TIME_ZONE`, Korea by default).
    """

    def __init__(self, rows: Sequence[Row], shape: Shape, zone: ZoneInfo) -> None:
        self._rows = tuple(rows)
        self._shape = shape
        self._zone = zone

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> "Result[Row]": ...
    def __getitem__(self, index: int | slice) -> "Row | Result[Row]":
        if isinstance(index, slice):
            return Result(self._rows[index], self._shape, self._zone)
        return self._rows[index]

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)

    def __repr__(self) -> str:
        ends = f": {self._rows[0]!r} … {self._rows[-1]!r}" if self._rows else ""
        return f"<Result of {len(self)} rows{ends:.300}>"

    def rows(self) -> list[Row]:
        """Return the rows: frozen structs, prices and volumes as `Decimal`."""
        return list(self._rows)

    def json(self) -> str:
        """Return a JSON array like `collector show … --json`: decimals are strings without exponent."""
        return to_json(self._rows)

    def pandas(self, *, exact: bool = False) -> Frame:
        """Return a pandas DataFrame, indexed by time where the rows have one.

        Shape: one line per row; candles begin with `open high low close`. The index is a tz-aware
        DatetimeIndex in `COLLECTOR_TIME_ZONE`.

        Args:
            exact: prices and volumes are `Decimal` objects instead of float64.

        Raises:
            ConfigurationError: pandas is not installed.
        """
        pandas = _library("pandas")
        frame = pandas.DataFrame(self._columns(exact=exact), columns=list(self._shape.columns))
        for name in self._shape.times:
            stamps = pandas.to_datetime(frame[name], utc=True)
            frame[name] = stamps.dt.as_unit("ms").dt.tz_convert(self._zone)
        return frame.set_index(self._shape.times[0]) if self._shape.times else frame

    def polars(self, *, exact: bool = False) -> Frame:
        """Return a polars DataFrame; times are Datetime[ms] in `COLLECTOR_TIME_ZONE`.

        Args:
            exact: prices and volumes are Decimal instead of Float64, with one type per kind of column, as
                in SQL and `tasks.frames` (docs/archive.md). The column `rounded` has all digits of a number
                that does not fit.

        Raises:
            ConfigurationError: polars is not installed.
        """
        polars = _library("polars")
        names = {bool: polars.Boolean, int: polars.Int64, str: polars.String}
        types = {name: names[kind] for name, kind in self._shape.plain().items()}
        types |= {name: polars.Datetime("ms", self._zone.key) for name in self._shape.times}
        for name in self._shape.decimals:
            fixed = self._fixed(name) if exact else None
            types[name] = polars.Decimal(*fixed) if fixed else polars.Float64
        columns = self._fitted() if exact else self._columns(exact=False)
        types[ROUNDED] = polars.String
        return polars.DataFrame(columns, schema={name: types[name] for name in columns})

    def arrow(self, *, exact: bool = False) -> Frame:
        """Return a pyarrow Table; times are timestamp[ms] in `COLLECTOR_TIME_ZONE`.

        Args:
            exact: as of `polars`; decimal128.

        Raises:
            ConfigurationError: pyarrow is not installed.
        """
        pyarrow = _library("pyarrow")
        names = {bool: pyarrow.bool_(), int: pyarrow.int64(), str: pyarrow.string()}
        types = {name: names[kind] for name, kind in self._shape.plain().items()}
        types |= {name: pyarrow.timestamp("ms", self._zone.key) for name in self._shape.times}
        for name in self._shape.decimals:
            fixed = self._fixed(name) if exact else None
            types[name] = pyarrow.decimal128(*fixed) if fixed else pyarrow.float64()
        types[ROUNDED] = pyarrow.string()
        columns = self._fitted() if exact else self._columns(exact=False)
        return pyarrow.table({name: pyarrow.array(column, types[name]) for name, column in columns.items()})

    def _columns(self, *, exact: bool) -> dict[str, list[Any]]:
        return {
            name: [self._cell(row, name, exact=exact) for row in self._rows] for name in self._shape.columns
        }

    def _cell(self, row: Row, name: str, *, exact: bool) -> Any:  # noqa: ANN401 - of the column's type
        value = getattr(row, name)
        if value is None:
            return None
        if name in self._shape.times:
            return value if isinstance(value, datetime) else datetime.fromtimestamp(value / 1000, UTC)
        if isinstance(value, Decimal) and not exact:
            return float(value)
        return value.value if isinstance(value, Enum) else value

    def _fixed(self, name: str) -> Fixed | None:
        """Return the decimal type of a column, None where its numbers have no exact decimal."""
        return DECIMALS.get(self._shape.decimals[name])

    def _fitted(self) -> dict[str, list[Any]]:
        """Return exact columns whose numbers fit their types, `ROUNDED` last."""
        columns = self._columns(exact=True)
        misfits: list[dict[str, object]] = [{} for _ in self._rows]
        for name in self._shape.decimals:
            numbers, fixed = columns[name], self._fixed(name)
            fit = fixed.fitted if fixed else float
            columns[name] = [None if number is None else fit(number) for number in numbers]
            for row, (number, near) in enumerate(zip(numbers, columns[name], strict=True)):
                if fixed and number != near:
                    misfits[row][name] = number
        return {**columns, ROUNDED: list(map(rounded_text, misfits))} if self._shape.decimals else columns


def _library(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ImportError as error:
        extra = EXTRAS[name]
        raise ConfigurationError(
            f"{name} is not installed: pip install 'bithumb-collector[{extra}]'"
        ) from error
