"""Captures made by cryptofeed: `<seconds>: <frame>`, among lines about the socket and what was sent.

Bithumb's older socket is kept as it was. Upbit's is of one family with Bithumb's current protocol, and
is put into its words.
"""

import ast
import json
import re
from collections.abc import Iterable, Iterator
from datetime import datetime

from collector.recording.format import Broken, Form, Frame, Unintelligible, quoted
from collector.util.korean_time import KST

_TALK = re.compile(r"(?P<address>\S+) (?:<->|<-|->) \d+(?:\.\d+)?(?:: .*)?$", re.DOTALL)
_RECEIVED = re.compile(r"(?P<s>\d{9,11})(?:\.(?P<fraction>\d{1,9}))?: (?P<text>.*)", re.DOTALL)
_BYTES_LITERAL = re.compile(r"""b'[^'\\]*(?:\\.[^'\\]*)*'|b"[^"\\]*(?:\\.[^"\\]*)*\"""")


def recognise(head: list[str]) -> Form | None:
    """Recognise a capture of a socket; one with REST replies alone has nothing to play."""
    talk = " ".join(found["address"] for line in head if (found := _TALK.match(line)))
    received = [found["text"] for line in head if (found := _RECEIVED.match(line))]
    if not received:
        return None
    if "upbit" in talk or received[0].startswith(("b'", 'b"')):
        return Form("cryptofeed", "current", _upbit_frames)
    return Form("cryptofeed", "legacy", _bithumb_frames)


def _bithumb_frames(lines: Iterator[str]) -> Iterator[Frame]:
    for received_us, text, is_last in _received(lines):
        if is_last and not _is_json(text):
            raise Broken
        yield Frame(received_us, text.encode(), binary=False)


def _upbit_frames(lines: Iterator[str]) -> Iterator[Frame]:
    for received_us, literal, is_last in _received(lines):
        if not _BYTES_LITERAL.fullmatch(literal):
            if is_last:
                raise Broken
            raise Unintelligible(f"a frame is {quoted(literal)}")
        yield Frame(received_us, _upbit_to_bithumb(_evaluated(literal)).encode())


def _received(lines: Iterable[str]) -> Iterator[tuple[int, str, bool]]:
    """Yield (arrival in microseconds, text, whether the line has no end) of the frames among the lines."""
    for line in lines:
        is_last = not line.endswith("\n")
        if found := _RECEIVED.fullmatch(line.rstrip("\n")):
            fraction = (found["fraction"] or "").ljust(6, "0")[:6]
            yield int(found["s"] + fraction), found["text"], is_last
        elif line.strip() and not _TALK.match(line) and not line.startswith("configuration: "):
            if is_last:
                raise Broken
            raise Unintelligible(f"a line is {quoted(line)}")


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _evaluated(literal: str) -> str:
    try:
        raw: bytes = ast.literal_eval(literal)
        return raw.decode()
    except (ValueError, SyntaxError):
        raise Unintelligible(f"a frame is {quoted(literal)}") from None


_UPBIT_BOOK = re.compile(
    r'\{(?P<head>"ty":"orderbook","cd":"[^"]+"),"tms":(?P<tms>\d+),(?P<levels>.*\]),(?P<tail>"st":"\w+")\}'
)
_UPBIT_TRADE = re.compile(
    r'\{(?P<head>"ty":"trade","cd":"[^"]+"),(?P<tms>"tms":\d+),"td":"[^"]*","ttm":"[^"]*",'
    r'(?P<ttms>"ttms":(?P<ms>\d{12,14})),(?P<figures>"tp":.*),(?P<sid>"sid":\d+),(?P<tail>"st":"\w+")\}'
)


def _upbit_to_bithumb(text: str) -> str:
    """Put an Upbit SIMPLE frame into Bithumb's order, names and clocks; all numbers keep their spelling.

    The book's time comes after the levels, in microseconds, with the `lv` Upbit lacked in 2021; a trade's
    date and time are Korean, not UTC, and named `tdt` and `ttm`.
    """
    if book := _UPBIT_BOOK.fullmatch(text):
        return f'{{{book["head"]},{book["levels"]},"lv":1,"tms":{book["tms"]}000,{book["tail"]}}}'
    if trade := _UPBIT_TRADE.fullmatch(text):
        moment = datetime.fromtimestamp(int(trade["ms"]) // 1000, KST)
        return (
            f'{{{trade["head"]},{trade["figures"]},"tdt":"{moment:%Y-%m-%d}","ttm":"{moment:%H:%M:%S}",'
            f"{trade['ttms']},{trade['sid']},{trade['tms']},{trade['tail']}}}"
        )
    return text
