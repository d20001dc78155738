"""What frames of the current protocol hold (facts sheet section 1), and the two spellings of their names.

A field is required only if a message is worth nothing without it: a trade is a market, a price, a size, a
side and a time; a ticker a market, a price and a time; a book a market, its levels and a time. Whatever else
is null, missing or not of its type is left out and counted (`collector.protocol.current`).
"""

from typing import Any, Literal, NotRequired

from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict

from collector.protocol.codec import Amount, Integer, Number, Text

StreamType = Literal["SNAPSHOT", "REALTIME"]
AskBid = Literal["ASK", "BID"]
Change = Literal["RISE", "EVEN", "FALL"]


@with_config(ConfigDict(extra="ignore"))
class TickerFrame(TypedDict):
    """Section 1.3. Prices in the quote currency, volumes in the base currency, rates as ratios."""

    type: Literal["ticker"]
    code: str
    opening_price: NotRequired[Amount]
    high_price: NotRequired[Amount]
    low_price: NotRequired[Amount]
    trade_price: Amount
    prev_closing_price: NotRequired[Amount]
    change: NotRequired[Change]
    change_price: NotRequired[Number]
    signed_change_price: NotRequired[Number]
    change_rate: NotRequired[Number]
    signed_change_rate: NotRequired[Number]
    trade_volume: NotRequired[Amount]
    acc_trade_volume: NotRequired[Amount]
    acc_trade_volume_24h: NotRequired[Amount]
    acc_trade_price: NotRequired[Amount]
    acc_trade_price_24h: NotRequired[Amount]
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
    sequential_id: NotRequired[Integer]
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


#: Above this a time is in microseconds: 10^14 ms is the year 5138, 10^14 us is 1973.
_MICROSECONDS_FROM = 10**14


def in_microseconds(time: int) -> int:
    """Return a book's time in microseconds, whichever unit it came in."""
    return time if time >= _MICROSECONDS_FROM else time * 1000
