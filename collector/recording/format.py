"""What a recording is made of, and how reading one can fail."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, NamedTuple

from collector.errors import ConfigurationError

Protocol = Literal["current", "legacy"]


class Frame(NamedTuple):
    """One WebSocket message as it arrived, on the `connection`-th socket of the session."""

    received_us: int
    raw: bytes
    binary: bool = True
    connection: int = 1

    @property
    def received_ms(self) -> int:
        """Arrival in epoch milliseconds, UTC."""
        return self.received_us // 1000


class CutRecording(ConfigurationError):
    """The file ends in the middle; everything whole was delivered before.

    Attributes:
        frames: how many frames were whole.
    """

    def __init__(self, path: Path, frames: int) -> None:
        super().__init__(f"Recording {path} is cut: {frames} whole frames, then it breaks off")
        self.frames = frames


class Broken(Exception):
    """The file breaks off here."""


class Unintelligible(Exception):
    """A line is not what the form promises."""


class Damaged(Unintelligible):
    """It was compressed, and can't be decompressed."""


class Form(NamedTuple):
    """A recognised form: its name, whose words its frames are in, and how lines become frames."""

    name: str
    protocol: Protocol
    frames: Callable[[Iterator[str]], Iterator[Frame]]


def micros(moment: datetime) -> int:
    """Return the epoch microseconds of an aware time."""
    return (moment - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)


def quoted(line: str) -> str:
    """Return the start of a line for an error message."""
    return repr(line.strip()[:60])
