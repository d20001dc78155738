"""What an analysis looks at: the candles or the trades of a window, the newest book, several markets."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from msgspec import Struct, structs

from collector.analyses.registry import Answer
from collector.analytics.book_window import BookSample
from collector.analytics.candles import Losses, Minute
from collector.analytics.windows import window_minutes, window_start_ms
from collector.errors import ConfigurationError, NoData
from collector.model import MINUTE_MS
from collector.settings import current
from collector.store.read import Book, Reader, TradeRow, plain
from collector.store.redis_client import client

ALL_MARKETS = "*"
#: Candles one analysis may read, some seconds of work.
CANDLES_MAX = 1_000_000


def open_reader() -> Reader:
    """Return a reader on this process's Redis."""
    return Reader(client(), current())


@dataclass(frozen=True)
class Span:
    """A window: `length` minutes from `start_ms` to the newest event."""

    name: str
    length: int
    start_ms: int
    as_of_ms: int

    @property
    def opens(self) -> range:
        """Opens of its minutes, oldest first."""
        return range(self.start_ms, self.as_of_ms + 1, MINUTE_MS)

    def answer(self, market: str, *figures: Struct, **more: object) -> Answer:
        """Return figures with what they are about, as plain JSON values."""
        about = {"market": market, "window": self.name, "from_ms": self.start_ms, "to_ms": self.as_of_ms}
        for figure in figures:
            about |= structs.asdict(figure)
        return dict(plain(about | more))


@dataclass(frozen=True)
class Window:
    """The candles of one market in one window, by open; there is at least one."""

    market: str
    span: Span
    reader: Reader
    minutes: dict[int, Minute]
    #: Executions that the candles count, but that are no longer kept one by one; known once they are read.
    expired: list[int] = field(default_factory=list)

    def trades(self) -> list[TradeRow]:
        """Return the executions of the window that are still kept.

        Raises:
            NoData: none is.
        """
        rows = self.reader.trades(self.market, self.span.start_ms, self.span.as_of_ms)
        if not rows:
            raise NoData(f"{self.market}: the single trades of the last {self.span.name} are no longer kept")
        self.expired.append(sum(minute.trade_count for minute in self.minutes.values()) - len(rows))
        return rows

    def answer(self, *figures: Struct, **more: object) -> Answer:
        """Return figures with what they are about; `complete` is false where trades may be missing."""
        losses = Losses(self.reader.open_trade_gaps([self.market]))
        lost = losses.touch(self.span.start_ms, self.span.as_of_ms) or any(self.expired)
        return self.span.answer(self.market, *figures, **more, complete=not lost)


def span_of(reader: Reader, window: str) -> Span:
    """Return the window of that name, which ends at the newest event of any market.

    Raises:
        ConfigurationError: not a window.
        NoData: no event yet.
    """
    length = window_minutes(window)
    as_of_ms = reader.as_of_ms()
    if as_of_ms is None:
        raise NoData("no trade or ticker has been stored yet")
    return Span(window, length, window_start_ms(as_of_ms, length), as_of_ms)


def window_of(market: str, window: str) -> Window:
    """Return the candles of `market` in `window`.

    Raises:
        NoData: an unknown market, or no trade in the window.
        ConfigurationError: not a window.
    """
    window_minutes(window)
    reader = open_reader()
    market = reader.check(market)
    span = span_of(reader, window)
    minutes = reader.minutes(market, span.start_ms, span.as_of_ms)
    if not minutes:
        raise NoData(f"{market}: no trade in the last {window}")
    return Window(market, span, reader, minutes)


def book_of(market: str) -> Book:
    """Return the newest order book of `market`.

    Raises:
        NoData: an unknown market, or one without a book.
    """
    book = open_reader().book(market)
    if not (book.bids or book.asks):
        raise NoData(f"{market} has no order book yet")
    return book


def samples_of(market: str, window: str) -> tuple[str, Span, list[BookSample]]:
    """Return the code of `market`, a window, and the samples of its book in it; there is at least one.

    Raises:
        NoData: an unknown market, or no sample in the window.
        ConfigurationError: not a window.
    """
    window_minutes(window)
    reader = open_reader()
    market = reader.check(market)
    span = span_of(reader, window)
    samples = reader.book_samples(market, span.start_ms, span.as_of_ms)
    if not samples:
        raise NoData(
            f"{market}: no book was sampled in the last {window} (COLLECTOR_ANALYSIS__BOOK_SAMPLES_S)"
        )
    return market, span, samples


def book_answer(book: Book, *figures: Struct, **more: object) -> Answer:
    """Return figures with the book they are about, as plain JSON values."""
    about: dict[str, object] = {"market": book.market, "exchange_ms": book.exchange_ms}
    for figure in figures:
        about |= structs.asdict(figure)
    return dict(plain(about | more))


def candles_of(
    reader: Reader, markets: Iterable[str], span: Span, minutes: int
) -> dict[str, dict[int, Minute]]:
    """Return the candles of each of `markets` in the last `minutes` minutes of `span`.

    Raises:
        ConfigurationError: more than `CANDLES_MAX` candles could be asked for.
    """
    names = list(markets)
    if len(names) * minutes > CANDLES_MAX:
        raise ConfigurationError(
            f"{len(names)} markets x {minutes} minutes is too much at once: name fewer or a shorter window"
        )
    start_ms = window_start_ms(span.as_of_ms, minutes)
    return {market: reader.minutes(market, start_ms, span.as_of_ms) for market in names}
