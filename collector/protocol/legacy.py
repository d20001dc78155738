"""The older public socket, `/pub/ws` (facts sheet section 2).

All values are strings, times are Korean wall time, trades have no id, order books come as changes
(`orderbookdepth`) and as repeated whole books of 30 levels (`orderbooksnapshot`). Side 2 is a buy.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, NotRequired

import msgspec
from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from collector.errors import MalformedMessage
from collector.market_names import is_code
from collector.model import BookChange, Channel, Level, OrderBook, Side, Ticker, Trade
from collector.protocol.codec import (
    Amount,
    Integer,
    Message,
    Number,
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
from collector.util.korean_time import KST_OFFSET

_Validate = Callable[[Any], Any]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SIDES = {"1": Side.SELL, "2": Side.BUY}
_TICK_TYPES = ("24H", "MID")
_CHANNELS = {
    "transaction": Channel.TRADE,
    "ticker": Channel.TICKER,
    "orderbookdepth": Channel.ORDERBOOK,
    "orderbooksnapshot": Channel.ORDERBOOK,
}
_LOOKS_LIKE = re.compile(rb'"type"\s*:\s*"(%b)"' % b"|".join(name.encode() for name in _CHANNELS))
_LOOKED_AT = 4_096
_OK = "0000"
#: Ticker windows remembered per socket: far more than the exchange has.
_WINDOWS_MAX = 10_000


@with_config(ConfigDict(extra="ignore"))
class TransactionEntry(TypedDict):
    """Section 2.4: one execution."""

    symbol: str
    buySellGb: Literal["1", "2"]
    contPrice: Amount
    contQty: Amount
    contAmt: NotRequired[Amount]
    contDtm: str


@with_config(ConfigDict(extra="ignore"))
class TickerContent(TypedDict):
    """Section 2.3: figures over the window `tickType`; `chgRate` is in percent of the window's open."""

    symbol: str
    tickType: str
    date: str
    time: str
    closePrice: Amount
    openPrice: NotRequired[Amount]
    lowPrice: NotRequired[Amount]
    highPrice: NotRequired[Amount]
    value: NotRequired[Amount]
    volume: NotRequired[Amount]
    sellVolume: NotRequired[Amount]
    buyVolume: NotRequired[Amount]
    prevClosePrice: NotRequired[Amount]
    chgRate: NotRequired[Number]
    chgAmt: NotRequired[Number]


@with_config(ConfigDict(extra="ignore"))
class DepthEntry(TypedDict):
    """Section 2.5: one changed level; quantity 0 removes it."""

    symbol: str
    orderType: Literal["bid", "ask"]
    price: Amount
    quantity: Amount


@with_config(ConfigDict(extra="ignore"))
class SnapshotContent(TypedDict):
    """Section 2.5: a whole book, 30 levels a side."""

    symbol: str
    datetime: Integer
    asks: list[tuple[Amount, Amount]]
    bids: list[tuple[Amount, Amount]]


_transaction: _Validate = TypeAdapter(TransactionEntry).validate_python
_ticker: _Validate = TypeAdapter(TickerContent).validate_python
_depth = TypeAdapter(DepthEntry).validate_python
_snapshot = TypeAdapter(SnapshotContent).validate_python
_microseconds = TypeAdapter(Integer).validate_python


class LegacyCodec:
    """Translator for one socket of the legacy protocol."""

    def __init__(self) -> None:
        self.surprises: Counter[str] = Counter()
        self._windows: dict[tuple[str, str], TickerContent] = {}
        self._ticker_ms: dict[str, int] = {}
        self._read: dict[str, Callable[[Any, int, bytes | str], Iterable[Message]]] = {
            "transaction": self._transactions,
            "ticker": self._tickers,
            "orderbookdepth": self._changes,
            "orderbooksnapshot": self._books,
        }

    def subscribe(self, subscription: Subscription) -> list[str]:
        """Return one request per type; books need changes and whole books."""
        symbols = [to_symbol(market) for market in subscription.markets]
        requests: list[dict[str, Any]] = []
        if Channel.TRADE in subscription.channels:
            requests.append({"type": "transaction", "symbols": symbols})
        if Channel.ORDERBOOK in subscription.channels:
            requests.append({"type": "orderbookdepth", "symbols": symbols})
            requests.append({"type": "orderbooksnapshot", "symbols": symbols})
        if Channel.TICKER in subscription.channels:
            requests.append({"type": "ticker", "symbols": symbols, "tickTypes": list(_TICK_TYPES)})
        return [msgspec.json.encode(request).decode() for request in requests]

    def ask_for_books(self, markets: Sequence[str]) -> list[str]:
        """Return the request for whole books of `markets`."""
        request = {"type": "orderbooksnapshot", "symbols": [to_symbol(market) for market in markets]}
        return [msgspec.json.encode(request).decode()]

    def decode(self, raw: bytes | str, received_ms: int) -> Sequence[Message]:
        """Translate one frame; see `Codec.decode`."""
        channel = None
        try:
            frame = parse_json(raw)
            if not isinstance(frame, dict):
                raise MalformedMessage("not_an_object", type(frame).__name__)
            if "status" in frame:
                return (_status(frame),)
            kind = frame.get("type")
            read = self._read.get(kind) if isinstance(kind, str) else None
            if read is None or kind is None:
                raise MalformedMessage("unknown_type", repr(kind)[:60])
            channel = _CHANNELS[kind]
            return list(read(frame.get("content"), received_ms, raw))
        except (MalformedMessage, ValidationError) as error:
            return (rejected(error, raw, channel or _channel(raw)),)

    def _transactions(self, content: Any, received_ms: int, raw: bytes | str) -> Iterator[Message]:  # noqa: ANN401
        same_time: Counter[tuple[str, int]] = Counter()
        same_trade: Counter[str] = Counter()
        for entry in _entries(content):
            try:
                trade = self._validated(_transaction, TransactionEntry, entry)
                yield self._trade(trade, received_ms, same_time, same_trade)
            except (MalformedMessage, ValidationError) as error:
                yield rejected(error, raw, Channel.TRADE, _market_of(entry))

    def _trade(
        self,
        entry: TransactionEntry,
        received_ms: int,
        same_time: Counter[tuple[str, int]],
        same_trade: Counter[str],
    ) -> Trade:
        market, price, volume = to_market(entry["symbol"]), entry["contPrice"], entry["contQty"]
        check_positive("contPrice", price)
        check_positive("contQty", volume)
        executed_us = kst_to_us(entry["contDtm"])
        check_time(executed_us // 1000, received_ms)
        if price * volume != entry.get("contAmt", price * volume):
            self.surprises["amount_differs"] += 1  # the exchange cuts the amount to whole won on some markets
        identity = f"{market}|{executed_us}|{price.normalize()}|{volume.normalize()}|{entry['buySellGb']}"
        trade = Trade(
            market,
            made_id(f"{identity}|{same_trade[identity]}"),
            price,
            volume,
            _SIDES[entry["buySellGb"]],
            executed_us // 1000,
            received_ms,
            order=executed_us % 1000 * 1000 + same_time[market, executed_us],
        )
        same_trade[identity] += 1
        same_time[market, executed_us] += 1
        return trade

    def _tickers(self, content: Any, received_ms: int, raw: bytes | str) -> Iterator[Message]:  # noqa: ANN401, ARG002
        window: TickerContent = self._validated(_ticker, TickerContent, content)
        market = to_market(window["symbol"])
        if window["tickType"] not in _TICK_TYPES:
            self.surprises[f"tick_type:{window['tickType'][:8]}"] += 1
            return
        check_positive("closePrice", window["closePrice"])
        clock = window["time"] if len(window["time"]) != 5 else f"0{window['time']}"  # an hour without its 0
        second_ms = kst_to_us(f"{window['date']} {clock}", "%Y%m%d %H%M%S") // 1000
        check_time(second_ms, received_ms)
        if len(self._windows) >= _WINDOWS_MAX:
            self._windows.clear()
        self._windows[market, window["tickType"]] = window
        rolling = self._windows.get((market, "24H"))
        if rolling:
            today = self._windows.get((market, "MID"))
            exchange_ms = self._in_order(market, second_ms)
            yield _to_ticker(market, exchange_ms, received_ms, window["closePrice"], rolling, today)

    def _validated(self, validate: _Validate, kind: Any, content: Any) -> Any:  # noqa: ANN401
        """Return the sound fields of `content`, without those it can do without.

        Raises:
            ValidationError: one that it can't do without is missing or not sound.
        """
        try:
            return validate(content)
        except ValidationError as error:
            odd = odd_fields(error) - kind.__required_keys__
            if not odd:
                raise
            valid = validate({name: value for name, value in content.items() if name not in odd})
            for name in odd:
                self.surprises[f"tolerated:{name}"] += 1
            return valid

    def _in_order(self, market: str, second_ms: int) -> int:
        """Number the tickers of one second by milliseconds: the last one is the newest."""
        last_ms = self._ticker_ms.get(market, 0)
        if last_ms - last_ms % 1000 == second_ms:
            second_ms = min(last_ms + 1, second_ms + 999)
        if second_ms > last_ms:
            self._ticker_ms[market] = second_ms
        return second_ms

    def _changes(self, content: Any, received_ms: int, raw: bytes | str) -> Iterator[Message]:  # noqa: ANN401
        exchange_us = _microseconds(content.get("datetime") if isinstance(content, dict) else None)
        check_time(exchange_us // 1000, received_ms)
        by_market: dict[str, dict[str, list[Level]]] = {}
        for entry in _entries(content):
            try:
                change = _depth(entry)
                level = _checked_level(change["price"], change["quantity"])
                sides = by_market.setdefault(to_market(change["symbol"]), {"bid": [], "ask": []})
                sides[change["orderType"]].append(level)
            except (MalformedMessage, ValidationError) as error:
                yield rejected(error, raw, Channel.ORDERBOOK, _market_of(entry))
        for market, sides in by_market.items():
            yield BookChange(market, exchange_us, received_ms, tuple(sides["bid"]), tuple(sides["ask"]))

    def _books(self, content: Any, received_ms: int, raw: bytes | str) -> Iterator[Message]:  # noqa: ANN401, ARG002
        book = _snapshot(content)
        check_time(book["datetime"] // 1000, received_ms)
        bids = sorted((_checked_level(*level) for level in book["bids"]), reverse=True)
        asks = sorted(_checked_level(*level) for level in book["asks"])
        yield OrderBook(to_market(book["symbol"]), book["datetime"], received_ms, tuple(bids), tuple(asks))


def to_market(symbol: str) -> str:
    """Turn `BTC_KRW` into `KRW-BTC`.

    Raises:
        MalformedMessage: `invalid_market`.
    """
    base, _, quote = symbol.partition("_")
    market = f"{quote}-{base}"
    if not is_code(market):
        raise MalformedMessage("invalid_market", repr(symbol[:40]))
    return market


def to_symbol(market: str) -> str:
    """Turn `KRW-BTC` into `BTC_KRW`."""
    quote, _, base = market.partition("-")
    return f"{base}_{quote}"


def kst_to_us(text: str, layout: str = "%Y-%m-%d %H:%M:%S.%f") -> int:
    """Return epoch microseconds UTC of Korean wall time, whatever the zone of this machine.

    Raises:
        MalformedMessage: `invalid_time`.
    """
    if layout.endswith(".%f") and "." not in text:
        text += ".0"
    try:
        wall = datetime.strptime(text[:40], layout).replace(tzinfo=UTC)
    except ValueError:
        raise MalformedMessage("invalid_time", repr(text[:40])) from None
    return (wall - _EPOCH - KST_OFFSET) // timedelta(microseconds=1)


def _status(frame: dict[str, Any]) -> Status | ServerError:
    text = str(frame.get("resmsg", ""))[:300]
    if frame["status"] == _OK:
        return Status(text)
    return ServerError(str(frame["status"])[:100], text)


def _channel(raw: bytes | str) -> Channel | None:
    """Return what a message that can't be parsed seems to be of."""
    start = raw[:_LOOKED_AT] if isinstance(raw, bytes) else raw[:_LOOKED_AT].encode(errors="replace")
    found = _LOOKS_LIKE.search(start)
    return _CHANNELS[found[1].decode()] if found else None


def _market_of(entry: Any) -> str | None:  # noqa: ANN401 - not validated
    """Return the market of a refused entry, where it can be read."""
    with suppress(MalformedMessage):
        return to_market(str(entry.get("symbol"))) if isinstance(entry, dict) else None
    return None


def _entries(content: Any) -> list[Any]:  # noqa: ANN401 - not validated yet
    entries = content.get("list") if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise MalformedMessage("invalid_field", "content.list is not a list")
    return entries


def _checked_level(price: Decimal, size: Decimal) -> Level:
    check_positive("price", price)
    return price, size


def _to_ticker(
    market: str,
    exchange_ms: int,
    received_ms: int,
    price: Decimal,
    rolling: TickerContent,
    today: TickerContent | None,
) -> Ticker:
    """Join the 24 h window and, where it has come, the window since midnight."""
    day = today or rolling
    previous = day.get("prevClosePrice") or None  # 0 in the first day of a market
    change = previous and price - previous  # `chgAmt` and `chgRate` are against the window's open
    return Ticker(
        market=market,
        exchange_ms=exchange_ms,
        received_ms=received_ms,
        price=price,
        change=None if change is None else "rise" if change > 0 else "fall" if change < 0 else "even",
        change_price=change,
        change_rate=None if previous is None or change is None else change / previous,
        prev_closing_price=previous,
        open=day.get("openPrice"),
        high=day.get("highPrice"),
        low=day.get("lowPrice"),
        base_volume_24h=rolling.get("volume"),
        quote_volume_24h=rolling.get("value"),
        base_volume_day=today.get("volume") if today else None,
        quote_volume_day=today.get("value") if today else None,
        buy_volume_day=today.get("buyVolume") if today else None,
        sell_volume_day=today.get("sellVolume") if today else None,
    )
