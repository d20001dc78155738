"""Frames of the older protocol, as the facts sheet and published captures show them."""

import json
from typing import Any

#: 2026-05-07 20:56:17.158984 in Korea.
TRADE_US = 1_778_154_977_158_984
RECEIVED_MS = 1_778_154_978_000

ENTRY = {
    "symbol": "BTC_KRW",
    "buySellGb": "2",
    "contPrice": "118919000",
    "contQty": "0.00841192",
    "contAmt": "1000337",
    "contDtm": "2026-05-07 20:56:17.158984",
    "updn": "up",
}
TICKER = {
    "symbol": "BTC_KRW",
    "tickType": "24H",
    "date": "20260507",
    "time": "205617",
    "openPrice": "13637000",
    "closePrice": "13714000",
    "lowPrice": "13600000",
    "highPrice": "13779000",
    "value": "63252021221.2101",
    "volume": "4647.44384349",
    "sellVolume": "2372.30829641",
    "buyVolume": "2275.03363265",
    "prevClosePrice": "13601000",
    "chgRate": "0.56",
    "chgAmt": "77000",
    "volumePower": "95.89",
}
LEVEL = {"symbol": "BTC_KRW", "orderType": "bid", "price": "116500000", "quantity": "0.5", "total": "1"}
BOOK = {
    "symbol": "BTC_KRW",
    "datetime": str(TRADE_US),
    "asks": [["116501000", "0.0163"], ["116510000", "0.0051"]],
    "bids": [["116500000", "0.7074"], ["116475000", "0.0258"]],
}


def transaction(*entries: Any, **changes: object) -> str:
    """Write a frame of trades; without entries one trade with `changes`."""
    listed = list(entries) or [{**ENTRY, **changes}]
    return json.dumps({"type": "transaction", "content": {"list": listed}})


def ticker(**changes: object) -> str:
    return json.dumps({"type": "ticker", "content": {**TICKER, **changes}})


def depth(*levels: Any, us: object = str(TRADE_US)) -> str:
    return json.dumps(
        {"type": "orderbookdepth", "content": {"list": list(levels or [LEVEL]), "datetime": us}}
    )


def snapshot(**changes: object) -> str:
    return json.dumps({"type": "orderbooksnapshot", "content": {**BOOK, **changes}})


ALL = [transaction(), transaction(ENTRY, {**ENTRY, "buySellGb": "1"}), ticker(), depth(), snapshot()]
