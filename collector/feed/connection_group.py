"""The redundant connections of a listener: started staggered, replaced make-before-break."""

import asyncio
import itertools
import logging

from collector.clock import Clock
from collector.feed.connection import Connection, ConnectionDelegate
from collector.feed.reconnect import ConnectBudget
from collector.settings import Settings
from collector.stream.coverage import REPLACED

log = logging.getLogger(__name__)


class ConnectionGroup:
    """`COLLECTOR_REDUNDANCY` connections under one connect budget."""

    def __init__(self, settings: Settings, delegate: ConnectionDelegate, clock: Clock) -> None:
        self._url = settings.exchange.websocket_url
        self._settings = settings.connection
        self._delegate = delegate
        self._clock = clock
        self._budget = ConnectBudget(settings.connection.connects_per_s)
        self._numbers = itertools.count()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._frames_ended = 0
        self.connections = [self._new() for _ in range(settings.redundancy)]

    @property
    def frames(self) -> int:
        """Frames received so far, on sockets that are gone too."""
        return self._frames_ended + sum(connection.totals.frames for connection in self.connections)

    def start(self, group: asyncio.TaskGroup) -> None:
        """Start all connections, and their planned refresh, as tasks of `group`."""
        for connection in self.connections:
            self._start(connection, group, connection.number * self._settings.stagger_s)
        if self._settings.refresh_h:
            group.create_task(self._refresh(group))

    async def replace_all(self, group: asyncio.TaskGroup) -> bool:
        """Replace one connection after the other; return whether each successor streams what is wanted."""
        replaced = [await self._replace(connection, group) for connection in list(self.connections)]
        return all(replaced)

    def _new(self) -> Connection:
        number = next(self._numbers)
        return Connection(number, self._url, self._settings, self._delegate, self._budget, self._clock)

    def _start(self, connection: Connection, group: asyncio.TaskGroup, delay_s: float = 0.0) -> None:
        async def connect() -> None:
            await asyncio.sleep(delay_s)
            await connection.run()

        self._tasks[connection.number] = group.create_task(connect())

    async def _refresh(self, group: asyncio.TaskGroup) -> None:
        while True:
            await asyncio.sleep(self._settings.refresh_h * 3600)
            await self.replace_all(group)

    async def _replace(self, old: Connection, group: asyncio.TaskGroup) -> bool:
        """The old socket goes only once its successor streams; if none does, it stays."""
        new = self._new()
        self.connections.append(new)
        self._start(new, group)
        try:
            async with asyncio.timeout(self._settings.first_message_timeout_s):
                await new.streaming.wait()
        except TimeoutError:
            log.warning("connection %d stays: its successor %d does not stream", old.number, new.number)
            await self._end(new)
            return False
        await self._end(old)
        return True

    async def _end(self, connection: Connection) -> None:
        task = self._tasks.pop(connection.number)
        task.cancel()
        await asyncio.wait({task})
        self.connections.remove(connection)
        self._delegate.on_disconnected(connection, REPLACED)
        self._frames_ended += connection.totals.frames
