"""The interface of the protocol generations, and code that both decoders share.

A codec belongs to one socket. `decode` never raises: what cannot be parsed is returned as `Rejected` and
counted; other messages of the frame and the connection are unaffected.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Context, Decimal, FloatOperation, Inexact, InvalidOperation, Overflow, Subnormal
from hashlib import blake2b
from typing import Annotated, Any, Final, Protocol

import msgspec
from pydantic import PlainValidator, StringConstraints, ValidationError
from pydantic_core import PydanticCustomError

from collector.batch import EARLIEST_MS
from collector.errors import MalformedMessage
from collector.model import BookChange, Channel, Event
from collector.util.korean_time import DAY_MS

#: A time further ahead of the receiving clock is nonsense; generous, because that clock may be wrong.
LATEST_AHEAD_MS = DAY_MS

#: What a number may need; no price, size or turnover comes near these bounds.
_EXACT = Context(
    prec=64, Emax=30, Emin=-40, traps=[InvalidOperation, Overflow, Inexact, Subnormal, FloatOperation]
)
_NUMBER_TEXT = re.compile(r"-?(\d+|\d{1,3}(,\d{3})+)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_INTEGER_TEXT = re.compile(r"-?\d{1,19}", re.ASCII)
INT64 = 1 << 63
IMPLAUSIBLE = "implausible_number"
_OUT_OF_BOUNDS: Final = object()
"""What a number out of all bounds is parsed as: it costs the field it stands in, not the frame."""


def _number(value: object) -> Decimal:
    """Read a number that is one, or is written as text (thousands commas are understood), exactly."""
    if type(value) is Decimal:
        return value  # bounded by `parse_json`
    if value is _OUT_OF_BOUNDS:
        raise PydanticCustomError(IMPLAUSIBLE, "a number out of all bounds")
    if type(value) is str and not _NUMBER_TEXT.fullmatch(value):
        raise ValueError("is not a number")
    try:
        if type(value) is int:
            return _EXACT.create_decimal(value)
        if type(value) is str:
            return _EXACT.create_decimal(value.replace(",", ""))
    except ArithmeticError:
        raise ValueError("is a number out of all bounds") from None
    raise ValueError("is not a number")


def _amount(value: object) -> Decimal:
    number = _number(value)
    if number < 0:
        raise ValueError("is negative")
    return number


def _integer(value: object) -> int:
    """Read a whole number of 64 bits that is one, or is written as text."""
    if value is _OUT_OF_BOUNDS:
        raise PydanticCustomError(IMPLAUSIBLE, "a number out of all bounds")
    if type(value) is str and _INTEGER_TEXT.fullmatch(value):
        value = int(value)
    if type(value) is Decimal and value == value.to_integral_value():
        value = int(value)
    if type(value) is not int or not -INT64 <= value < INT64:
        raise ValueError("is not a whole number of 64 bits")
    return value


#: An exact number of either sign; one that is not negative; a whole number; a short text.
Number = Annotated[Decimal, PlainValidator(_number)]
Amount = Annotated[Decimal, PlainValidator(_amount)]
Integer = Annotated[int, PlainValidator(_integer)]
Text = Annotated[str, StringConstraints(max_length=64)]


@dataclass(frozen=True, slots=True)
class Subscription:
    """What one socket carries."""

    markets: tuple[str, ...]
    channels: tuple[Channel, ...]


@dataclass(frozen=True, slots=True)
class Status:
    """A sign of life or an acknowledgement that carries no data."""

    text: str


@dataclass(frozen=True, slots=True)
class ServerError:
    """The exchange refuses something; it closes the socket after this."""

    name: str
    message: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """A message, or a part of one, that could not be parsed.

    `channel` and `market` are those of the message, where they can be read. A rejected trade is a loss.
    """

    reason: str
    detail: str
    raw: bytes
    channel: Channel | None = None
    market: str | None = None


@dataclass(frozen=True, slots=True)
class Repeat:
    """An order book equal to the one before it, noticed before it was parsed."""

    channel: Channel


Message = Event | BookChange | Status | ServerError | Rejected | Repeat


class Codec(Protocol):
    """One socket's translator."""

    #: Oddities, by name: `unknown_field:…`, unsorted books …; `tolerated:…` is a field that was null, missing
    #: or not what it should be, in a message that is good without it.
    surprises: Counter[str]

    def subscribe(self, subscription: Subscription) -> list[str]:
        """Return the texts to send so that the socket carries exactly `subscription`."""
        ...

    def ask_for_books(self, markets: Sequence[str]) -> list[str]:
        """Return the texts that ask for whole order books again; none where every book is whole."""
        ...

    def decode(self, raw: bytes | str, received_ms: int) -> Sequence[Message]:
        """Translate one frame."""
        ...


def _bounded(text: str) -> object:
    try:
        return _EXACT.create_decimal(text)
    except ArithmeticError:
        return _OUT_OF_BOUNDS


_decode = msgspec.json.Decoder(float_hook=_EXACT.create_decimal).decode
_decode_with_care = msgspec.json.Decoder(float_hook=_bounded).decode


def parse_json(raw: bytes | str) -> Any:  # noqa: ANN401 - it is whatever the exchange sent
    """Parse JSON with every non-integer number as an exact, bounded `Decimal`.

    A number out of all bounds becomes something that is neither a number nor a text.

    Raises:
        MalformedMessage: `not_json`.
    """
    try:
        try:
            return _decode(raw)
        except ArithmeticError:
            return _decode_with_care(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise MalformedMessage("not_json", str(error)) from None


def made_id(identity: str) -> int:
    """Return an id for a trade without one: 63 bits of a hash of the fields that identify it.

    The same trade from another socket gets the same id.
    """
    return int.from_bytes(blake2b(identity.encode(), digest_size=8).digest()) >> 1


def odd_fields(error: ValidationError) -> set[str]:
    """Return the names of the fields that are missing or not sound."""
    errors = error.errors(include_url=False, include_input=False, include_context=False)
    return {str(each["loc"][0]) for each in errors if each["loc"]}


def check_time(time_ms: int, received_ms: int) -> None:
    """Refuse times that cannot be true.

    Raises:
        MalformedMessage: `implausible_time`, before 2010 or more than a day ahead.
    """
    if not EARLIEST_MS < time_ms < received_ms + LATEST_AHEAD_MS:
        raise MalformedMessage("implausible_time", f"{time_ms} ms")


def check_positive(name: str, number: Decimal) -> None:
    """Refuse what must be above zero and is not.

    Raises:
        MalformedMessage: `not_positive`.
    """
    if number <= 0:
        raise MalformedMessage("not_positive", f"{name} is {number}")


def rejected(
    error: MalformedMessage | ValidationError,
    raw: bytes | str,
    channel: Channel | None = None,
    market: str | None = None,
) -> Rejected:
    """Turn a refusal into a value."""
    if isinstance(raw, str):
        raw = raw[: MalformedMessage.KEPT_BYTES].encode(errors="replace")
    if isinstance(error, MalformedMessage):
        found = MalformedMessage(error.reason, error.detail, raw)
    else:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        reason = IMPLAUSIBLE if first["type"] == IMPLAUSIBLE else "invalid_field"
        found = MalformedMessage(reason, f"{where}: {first['msg']}", raw)
    return Rejected(found.reason, found.detail, found.raw, channel, market)
