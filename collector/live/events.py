"""What a subscriber may ask for, and what it gets. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import msgspec

from collector import market_names
from collector.analytics.candles import INTERVALS
from collector.errors import ConfigurationError
from collector.store.rows import plain

TRADE, TICKER, ORDERBOOK, GAP, HEALTH = "trade", "ticker", "orderbook", "gap", "health"
CANDLE = "candle."
#: What is announced to everybody: it can't be asked for.
NOTICE = "notice"
#: Reason of the one that tells a subscriber that it was cut.
SLOW = "slow"
#: Kept in order and never conflated; all other channels are of states.
IN_ORDER = frozenset({TRADE, NOTICE})
CHANNELS = (TRADE, TICKER, ORDERBOOK, *(f"{CANDLE}{name}" for name in INTERVALS), GAP, HEALTH)
NOW, EARLIEST = "now", "earliest"
#: Names and patterns of one subscription.
_MARKETS_MAX = 1_000

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class Event:
    """One event.

    Attributes:
        id: a position in the event stream (`collector.store.event_log`): of this trade; of any other event,
            of the newest trade given before it (`at`). Whoever resumes there gets every
            trade that it has not got, and no other.
        channel: one of `CHANNELS`, or `NOTICE`.
        market: None for `health` and `notice`.
        row: what the interface documents for it: `TradeRow`, `Candle` and so on.
        more: fields added to those of `row`.
        ms: of a trade: when it was counted, by Redis' clock; of any other event: when it was read. Epoch ms.
    """

    id: str
    channel: str
    market: str | None
    row: Any
    more: dict[str, Any] = field(default_factory=dict)
    ms: int = 0

    def at(self, position: object) -> "Event":
        """Return the same at a position; a trade, or what is lost, has its own."""
        return self if self.channel in IN_ORDER else replace(self, id=str(position))

    @property
    def state(self) -> tuple[str, str | None, int]:
        """What a newer event of the same replaces: a ticker, a book, a candle by the time it opens at."""
        opens_ms = self.row.open_ms if self.channel.startswith(CANDLE) else 0
        return self.channel, self.market, opens_ms

    @cached_property
    def body(self) -> dict[str, Any]:
        """The event as documented: `id`, `channel`, `market`, `ms`, `data`; decimals are text."""
        data = {**plain(self.row), **self.more}
        return {
            "id": self.id, "channel": self.channel, "market": self.market, "ms": self.ms, "data": data,
        }  # fmt: skip

    @cached_property
    def text(self) -> str:
        """The same as one line of JSON; made once for all subscribers."""
        return _encode(self.body).decode()


@dataclass(frozen=True)
class Selection:
    """What a subscriber wants: every one of these channels of every market that fits."""

    channels: frozenset[str]
    #: Names and patterns as they were written; empty means every market.
    markets: tuple[str, ...] = ()

    @classmethod
    def of(cls, channels: Sequence[str] | str, markets: Sequence[str] | str = ()) -> "Selection":
        """Read what was asked for.

        Args:
            channels, markets: lists, or comma-separated text.

        Raises:
            ConfigurationError: no such channel, none at all, or too many markets.
        """
        names = _parts(channels)
        if not names:
            raise ConfigurationError(f"no channel: choose of {', '.join(CHANNELS)}")
        for name in names:
            if name not in CHANNELS:
                raise ConfigurationError(f"no channel {name[:40]!r}: choose of {', '.join(CHANNELS)}")
        wanted = _parts(markets)
        if len(wanted) > _MARKETS_MAX:
            raise ConfigurationError(f"more than {_MARKETS_MAX} markets: use a pattern such as KRW-*")
        return cls(frozenset(names), wanted)

    def resolved(self, known: Sequence[str]) -> "Selection":
        """Return the same with names as codes; patterns stay, so that markets listed later are in.

        Raises:
            NoData: a name is no market; the message suggests similar ones.
        """
        names = (
            name.upper() if market_names.ANY in name else market_names.one(name, known)
            for name in self.markets
        )
        return Selection(self.channels, tuple(dict.fromkeys(names)))

    def has(self, channel: str, market: str | None) -> bool:
        """Tell whether an event is wanted."""
        if channel not in self.channels:
            return False
        if market is None or not self.markets:
            return True
        return any(market_names.covers(name, market) for name in self.markets)


class Wanted:
    """What all subscribers together want, as it was at a moment; any thread may ask."""

    def __init__(self, selections: Iterable[Selection] = ()) -> None:
        self._selections = tuple(selections)
        #: Worked out at the first question.
        self._found: dict[tuple[str, str | None], bool] = {}

    def has(self, channel: str, market: str | None) -> bool:
        """Tell whether anybody wants an event."""
        key = channel, market
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = any(each.has(channel, market) for each in self._selections)
        return found


def _parts(text: Iterable[str] | str) -> tuple[str, ...]:
    if isinstance(text, str):
        return market_names.parts(text)
    return tuple(part for each in text for part in market_names.parts(each))
