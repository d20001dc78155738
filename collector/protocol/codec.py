"""What every generation of the protocol offers, and what both decoders share.

A codec belongs to one socket. `decode` never raises: whatever can't be understood comes back as `Rejected`,
a counted fact that costs neither its neighbours in the frame nor the connection.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

import msgspec
from pydantic import ValidationError

from collector.batch import EARLIEST_MS
from collector.errors import MalformedMessage
from collector.model import BookChange, Channel, Event

#: A time further ahead of the receiving clock is nonsense; generous, because that clock may be wrong.
LATEST_AHEAD_MS = 366 * 86_400_000


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


_decoder = msgspec.json.Decoder(float_hook=Decimal)


def parse_json(raw: bytes | str) -> Any:  # noqa: ANN401 - it is whatever the exchange sent
    """Parse JSON with every non-integer number as an exact `Decimal`.

    Raises:
        MalformedMessage: `not_json`.
    """
    try:
        return _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError, ArithmeticError) as error:
        raise MalformedMessage("not_json", str(error), raw) from None


def check_time(time_ms: int, received_ms: int) -> None:
    """Refuse times that cannot be true.

    Raises:
        MalformedMessage: `implausible_time`, before 2010 or more than a year ahead.
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
    if isinstance(error, MalformedMessage):
        found = MalformedMessage(error.reason, error.detail, raw)
    else:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        found = MalformedMessage("invalid_field", f"{where}: {first['msg']}", raw)
    return Rejected(found.reason, found.detail, found.raw)
