"""Frames of the current protocol, field by field as raw JSON text, so that a test chooses the spelling."""

from collections.abc import Mapping

from collector.batch import BookBatch, Kind, decode, encode, make
from collector.model import EncodedBook
from collector.protocol.wire_types import LONG_NAMES

#: When the frames below are received: a few hundred milliseconds after they were made.
RECEIVED_MS = 1_790_133_514_300

SHORT_NAMES = {long: short for short, long in LONG_NAMES.items()}

Fields = Mapping[str, str]

TICKER: Fields = {
    "type": '"ticker"',
    "code": '"KRW-BTC"',
    "opening_price": "94223000",
    "high_price": "95465000",
    "low_price": "93601000",
    "trade_price": "95299000",
    "prev_closing_price": "94201000",
    "change": '"RISE"',
    "change_price": "1098000",
    "signed_change_price": "1098000",
    "change_rate": "0.01165593",
    "signed_change_rate": "0.01165593",
    "trade_volume": "0.0094",
    "acc_trade_volume": "151.44914647",
    "acc_trade_volume_24h": "310.44065227",
    "acc_trade_price": "14330306973.41015",
    "acc_trade_price_24h": "728107452.06423197609921044",
    "trade_date": '"20260923"',
    "trade_time": '"121833"',
    "trade_timestamp": "1790133513739",
    "ask_bid": '"BID"',
    "acc_ask_volume": "52.30413928",
    "acc_bid_volume": "99.14500719",
    "highest_52_week_price": "179734000",
    "highest_52_week_date": '"2025-10-09"',
    "lowest_52_week_price": "81110000",
    "lowest_52_week_date": '"2026-02-06"',
    "market_state": '"ACTIVE"',
    "is_trading_suspended": "false",
    "delisting_date": '""',
    "market_warning": '"NONE"',
    "timestamp": "1790133514039",
    "stream_type": '"REALTIME"',
}

TRADE: Fields = {
    "type": '"trade"',
    "code": '"KRW-BTC"',
    "trade_price": "116208000",
    "trade_volume": "0.0009",
    "ask_bid": '"BID"',
    "prev_closing_price": "116000000",
    "change": '"RISE"',
    "change_price": "208000",
    "trade_date": '"2026-09-23"',
    "trade_time": '"12:18:33"',
    "trade_timestamp": "1790133513739",
    "timestamp": "1790133514039",
    "sequential_id": "1079953210371761700",
    "stream_type": '"REALTIME"',
}

BOOK: Fields = {
    "type": '"orderbook"',
    "code": '"KRW-BTC"',
    "total_ask_size": "0.3314",
    "total_bid_size": "7.1052",
    "orderbook_units": (
        '[{"ask_price":116208000,"bid_price":116204000,"ask_size":0.3313,"bid_size":0.0037},'
        '{"ask_price":116209000,"bid_price":116203000,"ask_size":0.0001,"bid_size":0}]'
    ),
    "level": "1",
    "timestamp": "1790133514064033",
    "stream_type": '"REALTIME"',
}


def wire(fields: Fields, **changes: str | None) -> str:
    """Write a frame; a change of None leaves the field out."""
    merged = {**fields, **changes}
    return "{" + ",".join(f'"{name}":{text}' for name, text in merged.items() if text is not None) + "}"


def simple(fields: Fields) -> dict[str, str]:
    """Return the SIMPLE twin of a DEFAULT frame."""
    short = {SHORT_NAMES[name]: text for name, text in fields.items()}
    if "obu" in short:
        for name in ("ask_price", "bid_price", "ask_size", "bid_size"):
            short["obu"] = short["obu"].replace(f'"{name}"', f'"{SHORT_NAMES[name]}"')
    return short


def read(message: object) -> object:
    """Return a message with its numbers, if it is a book that was handed on as it was written."""
    if not isinstance(message, EncodedBook):
        return message
    (book,) = decode(encode(make(Kind.ORDERBOOK, [message], listener="", now_ms=0)), BookBatch).rows
    return book
