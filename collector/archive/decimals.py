"""Decimal types of columns: one for each kind of number, whatever the data are. Pure.

DuckDB rounds without a word where decimals of different scales meet and 38 digits do not hold both, polars
rounds where frames are put together, and sums overflow where a type has no room left. So a kind has one type,
in files, views, frames and exports, and the types fit each other (`docs/archive.md`, "Numbers"):

- what comes together of any two kinds needs 38 digits at the most, so nothing is cut;
- a price times a size has the scale of a turnover;
- sums have two digits more than any single number, at the least.

A number that does not fit is rounded in its column, a larger one than the type holds becomes the largest, and
all its digits stand in the column `rounded` of its row.
"""

from collections.abc import Iterable, Mapping
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any, NamedTuple

import msgspec

#: More than any number has; a quotient is never made here.
_WIDE = Context(prec=250, rounding=ROUND_HALF_UP)


class Fixed(NamedTuple):
    """A decimal type: digits in all, and those behind the point."""

    precision: int
    scale: int

    @property
    def whole(self) -> int:
        """Digits before the point."""
        return self.precision - self.scale

    @property
    def sql(self) -> str:
        """Its name in SQL."""
        return f"DECIMAL({self.precision}, {self.scale})"

    @property
    def largest(self) -> Decimal:
        """The largest number it holds."""
        return Decimal((0, (9,) * self.precision, -self.scale))

    def fitted(self, number: Decimal) -> Decimal:
        """Return the number of this type that is nearest; of two the one further from zero."""
        nearest = number.quantize(Decimal((0, (1,), -self.scale)), context=_WIDE)
        return max(self.largest.copy_negate(), min(nearest, self.largest))

    def holds(self, number: Decimal) -> bool:
        """Whether a number fits, digit by digit."""
        return self.fitted(number) == number


def text(number: Decimal) -> str:
    """Write a number digit by digit, without exponent."""
    return format(number, "f")


def shortest(number: Decimal) -> str:
    """Write a number without exponent and without the zeros that its column's type has added."""
    digits = format(number, "f")
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


def rounded_text(misfits: Mapping[str, object]) -> str | None:
    """Return what `rounded` has of a row: its numbers that do not fit, by column, as JSON; None for none."""
    return msgspec.json.encode(_as_text(misfits)).decode() if misfits else None


def exact(rounded: str | None) -> dict[str, Any]:
    """Return the numbers of a row that do not fit, by column, from what `rounded` has."""
    return {} if rounded is None else {name: _as_number(value) for name, value in _decode(rounded).items()}


def count(rounded: Iterable[str]) -> dict[str, int]:
    """Return how many numbers do not fit, by column."""
    found: dict[str, int] = {}
    for text_of_row in rounded:
        for name in _decode(text_of_row):
            found[name] = found.get(name, 0) + 1
    return found


_decode = msgspec.json.Decoder(dict[str, Any]).decode


def _as_text(value: Any) -> Any:  # noqa: ANN401 - the shape follows the input
    match value:
        case Decimal():
            return text(value)
        case Mapping():
            return {name: _as_text(inner) for name, inner in value.items()}
        case list():
            return [_as_text(inner) for inner in value]
        case _:
            return value


def _as_number(value: Any) -> Any:  # noqa: ANN401 - the shape follows the input
    match value:
        case str():
            return Decimal(value)
        case list():
            return [{part: Decimal(number) for part, number in level.items()} for level in value]
        case _:
            return value
