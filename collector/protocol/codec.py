"""What every generation of the protocol offers, and what both decoders share.

A codec belongs to one socket. `decode` never raises: whatever can't be understood comes back as `Rejected`,
a counted fact that costs neither its neighbours in the frame nor the connection.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Context, Decimal, FloatOperation, Inexact, InvalidOperation, Overflow, Subnormal
from typing import Annotated, Any, Protocol

import msgspec
from pydantic import PlainValidator, StringConstraints, ValidationError

from collector.batch import EARLIEST_MS
from collector.errors import MalformedMessage
from collector.model import BookChange, Channel, Event

#: A time further ahead of the receiving clock is nonsense; generous, because that clock may be wrong.
LATEST_AHEAD_MS = 86_400_000

#: What a number may need; no price, size or turnover comes near these bounds.
_EXACT = Context(
    prec=64, Emax=30, Emin=-40, traps=[InvalidOperation, Overflow, Inexact, Subnormal, FloatOperation]
)
_NUMBER_TEXT = re.compile(r"-?(\d+|\d{1,3}(,\d{3})+)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_INTEGER_TEXT = re.compile(r"-?\d{1,19}", re.ASCII)
INT64 = 1 << 63


def _number(value: object) -> Decimal:
    """Read a number that is one, or is written as text (thousands commas are understood), exactly."""
    if type(value) is Decimal:
        return value  # bounded by `parse_json`
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
    """A message, or a part of one, that could not be understood."""

    reason: str
    detail: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class Repeat:
    """An order book equal to the one before it, noticed before it was parsed."""

    channel: Channel


Message = Event | BookChange | Status | ServerError | Rejected | Repeat


class Codec(Protocol):
    """One socket's translator."""

    #: Oddities that were tolerated, by name: unknown fields, unsorted books …
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


_decoder = msgspec.json.Decoder(float_hook=_EXACT.create_decimal)


def parse_json(raw: bytes | str) -> Any:  # noqa: ANN401 - it is whatever the exchange sent
    """Parse JSON with every non-integer number as an exact, bounded `Decimal`.

    Raises:
        MalformedMessage: `not_json`, or `implausible_number` for one out of all bounds.
    """
    try:
        return _decoder.decode(raw)
    except ArithmeticError:
        raise MalformedMessage("implausible_number", "a number out of all bounds") from None
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise MalformedMessage("not_json", str(error)) from None


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


def rejected(error: MalformedMessage | ValidationError, raw: bytes | str) -> Rejected:
    """Turn a refusal into a value."""
    if isinstance(raw, str):
        raw = raw[: MalformedMessage.KEPT_BYTES].encode(errors="replace")
    if isinstance(error, MalformedMessage):
        found = MalformedMessage(error.reason, error.detail, raw)
    else:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        found = MalformedMessage("invalid_field", f"{where}: {first['msg']}", raw)
    return Rejected(found.reason, found.detail, found.raw)
