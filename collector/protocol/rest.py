"""REST replies (facts sheet section 3) as models; the calls themselves are in `collector.feed.rest_client`.

An error usually arrives with HTTP 200 and an `error` object, one about limits too. Rows of `/v1/trades/ticks`
are newest first and may number trades differently from the socket, or not at all, so the trades made here
have `source=rest` and their number among the equal rows of their millisecond.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal, NotRequired

from msgspec import structs
from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from collector.errors import MalformedMessage, RestError, RestLimited, RestRefused
from collector.model import Side, Source, Trade
from collector.protocol.codec import Amount, Integer, check_positive, check_time, parse_json
from collector.protocol.current import check_market
from collector.util.korean_time import KST_MS

_SIDES = {"BID": Side.BUY, "ASK": Side.SELL}
#: Words of an error about limits; its form is not documented.
_ABOUT_LIMITS = re.compile(
    r"\b(429|418)\b|too.?many|rate.?limit|limit.{0,20}(exceed|reach)|exceed.{0,20}limit|요청.{0,12}(초과|제한)",
    re.IGNORECASE,
)
#: The whole seconds of `trade_time_utc` and of `timestamp` may differ by rounding, never by hours.
_SAME_CLOCK_MS = 60_000


@with_config(ConfigDict(extra="ignore"))
class MarketRow(TypedDict):
    """Section 3.2."""

    market: str
    korean_name: NotRequired[str]
    english_name: NotRequired[str]
    market_warning: NotRequired[str]


@with_config(ConfigDict(extra="ignore"))
class TradeRow(TypedDict):
    """Section 3.5."""

    market: str
    trade_date_utc: NotRequired[str]
    trade_time_utc: NotRequired[str]
    timestamp: Integer
    trade_price: Amount
    trade_volume: Amount
    ask_bid: Literal["ASK", "BID"]
    sequential_id: NotRequired[Integer | None]


@with_config(ConfigDict(extra="ignore"))
class CandleRow(TypedDict):
    """Section 3.6."""

    candle_date_time_utc: str
    opening_price: Amount
    high_price: Amount
    low_price: Amount
    trade_price: Amount
    candle_acc_trade_price: Amount
    candle_acc_trade_volume: Amount


@with_config(ConfigDict(extra="ignore"))
class TickerRow(TypedDict):
    """Section 3.3, as far as the totals of the day go."""

    market: str
    acc_trade_price: Amount
    trade_timestamp: Integer
    trade_date: NotRequired[str]
    trade_time: NotRequired[str]


@dataclass(frozen=True, slots=True)
class DayTotal:
    """What the exchange counts of a market since 00:00 KST.

    Attributes:
        turnover: in the quote currency.
        trade_ms: time of the newest trade, epoch ms.
    """

    market: str
    turnover: Decimal
    trade_ms: int


@dataclass(frozen=True, slots=True)
class ExchangeCandle:
    """A candle as the exchange counts it."""

    open_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    base_volume: Decimal
    quote_volume: Decimal


@dataclass(frozen=True, slots=True)
class TradePage:
    """One page of past trades, newest first, and how many rows of it could not be understood.

    The rows of one millisecond are numbered from the oldest on: `order` among all of them, `nth` among those
    that are equal. Those of the page's oldest millisecond may be cut off, so their numbers may be too low.
    """

    trades: tuple[Trade, ...]
    rejected: int

    def __len__(self) -> int:
        return len(self.trades) + self.rejected


@dataclass(frozen=True, slots=True)
class MarketList:
    """The markets the exchange lists, what it warns of, and rows that name no market that can be one."""

    markets: tuple[str, ...]
    refused: tuple[str, ...]
    warnings: dict[str, str]


_market_row = TypeAdapter(MarketRow).validate_python
_trade_row = TypeAdapter(TradeRow).validate_python
_candle_row = TypeAdapter(CandleRow).validate_python
_ticker_row = TypeAdapter(TickerRow).validate_python


def parse_markets(body: bytes) -> MarketList:
    """Read the market list; a row that can't be understood costs only itself.

    Raises:
        RestError: an error object, or not a list with a market in it.
    """
    rows = _payload(body)
    if not isinstance(rows, list):
        raise RestError("the reply to market/all is not a list")
    markets: list[str] = []
    refused: list[str] = []
    warnings: dict[str, str] = {}
    for row in rows:
        try:
            found = _market_row(row)
            markets.append(check_market(found["market"]))
            if "market_warning" in found:
                warnings[found["market"]] = found["market_warning"]
        except (ValidationError, MalformedMessage):
            refused.append(_shown(row))
    if not markets:
        raise RestError("the exchange lists no market at all")
    return MarketList(tuple(markets), tuple(refused), warnings)


def parse_trades(body: bytes, received_ms: int) -> TradePage:
    """Read one page of past trades.

    Raises:
        RestError: an error object, or not a list of trades.
    """
    rows = _payload(body)
    if not isinstance(rows, list):
        raise RestError("the reply to trades/ticks is not a list")
    trades = []
    for raw in rows:
        try:
            trades.append(_trade(_trade_row(raw), received_ms))
        except (ValidationError, MalformedMessage):
            continue
    return TradePage(numbered(trades), len(rows) - len(trades))


def numbered(trades: Sequence[Trade]) -> tuple[Trade, ...]:
    """Return `trades`, newest first, with `order` and `nth` counted from the oldest of each millisecond."""
    places: Counter[tuple[str, int]] = Counter()
    equals: Counter[tuple[str, int, Decimal, Decimal, Side]] = Counter()
    found = []
    for trade in reversed(trades):
        place = trade.market, trade.exchange_ms
        equal = (*place, trade.price, trade.volume, trade.side)
        equals[equal] += 1
        found.append(structs.replace(trade, order=places[place], nth=equals[equal]))
        places[place] += 1
    return tuple(reversed(found))


def parse_candles(body: bytes) -> tuple[ExchangeCandle, ...]:
    """Read one page of candles, newest first.

    Raises:
        RestError: an error object, or not a list of candles; a candle that can't be understood could hide a
            difference, so it costs the page.
    """
    rows = _payload(body)
    if not isinstance(rows, list):
        raise RestError("the reply to candles is not a list")
    try:
        return tuple(_candle(_candle_row(raw)) for raw in rows)
    except (ValidationError, ValueError) as error:
        raise RestError(
            f"a candle of the exchange can't be understood: {' '.join(str(error).split())}"
        ) from None


def parse_day_totals(body: bytes) -> tuple[DayTotal, ...]:
    """Read the totals of the day from a reply to `/v1/ticker`; a row that can't be understood is left out.

    Raises:
        RestError: an error object, or not a list.
    """
    rows = _payload(body)
    if not isinstance(rows, list):
        raise RestError("the reply to ticker is not a list")
    totals = []
    for raw in rows:
        try:
            row = _ticker_row(raw)
            totals.append(DayTotal(check_market(row["market"]), row["acc_trade_price"], _ticker_ms(row)))
        except (ValidationError, MalformedMessage):
            continue
    return tuple(totals)


def candles_before(end_ms: int) -> str:
    """Return the parameter `to` for candles that open before `end_ms`: Korean wall time without an offset."""
    return datetime.fromtimestamp((end_ms + KST_MS) / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _trade(row: TradeRow, received_ms: int) -> Trade:
    check_positive("trade_price", row["trade_price"])
    check_positive("trade_volume", row["trade_volume"])
    exchange_ms = _true_utc(row)
    check_time(exchange_ms, received_ms)
    number = row.get("sequential_id") or 0
    if not 0 <= number < 1 << 63:
        raise MalformedMessage("invalid_field", f"sequential_id {number}")
    return Trade(
        check_market(row["market"]),
        number,
        row["trade_price"],
        row["trade_volume"],
        _SIDES[row["ask_bid"]],
        exchange_ms,
        received_ms,
        source=Source.REST,
    )


def _candle(row: CandleRow) -> ExchangeCandle:
    moment = datetime.fromisoformat(row["candle_date_time_utc"])
    if moment.tzinfo is not None:
        raise ValueError("candle_date_time_utc names a zone")
    return ExchangeCandle(
        open_ms=int(moment.replace(tzinfo=UTC).timestamp()) * 1000,
        open=row["opening_price"],
        high=row["high_price"],
        low=row["low_price"],
        close=row["trade_price"],
        base_volume=row["candle_acc_trade_volume"],
        quote_volume=row["candle_acc_trade_price"],
    )


def _shown(row: Any) -> str:  # noqa: ANN401 - not validated
    name = row.get("market") if isinstance(row, dict) else row
    return ascii(name)[:60]


def _true_utc(row: TradeRow) -> int:
    """Undo the +9 h that some REST times carry, where the UTC text beside it shows it (section 1.6)."""
    text = f"{row.get('trade_date_utc')} {row.get('trade_time_utc')}"
    return _unshifted(row["timestamp"], text, "%Y-%m-%d %H:%M:%S")


def _ticker_ms(row: TickerRow) -> int:
    """Return when a ticker's newest trade was; its time is 9 h ahead (section 1.6)."""
    return _unshifted(
        row["trade_timestamp"], f"{row.get('trade_date')} {row.get('trade_time')}", "%Y%m%d %H%M%S"
    )


def _unshifted(time_ms: int, text: str, form: str) -> int:
    """Return an epoch time without the +9 h that the UTC text beside it shows."""
    try:
        wall = datetime.strptime(text, form).replace(tzinfo=UTC)
    except ValueError:
        return time_ms
    ahead_ms = time_ms - int(wall.timestamp()) * 1000
    return time_ms - KST_MS if abs(ahead_ms - KST_MS) < _SAME_CLOCK_MS else time_ms


def _payload(body: bytes) -> Any:  # noqa: ANN401 - not validated yet
    try:
        payload = parse_json(body)
    except MalformedMessage as error:
        raise RestError(f"the exchange's reply is not JSON: {error.detail}") from None
    if isinstance(payload, dict):
        raise refusal(payload)
    return payload


def is_about_limits(body: bytes) -> bool:
    """Return whether the body of a refused call reports the rate limit."""
    try:
        payload = parse_json(body)
    except MalformedMessage:
        return False
    return isinstance(payload, dict) and isinstance(refusal(payload), RestLimited)


def refusal(payload: Mapping[str, Any]) -> RestError:
    """Return the error of an object in place of rows: the rate limit, or another refusal."""
    inner = payload.get("error", payload)
    parts = inner if isinstance(inner, dict) else {"message": inner}
    reason = " ".join(str(parts[key]) for key in ("name", "code", "status", "message") if key in parts)
    error = RestLimited if _ABOUT_LIMITS.search(reason) else RestRefused
    return error(f"the exchange refused: {' '.join(reason.split())[:300] or 'without a reason'}")
