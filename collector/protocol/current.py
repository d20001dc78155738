"""The current public socket, `/websocket/v1` (facts sheet section 1).

Frames are JSON objects, one event each, in DEFAULT (long names) or SIMPLE (two-letter) form, binary or text.
Every order book is the whole top 15; its time is in microseconds now and was in milliseconds once.
"""

import re
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal
from itertools import chain
from typing import Any, Literal, NamedTuple, NotRequired, get_args, get_origin

import msgspec
from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict, is_typeddict

from collector.errors import MalformedMessage
from collector.model import Channel, Level, OrderBook, Side, Ticker, Trade
from collector.protocol.codec import (
    LATEST_AHEAD_MS,
    Amount,
    FastInteger,
    FastNumber,
    Integer,
    Message,
    Number,
    Repeat,
    ServerError,
    Status,
    Subscription,
    Text,
    check_amounts,
    check_positive,
    check_time,
    parse_json,
    rejected,
)

StreamType = Literal["SNAPSHOT", "REALTIME"]
AskBid = Literal["ASK", "BID"]
Change = Literal["RISE", "EVEN", "FALL"]
_SIDES: dict[str, Side] = {"BID": Side.BUY, "ASK": Side.SELL}
#: Above this a time is in microseconds: 10^14 ms is the year 5138, 10^14 us is 1973.
_MICROSECONDS_FROM = 10**14
#: Names of oddities kept at the most; a field with ever new names must not fill the memory.
_SURPRISES_MAX = 200


@with_config(ConfigDict(extra="ignore"))
class TickerFrame(TypedDict):
    """Section 1.3. Prices in the quote currency, volumes in the base currency, rates as ratios."""

    type: Literal["ticker"]
    code: str
    opening_price: Amount
    high_price: Amount
    low_price: Amount
    trade_price: Amount
    prev_closing_price: Amount
    change: Change
    change_price: NotRequired[Number]
    signed_change_price: Number
    change_rate: NotRequired[Number]
    signed_change_rate: Number
    trade_volume: NotRequired[Amount]
    acc_trade_volume: NotRequired[Amount]
    acc_trade_volume_24h: Amount
    acc_trade_price: NotRequired[Amount]
    acc_trade_price_24h: Amount
    trade_date: NotRequired[Text]
    trade_time: NotRequired[Text]
    trade_timestamp: NotRequired[Integer]
    ask_bid: NotRequired[AskBid]
    acc_ask_volume: NotRequired[Amount]
    acc_bid_volume: NotRequired[Amount]
    highest_52_week_price: NotRequired[Amount]
    highest_52_week_date: NotRequired[Text | None]
    lowest_52_week_price: NotRequired[Amount]
    lowest_52_week_date: NotRequired[Text | None]
    market_state: NotRequired[Text]
    is_trading_suspended: NotRequired[bool]
    delisting_date: NotRequired[Text | None]
    market_warning: NotRequired[Text]
    timestamp: Integer
    stream_type: NotRequired[StreamType]


@with_config(ConfigDict(extra="ignore"))
class TradeFrame(TypedDict):
    """Section 1.4. One execution; `ask_bid` is the side of the taker."""

    type: Literal["trade"]
    code: str
    trade_price: Amount
    trade_volume: Amount
    ask_bid: AskBid
    prev_closing_price: NotRequired[Amount]
    change: NotRequired[Change]
    change_price: NotRequired[Number]
    trade_date: NotRequired[Text]
    trade_time: NotRequired[Text]
    trade_timestamp: Integer
    timestamp: NotRequired[Integer]
    sequential_id: Integer
    stream_type: NotRequired[StreamType]


class OrderbookUnit(TypedDict):
    """The i-th best ask beside the i-th best bid."""

    ask_price: Amount
    bid_price: Amount
    ask_size: Amount
    bid_size: Amount


@with_config(ConfigDict(extra="ignore"))
class OrderbookFrame(TypedDict):
    """Section 1.5. A side with fewer levels is padded with price 0."""

    type: Literal["orderbook"]
    code: str
    total_ask_size: NotRequired[Amount]
    total_bid_size: NotRequired[Amount]
    orderbook_units: list[OrderbookUnit]
    level: NotRequired[Amount]
    timestamp: Integer
    stream_type: NotRequired[StreamType]


#: SIMPLE key -> DEFAULT key, for all three types and the units.
LONG_NAMES = {
    "ty": "type",
    "cd": "code",
    "op": "opening_price",
    "hp": "high_price",
    "lp": "low_price",
    "tp": "trade_price",
    "pcp": "prev_closing_price",
    "c": "change",
    "cp": "change_price",
    "scp": "signed_change_price",
    "cr": "change_rate",
    "scr": "signed_change_rate",
    "tv": "trade_volume",
    "atv": "acc_trade_volume",
    "atv24h": "acc_trade_volume_24h",
    "atp": "acc_trade_price",
    "atp24h": "acc_trade_price_24h",
    "tdt": "trade_date",
    "ttm": "trade_time",
    "ttms": "trade_timestamp",
    "ab": "ask_bid",
    "aav": "acc_ask_volume",
    "abv": "acc_bid_volume",
    "h52wp": "highest_52_week_price",
    "h52wdt": "highest_52_week_date",
    "l52wp": "lowest_52_week_price",
    "l52wdt": "lowest_52_week_date",
    "ms": "market_state",
    "its": "is_trading_suspended",
    "dd": "delisting_date",
    "mw": "market_warning",
    "tms": "timestamp",
    "st": "stream_type",
    "sid": "sequential_id",
    "tas": "total_ask_size",
    "tbs": "total_bid_size",
    "obu": "orderbook_units",
    "lv": "level",
    "ap": "ask_price",
    "bp": "bid_price",
    "as": "ask_size",
    "bs": "bid_size",
}

_FAST = {Amount: FastNumber, Number: FastNumber, Integer: FastInteger}


def _fast(annotation: Any) -> Any:  # noqa: ANN401 - a type
    """Return a type that checks the same natively, where numbers are numbers."""
    if is_typeddict(annotation):
        fields = {name: _fast(field) for name, field in annotation.__annotations__.items()}
        return with_config(ConfigDict(extra="ignore"))(TypedDict(annotation.__name__, fields))  # type: ignore[operator]
    origin = get_origin(annotation)
    if origin in (NotRequired, list):
        return origin[_fast(get_args(annotation)[0])]
    return _FAST.get(annotation, annotation)


_FRAMES: dict[str, Any] = {"ticker": TickerFrame, "trade": TradeFrame, "orderbook": OrderbookFrame}
_VALIDATE = {name: TypeAdapter(frame).validate_python for name, frame in _FRAMES.items()}
_VALIDATE_FAST = {name: TypeAdapter(_fast(frame)).validate_python for name, frame in _FRAMES.items()}
#: How many values of a frame are text: with more, a number may be written as text, too.
_TEXTS = {"trade": 7, "orderbook": 3}
_TEXT_MARK = b'":"'
_KNOWN = {name: frozenset(frame.__annotations__) for name, frame in _FRAMES.items()}


class CurrentCodec:
    """Translator for one socket of the current protocol.

    Args:
        repeats: shared by sockets of which each sees only what no other brought first.
    """

    def __init__(
        self,
        frame_format: Literal["DEFAULT", "SIMPLE"] = "DEFAULT",
        repeats: "RepeatedBooks | None" = None,
    ) -> None:
        self.surprises: Counter[str] = Counter()
        self._format = frame_format
        self._repeats = RepeatedBooks() if repeats is None else repeats
        self._build: dict[str, Callable[[Any, int], Message]] = {
            "ticker": self._ticker,
            "trade": self._trade,
            "orderbook": self._orderbook,
        }

    def subscribe(self, subscription: Subscription) -> list[str]:
        """Return the one request that carries all types and codes: a second one would replace the first."""
        types = [{"type": channel, "codes": subscription.markets} for channel in subscription.channels]
        request = [{"ticket": str(uuid.uuid4())}, *types, {"format": self._format}]
        return [msgspec.json.encode(request).decode()]

    def ask_for_books(self, markets: Sequence[str]) -> list[str]:  # noqa: ARG002 - the Codec protocol
        """Return nothing: every book of this protocol is whole."""
        return []

    def decode(self, raw: bytes | str, received_ms: int) -> Sequence[Message]:
        """Translate one frame; see `Codec.decode`."""
        seen = read_ahead(raw) if isinstance(raw, bytes) else None
        if seen is not None and self._repeats.is_repeat(seen, received_ms):
            return (_REPEATED_BOOK,)
        try:
            texts = raw.count(_TEXT_MARK) if isinstance(raw, bytes) else -1
            message = self._message(parse_json(raw), received_ms, texts)
        except (MalformedMessage, ValidationError) as error:
            return (rejected(error, raw),)
        if isinstance(message, OrderBook):
            self._repeats.remember(message, seen)
        return (message,)

    def _message(self, frame: Any, received_ms: int, texts: int) -> Message:  # noqa: ANN401 - not validated yet
        if not isinstance(frame, dict):
            raise MalformedMessage("not_an_object", type(frame).__name__)
        if "ty" in frame:
            frame = lengthen(frame)
        kind = frame.get("type")
        if not isinstance(kind, str) or kind not in _VALIDATE:
            return _control(frame)
        valid = _validate(kind, frame, texts)
        if not frame.keys() <= _KNOWN[kind]:
            self._count_unknown(kind, frame)
        return self._build[kind](valid, received_ms)

    def _count_unknown(self, kind: str, frame: dict[str, Any]) -> None:
        for name in frame.keys() - _KNOWN[kind]:
            surprise = f"unknown_field:{kind}.{name[:40]}"
            if surprise in self.surprises or len(self.surprises) < _SURPRISES_MAX:
                self.surprises[surprise] += 1

    def _trade(self, frame: TradeFrame, received_ms: int) -> Trade:
        check_positive("trade_price", frame["trade_price"])
        check_positive("trade_volume", frame["trade_volume"])
        check_time(frame["trade_timestamp"], received_ms)
        if not 0 <= frame["sequential_id"] < 1 << 63:
            raise MalformedMessage("invalid_field", f"sequential_id {frame['sequential_id']}")
        return Trade(
            check_market(frame["code"]),
            frame["sequential_id"],
            frame["trade_price"],
            frame["trade_volume"],
            _SIDES[frame["ask_bid"]],
            frame["trade_timestamp"],
            received_ms,
        )

    def _ticker(self, frame: TickerFrame, received_ms: int) -> Ticker:
        check_positive("trade_price", frame["trade_price"])
        check_time(frame["timestamp"], received_ms)
        side = frame.get("ask_bid")
        return Ticker(
            market=check_market(frame["code"]),
            exchange_ms=frame["timestamp"],
            received_ms=received_ms,
            price=frame["trade_price"],
            change=frame["change"].lower(),
            change_price=frame["signed_change_price"],
            change_rate=frame["signed_change_rate"],
            prev_closing_price=frame["prev_closing_price"],
            open=frame["opening_price"],
            high=frame["high_price"],
            low=frame["low_price"],
            base_volume_24h=frame["acc_trade_volume_24h"],
            quote_volume_24h=frame["acc_trade_price_24h"],
            base_volume_day=frame.get("acc_trade_volume"),
            quote_volume_day=frame.get("acc_trade_price"),
            buy_volume_day=frame.get("acc_bid_volume"),
            sell_volume_day=frame.get("acc_ask_volume"),
            trade_volume=frame.get("trade_volume"),
            trade_side=_SIDES[side] if side else None,
            trade_ms=frame.get("trade_timestamp"),
            high_52w=frame.get("highest_52_week_price"),
            high_52w_date=frame.get("highest_52_week_date") or None,
            low_52w=frame.get("lowest_52_week_price"),
            low_52w_date=frame.get("lowest_52_week_date") or None,
            market_state=frame.get("market_state"),
            trading_suspended=frame.get("is_trading_suspended", False),
            delisting_date=frame.get("delisting_date") or None,
            market_warning=frame.get("market_warning"),
        )

    def _orderbook(self, frame: OrderbookFrame, received_ms: int) -> OrderBook:
        exchange_us = _in_microseconds(frame["timestamp"])
        check_time(exchange_us // 1000, received_ms)
        units = frame["orderbook_units"]
        bids = _levels([(unit["bid_price"], unit["bid_size"]) for unit in units])
        asks = _levels([(unit["ask_price"], unit["ask_size"]) for unit in units])
        bids = self._sorted(bids, descending=True)
        asks = self._sorted(asks, descending=False)
        if bids and asks and bids[0][0] >= asks[0][0]:
            self.surprises["crossed_book"] += 1
        return OrderBook(check_market(frame["code"]), exchange_us, received_ms, bids, asks)

    def _sorted(self, levels: tuple[Level, ...], *, descending: bool) -> tuple[Level, ...]:
        in_order = tuple(sorted(levels, reverse=descending))
        if in_order != levels:
            self.surprises["unsorted_book"] += 1
        return in_order


def _validate(kind: str, frame: dict[str, Any], texts: int) -> Any:  # noqa: ANN401 - one of the frames
    """Validate natively where that is the same; what is odd goes the careful way, which tells why."""
    if texts == _TEXTS.get(kind):
        try:
            valid = _VALIDATE_FAST[kind](frame)
            check_amounts(_AMOUNTS[kind](valid))
        except (ValidationError, MalformedMessage):
            pass
        else:
            return valid
    return _VALIDATE[kind](frame)


def _trade_amounts(frame: TradeFrame) -> list[Decimal]:
    return [frame["trade_price"], frame["trade_volume"]]


def _book_amounts(frame: OrderbookFrame) -> list[Decimal]:
    units: list[Any] = frame["orderbook_units"]
    return list(chain.from_iterable(map(dict.values, units)))


_AMOUNTS: dict[str, Callable[[Any], list[Decimal]]] = {"trade": _trade_amounts, "orderbook": _book_amounts}


def lengthen(frame: dict[str, Any]) -> dict[str, Any]:
    """Give a SIMPLE frame its DEFAULT names."""
    long = {LONG_NAMES.get(key, key): value for key, value in frame.items()}
    units = long.get("orderbook_units")
    if isinstance(units, list):
        long["orderbook_units"] = [
            {LONG_NAMES.get(key, key): value for key, value in unit.items()}
            if isinstance(unit, dict)
            else unit
            for unit in units
        ]
    return long


def check_market(code: str) -> str:
    """Return `code` if it has the shape of a market.

    Raises:
        MalformedMessage: `invalid_market`.
    """
    quote, dash, base = code.partition("-")
    if not (dash and quote.isalnum() and base.isalnum() and len(code) <= 32 and code.isascii()):
        raise MalformedMessage("invalid_market", repr(code[:40]))
    return code


def _control(frame: dict[str, Any]) -> Message:
    if isinstance(frame.get("status"), str):
        return Status(frame["status"][:100])
    error = frame.get("error")
    if isinstance(error, dict):
        return ServerError(str(error.get("name", "?"))[:100], str(error.get("message", ""))[:300])
    raise MalformedMessage("unknown_type", repr(frame.get("type"))[:60])


def _in_microseconds(time: int) -> int:
    """Return a book's time in microseconds, whichever unit it came in."""
    return time if time >= _MICROSECONDS_FROM else time * 1000


def _levels(levels: list[Level]) -> tuple[Level, ...]:
    """Drop the padding (price 0); a size of 0 at a live price is a real order below the printed precision."""
    return tuple(level for level in levels if level[0])


_REPEATED_BOOK = Repeat(Channel.ORDERBOOK)
_BOOK = re.compile(rb'\{"(?:type":"orderbook","code|ty":"orderbook","cd)":"([A-Z0-9]+-[A-Z0-9]+)",')
_TIME = re.compile(
    rb'(?:"timestamp":(\d{13,16}),"stream_type"|"tms":(\d{13,16}),"st"):"(?:SNAPSHOT|REALTIME)"\}'
)
_TIME_KEYS = (b'"timestamp":', b'"tms":')


class BookText(NamedTuple):
    """A book frame taken apart without parsing it: everything before its time is its content."""

    market: str
    content: bytes
    exchange_us: int


def read_ahead(raw: bytes) -> BookText | None:
    """Take a book frame apart; None if it is none, or is laid out otherwise than the exchange does."""
    start = _BOOK.match(raw)
    if start is None:
        return None
    content_end = max(raw.rfind(key) for key in _TIME_KEYS)
    time = _TIME.fullmatch(raw, content_end) if content_end > 0 else None
    if time is None:
        return None
    exchange_us = _in_microseconds(int(time[1] or time[2]))
    return BookText(start[1].decode(), raw[:content_end], exchange_us)


class RepeatedBooks:
    """Notice order books that equal the one before, before they are parsed.

    39 to 54 % of live KRW-BTC books repeat (section 1.5). Only a book that was understood is remembered, and
    only the newest of its market: an equal one from before it, late from another socket, is no repeat.
    """

    _MARKETS_MAX = 4_096

    def __init__(self) -> None:
        self._newest: dict[str, BookText] = {}

    def is_repeat(self, book: BookText, received_ms: int) -> bool:
        """Tell whether `book` says again what the newest book of its market says."""
        known = self._newest.get(book.market)
        if known is None or known.content != book.content:
            return False
        if not known.exchange_us <= book.exchange_us < (received_ms + LATEST_AHEAD_MS) * 1000:
            return False
        self._newest[book.market] = known._replace(exchange_us=book.exchange_us)
        return True

    def remember(self, book: OrderBook, text: BookText | None) -> None:
        """Keep a book that was understood, if its text can be recognised again."""
        known = self._newest.get(book.market)
        if known is not None and book.exchange_us < known.exchange_us:
            return
        is_first = known is None or book.exchange_us > known.exchange_us
        is_its = text is not None and (text.market, text.exchange_us) == (book.market, book.exchange_us)
        if known is None and len(self._newest) >= self._MARKETS_MAX:
            self._newest.clear()
        # Nothing equals an empty content: of two books of one microsecond, nobody knows which one counts.
        content = text.content if text is not None and is_its and is_first else b""
        self._newest[book.market] = BookText(book.market, content, book.exchange_us)
