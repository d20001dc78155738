"""Every event to every subscriber that wants it: one producer, none of the subscribers waited for.

    trades, what is lost    kept in order for each subscriber; one that is too far behind is cut, and is told
                            where to resume
    all other events        of each state (`Event.state`) the newest is kept: a slow subscriber gets fewer;
                            each comes after the trades that were given before it, so ids never go back

Everything here runs in one event loop.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from collector.live.events import IN_ORDER, NOTICE, TRADE, Event, Selection
from collector.store.event_log import Position

#: Trades that wait for one subscriber, and states: candles of ever new minutes add up as well.
QUEUE_MAX = 20_000


class Subscriber:
    """One who gets events.

    Args:
        queue_max: trades that may wait, and states.
    """

    def __init__(self, queue_max: int = QUEUE_MAX) -> None:
        #: What it wants, and from where on it has been given that.
        self.selections: dict[Selection, Position] = {}
        #: Until where this one has been given everything, as text: where to resume.
        self.given = ""
        #: Whether it was too slow: what waits is the last it gets.
        self.is_cut = False
        self.is_closed = False
        self._queue_max = queue_max
        self._trades: deque[Event] = deque()
        #: Trades taken so far.
        self._taken = 0
        #: Each with how many trades had been put before it, in the order in which they were put.
        self._states: dict[tuple[str, str | None, int], tuple[Event, int]] = {}
        self._wake = asyncio.Event()

    def wants(self, channel: str, market: str | None) -> bool:
        """Tell whether an event is for this one."""
        return any(selection.has(channel, market) for selection in self.selections)

    def was_given(self, event: Event, position: Position) -> bool:
        """Tell whether a trade at a position has come to this one already, by whatever selection."""
        return any(
            since < position and it.has(event.channel, event.market) for it, since in self.selections.items()
        )

    @property
    def waiting(self) -> int:
        """How many trades wait."""
        return len(self._trades)

    @property
    def room(self) -> int:
        """How many trades may still be put."""
        return self._queue_max - len(self._trades)

    def put(self, event: Event) -> None:
        """Give an event; a subscriber that is too slow is cut."""
        if self.is_cut or self.is_closed:
            return
        if event.channel not in IN_ORDER:
            key = event.state
            self._states.pop(key, None)
            self._states[key] = event, self._taken + len(self._trades)
            self.is_cut = len(self._states) > self._queue_max
        elif self.room > 0:
            self._trades.append(event)
        else:
            self.is_cut = True
        self._wake.set()

    def wake(self) -> None:
        """Let `events` return now."""
        self._wake.set()

    def close(self) -> None:
        """End it: `events` returns what waits, then nothing."""
        self.is_closed = True
        self._wake.set()

    async def events(self, timeout_s: float) -> list[Event]:
        """Return what waits in the order of ids; an empty list after `timeout_s`, or at the end."""
        if not (self._trades or self._states or self.is_cut or self.is_closed):
            self._wake.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._wake.wait()
            except TimeoutError:
                return []
        found: list[Event] = []
        for state, trades_before in self._states.values():
            while self._taken < trades_before:
                found.append(self._trades.popleft())
                self._taken += 1
            found.append(state)
        found += self._trades
        self._taken += len(self._trades)
        self._trades.clear()
        self._states.clear()
        if found:
            self.given = found[-1].id
        return found

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return (self.is_cut or self.is_closed) and not (self._trades or self._states)


class Hub:
    """Who wants what."""

    def __init__(self) -> None:
        #: Until where trades were given to the subscribers.
        self.position = Position(0, 0)
        self._subscribers: set[Subscriber] = set()
        #: By channel and market: worked out at the first event, anew after any change.
        self._wanting: dict[tuple[str, str | None], list[Subscriber]] = {}
        self.on_change: Callable[[], None] = lambda: None

    def __len__(self) -> int:
        return len(self._subscribers)

    def join(self, subscriber: Subscriber) -> None:
        """Count a subscriber that wants nothing yet."""
        self._subscribers.add(subscriber)

    def attach(self, subscriber: Subscriber, selection: Selection, after: Position | None = None) -> None:
        """Let events of `selection` come to `subscriber` from now on.

        Args:
            after: from where on it has been given them already; None = none before now.
        """
        since = self.position if after is None else after
        subscriber.selections[selection] = min(since, subscriber.selections.get(selection, since))
        self._subscribers.add(subscriber)
        subscriber.given = subscriber.given or str(self.position)
        self._changed()

    def detach(self, subscriber: Subscriber, selection: Selection | None = None) -> None:
        """End one selection, or all."""
        if selection is None:
            self._subscribers.discard(subscriber)
        else:
            subscriber.selections.pop(selection, None)
        self._changed()

    def publish(self, events: Iterable[Event], position: Position | None = None) -> None:
        """Give events to those who want them; `position`: until where they are all trades there are."""
        for event in events:
            placed = event.at(self.position)
            for subscriber in self.wanting(event.channel, event.market):
                subscriber.put(placed)
        if position is not None:
            self.position = position

    def wanting(self, channel: str, market: str | None) -> Sequence[Subscriber]:
        """Return who wants such events."""
        key = channel, market
        found = self._wanting.get(key)
        if found is None:
            if channel == NOTICE:
                found = [
                    each for each in self._subscribers if any(TRADE in it.channels for it in each.selections)
                ]
            else:
                found = [each for each in self._subscribers if each.wants(channel, market)]
            self._wanting[key] = found
        return found

    def selections(self) -> frozenset[Selection]:
        """Return everything that anybody wants."""
        return frozenset(selection for each in self._subscribers for selection in each.selections)

    def close(self) -> None:
        """End every subscriber."""
        for subscriber in [*self._subscribers]:
            subscriber.close()

    def _changed(self) -> None:
        self._wanting.clear()
        self.on_change()
