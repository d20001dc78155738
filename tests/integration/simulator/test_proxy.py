"""The proxy breaks TCP in the ways a server can't."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from websockets.exceptions import InvalidMessage

from collector.simulator import Simulator, SimulatorOptions
from collector.simulator.proxy import TcpProxy

pytestmark = pytest.mark.server

Listen = Callable[..., Any]
OPTIONS = SimulatorOptions(markets=3, rate=300, snapshot_delay_s=0.0, tick_s=0.01)


def url(proxy: TcpProxy) -> str:
    return f"ws://127.0.0.1:{proxy.port}/websocket/v1"


async def test_it_forwards(listen: Listen) -> None:
    """Through the proxy all is as without."""
    async with (
        Simulator(OPTIONS) as exchange,
        TcpProxy(exchange.port) as proxy,
        listen(url(proxy)) as listener,
    ):
        await listener.ask("orderbook")
        assert (await listener.next())["type"] == "orderbook"
        await listener.ping()
        assert proxy.connections == 1


async def test_a_black_hole_is_silent_and_answers_no_ping(listen: Listen) -> None:
    """The socket looks open, and nothing comes back, not even after it ends; a new connection works."""
    async with (
        Simulator(OPTIONS) as exchange,
        TcpProxy(exchange.port) as proxy,
        listen(url(proxy)) as listener,
    ):
        await listener.ask("orderbook")
        await listener.next()
        proxy.blackhole()
        await listener.during(0.1)
        pong = await listener.socket.ping()
        assert await listener.during(0.4) == []
        assert not pong.done()
        proxy.resume()
        assert await listener.during(0.2) == []
        async with listen(url(proxy)) as fresh:
            await fresh.ask("orderbook")
            await fresh.next()


async def test_in_a_black_hole_no_handshake_ends(listen: Listen) -> None:
    """Connecting succeeds in TCP and then hangs."""
    async with Simulator(OPTIONS) as exchange, TcpProxy(exchange.port) as proxy:
        proxy.blackhole()
        with pytest.raises(TimeoutError):
            await listen(url(proxy), open_timeout=0.3).__aenter__()


async def test_a_cut_reaches_both_sides(listen: Listen) -> None:
    """The client sees 1006, the server loses its client."""
    async with (
        Simulator(OPTIONS) as exchange,
        TcpProxy(exchange.port) as proxy,
        listen(url(proxy)) as listener,
    ):
        await listener.ask("orderbook")
        await listener.next()
        proxy.cut()
        assert await listener.close_code() == 1006
        await asyncio.sleep(0.2)
        assert exchange.clients == ()


async def test_a_pause_loses_nothing(listen: Listen) -> None:
    """Bytes wait and then go on in order: the WebSocket survives."""
    async with (
        Simulator(OPTIONS) as exchange,
        TcpProxy(exchange.port) as proxy,
        listen(url(proxy)) as listener,
    ):
        await listener.ask("orderbook")
        await listener.next()
        proxy.pause()
        await listener.during(0.2)
        assert await listener.during(0.2) == []
        proxy.resume()
        assert len(await listener.during(0.3)) > 10


async def test_it_can_refuse(listen: Listen) -> None:
    """New connections are reset; nobody behind it hears of them."""
    async with Simulator(OPTIONS) as exchange, TcpProxy(exchange.port) as proxy:
        proxy.refuse()
        with pytest.raises((InvalidMessage, OSError, EOFError)):
            await listen(url(proxy)).__aenter__()
        assert exchange.counters["connects"] == 0


async def test_a_dead_server_is_passed_on() -> None:
    """Nobody listens behind it: the connection is reset."""
    async with TcpProxy(1) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
