"""The rows people read and their JSON: the fields and the order promised by the interface.

`Candle`, `Volume`, `Change` and `Book` are made by `collector.analytics` and carry the promised fields.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import Struct

from collector.analytics.proof import Proof
from collector.model import Channel, Side
from collector.store.condition import Condition


class TickerRow(Struct, frozen=True):
    """The newest ticker of a market; `change_rate` is a signed ratio against the previous close.

    None is what the exchange did not give: a market's first day has no previous close.
    """

    market: str
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
    exchange_ms: int
    received_ms: int


class TradeRow(Struct, frozen=True):
    """One execution; `side` is the taker's."""

    market: str
    id: int
    price: Decimal
    volume: Decimal
    side: Side
    exchange_ms: int
    received_ms: int


class GapRow(Struct, frozen=True):
    """A stretch in which data of a market may be missing, both ends included."""

    market: str
    channel: Channel
    from_ms: int
    to_ms: int
    reason: str
    recovered: bool


class Health(Struct, frozen=True):
    """Live listeners and workers, queue lengths, sums of all counters, state of Redis, and the proof.

    `redis` is a `collector.store.condition.Condition`, None where it is unknown; `proof` a
    `collector.analytics.proof.Proof`.
    """

    listeners: list[dict[str, Any]]
    queues: dict[str, int]
    workers: list[dict[str, Any]]
    counters: dict[str, int]
    redis: Condition | None = None
    proof: Proof | None = None


def to_json(rows: object) -> str:
    """Return rows as JSON: decimals as strings without exponent, lists as arrays, structs as objects."""
    return msgspec.json.encode(plain(rows)).decode()


def plain(value: object) -> Any:  # noqa: ANN401 - the shape follows the input
    """Return `value` as lists, dicts, strings, numbers; decimals as strings without exponent."""
    return _without_exponents(msgspec.to_builtins(value, builtin_types=(Decimal,)))


def _without_exponents(value: object) -> object:
    match value:
        case Decimal():
            return format(value, "f")
        case Mapping():
            return {name: _without_exponents(inner) for name, inner in value.items()}
        case list() | tuple():
            return [_without_exponents(inner) for inner in value]
        case _:
            return value
