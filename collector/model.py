"""What the system talks about: trades, tickers, order books, gaps. No exchange words.

All values are immutable and exact: prices and volumes are `Decimal` from wire text to JSON text. Times are
epoch milliseconds UTC (`*_ms`), for books epoch microseconds (`exchange_us`). Markets are written
`QUOTE-BASE`, for instance `KRW-BTC`; prices are in the quote currency, volumes in the base currency.

The classes are `msgspec` structs that encode as arrays: the same definition is the wire form between
listener and workers (`collector.batch`). Append new fields at the end, with a default.
"""

from decimal import Decimal
from enum import StrEnum
from itertools import zip_longest

from msgspec import Raw, Struct

MINUTE_MS = 60_000


class Channel(StrEnum):
    """The streams a market has."""

    TICKER = "ticker"
    ORDERBOOK = "orderbook"
    TRADE = "trade"


class Side(StrEnum):
    """Side of the taker."""

    BUY = "buy"
    SELL = "sell"


class Source(StrEnum):
    """Where a copy of a trade came from; the two may number the same trade differently."""

    STREAM = "stream"
    REST = "rest"


class Trade(Struct, frozen=True, array_like=True, gc=False):
    """One execution. Facts: never dropped, counted exactly once."""

    market: str
    #: A signed 64-bit integer, not negative. Not an order. The stream's are unique per market; REST's may be
    #: shared by trades of one millisecond, and are 0 where a row has none.
    id: int
    price: Decimal
    volume: Decimal
    side: Side
    exchange_ms: int
    received_ms: int
    #: Arrival order at the exchange within the millisecond where known (the legacy stream, REST), else 0.
    order: int = 0
    source: Source = Source.STREAM
    #: REST: number among the rows with equal millisecond, price, volume and side, from 1; 0 where unknown.
    #: It identifies a row of REST; the id does not (`collector.analytics.dedup`).
    nth: int = 0

    @property
    def minute_ms(self) -> int:
        """Start of the minute this trade belongs to, by the exchange's time."""
        return self.exchange_ms - self.exchange_ms % MINUTE_MS


class Ticker(Struct, frozen=True, array_like=True, gc=False, kw_only=True):
    """A market's summary. State: the newest replaces the one before. None is what the exchange did not give.

    `change` is `rise`, `even` or `fall` against the previous close; `change_price` and `change_rate` are
    signed, the rate a ratio (0.0117 = 1.17 %). `*_day` figures run since 00:00 KST.
    """

    market: str
    exchange_ms: int
    received_ms: int
    price: Decimal
    change: str | None
    change_price: Decimal | None
    change_rate: Decimal | None
    prev_closing_price: Decimal | None
    open: Decimal | None
    high: Decimal | None
    low: Decimal | None
    base_volume_24h: Decimal | None
    quote_volume_24h: Decimal | None
    base_volume_day: Decimal | None = None
    quote_volume_day: Decimal | None = None
    buy_volume_day: Decimal | None = None
    sell_volume_day: Decimal | None = None
    trade_volume: Decimal | None = None
    trade_side: Side | None = None
    trade_ms: int | None = None
    high_52w: Decimal | None = None
    high_52w_date: str | None = None
    low_52w: Decimal | None = None
    low_52w_date: str | None = None
    market_state: str | None = None
    trading_suspended: bool | None = None
    delisting_date: str | None = None
    market_warning: str | None = None


#: One price level: (price, size). A size of 0 at a live price is a real order below the printed precision.
Level = tuple[Decimal, Decimal]


class OrderBook(Struct, frozen=True, array_like=True):
    """A whole book, best level first on both sides; padding is gone. State: the newest replaces the rest."""

    market: str
    exchange_us: int
    received_ms: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]

    @property
    def exchange_ms(self) -> int:
        """The book's time in epoch milliseconds."""
        return self.exchange_us // 1000

    def written(self) -> "EncodedBook":
        """Return the same book in its wire form."""
        both = zip_longest(self.asks, self.bids, fillvalue=(0, 0))
        numbers = ",".join(f"{ask[0]},{bid[0]},{ask[1]},{bid[1]}" for ask, bid in both)
        levels = Raw(f"[{numbers}]".encode())
        return EncodedBook(self.market, self.exchange_us, self.received_ms, levels)


class EncodedBook(Struct, frozen=True, array_like=True, gc=False):
    """An order book whose levels are still as they were written: `OrderBook` in its wire form.

    A listener hands most books on without looking into them; making 60 numbers of their text and text of the
    numbers would cost more than all it does with them. Validated and in order all the same.
    """

    market: str
    exchange_us: int
    received_ms: int
    #: JSON, `[ask price, bid price, ask size, bid size, …]`, best level first and all digits as they were
    #: written. A side with fewer levels than the other is filled up with zeros.
    levels: Raw

    @property
    def exchange_ms(self) -> int:
        """The book's time in epoch milliseconds."""
        return self.exchange_us // 1000


class BookChange(Struct, frozen=True, array_like=True):
    """Levels of a book that changed (legacy stream); a size of 0 removes the level."""

    market: str
    exchange_us: int
    received_ms: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]


class Gap(Struct, frozen=True, array_like=True, gc=False):
    """A stretch in which data of a market may be missing; `name` is what makes it one gap.

    The same gap is sent again with `recovered=True` once a backfill has closed it; recovered wins.
    `reason` is a stable word: `start`, `disconnected`, `stalled`, `spool_full`, `too_late` …; behind a colon
    it may name what it is of: `dead_letter:{batch id}`.
    """

    market: str
    channel: Channel
    from_ms: int
    to_ms: int
    reason: str
    recovered: bool = False

    @property
    def name(self) -> tuple[str, Channel, int, str]:
        """Market, channel, start and reason: of gaps that have them in common, the widest stands."""
        return self.market, self.channel, self.from_ms, self.reason

    @property
    def word(self) -> str:
        """The reason without what is behind its colon."""
        return self.reason.partition(":")[0]


Event = Trade | Ticker | OrderBook | EncodedBook | Gap
