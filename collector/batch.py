"""The batch envelope and its wire form: the one contract between listener and workers.

A batch is JSON text, `{"v", "id", "channel", "listener", "created_ms", "rows": [[…], …]}`; a row is a struct
of `collector.model` as an array, decimals as strings or, in books nobody looked into, as numbers; exact both
ways. The text is the only argument of an ingest task, so Celery's serializer sees one string and compression
sees all of it.

Delivery is at least once: whoever consumes a batch must be idempotent.
"""

import secrets
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from collector.errors import InvalidBatch
from collector.model import Gap, Level, OrderBook, Ticker, Trade

VERSION = 1


class Kind(StrEnum):
    """What a batch carries; each kind has its own task and queue."""

    TRADE = "trade"
    ORDERBOOK = "orderbook"
    TICKER = "ticker"
    GAP = "gap"


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


class GapBatch(_Envelope, kw_only=True):
    """Gaps, opened or recovered."""

    rows: list[Gap]


Batch = TradeBatch | TickerBatch | BookBatch | GapBatch
B = TypeVar("B", TradeBatch, TickerBatch, BookBatch, GapBatch)

CLASSES: dict[Kind, type[Batch]] = {
    Kind.TRADE: TradeBatch,
    Kind.ORDERBOOK: BookBatch,
    Kind.TICKER: TickerBatch,
    Kind.GAP: GapBatch,
}
_encoder = msgspec.json.Encoder(decimal_format="string")
_decoders: dict[type[Batch], Any] = {cls: msgspec.json.Decoder(cls) for cls in CLASSES.values()}


def make(kind: Kind, rows: Sequence[Struct], *, listener: str, now_ms: int) -> Batch:
    """Wrap `rows`, all of the struct that belongs to `kind`, in an envelope with a fresh id."""
    cls: Any = CLASSES[kind]
    batch: Batch = cls(
        v=VERSION,
        id=secrets.token_hex(8),
        channel=kind,
        listener=listener,
        created_ms=now_ms,
        rows=list(rows),
    )
    return batch


def encode(batch: Batch) -> str:
    """Return the wire form of `batch`."""
    return _encoder.encode(batch).decode()


def decode(text: str | bytes, cls: type[B]) -> B:
    """Read a batch of class `cls` from its wire form.

    Raises:
        InvalidBatch: not JSON, another version or kind, a row of the wrong shape, or a row that cannot be
            true (a negative price, a volume of zero, NaN, 1e99, a time outside 2010 to 2100).
    """
    try:
        batch: B = _decoders[cls].decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise InvalidBatch(f"not a {cls.__name__}: {error}") from error
    if batch.v != VERSION:
        raise InvalidBatch(f"batch version {batch.v} is not {VERSION}: update listener and workers together")
    if CLASSES[batch.channel] is not cls:
        raise InvalidBatch(f"a {batch.channel} batch was sent to the task for {cls.__name__}")
    is_sound = _SOUND[batch.channel]
    for number, row in enumerate(batch.rows):
        if not is_sound(row):
            raise InvalidBatch(f"row {number} of batch {batch.id} cannot be true: {row!r:.300}")
    return batch


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
    return (
        _positive(trade.price)
        and _positive(trade.volume)
        and 0 <= trade.id <= INT64_MAX
        and _plausible_ms(trade.exchange_ms)
        and _is_market(trade.market)
    )


def _sound_ticker(ticker: Ticker) -> bool:
    return (
        _positive(ticker.price)
        and _number(ticker.change_price)
        and _number(ticker.change_rate)
        and all(_size(getattr(ticker, name)) for name in _TICKER_SIZES)
        and _plausible_ms(ticker.exchange_ms)
        and _is_market(ticker.market)
    )


def _sound_levels(levels: tuple[Level, ...]) -> bool:
    """Tell whether prices are positive, sizes not negative, and both of a size that can be."""
    prices, sizes = [price for price, _ in levels], [size for _, size in levels if size]
    try:
        return (
            min(prices, default=_LEAST) >= _LEAST
            and max(prices, default=_LEAST) < _MOST
            and min(sizes, default=_LEAST) >= _LEAST
            and max(sizes, default=_LEAST) < _MOST
            and (len(sizes) == len(levels) or all(_number(size) for _, size in levels if not size))
        )
    except InvalidOperation:  # NaN
        return False


def _sound_book(book: OrderBook) -> bool:
    return (
        _sound_levels(book.bids)
        and _sound_levels(book.asks)
        and _plausible_ms(book.exchange_ms)
        and _is_market(book.market)
    )


def _sound_gap(gap: Gap) -> bool:
    return _plausible_ms(gap.from_ms) and gap.from_ms <= gap.to_ms < LATEST_MS and _is_market(gap.market)


_SOUND: dict[Kind, Callable[[Any], bool]] = {
    Kind.TRADE: _sound_trade,
    Kind.TICKER: _sound_ticker,
    Kind.ORDERBOOK: _sound_book,
    Kind.GAP: _sound_gap,
}
