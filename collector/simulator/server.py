"""The simulated exchange as a server: both socket protocols and REST on one port of the loopback."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Sequence
from email.utils import formatdate
from http import HTTPStatus
from types import TracebackType
from typing import Self

from websockets.asyncio.server import Server, ServerConnection
from websockets.asyncio.server import serve as serve_websocket
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from collector.errors import ConfigurationError
from collector.simulator import rest
from collector.simulator.client import Client, Socket
from collector.simulator.current import CurrentDialect
from collector.simulator.dialect import Dialect
from collector.simulator.gate import ConnectGate, SlidingWindow
from collector.simulator.market import Event, MarketModel, Pace
from collector.simulator.options import SimulatorOptions
from collector.simulator.requests import Refused, Subscription
from collector.simulator.truth import TruthFile

MAX_MESSAGE_BYTES = 1 << 20
CLOSE_TIMEOUT_S = 1
#: Addresses whose limits are remembered.
MAX_ADDRESSES = 1000


class Simulator:
    """A local Bithumb; use as `async with Simulator(options) as exchange`.

    `counters` tells what happened: `connects`, `refused_429`, `requests`, `refusals`, `idle_cuts`,
    `slow_cuts`, `frames`, `rest_calls`, `rest_429`.

    Raises:
        ConfigurationError: on entry, when the port is taken or a file can't be used.
    """

    def __init__(self, options: SimulatorOptions | None = None) -> None:
        self.options = options or SimulatorOptions()
        self.counters: Counter[str] = Counter()
        self._dialects: dict[str, Dialect] = {each.path: each for each in (CurrentDialect(),)}
        self._clients: dict[int, Client] = {}
        self._gates: dict[str, ConnectGate] = {}
        self._rest_windows: dict[tuple[str, str], SlidingWindow] = {}
        self._started_us = time.time_ns() // 1000
        self._started = time.monotonic()
        self._model = MarketModel(
            self.options.markets, _pace(self.options), self.options.seed, self._started_us
        )
        self._stack = contextlib.AsyncExitStack()
        self._port = 0

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._port

    @property
    def websocket_url(self) -> str:
        """Address of the current protocol's socket."""
        return f"ws://{self.options.host}:{self._port}/websocket/v1"

    @property
    def legacy_websocket_url(self) -> str:
        """Address of the older protocol's socket."""
        return f"ws://{self.options.host}:{self._port}/pub/ws"

    @property
    def rest_url(self) -> str:
        """Address the `/v1/…` calls start from."""
        return f"http://{self.options.host}:{self._port}"

    @property
    def trades_made(self) -> int:
        """How many trades the market made so far, heard by anyone or not."""
        return self._model.trades_made

    @property
    def finished(self) -> bool:
        """Whether `stop_trading_after` has been reached."""
        return self._model.finished

    @property
    def clients(self) -> tuple[Client, ...]:
        """The open sockets, oldest first."""
        return tuple(self._clients.values())

    def make_trades(self, count: int) -> None:
        """Make exactly `count` trades now, beside the usual pace."""
        self._publish(self._model.make(count, self._now_us()))

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            self._truth = stack.enter_context(contextlib.closing(TruthFile(self.options.truth)))
            server = await stack.enter_async_context(await self._listen())
            self._port = next(iter(server.sockets)).getsockname()[1]
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            stack.callback(tasks.create_task(self._tick_forever()).cancel)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._stack.__aexit__(kind, error, trace)

    async def _listen(self) -> Server:
        try:
            return await serve_websocket(
                self._converse,
                self.options.host,
                self.options.port,
                create_connection=Socket,
                process_request=self._admit,
                compression="deflate" if self.options.compression else None,
                ping_interval=None,
                close_timeout=CLOSE_TIMEOUT_S,
                max_size=MAX_MESSAGE_BYTES,
                server_header=None,
            )
        except OSError as error:
            raise ConfigurationError(
                f"Port {self.options.port} on {self.options.host} can't be used ({error.strerror}):"
                " choose another, 0 picks a free one"
            ) from None

    def _now_us(self) -> int:
        """Wall time that does not jump: the start's, moved on by the monotonic clock."""
        return self._started_us + int((time.monotonic() - self._started) * 1e6)

    # The clock's beat: what the market did goes out, then each socket is looked after.

    async def _tick_forever(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due = max(due + self.options.tick_s, loop.time())
            await asyncio.sleep(due - loop.time())
            self._publish(self._model.advance(self._now_us()))
            for client in self.clients:
                self._look_after(client, loop.time())

    def _publish(self, events: Sequence[Event]) -> None:
        """Write down the truth, then send each socket what it asked for; same request, same bytes."""
        if not events:
            return
        self._truth.write(events)
        now, now_ms = time.monotonic(), self._now_us() // 1000
        written: dict[tuple[str, Subscription], list[bytes]] = {}
        for client in self.clients:
            key = client.dialect.path, client.subscription
            if key not in written:
                written[key] = client.dialect.live(events, client.subscription, now_ms)
            self._send(client, written[key], now)

    def _send(self, client: Client, payloads: Sequence[bytes], now: float) -> None:
        """Hand frames to a socket; one that does not read is dropped, so that it delays nobody."""
        if client.waiting_bytes > self.options.client_buffer_bytes:
            self.counters["slow_cuts"] += 1
            client.cut()
            return
        client.send(payloads, now)
        self.counters["frames"] += len(payloads)

    def _look_after(self, client: Client, now: float) -> None:
        request = client.effective_request(now)
        if request is not None:
            snapshots = client.dialect.snapshots(request, self._model.markets, self._now_us() // 1000)
            self._send(client, snapshots, now)
        self._send(client, client.up_due(now), now)
        if client.is_idle(now) and client.is_open:
            self.counters["idle_cuts"] += 1
            client.cut()

    # One socket's conversation.

    async def _converse(self, socket: ServerConnection) -> None:
        assert isinstance(socket, Socket)  # noqa: S101 - create_connection says so
        assert socket.request is not None  # noqa: S101 - the handshake is over
        self.counters["connects"] += 1
        dialect = self._dialects[socket.request.path.partition("?")[0]]
        client = Client(self.counters["connects"], socket, dialect, self.options)
        self._clients[client.number] = client
        client.send(dialect.greeting, time.monotonic())
        try:
            async for message in socket:
                if not self._hear(client, message):
                    break
        except ConnectionClosed:
            pass  # the client's right; the reason is of no interest here
        finally:
            del self._clients[client.number]

    def _hear(self, client: Client, message: str | bytes) -> bool:
        """Answer one message; False when the connection is to be closed."""
        now = time.monotonic()
        text = message if isinstance(message, str) else message.decode(errors="replace")
        if text == "PING":
            client.start_ups(now)
            return True
        try:
            client.ask(client.dialect.parse(text, client.requested), now)
        except Refused as refused:
            self.counters["refusals"] += 1
            client.send((client.dialect.refusal(refused),), now)
            return not client.dialect.closes_on_refusal
        self.counters["requests"] += 1
        client.send(client.dialect.acknowledgement, now)
        return True

    # Handshakes and REST calls.

    def _admit(self, socket: ServerConnection, request: Request) -> Response | None:
        """Let a handshake through (None), refuse it, or answer a REST call."""
        address = str(socket.remote_address[0]) if socket.remote_address else ""
        if request.path.partition("?")[0] in self._dialects:
            if self._gate(address).allow(time.monotonic()):
                return None
            self.counters["refused_429"] += 1
            return _response(429, "Too Many Requests", {})
        return self._call(address, request.path)

    def _gate(self, address: str) -> ConnectGate:
        if address not in self._gates:
            _bound(self._gates)
            options = self.options
            self._gates[address] = ConnectGate(
                options.connects_per_s, options.block_after_refusals, options.block_s
            )
        return self._gates[address]

    def _call(self, address: str, target: str) -> Response:
        self.counters["rest_calls"] += 1
        window = self._rest_window(address, rest.category(target))
        now, limit = time.monotonic(), self.options.rest_requests_per_s
        allowed = window.allow(now)
        headers = {
            "x-ratelimit-remaining": str(window.left(now)),
            "x-ratelimit-requested-tokens": "1",
            "x-ratelimit-burst-capacity": str(limit),
            "x-ratelimit-replenish-rate": str(limit),
        }
        if not allowed:
            self.counters["rest_429"] += 1
            return _response(429, "", headers)
        reply = rest.answer(target, self._model.markets, self._now_us() // 1000)
        return _response(reply.status, reply.body, headers)

    def _rest_window(self, address: str, category: str) -> SlidingWindow:
        key = address, category
        if key not in self._rest_windows:
            _bound(self._rest_windows)
            self._rest_windows[key] = SlidingWindow(self.options.rest_requests_per_s)
        return self._rest_windows[key]


async def serve(
    options: SimulatorOptions, stop: asyncio.Event, started: Callable[[Simulator], None] | None = None
) -> None:
    """Run a simulated exchange until `stop` is set; `started` is told the running one, with its addresses."""
    async with Simulator(options) as exchange:
        if started is not None:
            started(exchange)
        await stop.wait()


def _pace(options: SimulatorOptions) -> Pace:
    return Pace(
        rate=options.rate,
        books_per_trade=options.books_per_trade,
        tickers_per_trade=options.tickers_per_trade,
        repeated_books=options.repeated_books,
        stop_after=options.stop_trading_after,
        trades_kept_per_market=options.trades_kept_per_market,
    )


def _response(status: int, body: str, headers: dict[str, str]) -> Response:
    content = body.encode()
    fields = {
        "Date": formatdate(usegmt=True),
        "Connection": "close",
        "Content-Length": str(len(content)),
        "Content-Type": "application/json;charset=UTF-8",
        **headers,
    }
    return Response(status, HTTPStatus(status).phrase, Headers(fields), content)


def _bound(remembered: dict) -> None:  # type: ignore[type-arg]
    """Forget everything about addresses before there are too many; a local server has a handful."""
    if len(remembered) >= MAX_ADDRESSES:
        remembered.clear()
