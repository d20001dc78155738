"""Rows as they were read, and as the data frame of whoever asks: polars, pandas or Arrow.

The libraries are imported when they are asked for: the extra `history` brings polars and pyarrow, `pandas`
brings pandas.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from importlib import import_module
from types import ModuleType
from typing import Any, Generic, TypeVar, overload
from zoneinfo import ZoneInfo

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
        columns: names in order, each a field of the row.
        decimals: those that hold exact numbers.
        times: those that hold epoch milliseconds, or an aware `datetime`, and become aware timestamps; the
            first is the index in pandas.
    """

    columns: tuple[str, ...]
    decimals: frozenset[str]
    times: tuple[str, ...] = ()


class Result(Sequence[Row], Generic[Row]):
    """A sequence of rows, oldest first, that becomes a data frame on request.

    Args:
        rows: frozen structs with the fields of the JSON promise.
        shape: how they become columns.
        zone: the zone of timestamps in frames (`COLLECTOR_TIME_ZONE`, Korea by default).
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
        """Return the array that `collector show … --json` prints: decimals are strings without exponent."""
        return to_json(self._rows)

    def pandas(self, *, exact: bool = False) -> Frame:
        """Return a pandas DataFrame, indexed by time where the rows have one.

        Shape: a row each; candles have `open high low close` first. The index is a tz-aware DatetimeIndex in
        `COLLECTOR_TIME_ZONE`.

        Args:
            exact: prices and volumes are `Decimal` objects, not float64.

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
            exact: prices and volumes are Decimal with as many places as the rows have, not Float64.

        Raises:
            ConfigurationError: polars is not installed.
        """
        polars = _library("polars")
        types = {name: polars.Datetime("ms", self._zone.key) for name in self._shape.times}
        for name in self._shape.decimals:
            types[name] = polars.Decimal(38, self._places(name)) if exact else polars.Float64
        return polars.DataFrame(
            self._columns(exact=exact), schema={name: types.get(name) for name in self._shape.columns}
        )

    def arrow(self, *, exact: bool = False) -> Frame:
        """Return a pyarrow Table; times are timestamp[ms] in `COLLECTOR_TIME_ZONE`.

        Args:
            exact: as of `polars`; decimal128.

        Raises:
            ConfigurationError: pyarrow is not installed.
        """
        pyarrow = _library("pyarrow")
        types = {name: pyarrow.timestamp("ms", self._zone.key) for name in self._shape.times}
        for name in self._shape.decimals:
            types[name] = pyarrow.decimal128(38, self._places(name)) if exact else pyarrow.float64()
        columns = self._columns(exact=exact)
        arrays = {name: pyarrow.array(columns[name], types.get(name)) for name in self._shape.columns}
        return pyarrow.table(arrays)

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

    def _places(self, name: str) -> int:
        """Return the most decimal places of a column; a frame has one scale for all its rows."""
        numbers = (getattr(row, name) for row in self._rows)
        exponents = (number.as_tuple().exponent for number in numbers if number is not None)
        return max((-exponent for exponent in exponents if isinstance(exponent, int)), default=0)


def _library(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ImportError as error:
        extra = EXTRAS[name]
        raise ConfigurationError(
            f"{name} is not installed: pip install 'bithumb-collector[{extra}]'"
        ) from error
