"""Order books polled over REST, as CSV: header `price,quantity,type,timestamp`, type 0 bid, 1 ask.

Each poll becomes one `orderbook` frame of the current protocol. A short side, as in a file that stops
within a book, is padded with price 0 and size 0, as the exchange does.
"""

import re
from collections.abc import Iterator
from datetime import datetime
from decimal import Context, Decimal, Inexact
from itertools import zip_longest

from collector.recording.format import Broken, Form, Frame, Unintelligible, micros, quoted
from collector.util.korean_time import KST

_EXACT = Context(prec=60, traps=[Inexact])
_HEADER = "price,quantity,type,timestamp"
_ROW = re.compile(
    r"(?P<price>\d+(?:\.\d+)?),(?P<size>\d+(?:\.\d+)?(?:[eE][+-]?\d{1,2})?),(?P<ask>[01]),"
    r"(?P<at>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)"
)
_CODE = "KRW-BTC"
_Row = tuple[str, str]


def recognise(head: list[str]) -> Form | None:
    """Look at the header."""
    return Form("books", "current", read_frames) if head[0].strip() == _HEADER else None


def read_frames(lines: Iterator[str]) -> Iterator[Frame]:
    """Gather the rows of one poll: bids, then asks; a new time or a bid after an ask starts the next."""
    next(lines)
    bids: list[_Row] = []
    asks: list[_Row] = []
    at = ""
    for line in lines:
        row = _ROW.fullmatch(line.rstrip("\r\n"))
        if row is None:
            if line.endswith("\n"):
                raise Unintelligible(f"a row is {quoted(line)}")
            raise Broken
        if row["at"] != at or (asks and row["ask"] == "0"):
            if at:
                yield _book_frame(bids, asks, at)
            bids, asks, at = [], [], row["at"]
        (asks if row["ask"] == "1" else bids).append((row["price"], row["size"]))
    if at:
        yield _book_frame(bids, asks, at)


def _book_frame(bids: list[_Row], asks: list[_Row], at: str) -> Frame:
    """Write a book in the current protocol's words; prices and sizes as they stood in the file."""
    us = micros(_wall_time(at).replace(tzinfo=KST))
    units = ",".join(
        f'{{"ask_price":{ask},"bid_price":{bid},"ask_size":{ask_size},"bid_size":{bid_size}}}'
        for (ask, ask_size), (bid, bid_size) in zip_longest(asks, bids, fillvalue=("0", "0"))
    )
    text = (
        f'{{"type":"orderbook","code":"{_CODE}","total_ask_size":{_total(asks)},'
        f'"total_bid_size":{_total(bids)},"orderbook_units":[{units}],"level":1,"timestamp":{us},'
        f'"stream_type":"REALTIME"}}'
    )
    return Frame(us, text.encode())


def _total(rows: list[_Row]) -> str:
    total = Decimal(0)
    try:
        for _, size in rows:
            total = _EXACT.add(total, Decimal(size))
    except ArithmeticError:
        raise Unintelligible("the sizes of a book are no sizes") from None
    return format(total, "f")


def _wall_time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise Unintelligible(f"a time is {text!r}") from None
