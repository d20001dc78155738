"""Where frames come from: the invented market here, a recording in `player`."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from collector.simulator.dialect import Dialect
from collector.simulator.events import CHANNELS, Event, SimTrade, is_repeat, stamped
from collector.simulator.market import SimMarket
from collector.simulator.model import MarketModel
from collector.simulator.requests import Subscription
from collector.simulator.wire import Payload
from collector.util.korean_time import DAY_MS

#: Not quite a day: what is further ahead is refused by many a reader.
AHEAD_MS = DAY_MS - 60_000


class Step(Protocol):
    """What happened in one beat of the clock."""

    @property
    def trades(self) -> Sequence[SimTrade]:
        """The trades in it, sent to anyone or not."""
        ...

    def frames(self, dialect: Dialect, subscription: Subscription) -> list[Payload]:
        """Return what one subscription gets of it."""
        ...

    def without(self, trades: Collection[SimTrade]) -> "Step":
        """Return what happened but for some trades, if that is possible."""
        ...

    def ahead(self, channel: str) -> "Step | None":
        """Return what happened with one event of a channel stamped a day ahead; None if there is none.

        A book that repeats the last one is no news, so it is not taken.
        """
        ...


class SimulatorSource(Protocol):
    """Makes steps."""

    @property
    def markets(self) -> Mapping[str, SimMarket]:
        """What REST answers from."""
        ...

    @property
    def trades_made(self) -> int:
        """How many trades there were so far."""
        ...

    @property
    def finished(self) -> bool:
        """Whether nothing more will come."""
        ...

    def step(self, now_us: int, *, listeners: int, has_room: bool) -> Step | None:
        """Return what happened since the last call, None for nothing."""
        ...

    def snapshots(self, dialect: Dialect, subscription: Subscription, now_ms: int) -> list[Payload]:
        """Return what opens a subscription."""
        ...


class MarketStep:
    """Events of the market model, written in each client's words."""

    def __init__(self, events: Sequence[Event], now_ms: int) -> None:
        self._events = events
        self._now_ms = now_ms
        self.trades = [event for event in events if type(event) is SimTrade]

    def without(self, trades: Collection[SimTrade]) -> "MarketStep":
        return MarketStep([event for event in self._events if event not in trades], self._now_ms)

    def ahead(self, channel: str) -> "MarketStep | None":
        for place, event in enumerate(self._events):
            if CHANNELS[type(event)] == channel and not is_repeat(event):
                odd = stamped(event, AHEAD_MS)
                events = [*self._events[:place], odd, *self._events[place + 1 :]]
                return MarketStep(events, self._now_ms)
        return None

    def frames(self, dialect: Dialect, subscription: Subscription) -> list[Payload]:
        return [*dialect.live(self._events, subscription, self._now_ms)]


class MarketSource:
    """The invented market; it goes on whether anybody listens or not."""

    def __init__(self, model: MarketModel) -> None:
        self._model = model
        self.markets: Mapping[str, SimMarket] = model.markets

    @property
    def trades_made(self) -> int:
        return self._model.trades_made

    @property
    def finished(self) -> bool:
        return self._model.finished

    def step(self, now_us: int, *, listeners: int, has_room: bool) -> MarketStep | None:  # noqa: ARG002
        events = self._model.advance(now_us)
        return MarketStep(events, now_us // 1000) if events else None

    def make(self, trades: int, now_us: int) -> MarketStep:
        """Make exactly `trades` trades at once."""
        return MarketStep(self._model.make(trades, now_us), now_us // 1000)

    def list_market(self, code: str, now_us: int) -> None:
        """Open a market that was not there."""
        self._model.list_market(code, now_us)

    def delist(self, code: str) -> None:
        """Close a market."""
        self._model.delist(code)

    def stop_trading(self) -> None:
        """Make no further trade."""
        self._model.stop_trading()

    def halt(self, codes: Collection[str]) -> None:
        """Let these markets not trade, and all others."""
        self._model.halt(codes)

    def snapshots(self, dialect: Dialect, subscription: Subscription, now_ms: int) -> list[Payload]:
        return [*dialect.snapshots(subscription, self.markets, now_ms)]
