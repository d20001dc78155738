"""Proxies as companies have them, small: HTTP with CONNECT, SOCKS5; and a door that speaks TLS.

Each leads every name to loopback, so that an exchange with a public name can stand there.
"""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

#: A name that is nobody's, so that it can be reached through these proxies alone.
HOST = "exchange.test"


@dataclass
class Served:
    """A running proxy: its port, and what it was asked for."""

    port: int = 0
    asked: list[str] = field(default_factory=list)


@asynccontextmanager
async def http_proxy(credentials: str = "") -> AsyncIterator[Served]:
    """Serve CONNECT and plain requests; with `credentials` (`user:password`) only to who has them."""
    served = Served()
    wanted = f"Proxy-Authorization: Basic {base64.b64encode(credentials.encode()).decode()}".lower()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, target, _ = head.split(" ", 2)
        served.asked.append(f"{method} {target}")
        if credentials and wanted not in head.lower():
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            writer.close()
            return
        if method == "CONNECT":
            far = await asyncio.open_connection("127.0.0.1", int(target.rpartition(":")[2]))
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            address, _, path = target.removeprefix("http://").partition("/")
            far = await asyncio.open_connection("127.0.0.1", int(address.rpartition(":")[2]))
            far[1].write(head.replace(target, f"/{path}", 1).encode())
        await _join((reader, writer), far)

    async with _serving(serve, served):
        yield served


@asynccontextmanager
async def socks_proxy() -> AsyncIterator[Served]:
    """Serve SOCKS5 without a password; names are looked up by the proxy."""
    served = Served()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, methods = await reader.readexactly(2)
        await reader.readexactly(methods)
        writer.write(b"\x05\x00")
        _, _, _, kind = await reader.readexactly(4)
        assert kind == 3, "the name is to be looked up by the proxy"
        name = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
        port = int.from_bytes(await reader.readexactly(2))
        served.asked.append(f"SOCKS5 {name}:{port}")
        far = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x00")
        await _join((reader, writer), far)

    async with _serving(serve, served):
        yield served


@asynccontextmanager
async def tls_door(context: ssl.SSLContext, target_port: int) -> AsyncIterator[Served]:
    """Speak TLS, and hand on to a plain server."""
    served = Served()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.asked.append("TLS")
        await _join((reader, writer), await asyncio.open_connection("127.0.0.1", target_port))

    async with _serving(serve, served, context):
        yield served


_Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _join(near: _Ends, far: _Ends) -> None:
    """Hand bytes on both ways until one side ends."""
    pumps = [asyncio.create_task(_pump(near[0], far[1])), asyncio.create_task(_pump(far[0], near[1]))]
    await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
    for pump in pumps:
        pump.cancel()
    near[1].close()
    far[1].close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    except OSError:
        return


@asynccontextmanager
async def _serving(
    serve: object, served: Served, context: ssl.SSLContext | None = None
) -> AsyncIterator[None]:
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    served.port = server.sockets[0].getsockname()[1]
    try:
        yield
    finally:
        server.close()
