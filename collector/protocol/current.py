"""The current public socket, `/websocket/v1` (facts sheet section 1).

Frames are JSON objects, one event each, in DEFAULT (long names) or SIMPLE (two-letter) form, binary or text.
Every order book is the whole top 15; its time is in microseconds now and was in milliseconds once.

What a message can do without is tolerated and counted when it is null, missing or not what it should be: the
first day of a market has no previous close, fields come and go, words are added.
"""

import re
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from operator import gt, itemgetter, lt
from typing import Any, Literal

import msgspec
from pydantic import TypeAdapter, ValidationError

from collector.errors import MalformedMessage
from collector.market_names import is_code
from collector.model import Channel, EncodedBook, Level, OrderBook, Side, Ticker, Trade
from collector.protocol.codec import (
    Message,
    Repeat,
    ServerError,
    Status,
    Subscription,
    check_positive,
    check_time,
    made_id,
    odd_fields,
    parse_json,
    rejected,
)
from collector.protocol.fast_path import read_book, take_apart
from collector.protocol.repeats import BookText, RepeatedBooks
from collector.protocol.wire_types import (
    OrderbookFrame,
    OrderbookUnit,
    TickerFrame,
    TradeFrame,
    in_microseconds,
    lengthen,
)

_BOOKS = (OrderBook, EncodedBook)
_SIDES: dict[str, Side] = {"BID": Side.BUY, "ASK": Side.SELL}
#: Names of oddities kept at the most; a field with ever new names must not fill the memory.
_SURPRISES_MAX = 200

_FRAMES: dict[str, Any] = {"ticker": TickerFrame, "trade": TradeFrame, "orderbook": OrderbookFrame}
_VALIDATE = {name: TypeAdapter(frame).validate_python for name, frame in _FRAMES.items()}
_KNOWN = {name: frozenset(frame.__annotations__) for name, frame in _FRAMES.items()}
#: Without these a message is refused; `type` is known by then.
_ESSENTIAL = {name: frame.__required_keys__ for name, frame in _FRAMES.items()}
_UNITS, _ID = "orderbook_units", "sequential_id"
_UNIT_FIELDS = tuple(OrderbookUnit.__annotations__)
#: What a message that can't be parsed seems to be about; looked for in its first bytes.
_LOOKS_LIKE = re.compile(rb'"(?:type|ty)"\s*:\s*"(ticker|trade|orderbook)"')
_LOOKS_LIKE_OF = re.compile(rb'"(?:code|cd)"\s*:\s*"([^"\\]{3,96})"')
_LOOKED_AT_BYTES = 4_096


class CurrentCodec:
    """Translator for one socket of the current protocol.

    Args:
        repeats: shared by sockets of which each sees only what no other brought first.
    """

    def __init__(
        self,
        frame_format: Literal["DEFAULT", "SIMPLE"] = "DEFAULT",
        repeats: RepeatedBooks | None = None,
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
        text = take_apart(raw) if isinstance(raw, bytes) else None
        if text is not None and self._repeats.is_repeat(text, received_ms):
            return (_REPEATED_BOOK,)
        try:
            message = self._usual_book(text, received_ms) or self._message(parse_json(raw), received_ms)
        except (MalformedMessage, ValidationError) as error:
            return (rejected(error, raw, *_subject(raw)),)
        if isinstance(message, _BOOKS):
            self._repeats.remember(message, text)
        return (message,)

    def _usual_book(self, text: BookText | None, received_ms: int) -> Message | None:
        """Translate a book that is written as usual; None for anything else."""
        book = None if text is None else read_book(text)
        if book is None:
            return None
        if not book.is_as_known:
            self._count_fields("orderbook", book.frame)
        return EncodedBook(*_book_head(book.frame, received_ms), book.levels)

    def _message(self, frame: Any, received_ms: int) -> Message:  # noqa: ANN401 - not validated yet
        if not isinstance(frame, dict):
            raise MalformedMessage("not_an_object", type(frame).__name__)
        if "ty" in frame:
            frame = lengthen(frame)
        kind = frame.get("type")
        if not isinstance(kind, str) or kind not in _VALIDATE:
            return _control(frame)
        valid = self._validated(kind, frame)
        if frame.keys() != _KNOWN[kind]:
            self._count_fields(kind, frame)
        return self._build[kind](valid, received_ms)

    def _validated(self, kind: str, frame: dict[str, Any]) -> Any:  # noqa: ANN401 - the frame of `kind`
        """Return the sound fields of a frame.

        Raises:
            ValidationError: one that it can't do without is missing or not sound.
        """
        try:
            return _VALIDATE[kind](frame)
        except ValidationError as error:
            odd = odd_fields(error)
            mended = {name: value for name, value in frame.items() if name not in odd - _ESSENTIAL[kind]}
            if _UNITS in odd:
                mended[_UNITS] = self._mended_units(frame.get(_UNITS))
            if _ID in odd and isinstance(frame[_ID], str) and frame[_ID]:
                mended[_ID] = made_id(frame[_ID])
            valid = _VALIDATE[kind](mended)
            for name in odd - _ESSENTIAL[kind]:
                self._count(f"tolerated:{kind}.{name}")
            return valid

    def _mended_units(self, units: Any) -> Any:  # noqa: ANN401 - not validated yet
        """Return the levels of a book with 0, which is padding, for what is null or missing."""
        if not isinstance(units, list):
            return units
        mended = []
        for unit in units:
            if isinstance(unit, dict):
                missing = [name for name in _UNIT_FIELDS if unit.get(name) is None]
                for name in missing:
                    self._count(f"tolerated:orderbook.{name}")
                unit = {**unit, **dict.fromkeys(missing, 0)}
            mended.append(unit)
        return mended

    def _count_fields(self, kind: str, frame: dict[str, Any]) -> None:
        """Count the unknown and the missing fields of a good frame."""
        for name in frame.keys() - _KNOWN[kind]:
            self._count(f"unknown_field:{kind}.{name[:40]}")
        for name in _KNOWN[kind] - frame.keys():
            self._count(f"tolerated:{kind}.{name}")

    def _count(self, surprise: str) -> None:
        if surprise in self.surprises or len(self.surprises) < _SURPRISES_MAX:
            self.surprises[surprise] += 1

    def _trade(self, frame: TradeFrame, received_ms: int) -> Trade:
        number = frame.get("sequential_id", -1)
        check_positive("trade_price", frame["trade_price"])
        check_positive("trade_volume", frame["trade_volume"])
        check_time(frame["trade_timestamp"], received_ms)
        return Trade(
            check_market(frame["code"]),
            number if number >= 0 else self._made_id(frame),
            frame["trade_price"],
            frame["trade_volume"],
            _SIDES[frame["ask_bid"]],
            frame["trade_timestamp"],
            received_ms,
        )

    def _made_id(self, frame: TradeFrame) -> int:
        """Return the id of a trade that has none: of trades alike in one millisecond, one is seen.

        The other is found missing by the exchange's totals.
        """
        if _ID in frame:
            self._count(f"tolerated:trade.{_ID}")
        price, volume = frame["trade_price"].normalize(), frame["trade_volume"].normalize()
        identity = (frame["code"], frame["trade_timestamp"], price, volume, frame["ask_bid"])
        return made_id("|".join(map(str, identity)))

    def _ticker(self, frame: TickerFrame, received_ms: int) -> Ticker:
        check_positive("trade_price", frame["trade_price"])
        check_time(frame["timestamp"], received_ms)
        side, change = frame.get("ask_bid"), frame.get("change")
        return Ticker(
            market=check_market(frame["code"]),
            exchange_ms=frame["timestamp"],
            received_ms=received_ms,
            price=frame["trade_price"],
            change=change.lower() if change else None,
            change_price=frame.get("signed_change_price"),
            change_rate=frame.get("signed_change_rate"),
            prev_closing_price=frame.get("prev_closing_price"),
            open=frame.get("opening_price"),
            high=frame.get("high_price"),
            low=frame.get("low_price"),
            base_volume_24h=frame.get("acc_trade_volume_24h"),
            quote_volume_24h=frame.get("acc_trade_price_24h"),
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
            trading_suspended=frame.get("is_trading_suspended"),
            delisting_date=frame.get("delisting_date") or None,
            market_warning=frame.get("market_warning"),
        )

    def _orderbook(self, frame: OrderbookFrame, received_ms: int) -> OrderBook:
        units = frame["orderbook_units"]
        bids = [(unit["bid_price"], unit["bid_size"]) for unit in units]
        asks = [(unit["ask_price"], unit["ask_size"]) for unit in units]
        book = OrderBook(
            *_book_head(frame, received_ms),
            self._in_order(bids, best_first=gt),
            self._in_order(asks, best_first=lt),
        )
        if book.bids and book.asks and book.bids[0][0] >= book.asks[0][0]:
            self.surprises["crossed_book"] += 1
        return book

    def _in_order(self, levels: list[Level], best_first: Callable[[Any, Any], bool]) -> tuple[Level, ...]:
        """Drop the padding (price 0) and sort what is left, best first.

        A size of 0 at a live price is a real order below the printed precision.
        """
        prices = list(map(_PRICE, levels))
        if not all(prices):
            levels = [level for level in levels if level[0]]
            prices = list(map(_PRICE, levels))
        if all(map(best_first, prices, prices[1:])):
            return tuple(levels)
        in_order = sorted(levels, reverse=best_first is gt)
        if in_order != levels:
            self.surprises["unsorted_book"] += 1
        return tuple(in_order)


def _book_head(frame: OrderbookFrame, received_ms: int) -> tuple[str, int, int]:
    """Return market, time in microseconds, and the time of arrival in milliseconds."""
    exchange_us = in_microseconds(frame["timestamp"])
    check_time(exchange_us // 1000, received_ms)
    return check_market(frame["code"]), exchange_us, received_ms


def is_snapshot(raw: bytes) -> bool:
    """Whether a data frame holds what was last known when it was asked for, not what has just happened."""
    return b'"SNAPSHOT"' in raw


@lru_cache(maxsize=4096)
def check_market(code: str) -> str:
    """Return `code` if it has the shape of a market.

    Raises:
        MalformedMessage: `invalid_market`.
    """
    if not is_code(code):
        raise MalformedMessage("invalid_market", repr(code[:40]))
    return code


def _subject(raw: bytes | str) -> tuple[Channel | None, str | None]:
    """Return what a refused message seems to be of: its channel and its market, where they can be read."""
    start = raw[:_LOOKED_AT_BYTES]
    if isinstance(start, str):
        start = start.encode(errors="replace")
    kind, code = _LOOKS_LIKE.search(start), _LOOKS_LIKE_OF.search(start)
    market = None
    with suppress(MalformedMessage, UnicodeError):
        market = check_market(code[1].decode()) if code else None
    return (Channel(kind[1].decode()) if kind else None), market


def _control(frame: dict[str, Any]) -> Message:
    if isinstance(frame.get("status"), str):
        return Status(frame["status"][:100])
    error = frame.get("error")
    if isinstance(error, dict):
        return ServerError(str(error.get("name", "?"))[:100], str(error.get("message", ""))[:300])
    raise MalformedMessage("unknown_type", repr(frame.get("type"))[:60])


_PRICE = itemgetter(0)
_REPEATED_BOOK = Repeat(Channel.ORDERBOOK)
