"""What a client asked for, in either protocol: requests parsed, refusals in the exchange's words."""

import json
from dataclasses import dataclass, field
from typing import Any

#: Documented errors and their Korean messages, bithumb-protocol.md 1.8.
WRONG_FORMAT = "Format 이 맞지 않습니다."
NO_TICKET = "티켓이 존재하지 않거나, 유효하지 않습니다."
NO_CODES = "codes 필드가 존재하지 않습니다."
EMPTY_CODES = "codes 필드가 비어 있습니다."
UNKNOWN_TYPE = "{} 은 지원하지 않는 타입입니다."

CURRENT_TYPES = ("ticker", "trade", "orderbook")
LEGACY_TYPES = ("ticker", "transaction", "orderbookdepth", "orderbooksnapshot")
TICK_TYPES = ("30M", "1H", "12H", "24H", "MID")


class Refused(Exception):
    """The exchange answers this request with an error."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{name}: {message}")
        self.name = name
        self.message = message


@dataclass(frozen=True, slots=True)
class Stream:
    """One type object of a request: a channel with its market codes."""

    channel: str
    codes: tuple[str, ...]
    snapshot: bool = True
    realtime: bool = True
    #: Legacy tickers only: the windows asked for.
    windows: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Subscription:
    """All that one socket gets."""

    streams: tuple[Stream, ...] = ()
    simple: bool = False
    _wanted: dict[str, frozenset[str]] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        for stream in self.streams:
            if stream.realtime:
                self._wanted[stream.channel] = self.wanted(stream.channel) | frozenset(stream.codes)

    def wanted(self, channel: str) -> frozenset[str]:
        """Return the codes whose live frames of `channel` go to this socket."""
        return self._wanted.get(channel, frozenset())


def parse_current(text: str) -> Subscription:
    """Read a request to `/websocket/v1`; it replaces whatever was asked before.

    Codes are kept as they came: the exchange ignores unknown and lower-case ones in silence.

    Raises:
        Refused: with the name and message the exchange sends.
    """
    parts = _parts(text)
    if not any(isinstance(part.get("ticket"), str) and part["ticket"] for part in parts):
        raise Refused("NO_TICKET", NO_TICKET)
    typed = [part for part in parts if "type" in part]
    if not typed:
        raise Refused("WRONG_FORMAT", WRONG_FORMAT)
    simple = any(part.get("format") == "SIMPLE" for part in parts)
    return Subscription(tuple(_stream(part) for part in typed), simple)


def _parts(text: str) -> list[dict[str, Any]]:
    try:
        parts = json.loads(text)
    except (ValueError, RecursionError):
        parts = None
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise Refused("WRONG_FORMAT", WRONG_FORMAT)
    return parts


def _stream(part: dict[str, Any]) -> Stream:
    if part["type"] not in CURRENT_TYPES:
        raise Refused("INVALID_PARAM", UNKNOWN_TYPE.format(part["type"]))
    if "codes" not in part:
        raise Refused("NO_CODES", NO_CODES)
    codes = part["codes"]
    # Only level 1 (no price grouping) is played; the exchange's list of others is not published.
    if not isinstance(codes, list) or part.get("level", 1) != 1:
        raise Refused("WRONG_FORMAT", WRONG_FORMAT)
    if not codes:
        raise Refused("INVALID_PARAM", EMPTY_CODES)
    only_snapshot, only_realtime = part.get("isOnlySnapshot") is True, part.get("isOnlyRealtime") is True
    return Stream(
        part["type"],
        tuple(dict.fromkeys(str(code) for code in codes)),
        snapshot=only_snapshot or not only_realtime,
        realtime=not only_snapshot,
    )


def parse_legacy(text: str, before: Subscription) -> Subscription:
    """Read a filter sent to `/pub/ws`: it adds its type, or replaces the filter of the same type.

    Raises:
        Refused: the filter is not one; the socket stays open.
    """
    try:
        request = json.loads(text)
        channel, symbols = request["type"], request["symbols"]
    except (ValueError, RecursionError, TypeError, KeyError):
        raise Refused("5100", "Invalid Filter Syntax") from None
    windows = tuple(window for window in request.get("tickTypes", ()) if window in TICK_TYPES)
    usable = channel in LEGACY_TYPES and isinstance(symbols, list) and symbols
    if not usable or (channel == "ticker" and not windows):
        raise Refused("5100", "Invalid Filter Syntax")
    added = Stream(channel, tuple(dict.fromkeys(str(symbol) for symbol in symbols)), windows=windows)
    return Subscription((*(stream for stream in before.streams if stream.channel != channel), added))
