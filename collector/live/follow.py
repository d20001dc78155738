"""Live events for one program, straight from Redis: an iterator that reconnects and goes on by itself."""

import threading
from collections.abc import Sequence

from collector.live.events import NOTICE, Event, Selection
from collector.live.source import LiveSource
from collector.live.waiting import Waiting
from collector.settings import Settings
from collector.store.event_log import Position


class Follower(Waiting):
    """Yields events until closed.

    Args:
        url: of Redis.
        after: where to begin; None = now.

    Raises:
        NoData: no such market.
        BrokerUnavailable: Redis does not answer at the start; later it is waited for.
    """

    def __init__(self, url: str, settings: Settings, selection: Selection, after: Position | None) -> None:
        super().__init__()
        #: Until where trades were put; events of one `give` stay together.
        self._position = Position(0, 0)
        self._giving = threading.Lock()
        self._source = LiveSource(url, settings, self)
        try:
            self._selection = selection.resolved(self._source.reader.markets())
            with self._giving:
                self._position = self._source.start(after)
        except BaseException:
            self._source.stop()
            raise

    def close(self) -> None:
        """End it."""
        super().close()
        self._source.stop()

    def give(self, events: Sequence[Event], position: Position | None) -> None:
        """Take events."""
        with self._giving:
            for event in events:
                if event.channel == NOTICE or self._selection.has(event.channel, event.market):
                    self.put(event.at(self._position))
            if position is not None:
                self._position = position

    def wants(self, channel: str, market: str | None) -> bool:
        """Tell whether such events are wanted."""
        return self._selection.has(channel, market)
