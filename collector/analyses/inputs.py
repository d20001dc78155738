"""What an analysis looks at: the candles or the trades of a window, the newest book, several markets."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from msgspec import Struct, structs

from collector.analyses.registry import Answer
from collector.analytics.book_window import BookSample
from collector.analytics.candles import Minute
from collector.analytics.change import End
from collector.analytics.completeness import NEVER_MS, Known
from collector.analytics.windows import window_minutes, window_start_ms
from collector.errors import ConfigurationError, NoData
from collector.model import MINUTE_MS
from collector.settings import current
from collector.store.history import Opens
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
    opens: Opens
    minutes: dict[int, Minute]
    known: Known
    #: Executions that the candles count, but that are no longer kept one by one; known once they are read.
    expired: list[int] = field(default_factory=list)
    #: Where the figures reach back to: the window's start, or the older candle whose close was asked for.
    reach_ms: list[int] = field(default_factory=list)

    def end_before(self) -> End | None:
        """Return the price as the window began, None where no older candle is kept."""
        end = self.reader.ends_before(self.opens, self.span.start_ms)[self.market]
        if end:
            self.reach_ms.append(end.open_ms)
        return end

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
        """Return figures with what they are about, and whether trades may be missing."""
        start_ms = self.span.start_ms
        is_complete = self.known.is_complete(min(start_ms, *self.reach_ms, NEVER_MS))
        return self.span.answer(
            self.market,
            *figures,
            **more,
            since_ms=self.known.since_ms(start_ms),
            complete=is_complete and not any(self.expired),
        )


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
    opens = reader.opens([market])
    minutes = reader.minutes_of(opens, span.start_ms, span.as_of_ms)[market]
    known = reader.known(opens)[market]
    if not minutes:
        loss = "" if known.is_complete(span.start_ms) else ", or it is missing (collector show completeness)"
        raise NoData(f"{market}: no trade in the last {window}{loss}")
    return Window(market, span, reader, opens, minutes, known)


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


def opens_of(reader: Reader, markets: Collection[str], minutes: int) -> Opens:
    """Return the opens of the candles of `markets`, of which the last `minutes` minutes are to be read.

    Raises:
        ConfigurationError: more than `CANDLES_MAX` candles could be asked for.
    """
    if len(markets) * minutes > CANDLES_MAX:
        raise ConfigurationError(
            f"{len(markets)} markets x {minutes} minutes is too much at once: name fewer or a shorter window"
        )
    return reader.opens(markets)


def candles_of(reader: Reader, opens: Opens, span: Span, minutes: int) -> dict[str, dict[int, Minute]]:
    """Return the candles of each market of `opens` in the last `minutes` minutes of `span`."""
    return reader.minutes_of(opens, window_start_ms(span.as_of_ms, minutes), span.as_of_ms)


def markets_answer(
    span: Span, market: str, known: Mapping[str, Known], start_ms: int, *figures: Struct, **more: object
) -> Answer:
    """Return figures of several markets since `start_ms`, and whether trades may be missing."""
    incomplete = sum(not each.is_complete(start_ms) for each in known.values())
    whole = Known(from_ms=min((each.from_ms for each in known.values()), default=NEVER_MS))
    return span.answer(
        market,
        *figures,
        **more,
        since_ms=whole.since_ms(start_ms),
        complete=not incomplete,
        incomplete_count=incomplete,
    )
