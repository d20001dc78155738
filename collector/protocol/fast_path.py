"""The fast path: order books in the exchange's usual layout.

pydantic validates such a frame straight from its bytes: names, types, signs, bounds. It takes numbers through
doubles, so the numbers that count are not taken from it: their digits are cut out of the same bytes, exactly.
Another layout (exponents, numbers as text, another order, garbage) returns None and is left to the reference
decoder in `current.py`, which decodes the same frames and reports the errors of others.
"""

import re
from collections.abc import Callable, Mapping
from operator import lt
from typing import Annotated, Any, NamedTuple, NotRequired, get_args, get_origin

from msgspec import Raw
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict, is_typeddict

from collector.protocol.codec import INT64, Amount, Integer, Number
from collector.protocol.repeats import BookText
from collector.protocol.wire_types import (
    LONG_NAMES,
    OrderbookFrame,
    OrderbookUnit,
    in_microseconds,
    lengthen,
)

_MOST = 1e30
_FINITE = Annotated[float, Field(strict=True, gt=-_MOST, lt=_MOST)]
_NOT_NEGATIVE = Annotated[float, Field(strict=True, ge=0, lt=_MOST)]
_INT64 = Annotated[int, Field(strict=True, ge=-INT64, lt=INT64)]
#: What validates a type of `frames.py` natively.
_NATIVE = {Amount: _NOT_NEGATIVE, Number: _FINITE, Integer: _INT64}
#: A number of so few digits, and no exponent, is within all bounds (`codec`, `batch`).
_DIGITS_MAX = 30
_DIGITS = b"0123456789."
_ALL_BUT_NUMBERS = bytes(set(range(256)) - {*_DIGITS, *b","})
_levels = TypeAdapter(list[_NOT_NEGATIVE]).validator.validate_json


#: A frame, and whether it has all fields that are known and no other, which would be left in.
Validated = tuple[dict[str, Any], bool]


class FastBookDecoder(NamedTuple):
    """A validated book: the frame with its numbers as doubles, and its levels exactly as they are written."""

    frame: Any
    #: As in `WrittenBook`.
    levels: Raw
    is_as_known: bool


class _Spelling:
    """The frames in one spelling of their names.

    Args:
        short: DEFAULT name -> how it is spelled; names that are missing are spelled like that.
    """

    def __init__(self, short: Mapping[str, str]) -> None:
        def name(default: str) -> str:
            return short.get(default, default)

        self._is_short = bool(short)
        self._type = name("type")
        self._book = _validator(OrderbookFrame, short)
        # Possessive: nothing of a level can be read in two ways, so there is nothing to go back for.
        number = rf"[0-9.]{{1,{_DIGITS_MAX}}}+"
        unit = ",".join(f'"{name(field)}":{number}' for field in OrderbookUnit.__annotations__)
        self._are_levels = re.compile(f"{{{unit}}}(?:,{{{unit}}})*+".encode()).fullmatch
        self._head = re.compile(
            f'{{"{name("type")}":"orderbook","{name("code")}":"([A-Z0-9]+-[A-Z0-9]+)",'.encode()
        )
        self._units = name("orderbook_units")
        self._units_start = f'"{self._units}":['.encode()
        self._time_start = f'"{name("timestamp")}":'.encode()
        self._tail = re.compile(
            f"{self._time_start.decode()}(\\d{{13,16}}),"
            f'"{name("stream_type")}":"(?:SNAPSHOT|REALTIME)"}}'.encode()
        )

    @property
    def start(self) -> bytes:
        """How every book begins."""
        return f'{{"{self._type}":"orderbook"'[:_START].encode()

    def take_apart(self, raw: bytes) -> BookText | None:
        """Take a book frame apart without parsing it."""
        head = self._head.match(raw)
        start = raw.find(self._units_start)
        if head is None or start < 0:
            return None
        start += len(self._units_start)
        end = raw.find(b"]", start)
        content_end = raw.find(self._time_start, end)
        tail = self._tail.fullmatch(raw, content_end) if start <= end < content_end else None
        if tail is None or raw.find(self._units_start, end) > 0:
            return None
        time = in_microseconds(int(tail[1]))
        return BookText(head[1].decode(), raw[:content_end], time, raw[start:end], raw[:start] + raw[end:])

    def read_book(self, text: BookText) -> FastBookDecoder | None:
        """Read a book that was taken apart; the frame has DEFAULT names.

        The levels must be laid out as usual, and their numbers are validated as one list, which is also what
        is handed on: parsed as objects they would take most of the time a book takes.
        """
        if not self._are_levels(text.units) or _has_tiny_number(text.frame):
            return None
        levels = b"[%b]" % text.units.translate(None, _ALL_BUT_NUMBERS)
        doubles = _validated(_levels, levels)
        found = self._book(text.frame)
        if doubles is None or found is None:
            return None
        frame, is_as_known = found
        if frame[self._units] or not _is_tidy(doubles):
            return None
        if self._is_short:
            frame = lengthen(frame)
        return FastBookDecoder(frame, Raw(levels), is_as_known)


def _is_tidy(levels: list[float]) -> bool:
    """Return whether both sides are in order, without padding, and not crossed (prices rise to the asks).

    Doubles will do: two prices in strict order as doubles are in that order exactly.

    Args:
        levels: ask price, bid price, ask size, bid size of each level, best first.
    """
    prices = levels[-3::-4] + levels[0::4]
    return prices[0] > 0 and all(map(lt, prices, prices[1:]))


def take_apart(raw: bytes) -> BookText | None:
    """Take a book frame apart without parsing it; None if it is none, or is written otherwise than usual."""
    spelling = _BOOKS.get(raw[:_START])
    return None if spelling is None else spelling.take_apart(raw)


def read_book(text: BookText) -> FastBookDecoder | None:
    """Read the book whose text was taken apart; None where it is not sound or not written as usual."""
    return _BOOKS[text.frame[:_START]].read_book(text)


def _native(frame: Any, short: Mapping[str, str], extra: Any) -> Any:  # noqa: ANN401 - types
    """Return a type that validates natively what `frame` does, in the given spelling."""
    if is_typeddict(frame):
        fields = {
            short.get(name, name): _native(field, short, "forbid")
            for name, field in frame.__annotations__.items()
        }
        return with_config(ConfigDict(extra=extra))(TypedDict(frame.__name__, fields))  # type: ignore[operator]
    origin = get_origin(frame)
    if origin in (NotRequired, list):
        return origin[_native(get_args(frame)[0], short, extra)]
    return _NATIVE.get(frame, frame)


def _validator(
    frame: Any,  # noqa: ANN401 - a type
    short: Mapping[str, str],
) -> Callable[[bytes], Validated | None]:
    """Return what validates a frame.

    It returns None where a frame is not sound or an unknown field is odd.
    """
    validate = TypeAdapter(_native(frame, short, "allow")).validator.validate_json
    known = frozenset(short.get(name, name) for name in frame.__annotations__)

    def validated(raw: bytes) -> Validated | None:
        found: dict[str, Any] | None = _validated(validate, raw)
        if found is None:
            return None
        if found.keys() == known:
            return found, True
        return (found, False) if all(_is_plain(found[name]) for name in found.keys() - known) else None

    return validated


def _validated(validate: Callable[[bytes], Any], raw: bytes) -> Any:  # noqa: ANN401 - whatever it validates
    try:
        return validate(raw)
    except ValidationError:
        return None


def _has_tiny_number(raw: bytes) -> bool:
    """Return whether some number may have a negative exponent, whose bound no double shows."""
    place = raw.find(b"-")
    while place > 0:
        if raw[place - 1] in b"eE":
            return True
        place = raw.find(b"-", place + 1)
    return False


def _is_plain(value: object) -> bool:
    """Return whether the value of an unknown field is harmless: a text, a flag or a number within bounds."""
    if isinstance(value, float):
        return -_MOST < value < _MOST
    return value is None or isinstance(value, str | bool | int)


#: This many bytes at the start determine the spelling and the type of a frame.
_START = 12
_SPELLINGS = (_Spelling({}), _Spelling({long: short for short, long in LONG_NAMES.items()}))
_BOOKS = {spelling.start: spelling for spelling in _SPELLINGS}
