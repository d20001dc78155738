"""The recording format of this program: JSON lines, zstd-compressed. The first line is a header:

    {"format":"bithumb-recording","version":1,"protocol":"current","started_ms":…,"url":"wss://…"}

and each of the others is one frame, `[received_us, connection, kind, text]`, where `kind` is `t` (text
frame), `b` (binary frame, UTF-8 inside) or `x` (binary frame, anything, base64).
"""

import base64
from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec

from collector.errors import ConfigurationError
from collector.recording.format import Broken, Form, Frame, Protocol, Unintelligible

FORMAT = "bithumb-recording"
VERSION = 1


class Header(msgspec.Struct, kw_only=True):
    """The first line."""

    format: str
    version: int
    protocol: Protocol
    started_ms: int
    url: str


_Kind = Literal["t", "b", "x"]
#: A time that can be one, up to the year 2255.
_Micros = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]
_decode_header = msgspec.json.Decoder(Header).decode
_decode_line = msgspec.json.Decoder(tuple[_Micros, int, _Kind, str]).decode


def recognise(head: list[str]) -> Form | None:
    """Read the header; a newer version is a `ConfigurationError`."""
    try:
        header = _decode_header(head[0])
    except (msgspec.DecodeError, RecursionError):
        return None
    if header.format != FORMAT:
        return None
    if header.version != VERSION:
        raise ConfigurationError(f"A recording of version {header.version} needs a newer collector")
    return form(header.protocol)


def form(protocol: Protocol) -> Form:
    """Return our own form of a session in the words of `protocol`."""
    return Form("own", protocol, read_frames)


def read_frames(lines: Iterator[str]) -> Iterator[Frame]:
    """Turn the lines after the header into frames."""
    next(lines)
    for line in lines:
        if not line.endswith("\n"):
            raise Broken
        try:
            received_us, connection, kind, text = _decode_line(line)
            raw = base64.b64decode(text, validate=True) if kind == "x" else text.encode()
        except (msgspec.DecodeError, ValueError) as error:
            raise Unintelligible(f"a line is not a frame ({error})") from None
        yield Frame(received_us, raw, kind != "t", connection)


def write_header(protocol: Protocol, url: str, started_ms: int) -> bytes:
    """Encode the first line."""
    header = Header(format=FORMAT, version=VERSION, protocol=protocol, started_ms=started_ms, url=url)
    return msgspec.json.encode(header) + b"\n"


def write_frame(frame: Frame) -> bytes:
    """Encode one frame as a line."""
    kind: _Kind = "b" if frame.binary else "t"
    try:
        text = frame.raw.decode()
    except UnicodeDecodeError:
        kind, text = "x", base64.b64encode(frame.raw).decode()
    return msgspec.json.encode((frame.received_us, frame.connection, kind, text)) + b"\n"
