"""What the simulator's tests share: a client that asks and listens, with a limit on every wait."""

import asyncio
import contextlib
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

LIMIT_S = 10
CODES = ("KRW-BTC", "KRW-ETH", "KRW-XRP")
TYPES = ("ticker", "trade", "orderbook")


class Listener:
    """One client socket of a test."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def ask(
        self, *types: str, codes: Sequence[str] = CODES, form: str = "DEFAULT", **more: object
    ) -> None:
        """Send one request for `types` of `codes`."""
        parts = [{"type": each, "codes": list(codes), **more} for each in types]
        await self.socket.send(json.dumps([{"ticket": "test"}, *parts, {"format": form}]))

    async def next_raw(self) -> bytes | str:
        """Return the next frame."""
        return await asyncio.wait_for(self.socket.recv(), LIMIT_S)

    async def next(self) -> dict[str, Any]:
        """Return the next frame, parsed."""
        frame: dict[str, Any] = json.loads(await self.next_raw())
        return frame

    async def until(self, enough: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
        """Collect frames until there are enough."""
        frames: list[dict[str, Any]] = []
        async with asyncio.timeout(LIMIT_S):
            while not enough(frames):
                frames.append(json.loads(await self.socket.recv()))
        return frames

    async def during(self, seconds: float) -> list[bytes | str]:
        """Return what comes within some time, or until the socket closes."""
        frames: list[bytes | str] = []
        try:
            async with asyncio.timeout(seconds):
                while True:
                    frames.append(await self.socket.recv())
        except (TimeoutError, ConnectionClosed):
            return frames

    async def ping(self) -> None:
        """Wait for the answer to a ping, reading on: a socket whose frames nobody takes reads no pong."""
        async with asyncio.timeout(LIMIT_S):
            pong = await self.socket.ping()
            while not pong.done():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.socket.recv(), 0.05)

    async def close_code(self) -> int:
        """Read on until the socket closes; return the code, 1006 for no close frame."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                try:
                    await self.socket.recv()
                except ConnectionClosed as closed:
                    return closed.rcvd.code if closed.rcvd else 1006


@pytest.fixture
def listen() -> Callable[..., Any]:
    """Open a socket: `async with listen(url) as listener`."""
    return _Opening


class _Opening:
    def __init__(self, url: str, **more: object) -> None:
        options: dict[str, Any] = {
            "compression": None,
            "ping_interval": None,
            "open_timeout": LIMIT_S,
            "close_timeout": 0.5,
            "max_size": 1 << 24,
            **more,
        }
        self._connect = connect(url, **options)

    async def __aenter__(self) -> Listener:
        return Listener(await self._connect.__aenter__())

    async def __aexit__(self, *about: Any) -> None:
        await self._connect.__aexit__(*about)
