"""What goes wrong and when, as data: one string, parsed here, acted on by the server.

    faults   = fault {"," fault}
    fault    = name ["=" argument] [":" amount] ["@" start ["/" period] [":" duration]] ["!" target]
    start, period, duration = a number of seconds, or with a unit: `500ms`, `20s`, `2m`
    target   = `one` (the oldest open socket) or `all` (the default)

Times count from the simulator's start. A `period` repeats the fault; a span without a `duration` lasts to
the end; a share without a start is on from the beginning. The names are in `KINDS`. Examples:

    cut@10s/5s                      every socket dropped after 10 s, then every 5 s
    stall@20s:40s!one               one socket silent from 20 s to 60 s, pings answered
    reject429@30s:60s               handshakes refused for a minute
    garbage:0.01,duplicate:0.05     one frame in a hundred preceded by junk, one in twenty sent twice
    silent-channel=trade@20s:30s    no trades for half a minute
    cut-every:3000                  each socket dropped after 3,000 frames
    delist=KRW-XRP@30s              a market goes away
    leave-out:0.01@10s:30s          one trade in a hundred reaches no socket, for half a minute
    ahead=trade@10s                 one trade is stamped a day ahead, on the sockets alone

Half-open connections, where packets vanish, are the business of `collector.simulator.proxy`.
"""

import difflib
import re
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from collector.errors import ConfigurationError


class Shape(Enum):
    """How a fault runs in time."""

    MOMENT = "at its start, and again every period"
    SPAN = "from its start for its duration"
    SHARE = "the amount is the share of frames it hits"
    COUNT = "the amount is a number of frames"


#: Every fault there is: its shape and what it does.
KINDS: dict[str, tuple[Shape, str]] = {
    "cut": (Shape.MOMENT, "the connection is dropped without a close frame"),
    "close": (Shape.MOMENT, "the server closes with code 1001, as for maintenance"),
    "error": (Shape.MOMENT, "an error frame, then close with code 1000"),
    "list": (Shape.MOMENT, "the market in the argument is listed"),
    "delist": (Shape.MOMENT, "the market in the argument is delisted"),
    "ahead": (Shape.MOMENT, "the next event of the channel in the argument is stamped a day ahead"),
    "stall": (Shape.SPAN, "nothing is sent, the socket stays open, pings are answered"),
    "silent-channel": (Shape.SPAN, "the channel in the argument is not sent"),
    "unlist": (Shape.SPAN, "REST's list of markets lacks the market in the argument, which trades on"),
    "halt": (Shape.SPAN, "the market in the argument does not trade, and its ticker says so"),
    "maintenance": (Shape.SPAN, "nothing is traded, nothing is sent, REST shows what was before"),
    "reject429": (Shape.SPAN, "handshakes get HTTP 429"),
    "reject503": (Shape.SPAN, "handshakes get HTTP 503"),
    "accept-close": (Shape.SPAN, "handshakes succeed, then the connection is dropped at once"),
    "rest429": (Shape.SPAN, "REST calls get HTTP 429"),
    "rest503": (Shape.SPAN, "REST calls get HTTP 503"),
    "rest-limit": (Shape.SPAN, "REST calls are refused as too many, in the form of the rule `limit`"),
    "garbage": (Shape.SHARE, "a junk frame is sent before a good one"),
    "duplicate": (Shape.SHARE, "a frame is sent twice"),
    "shuffle": (Shape.SHARE, "a frame is held back and sent among later ones"),
    "lose": (Shape.SHARE, "a frame is not sent"),
    "leave-out": (Shape.SHARE, "a trade is sent to no socket; REST, candles and totals have it"),
    "vanish": (Shape.SHARE, "a trade is neither sent nor listed in REST; candles and totals have it"),
    "cut-every": (Shape.COUNT, "the connection is dropped after so many frames"),
}
_NEEDS_AMOUNT = (Shape.SHARE, Shape.COUNT)
#: What the argument is, where a fault takes one.
_ARGUMENTS = {
    **dict.fromkeys(("silent-channel", "ahead"), "channel"),
    **dict.fromkeys(("list", "delist", "unlist", "halt"), "market"),
}

_NUMBER = r"\d+(?:\.\d+)?"
_TIME = rf"{_NUMBER}(?:ms|s|m)?"
_FAULT = re.compile(
    rf"(?P<name>[a-z0-9-]+)(?:=(?P<argument>[\w.$+-]+))?(?::(?P<amount>{_NUMBER}))?"
    rf"(?:@(?P<start>{_TIME})(?:/(?P<period>{_TIME}))?(?::(?P<duration>{_TIME}))?)?(?:!(?P<target>one|all))?"
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One line of the schedule."""

    name: str
    argument: str = ""
    amount: float = 0
    start_s: float = 0
    period_s: float | None = None
    duration_s: float | None = None
    target: Literal["one", "all"] = "all"

    def is_on(self, now_s: float) -> bool:
        """Whether a span or share is in force `now_s` seconds after the start."""
        since_s = now_s - self.start_s
        if since_s < 0:
            return False
        if self.period_s is not None:
            since_s %= self.period_s
        return self.duration_s is None or since_s < self.duration_s

    def hits(self, is_oldest: bool) -> bool:
        """Whether the fault is aimed at a socket."""
        return self.target == "all" or is_oldest


def parse_faults(text: str) -> tuple[Fault, ...]:
    """Read a schedule; empty text is no faults.

    Raises:
        ConfigurationError: a fault is unknown or not written by the grammar.
    """
    return tuple(_parse(part.strip()) for part in text.split(",") if part.strip())


def _parse(text: str) -> Fault:
    found = _FAULT.fullmatch(text)
    name = re.split("[=:@!]", text)[0]
    if name not in KINDS:
        near = difflib.get_close_matches(name, KINDS, 1)
        hint = f", did you mean {near[0]}?" if near else "."
        raise ConfigurationError(f"Unknown fault {name!r}{hint} Known: {', '.join(KINDS)}")
    if found is None:
        raise ConfigurationError(
            f"Fault {text!r} is not written like name=argument:amount@start/period:duration!target"
        )
    shape, _ = KINDS[name]
    if (found["amount"] is not None) != (shape in _NEEDS_AMOUNT):
        raise ConfigurationError(f"Fault {text!r}: {name} {_amount_rule(shape)}")
    if (found["argument"] is not None) != (name in _ARGUMENTS):
        raise ConfigurationError(f"Fault {text!r}: {name} {_argument_rule(name)}")
    fault = Fault(
        name,
        found["argument"] or "",
        float(found["amount"] or 0),
        _seconds(found["start"]) or 0.0,
        _seconds(found["period"]),
        _seconds(found["duration"]),
        "one" if found["target"] == "one" else "all",
    )
    _check_numbers(text, fault, shape)
    return fault


def _check_numbers(text: str, fault: Fault, shape: Shape) -> None:
    if shape is Shape.SHARE and not 0 < fault.amount <= 1:
        raise ConfigurationError(f"Fault {text!r}: the share must be above 0 and at most 1")
    if shape is Shape.COUNT and (fault.amount < 1 or not fault.amount.is_integer()):
        raise ConfigurationError(f"Fault {text!r}: the number of frames must be whole and at least 1")
    if fault.period_s == 0 or fault.duration_s == 0:
        raise ConfigurationError(f"Fault {text!r}: a period or duration of 0 means nothing")


def _amount_rule(shape: Shape) -> str:
    return f"needs `:amount`, {shape.value}" if shape in _NEEDS_AMOUNT else "takes no amount"


def _argument_rule(name: str) -> str:
    return f"needs `={_ARGUMENTS[name]}`" if name in _ARGUMENTS else "takes no argument"


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    number = float(text.rstrip("ms"))
    return number / 1000 if text.endswith("ms") else number * 60 if text.endswith("m") else number
