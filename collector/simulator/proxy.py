"""A small TCP proxy that breaks connections in ways a server can't: packets that vanish, half-open sockets.

    async with TcpProxy(exchange.port) as proxy:
        connect(f"ws://127.0.0.1:{proxy.port}/websocket/v1")
        proxy.blackhole()       # bytes vanish both ways, no error on either side
        proxy.resume()
        proxy.cut()             # both sides get a reset

What vanished while black stays lost: a stream that lost bytes can't go on, so connections of that time are
dead for good, as after a NAT box forgot them; `resume` serves new ones.
"""

import asyncio
import struct
from enum import Enum
from socket import SO_LINGER, SOL_SOCKET
from types import TracebackType
from typing import Self

CHUNK_BYTES = 1 << 16
#: `struct linger`: on, zero seconds.
RESET_AT_CLOSE = struct.pack("ii", 1, 0)


class Mode(Enum):
    """What happens to bytes."""

    FORWARD = "forwarded"
    BLACKHOLE = "read and forgotten"
    PAUSE = "not read: the sender's buffers fill, as with a reader that hangs"
    REFUSE = "new connections are reset at once"


class TcpProxy:
    """Stands between one client and one server on the loopback."""

    def __init__(self, target_port: int, target_host: str = "127.0.0.1", port: int = 0) -> None:
        self._target = target_host, target_port
        self._port = port
        self._mode = Mode.FORWARD
        self._unpaused = asyncio.Event()
        self._unpaused.set()
        self._pairs: set[_Pair] = set()
        #: Connections taken so far.
        self.connections = 0

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._port

    @property
    def mode(self) -> Mode:
        """What happens to bytes now."""
        return self._mode

    def blackhole(self) -> None:
        """Let everything vanish from now on, telling nobody; new connections are accepted and dead."""
        self._set(Mode.BLACKHOLE)

    def pause(self) -> None:
        """Stop reading from both sides; `resume` goes on without loss."""
        self._set(Mode.PAUSE)

    def refuse(self) -> None:
        """Reset new connections at once; those that are open go on."""
        self._set(Mode.REFUSE)

    def resume(self) -> None:
        """Forward again: new connections, and those that were paused."""
        self._set(Mode.FORWARD)

    def cut(self) -> None:
        """Reset every open connection, both sides."""
        for pair in tuple(self._pairs):
            pair.abort()

    def _set(self, mode: Mode) -> None:
        self._mode = mode
        if mode is Mode.BLACKHOLE:
            for pair in self._pairs:
                pair.is_dead = True
        if mode is Mode.PAUSE:
            self._unpaused.clear()
        else:
            self._unpaused.set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        self.resume()
        self.cut()
        await asyncio.gather(*(pair.closed.wait() for pair in tuple(self._pairs)))

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self._mode is Mode.REFUSE:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        pair = _Pair(writer, far_writer, is_dead=self._mode is Mode.BLACKHOLE)
        self._pairs.add(pair)
        try:
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(pair, reader, far_writer))
                pumps.create_task(self._pump(pair, far_reader, writer))
        finally:
            pair.abort()
            pair.closed.set()
            self._pairs.discard(pair)

    async def _pump(self, pair: "_Pair", reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Move bytes one way until that side ends; a dead pair only swallows."""
        try:
            while chunk := await reader.read(CHUNK_BYTES):
                await self._unpaused.wait()
                if not pair.is_dead:
                    writer.write(chunk)
                    await writer.drain()
            if not pair.is_dead:
                writer.write_eof()
        except (OSError, RuntimeError):
            pair.abort()  # one side is gone: the other learns it by a reset


class _Pair:
    """The two sides of a proxied connection."""

    def __init__(self, near: asyncio.StreamWriter, far: asyncio.StreamWriter, *, is_dead: bool) -> None:
        self._sides = near, far
        self.is_dead = is_dead
        self.closed = asyncio.Event()

    def abort(self) -> None:
        """Reset both sides."""
        for side in self._sides:
            if not side.transport.is_closing():
                socket = side.transport.get_extra_info("socket")
                socket.setsockopt(SOL_SOCKET, SO_LINGER, RESET_AT_CLOSE)
            side.transport.abort()
