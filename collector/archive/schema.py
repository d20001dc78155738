"""What a row of the archive is: one class per channel, its fields in the order of the columns.

Numbers are exact here. A column has the decimal type of its kind (`DECIMALS`); what does not fit stands in
`ROUNDED`, one column more that is no field of a record.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any, NamedTuple

from collector.analytics.candles import Minute
from collector.analytics.completeness import Losses
from collector.analytics.dedup import Row, executions
from collector.analytics.depth import Book
from collector.analytics.exact import EXACT
from collector.archive.decimals import Fixed
from collector.model import MINUTE_MS, Channel, Gap, Level, Side, Ticker

#: Where in `TradeRecord.sources` the bits of `Row.seen` end.
SOURCE_BITS = 2
SOURCE_MASK = (1 << SOURCE_BITS) - 1

#: The trades of one minute of one market as Redis holds them: by millisecond.
Rows = dict[int, list[Row]]
#: A minute of a market.
Slot = tuple[str, int]


class Kind(StrEnum):
    """How a column is written and read."""

    TEXT = "text"
    TIME = "time"  # epoch milliseconds
    INTEGER = "integer"
    FLAG = "flag"
    PRICE = "price"  # in the quote currency; differences and means of prices too
    VOLUME = "volume"  # in the base currency
    TURNOVER = "turnover"  # price times volume
    RATE = "rate"  # a ratio as the exchange gives it
    RATIO = "ratio"  # a quotient of ours, a double: it has no exact decimal
    LEVELS = "levels"  # list of {price, size}, a PRICE and a VOLUME


#: The type of each kind of exact number, in files, views, frames and exports.
DECIMALS = {
    Kind.PRICE: Fixed(21, 9),
    Kind.VOLUME: Fixed(28, 12),
    Kind.TURNOVER: Fixed(37, 21),
    Kind.RATE: Fixed(21, 12),
}
#: The kinds of the parts of a level.
LEVEL = {"price": Kind.PRICE, "size": Kind.VOLUME}
#: The column with every digit of a row's numbers that do not fit, as JSON by column; null where all fit.
ROUNDED = "rounded"


class TradeRecord(NamedTuple):
    """One copy of a trade; `counted` copies are the executions (`collector.analytics.dedup`).

    `sources` holds `Row.seen` in its lowest `SOURCE_BITS` bits and `Row.nth` above.
    """

    market: str
    exchange_ms: int
    id: int
    price: Decimal
    volume: Decimal
    side: str
    order: int
    received_ms: int
    sources: int
    counted: bool


class CandleRecord(NamedTuple):
    """A one-minute candle; `copies` grows with every change of it.

    `verified` is as of `collector.analytics.candles.Candle`; files of earlier versions have none.
    """

    market: str
    open_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    base_volume: Decimal
    quote_volume: Decimal
    buy_volume: Decimal
    sell_volume: Decimal
    trade_count: int
    complete: bool
    copies: int
    verified: bool | None = None


class TickerRecord(NamedTuple):
    """A sampled ticker; None is what the exchange did not give."""

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


class BookRecord(NamedTuple):
    """A sampled order book; levels best first."""

    market: str
    exchange_ms: int
    received_ms: int
    bids: list[dict[str, Decimal]]
    asks: list[dict[str, Decimal]]
    spread: Decimal | None
    spread_bps: Decimal | None
    mid: Decimal | None
    microprice: Decimal | None
    imbalance: Decimal | None
    bid_depth: Decimal
    ask_depth: Decimal


class GapRecord(NamedTuple):
    """A stretch in which data of a market may be missing, both ends included."""

    market: str
    channel: str
    from_ms: int
    to_ms: int
    reason: str
    recovered: bool


class ExchangeCandleRecord(NamedTuple):
    """A candle of the exchange's own, as it was fetched (`collector.archive.exchange_candles`)."""

    market: str
    interval: str
    open_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    base_volume: Decimal
    quote_volume: Decimal


Record = TradeRecord | CandleRecord | TickerRecord | BookRecord | GapRecord


@dataclass(frozen=True, eq=False)  # each exists once
class Table:
    """A channel of the archive: its record, what names a row and orders the rows, and its time."""

    name: str
    record: type[Any]
    key: tuple[str, ...]
    time: str
    kinds: dict[str, Kind]

    def of(self, *kinds: Kind) -> list[str]:
        """Return the columns of some kinds."""
        return [name for name in self.record._fields if self.kinds[name] in kinds]

    @property
    def decimals(self) -> dict[str, Fixed]:
        """The columns of exact numbers and their types."""
        return {name: DECIMALS[kind] for name, kind in self.kinds.items() if kind in DECIMALS}

    @property
    def may_round(self) -> bool:
        """Whether a row may have numbers that do not fit their columns."""
        return bool(self.of(*DECIMALS, Kind.LEVELS))


_T, _M, _I, _F, _P, _V, _Q, _C, _R, _L = (
    Kind.TEXT,
    Kind.TIME,
    Kind.INTEGER,
    Kind.FLAG,
    Kind.PRICE,
    Kind.VOLUME,
    Kind.TURNOVER,
    Kind.RATE,
    Kind.RATIO,
    Kind.LEVELS,
)


def _table(name: str, record: type[Any], key: tuple[str, ...], time: str, *kinds: Kind) -> Table:
    return Table(name, record, key, time, dict(zip(record._fields, kinds, strict=True)))


TRADES = _table(
    "trades", TradeRecord,
    ("market", "exchange_ms", "order", "id", "sources", "price", "volume", "side"), "exchange_ms",
    _T, _M, _I, _P, _V, _T, _I, _M, _I, _F,
)  # fmt: skip
CANDLES = _table(
    "candles", CandleRecord, ("market", "open_ms"), "open_ms",
    _T, _M, _P, _P, _P, _P, _V, _Q, _V, _V, _I, _F, _I, _F,
)  # fmt: skip
TICKERS = _table(
    "tickers", TickerRecord, ("market", "exchange_ms"), "exchange_ms",
    _T, _M, _M, _P, _T, _P, _C, _P, _P, _P, _P, _V, _Q,
)  # fmt: skip
BOOKS = _table(
    "books", BookRecord, ("market", "exchange_ms"), "exchange_ms",
    _T, _M, _M, _L, _L, _P, _R, _P, _R, _R, _V, _V,
)  # fmt: skip
GAPS = _table(
    "gaps", GapRecord, ("market", "channel", "from_ms", "reason"), "from_ms",
    _T, _T, _M, _M, _T, _F,
)  # fmt: skip

#: Not filled from Redis, so it is none of `TABLES`.
EXCHANGE_CANDLES = _table(
    "exchange_candles", ExchangeCandleRecord, ("market", "open_ms"), "open_ms",
    _T, _T, _M, _P, _P, _P, _P, _V, _Q,
)  # fmt: skip

TABLES = (TRADES, CANDLES, TICKERS, BOOKS, GAPS)


def trade_records(market: str, rows: Rows) -> list[TradeRecord]:
    """Return every copy of the trades in `rows`, in order of the key; executions are marked."""
    records = [
        TradeRecord(
            market, ms, row.id, row.price, row.volume, str(row.side),
            row.order, row.received_ms, row.seen | row.nth << SOURCE_BITS, row in counted,
        )
        for ms, copies in rows.items()
        for counted in [set(executions(copies))]
        for row in copies
    ]  # fmt: skip
    return sorted(records, key=key_of(TRADES))


def rows_of(records: Iterable[TradeRecord]) -> Rows:
    """Return archived copies of trades in the form Redis holds them."""
    rows: Rows = {}
    for record in records:
        row = Row(
            record.id, record.price, record.volume, Side(record.side),
            record.order, record.received_ms, record.sources & SOURCE_MASK, record.sources >> SOURCE_BITS,
        )  # fmt: skip
        rows.setdefault(record.exchange_ms, []).append(row)
    return rows


def candle_record(slot: Slot, minute: Minute, losses: Losses, verified: bool | None = None) -> CandleRecord:
    """Return the candle of a minute; it is complete where none of `losses` touches it."""
    market, open_ms = slot
    return CandleRecord(
        market=market,
        open_ms=open_ms,
        open=minute.first.price,
        high=minute.high,
        low=minute.low,
        close=minute.last.price,
        base_volume=EXACT.add(minute.buy_volume, minute.sell_volume),
        quote_volume=minute.quote_volume,
        buy_volume=minute.buy_volume,
        sell_volume=minute.sell_volume,
        trade_count=minute.trade_count,
        complete=is_complete(open_ms, losses),
        copies=minute.copies,
        verified=verified,
    )


def is_complete(open_ms: int, losses: Losses) -> bool:
    """Whether no loss touches the minute that opens then."""
    return not losses.touch(open_ms, open_ms + MINUTE_MS - 1)


def ticker_record(ticker: Ticker) -> TickerRecord:
    """Return a ticker as it is archived."""
    return TickerRecord(*(_plain(getattr(ticker, name)) for name in TickerRecord._fields))


def book_record(book: Book) -> BookRecord:
    """Return an order book as it is archived."""
    return BookRecord(*(_plain(getattr(book, name)) for name in BookRecord._fields))


def gap_record(gap: Gap) -> GapRecord:
    """Return a gap as it is archived."""
    return GapRecord(gap.market, str(gap.channel), gap.from_ms, gap.to_ms, gap.reason, gap.recovered)


def gap_of(record: GapRecord) -> Gap:
    """Return an archived gap."""
    return Gap(
        record.market, Channel(record.channel), record.from_ms, record.to_ms, record.reason, record.recovered
    )


def _plain(value: object) -> Any:  # noqa: ANN401 - the type follows the field
    match value:
        case tuple():
            return [_level(level) for level in value]
        case StrEnum():
            return str(value)
        case _:
            return value


def _level(level: Level) -> dict[str, Decimal]:
    price, size = level
    return {"price": price, "size": size}


def key_of(table: Table) -> Callable[[Any], tuple[Any, ...]]:
    """Return the function that names a row of `table`."""
    places = [table.record._fields.index(name) for name in table.key]
    return lambda row: tuple(row[place] for place in places)
