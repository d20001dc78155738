"""`GET /v1/stream` (SSE) and `WS /v1/ws`: live events, and how a subscriber catches up.

A subscriber that begins in the past reads the event stream by itself until it has come to where the others
are, then joins them: nothing is skipped and nothing comes twice in between.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence

import redis
from msgspec import json

from collector.clock import SystemClock
from collector.errors import CollectorError
from collector.live.events import (
    CANDLE,
    HEALTH,
    NOTICE,
    ORDERBOOK,
    SLOW,
    TICKER,
    TRADE,
    Event,
    Selection,
    Wanted,
)
from collector.live.hub import Hub, Subscriber
from collector.live.source import LiveSource, event_of
from collector.live.start import begin_at
from collector.serve.answers import answer_of
from collector.settings import Settings
from collector.store.event_log import Counted, Cursor, Position

log = logging.getLogger(__name__)

#: A comment or ping after so long without an event: proxies close what is quiet.
HEARTBEAT_S = 15.0
#: Trades read at once by one that catches up; it waits while its client has so many unread.
_UNREAD_MAX = 5_000
_PAUSE_S = 0.02


class Live:
    """The hub and its source, in one event loop."""

    def __init__(self, url: str, settings: Settings) -> None:
        self.hub = Hub()
        self._settings = settings
        self._loop: asyncio.AbstractEventLoop | None = None
        #: Replaced as a whole: threads ask it.
        self._wanted = Wanted()
        self.source = LiveSource(url, settings, self)
        self.hub.on_change = self._on_change

    def start(self) -> None:
        """Begin; in the event loop."""
        self._loop = asyncio.get_running_loop()
        self.hub.position = self.source.start()

    def stop(self) -> None:
        """End every subscriber and the threads."""
        self.hub.close()
        self.source.stop()

    # -- what the source asks and gives, in its threads

    def give(self, events: Sequence[Event], position: Position | None) -> None:
        """Have events published in the event loop."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.hub.publish, events, position)

    def wants(self, channel: str, market: str | None) -> bool:
        """Tell whether anybody wants such events."""
        return self._wanted.has(channel, market)

    def _on_change(self) -> None:
        self._wanted = Wanted(self.hub.selections())

    # -- what a subscriber does

    def begin_at(self, start: str) -> Position | None:
        """Return the position that `start` names, None for now.

        Raises:
            ConfigurationError: it is neither `now`, `earliest`, an event's id nor a time.
        """
        return begin_at(start, self._settings.zone, SystemClock().now_ms())

    async def resolved(self, selection: Selection) -> Selection:
        """Return a selection with names as codes.

        Raises:
            NoData: no such market.
            BrokerUnavailable: Redis does not answer.
        """
        return selection.resolved(await asyncio.to_thread(self.source.reader.markets))

    def begin(self, subscriber: Subscriber, selection: Selection, after: Position | None) -> None:
        """Let every event from this moment on come, unless there are trades of the past to be given first.

        Args:
            selection: resolved.
        """
        if after is None or TRADE not in selection.channels:
            self.hub.attach(subscriber, selection)

    async def fill(self, subscriber: Subscriber, selection: Selection, after: Position | None) -> None:
        """Give the trades of the past and let the rest come; then give the newest states.

        Args:
            selection: resolved, and begun with `begin`.

        Raises:
            BrokerUnavailable: Redis does not answer.
        """
        if after is not None and TRADE in selection.channels:
            await self._catch_up(subscriber, selection, after)
            if not subscriber.is_closed:
                self.hub.attach(subscriber, selection, after)
        for event in await asyncio.to_thread(self._states, selection):
            subscriber.put(event.at(self.hub.position))

    async def _catch_up(self, subscriber: Subscriber, selection: Selection, after: Position) -> None:
        cursor = Cursor(self.source.log, after)
        subscriber.given = subscriber.given or str(after)
        #: The last entry that was read here. The hub has to be as far, else it would give its trades again.
        read_until = Position(0, 0)
        while not (subscriber.is_closed or subscriber.is_cut):
            if subscriber.waiting > _UNREAD_MAX:
                await asyncio.sleep(_PAUSE_S)
                continue
            before = cursor.position
            found = await asyncio.to_thread(cursor.next)
            if cursor.position != before:
                read_until = cursor.position
            for each in found:
                event = event_of(each)
                is_wanted = event.channel == NOTICE or selection.has(event.channel, event.market)
                if is_wanted and not (
                    isinstance(each, Counted) and subscriber.was_given(event, each.position)
                ):
                    while subscriber.room <= 0 and not subscriber.is_closed:  # noqa: ASYNC110 - a client reads when it likes
                        await asyncio.sleep(_PAUSE_S)
                    subscriber.put(event)
            # Between here and `attach` nothing else runs in the event loop.
            if not found and cursor.position >= self.hub.position >= read_until:
                return
            if not found:
                await asyncio.sleep(_PAUSE_S)

    def _states(self, selection: Selection) -> list[Event]:
        channels = [
            name
            for name in selection.channels
            if name in (TICKER, ORDERBOOK, HEALTH) or name.startswith(CANDLE)
        ]
        known = self.source.reader.markets() if channels else []
        return [
            event
            for channel in channels
            for event in self.source.snapshot(
                channel, [name for name in known if selection.has(channel, name)]
            )
        ]


async def sse(
    live: Live, subscriber: Subscriber, selection: Selection, after: Position | None
) -> AsyncIterator[str]:
    """Yield a subscriber's events as text of an event stream, until it is over or the client is gone."""
    live.hub.join(subscriber)
    live.begin(subscriber, selection, after)
    task = asyncio.create_task(live.fill(subscriber, selection, after))
    task.add_done_callback(lambda _: subscriber.wake())
    try:
        yield ": streaming\n\n"
        while not subscriber.is_over:
            events = await subscriber.events(HEARTBEAT_S)
            if task.done() and (error := task.exception()) is not None:
                yield _problem(error)
                return
            if events:
                yield "".join(map(_framed, events))
            elif task.done() and not subscriber.waiting:
                yield f"id: {live.hub.position}\n\n"  # no event: resume here, however long nothing came
            else:
                yield ": still here\n\n"
        if subscriber.is_cut:
            yield _framed(cut_event(subscriber, live.hub.position))
    finally:
        task.cancel()
        subscriber.close()
        live.hub.detach(subscriber)


def cut_event(subscriber: Subscriber, until: Position) -> Event:
    """Return what tells a subscriber that it was too slow, and where to resume."""
    data = {"from_id": subscriber.given, "to_id": str(until), "reason": SLOW}
    return Event(subscriber.given, NOTICE, None, data, ms=SystemClock().now_ms())


def _problem(error: BaseException) -> str:
    if not isinstance(error, CollectorError | redis.RedisError):
        log.error("a subscription failed", exc_info=error)
    body = json.encode({"code": answer_of(error).code, "message": str(error)}).decode()
    return f"event: problem\ndata: {body}\n\n"


def _framed(event: Event) -> str:
    return f"id: {event.id}\nevent: {event.channel}\ndata: {event.text}\n\n"
