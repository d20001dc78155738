"""Redundant connections: started staggered under one budget, replaced make-before-break."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from collector.clock import SystemClock
from collector.feed.connection import Connection
from collector.feed.connection_group import ConnectionGroup
from collector.feed.session import MarketEvent, Session, SessionState
from collector.feed.watchdog import new_rhythms
from collector.model import Channel
from collector.protocol.codec import Subscription
from collector.protocol.current import CurrentCodec
from collector.settings import ConnectionSettings, ExchangeSettings, Settings
from tests.samples.frames import TRADE, wire

pytestmark = pytest.mark.server

Eventually = Callable[..., Awaitable[None]]
CONNECTION = ConnectionSettings(
    stagger_s=0.2, connects_per_s=5, first_message_timeout_s=1, close_timeout_s=0.5, backoff_initial_s=0.05
)


class Host:
    """Notes what each connection brought and when one was lost."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.lost: list[tuple[int, str]] = []
        self.dates: list[int] = []

    def new_session(self, connection: Connection, now_s: float) -> Session:
        subscription = Subscription(("KRW-BTC",), (Channel.TRADE,))
        return Session(CurrentCodec(), subscription, new_rhythms(CONNECTION), CONNECTION, now_s)

    def subscribe_texts(self) -> list[str]:
        return ["[]"]

    def on_frames(
        self,
        connection: Connection,
        events: Sequence[MarketEvent] | None,
        frames: Sequence[bytes],
        received_ms: int,
    ) -> None:
        self.numbers.append(connection.number)

    def on_date(self, server_ms: int) -> None:
        self.dates.append(server_ms)

    def on_disconnected(self, connection: Connection, reason: str) -> None:
        self.lost.append((connection.number, reason))
        connection.session = None


class Exchange:
    """Streams trades to whoever comes; notes when; refuses from a given handshake on."""

    def __init__(self) -> None:
        self.handshakes_s: list[float] = []
        self.refuse_from = 10**9

    def admit(self, socket: ServerConnection, request: Request) -> Response | None:
        self.handshakes_s.append(asyncio.get_running_loop().time())
        is_refused = len(self.handshakes_s) >= self.refuse_from
        return socket.respond(HTTPStatus.SERVICE_UNAVAILABLE, "") if is_refused else None

    async def talk(self, socket: ServerConnection) -> None:
        await socket.recv()
        for number in itertools.count():
            await socket.send(wire(TRADE, sequential_id=str(number)))
            await asyncio.sleep(0.01)


@asynccontextmanager
async def fleet(
    exchange: Exchange, host: Host, redundancy: int = 2, **changes: object
) -> AsyncIterator[tuple[ConnectionGroup, asyncio.TaskGroup]]:
    """A fleet that runs against `exchange` until the block ends."""
    async with serve(exchange.talk, "127.0.0.1", 0, process_request=exchange.admit) as listening:
        port = next(iter(listening.sockets)).getsockname()[1]
        settings = Settings(
            redundancy=redundancy,
            exchange=ExchangeSettings(websocket_url=f"ws://127.0.0.1:{port}"),
            connection=CONNECTION.model_copy(update=changes),
        )
        it, started = (
            ConnectionGroup(settings, host, SystemClock()),
            asyncio.get_running_loop().create_future(),
        )

        async def live() -> None:
            async with asyncio.TaskGroup() as group:
                it.start(group)
                started.set_result(group)
                await asyncio.Event().wait()

        task = asyncio.create_task(live())
        try:
            yield it, await started
        finally:
            task.cancel()
            await asyncio.wait({task})


def streaming(it: ConnectionGroup) -> list[int]:
    return [connection.number for connection in it.connections if connection.state is SessionState.STREAMING]


async def test_connections_start_one_after_the_other(eventually_async: Eventually) -> None:
    """Not all within the same instant, and never above the budget."""
    exchange, host = Exchange(), Host()
    async with fleet(exchange, host, 3) as (it, _):
        await eventually_async(lambda: streaming(it) == [0, 1, 2])
    gaps = [later - earlier for earlier, later in itertools.pairwise(exchange.handshakes_s)]
    assert all(gap >= 0.15 for gap in gaps)


async def test_replacing_never_leaves_fewer_streams(eventually_async: Eventually) -> None:
    """Each old socket goes only after its successor has data; at least two stream at every moment."""
    exchange, host = Exchange(), Host()
    async with fleet(exchange, host) as (it, group):
        await eventually_async(lambda: streaming(it) == [0, 1])
        replacing = asyncio.create_task(it.replace_all(group))
        while not replacing.done():
            assert len(streaming(it)) >= 2
            await asyncio.sleep(0.005)
        assert replacing.result() is True
        assert streaming(it) == [2, 3]
        assert host.lost == [(0, "replaced"), (1, "replaced")]
        assert it.frames >= len(host.numbers) > 0


async def test_without_a_successor_the_old_socket_stays(eventually_async: Eventually) -> None:
    """The exchange refuses new sockets: nothing is given up for nothing, and the caller is told."""
    exchange, host = Exchange(), Host()
    async with fleet(exchange, host) as (it, group):
        await eventually_async(lambda: streaming(it) == [0, 1])
        exchange.refuse_from = 0
        assert await it.replace_all(group) is False
        assert streaming(it) == [0, 1]
        assert len(it.connections) == 2


async def test_a_planned_refresh(eventually_async: Eventually) -> None:
    """After `refresh_h` hours, here 0.7 s, both have been replaced."""
    exchange, host = Exchange(), Host()
    async with fleet(exchange, host, refresh_h=0.7 / 3600) as (it, _):
        await eventually_async(lambda: len(host.lost) >= 2, 8)
        await eventually_async(lambda: len(streaming(it)) >= 2)
    assert host.lost[:2] == [(0, "replaced"), (1, "replaced")]
