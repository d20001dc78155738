"""Order books equal to the previous one, detected before they are parsed."""

from typing import NamedTuple

from collector.model import EncodedBook, OrderBook
from collector.protocol.codec import LATEST_AHEAD_MS


class BookText(NamedTuple):
    """A book frame taken apart without parsing it: everything before its time is its content."""

    market: str
    content: bytes
    exchange_us: int
    #: The levels as they are written, without the brackets around them.
    units: bytes = b""
    #: The frame without its levels.
    frame: bytes = b""


class RepeatedBooks:
    """Notice order books that equal the one before, before they are parsed.

    39 to 54 % of live KRW-BTC books repeat (section 1.5). Only a book that was understood is remembered, and
    only the newest of its market: an equal one from before it, late from another socket, is no repeat.
    """

    _MARKETS_MAX = 4_096

    def __init__(self) -> None:
        self._newest: dict[str, BookText] = {}

    def is_repeat(self, book: BookText, received_ms: int) -> bool:
        """Return whether `book` equals the newest book of its market."""
        known = self._newest.get(book.market)
        if known is None or known.content != book.content:
            return False
        if not known.exchange_us <= book.exchange_us < (received_ms + LATEST_AHEAD_MS) * 1000:
            return False
        self._newest[book.market] = known._replace(exchange_us=book.exchange_us)
        return True

    def remember(self, book: OrderBook | EncodedBook, text: BookText | None) -> None:
        """Keep a book that was understood, if its text can be recognised again."""
        known = self._newest.get(book.market)
        if known is not None and book.exchange_us < known.exchange_us:
            return
        is_first = known is None or book.exchange_us > known.exchange_us
        is_its = text is not None and (text.market, text.exchange_us) == (book.market, book.exchange_us)
        if known is None and len(self._newest) >= self._MARKETS_MAX:
            self._newest.clear()
        # Nothing equals an empty content: of two books of one microsecond, the newer one is unknown.
        content = text.content if text is not None and is_its and is_first else b""
        self._newest[book.market] = BookText(book.market, content, book.exchange_us)
