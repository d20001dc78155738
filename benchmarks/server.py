"""A WebSocket server that costs next to nothing: frames are wrapped beforehand and written in large pieces.

It also answers the two REST calls a listener makes at its start. Standard library only, so that it can be
pointed at by anything.
"""

import asyncio
import base64
import hashlib
import json
import struct
from collections.abc import Callable, Sequence

_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_PIECE_BYTES = 1 << 18
_PING, _PONG = 0x9, 0xA


def wrap(frame: bytes) -> bytes:
    """Return `frame` as an unmasked binary WebSocket frame."""
    if len(frame) < 126:
        return struct.pack("!BB", 0x82, len(frame)) + frame
    if len(frame) < 1 << 16:
        return struct.pack("!BBH", 0x82, 126, len(frame)) + frame
    return struct.pack("!BBQ", 0x82, 127, len(frame)) + frame


class FrameServer:
    """Sends `frames` to every client once it has subscribed.

    Args:
        frames: what to send.
        markets: the reply to `/v1/market/all`.
        pace: None = as fast as possible; else returns how many frames may have been sent after some seconds.
    """

    def __init__(
        self, frames: Sequence[bytes], markets: Sequence[str], pace: Callable[[float], int] | None = None
    ) -> None:
        self._wrapped = [wrap(frame) for frame in frames]
        self._markets = json.dumps([{"market": name} for name in markets]).encode()
        self._pace = pace
        self._server: asyncio.Server | None = None
        self.port = 0
        #: Loop time at which the first client was sent its first frame.
        self.started_s: float | None = None

    async def __aenter__(self) -> "FrameServer":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            key = _header(head, b"sec-websocket-key")
            if key is None:
                await self._answer_rest(head, writer)
            else:
                await self._stream(key, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client left
        finally:
            writer.close()

    async def _answer_rest(self, head: bytes, writer: asyncio.StreamWriter) -> None:
        body = self._rest(head.split(b" ", 2)[1].decode())
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        await writer.drain()

    def _rest(self, target: str) -> bytes:
        """Return the answer to `GET target`."""
        return self._markets if target.startswith("/v1/market/all") else b"[]"

    async def _stream(self, key: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accept = base64.b64encode(hashlib.sha1(key + _MAGIC, usedforsecurity=False).digest())
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %s\r\n\r\n" % accept
        )
        _, subscription = await _read_frame(reader)
        drain = asyncio.create_task(_answer_pings(reader, writer))
        try:
            await (self._send_paced(writer, subscription) if self._pace else self._send_all(writer))
            await drain  # stay until the client leaves
        finally:
            drain.cancel()

    async def _send_all(self, writer: asyncio.StreamWriter) -> None:
        self.started_s = self.started_s or asyncio.get_running_loop().time()
        piece = bytearray()
        for frame in self._wrapped:
            piece += frame
            if len(piece) >= _PIECE_BYTES:
                writer.write(bytes(piece))
                piece.clear()
                await writer.drain()
        writer.write(bytes(piece))
        await writer.drain()

    async def _send_paced(self, writer: asyncio.StreamWriter, _: bytes) -> None:
        assert self._pace is not None
        loop = asyncio.get_running_loop()
        self.started_s = self.started_s or loop.time()
        sent = 0
        while sent < len(self._wrapped):
            due = min(self._pace(loop.time() - self.started_s), len(self._wrapped))
            if due > sent:
                writer.write(b"".join(self._wrapped[sent:due]))
                sent = due
                await writer.drain()
            await asyncio.sleep(0.005)


def _header(head: bytes, name: bytes) -> bytes | None:
    lines = (line.partition(b":") for line in head.split(b"\r\n"))
    return next((value.strip() for key, _, value in lines if key.lower() == name), None)


async def _answer_pings(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read until the client leaves: a client whose keepalive is not answered leaves after 40 s."""
    while True:
        opcode, payload = await _read_frame(reader)
        if opcode == _PING:
            writer.write(struct.pack("!BB", 0x80 | _PONG, len(payload)) + payload)


async def _read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Return opcode and payload of a client's frame; clients mask theirs."""
    first, length = await reader.readexactly(2)
    length &= 0x7F
    if length >= 126:
        length = int.from_bytes(await reader.readexactly(2 if length == 126 else 8), "big")
    mask = await reader.readexactly(4)
    payload = await reader.readexactly(length)
    return first & 0x0F, bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
