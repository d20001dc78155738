"""The batch envelope and its wire form: the one contract between listener and workers.

A batch is JSON text, `{"v", "id", "channel", "listener", "created_ms", "rows": [[…], …]}`; a row is a struct
of `collector.model` as an array, for books `EncodedBook`; decimals are strings, in books numbers, exact both
ways. The text is the only argument of an ingest task, so Celery's serializer sees one string and compression
sees all of it.

Delivery is at least once: whoever consumes a batch must be idempotent.
"""

import re
import secrets
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from itertools import filterfalse
from typing import Any, TypeVar

import msgspec
from msgspec import Struct, structs

from collector.errors import InvalidBatch
from collector.market_names import is_code
from collector.model import EncodedBook, Gap, Level, OrderBook, Source, Ticker, Trade


class Kind(StrEnum):
    """What a batch carries; each kind has its own task and queue."""

    TRADE = "trade"
    ORDERBOOK = "orderbook"
    TICKER = "ticker"
    GAP = "gap"


#: Version of the rows of each kind; a worker takes no other.
VERSIONS = {Kind.TRADE: 1, Kind.ORDERBOOK: 2, Kind.TICKER: 1, Kind.GAP: 1}


class _Envelope(Struct, kw_only=True):
    v: int
    id: str
    channel: Kind
    listener: str
    created_ms: int


class TradeBatch(_Envelope, kw_only=True):
    """Trades in arrival order."""

    rows: list[Trade]


class TickerBatch(_Envelope, kw_only=True):
    """Tickers in arrival order."""

    rows: list[Ticker]


class BookBatch(_Envelope, kw_only=True):
    """Order books in arrival order."""

    rows: list[OrderBook]


class WrittenBookBatch(_Envelope, kw_only=True):
    """A `BookBatch` whose levels are still as they were written; every number of them was looked at."""

    rows: list[EncodedBook]


class GapBatch(_Envelope, kw_only=True):
    """Gaps, opened or recovered."""

    rows: list[Gap]


Batch = TradeBatch | TickerBatch | BookBatch | GapBatch
B = TypeVar("B", TradeBatch, TickerBatch, BookBatch, WrittenBookBatch, GapBatch)

CLASSES: dict[Kind, type[Batch]] = {
    Kind.TRADE: TradeBatch,
    Kind.ORDERBOOK: BookBatch,
    Kind.TICKER: TickerBatch,
    Kind.GAP: GapBatch,
}
_encoder = msgspec.json.Encoder(decimal_format="string")
_read_envelope = msgspec.json.Decoder(_Envelope).decode
_decoders: dict[type[_Envelope], Any] = {
    cls: msgspec.json.Decoder(WrittenBookBatch if cls is BookBatch else cls)
    for cls in (*CLASSES.values(), WrittenBookBatch)
}
_read_numbers = msgspec.json.Decoder(list[Decimal]).decode
_PRICE = rb"(?:[1-9][0-9]{0,19}(?:\.[0-9]{1,20})?|0\.0{0,9}[1-9][0-9]{0,9})"
_AMOUNT = rb"(?:0|[1-9][0-9]{0,19})(?:\.[0-9]{1,20})?"
_LEVEL = _PRICE + b"," + _PRICE + b"," + _AMOUNT + b"," + _AMOUNT
#: Levels of which every number can be true: two full sides, plain digits, no more of them than there can be.
_USUAL_LEVELS = re.compile(rb"\[" + _LEVEL + rb"(?:," + _LEVEL + rb")*\]").fullmatch


def make(kind: Kind, rows: Sequence[Struct], *, listener: str, now_ms: int) -> Batch:
    """Wrap `rows`, all of the struct that belongs to `kind`, in an envelope with a fresh id."""
    cls: Any = CLASSES[kind]
    batch: Batch = cls(
        v=VERSIONS[kind],
        id=secrets.token_hex(8),
        channel=kind,
        listener=listener,
        created_ms=now_ms,
        rows=list(rows),
    )
    return batch


def encode(batch: Batch) -> str:
    """Return the wire form of `batch`."""
    if isinstance(batch, BookBatch):
        rows: Any = [row.written() if isinstance(row, OrderBook) else row for row in batch.rows]
        batch = structs.replace(batch, rows=rows)
    return _encoder.encode(batch).decode()


def decode(text: str | bytes, cls: type[B]) -> B:
    """Read a batch of class `cls` from its wire form.

    Raises:
        InvalidBatch: not JSON, another version or kind, a row of the wrong shape, or a row that cannot be
            true (a negative price, a volume of zero, NaN, 1e99, a time outside 2010 to 2100).
    """
    try:
        head = _read_envelope(text)
        if CLASSES[head.channel] is not (BookBatch if cls is WrittenBookBatch else cls):
            raise InvalidBatch(f"a {head.channel} batch was sent to the task for {cls.__name__}")
        version = VERSIONS[head.channel]
        if head.v != version:
            raise InvalidBatch(
                f"batch version {head.v} is not {version}: update listener and workers together"
            )
        batch: Any = _decoders[cls].decode(text)
        if cls is BookBatch:
            batch = _read_books(batch)
        elif cls is WrittenBookBatch:
            _check_books(batch)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise InvalidBatch(f"not a {cls.__name__}: {error}") from error
    is_sound = _SOUND[head.channel]
    for number, row in enumerate(batch.rows):
        if not is_sound(row):
            raise _untrue(batch, number, row)
    sound: B = batch
    return sound


def span_of(batch: Batch) -> tuple[int, int]:
    """Return from when to when the trades or gaps of a batch are, epoch ms; zeros for tickers and books."""
    match batch:
        case TradeBatch(rows=trades):
            times = [trade.exchange_ms for trade in trades]
            return min(times, default=0), max(times, default=0)
        case GapBatch(rows=gaps):
            return min((gap.from_ms for gap in gaps), default=0), max((gap.to_ms for gap in gaps), default=0)
        case _:
            return 0, 0


def mark_of(batch: Batch) -> int:
    """Return the time of the oldest in a batch that nothing else remembers, epoch ms; 0 where there is none.

    Those are trades of the stream and gaps that open. Trades that a backfill brings, and word that a gap is
    recovered, may get lost: then the gap stays open.
    """
    match batch:
        case TradeBatch(rows=trades):
            times = [trade.exchange_ms for trade in trades if trade.source is Source.STREAM]
        case GapBatch(rows=gaps):
            times = [gap.from_ms for gap in gaps if not gap.recovered]
        case _:
            times = []
    return min(times, default=0)


def stretches(text: str | bytes) -> dict[str, tuple[int, int]]:
    """Return from when to when the rows of a batch are, by market, whatever version of us wrote it; epoch ms.

    Of a batch that can't be decoded: whatever in a row looks like a market and like times is taken for them,
    so a stretch may be too long. Empty where some row shows none.
    """
    try:
        batch = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return {}
    rows = batch.get("rows") if isinstance(batch, dict) else None
    found: dict[str, tuple[int, int]] = {}
    for row in rows if isinstance(rows, list) else ():
        values = row.values() if isinstance(row, dict) else row if isinstance(row, list) else ()
        market = next((each for each in values if isinstance(each, str) and is_code(each)), None)
        times = [each for each in values if type(each) is int and _plausible_ms(each)]
        if market is None or not times:
            return {}
        from_ms, to_ms = found.get(market, (times[0], times[0]))
        found[market] = min(from_ms, *times), max(to_ms, *times)
    return found


def _untrue(batch: _Envelope, number: int, row: Struct) -> InvalidBatch:
    return InvalidBatch(f"row {number} of batch {batch.id} cannot be true: {row!r:.300}")


EARLIEST_MS = 1_262_304_000_000  # 2010-01-01, years before the exchange opened
LATEST_MS = 4_102_444_800_000  # 2100-01-01
INT64_MAX = 2**63 - 1
#: Power of ten of the first digit, beyond any price or volume: `1e-999999999` written out fills the memory.
MAGNITUDE_MAX = 30
_LEAST, _MOST = Decimal(f"1e-{MAGNITUDE_MAX}"), Decimal(f"1e{MAGNITUDE_MAX + 1}")
NAME_LENGTH_MAX = 64
_TICKER_SIZES = (
    *("prev_closing_price", "open", "high", "low", "high_52w", "low_52w", "trade_volume"),
    *("base_volume_24h", "quote_volume_24h", "base_volume_day", "quote_volume_day"),
    *("buy_volume_day", "sell_volume_day"),
)


def _plausible_ms(time_ms: int) -> bool:
    return EARLIEST_MS < time_ms < LATEST_MS


def _is_market(name: str) -> bool:
    return 0 < len(name) <= NAME_LENGTH_MAX and name.isprintable()


def _number(number: Decimal) -> bool:
    return number.is_finite() and -MAGNITUDE_MAX <= number.adjusted() <= MAGNITUDE_MAX


def _positive(number: Decimal) -> bool:
    return _number(number) and number > 0


def _size(number: Decimal | None) -> bool:
    return number is None or (_number(number) and number >= 0)


def _sound_trade(trade: Trade) -> bool:
    try:
        return (
            _LEAST <= trade.price < _MOST
            and _LEAST <= trade.volume < _MOST
            and 0 <= trade.id <= INT64_MAX
            and 0 <= trade.nth <= INT64_MAX
            and EARLIEST_MS < trade.exchange_ms < LATEST_MS
            and _is_market(trade.market)
        )
    except InvalidOperation:  # NaN can't be compared
        return False


def _sound_ticker(ticker: Ticker) -> bool:
    return (
        _positive(ticker.price)
        and all(each is None or _number(each) for each in (ticker.change_price, ticker.change_rate))
        and all(_size(getattr(ticker, name)) for name in _TICKER_SIZES)
        and _plausible_ms(ticker.exchange_ms)
        and _is_market(ticker.market)
    )


def _sound_book(book: OrderBook | EncodedBook) -> bool:
    """Return whether what is not a level can be true; levels are looked at where they are read."""
    return _plausible_ms(book.exchange_ms) and _is_market(book.market)


def _read_books(batch: WrittenBookBatch) -> BookBatch:
    """Return the batch with the numbers of its books, looked at while they are at hand."""
    books = []
    for number, row in enumerate(batch.rows):
        sides = _sides(row.levels)
        if sides is None:
            raise _untrue(batch, number, row)
        books.append(OrderBook(row.market, row.exchange_us, row.received_ms, *sides))
    envelope = {name: getattr(batch, name) for name in _Envelope.__struct_fields__}
    return BookBatch(**envelope, rows=books)


def _check_books(batch: WrittenBookBatch) -> None:
    """Look at every number of the books; most have the usual form, the others are read."""
    for number, row in enumerate(batch.rows):
        if not _USUAL_LEVELS(row.levels) and _sides(row.levels) is None:
            raise _untrue(batch, number, row)


def read_levels(text: bytes | msgspec.Raw) -> tuple[tuple[Level, ...], tuple[Level, ...]]:
    """Return bids and asks from the levels of a book as they are written, without what filled up a side.

    Raises:
        InvalidBatch: not such levels.
    """
    sides = _sides(text)
    if sides is None:
        raise InvalidBatch("the levels of a book cannot be true")
    return sides


def _sides(levels: bytes | msgspec.Raw) -> tuple[tuple[Level, ...], tuple[Level, ...]] | None:
    """Return bids and asks, None where they cannot be true."""
    numbers = _read_numbers(levels)
    if len(numbers) % 4 or not _are_sound(numbers):
        return None
    asks = _read_side(numbers[0::4], numbers[2::4])
    bids = _read_side(numbers[1::4], numbers[3::4])
    return None if asks is None or bids is None else (bids, asks)


def _are_sound(numbers: list[Decimal]) -> bool:
    """Return whether all are 0 or positive, and of a size that can be."""
    some = [*filter(None, numbers)]
    try:
        return (
            min(some, default=_LEAST) >= _LEAST
            and max(some, default=_LEAST) < _MOST
            and (len(some) == len(numbers) or all(map(_number, filterfalse(None, numbers))))
        )
    except InvalidOperation:  # NaN
        return False


def _read_side(prices: list[Decimal], sizes: list[Decimal]) -> tuple[Level, ...] | None:
    """Return one side of a book without what filled it up; None if a price is 0 at a size that is not."""
    while prices and not (prices[-1] or sizes[-1]):
        del prices[-1], sizes[-1]
    return tuple(zip(prices, sizes, strict=True)) if all(prices) else None


def _sound_gap(gap: Gap) -> bool:
    return _plausible_ms(gap.from_ms) and gap.from_ms <= gap.to_ms < LATEST_MS and _is_market(gap.market)


_SOUND: dict[Kind, Callable[[Any], bool]] = {
    Kind.TRADE: _sound_trade,
    Kind.TICKER: _sound_ticker,
    Kind.ORDERBOOK: _sound_book,
    Kind.GAP: _sound_gap,
}


class _Headers(Struct):
    created_ms: int


class _Message(Struct):
    """What is read of a message of the broker: a batch and what Celery wraps around it."""

    headers: _Headers


_read_message = msgspec.json.Decoder(_Message).decode


def waited_ms(message: bytes | str | None, now_ms: int) -> int:
    """Return how long ago the batch in a message was made; 0 for no message, or one without a time."""
    try:
        return max(0, now_ms - _read_message(message or b"").headers.created_ms)
    except (msgspec.MsgspecError, UnicodeError):
        return 0
