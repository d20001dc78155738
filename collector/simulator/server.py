"""The simulated exchange as a server: both socket protocols and REST on one port of the loopback."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self

from websockets.asyncio.server import Server, ServerConnection
from websockets.asyncio.server import serve as serve_websocket
from websockets.exceptions import ConnectionClosed

from collector.errors import ConfigurationError
from collector.recording import open_recording
from collector.simulator import rest
from collector.simulator.client import Client, Socket
from collector.simulator.clients import Clients
from collector.simulator.current import CurrentDialect
from collector.simulator.dialect import Dialect
from collector.simulator.fault_injector import FaultInjector
from collector.simulator.faults import Fault, parse_faults
from collector.simulator.http import HttpFront, path_of
from collector.simulator.instruments import make_listing
from collector.simulator.legacy import LegacyDialect
from collector.simulator.model import MarketModel, Pace
from collector.simulator.options import SimulatorOptions
from collector.simulator.player import Player
from collector.simulator.requests import Refused
from collector.simulator.rules import Rules, parse_rules
from collector.simulator.source import MarketSource, SimulatorSource, Step
from collector.simulator.truth import TruthFile

MAX_MESSAGE_BYTES = 1 << 20
CLOSE_TIMEOUT_S = 1
SKIP_STEP_S = 0.1


class Simulator:
    """A local Bithumb; use as `async with Simulator(options) as exchange`.

    `counters` has what happened: `connects`, `refused_429`, `refused_503`, `requests`, `refusals`,
    `idle_cuts`, `slow_cuts`, `frames`, `rest_calls`, `rest_refused`, `fault_<name>`.

    Raises:
        ConfigurationError: when faults, rules, the recording, the truth file or the port can't be used.
    """

    def __init__(self, options: SimulatorOptions | None = None) -> None:
        self.options = options or SimulatorOptions()
        self.counters: Counter[str] = Counter()
        faults = parse_faults(self.options.faults)
        self._rules = parse_rules(self.options.rules)
        self._injector = FaultInjector(faults, self.options.seed)
        self._audience = Clients(self.options, self._injector, self.counters)
        current = CurrentDialect(self._rules.snapshot_trades, self._rules.kst)
        #: Channels whose next event is stamped ahead.
        self._ahead: list[str] = []
        self._dialects: dict[str, Dialect] = {each.path: each for each in (current, LegacyDialect())}
        self._started_us = time.time_ns() // 1000
        self._started = time.monotonic()
        self._source = _source(self.options, self._rules, self._started_us)
        self._check_listings(faults)
        self._door = HttpFront(
            self.options,
            self._rules,
            self._injector,
            self.counters,
            frozenset(self._dialects),
            self._answer,
            self._now_s,
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
        """How many trades there were so far, sent to anyone or not."""
        return self._source.trades_made

    @property
    def finished(self) -> bool:
        """Whether all trades asked for are made, or the recording has been played; sockets stay open."""
        return self._source.finished

    @property
    def markets(self) -> tuple[str, ...]:
        """The codes of the markets that can be subscribed."""
        return tuple(self._source.markets)

    @property
    def clients(self) -> tuple[Client, ...]:
        """The open sockets, oldest first."""
        return self._audience.clients

    def make_trades(self, count: int) -> None:
        """Make exactly `count` trades now, beside the usual pace."""
        self._publish(self._invented.make(count, self._now_us()))

    def skip(self, seconds: float) -> None:
        """Let time pass at once, as it does for a host that sleeps: no socket gets anything of it."""
        for _ in range(round(seconds / SKIP_STEP_S)):
            self._started_us += round(SKIP_STEP_S * 1e6)
            step = self._source.step(self._now_us(), listeners=0, has_room=True)
            if step is not None:
                self._truth.write(step.trades)

    def begin(self, faults: str) -> None:
        """Add faults to the schedule; their times count from now.

        Raises:
            ConfigurationError: they can't be read.
        """
        now_s = self._now_s()
        self._injector.add([replace(fault, start_s=fault.start_s + now_s) for fault in parse_faults(faults)])

    def stop_trading(self) -> None:
        """Let no further trade be made; sockets and REST go on."""
        self._invented.stop_trading()

    def list_market(self, code: str) -> None:
        """List a market that was not there, for instance `KRW-NEW`."""
        self._invented.list_market(code, self._now_us())

    def delist(self, code: str) -> None:
        """Let a market go: from the list, from REST, from the sockets."""
        self._invented.delist(code)

    @property
    def _invented(self) -> MarketSource:
        if not isinstance(self._source, MarketSource):
            raise ConfigurationError("The market can't be changed while a recording is played")
        return self._source

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            self._truth = stack.enter_context(contextlib.closing(TruthFile(self.options.truth)))
            server = await stack.enter_async_context(await self._listen())
            stack.push_async_callback(self._audience.wait_closed)
            self._port = next(iter(server.sockets)).getsockname()[1]
            self._started_us, self._started = time.time_ns() // 1000, time.monotonic()
            self._beat = asyncio.create_task(self._tick_forever(), name="simulator")
            stack.push_async_callback(self._stop_beat)
            self._stack = stack.pop_all()
        return self

    async def run(self, stop: asyncio.Event) -> None:
        """Wait until `stop` is set; raises what ended the simulation before."""
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait((stopped, self._beat), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()

    async def _stop_beat(self) -> None:
        self._beat.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._beat

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
                process_request=self._door.admit,
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

    # The clock's beat: what happened goes out, then each socket is looked after.

    async def _tick_forever(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due = max(due + self.options.tick_s, loop.time())
            await asyncio.sleep(due - loop.time())
            self._tick(loop.time())

    def _tick(self, now: float) -> None:
        audience = self._audience
        if isinstance(self._source, MarketSource):
            self._source.halt(self._injector.named("halt", self._now_s()))
        step = None
        if not self._injector.is_on("maintenance", self._now_s()):
            step = self._source.step(
                self._now_us(), listeners=audience.subscribed, has_room=audience.has_room
            )
        if step is not None:
            self._publish(step)
        for fault in self._injector.moments(self._now_s()):
            self._happen(fault, now)
        now_ms = self._now_us() // 1000
        audience.look_after(
            lambda dialect, request: self._source.snapshots(dialect, request, now_ms), now, self._now_s()
        )

    def _check_listings(self, faults: Sequence[Fault]) -> None:
        """Refuse a schedule that could not be carried out, before anything starts."""
        for fault in faults:
            if fault.name in ("list", "delist", "unlist", "halt") and self._invented:
                make_listing(fault.argument, weight=0, levels=0)

    def _happen(self, fault: Fault, now: float) -> None:
        if fault.name == "list":
            self.list_market(fault.argument)
        elif fault.name == "delist":
            self.delist(fault.argument)
        elif fault.name == "ahead":
            self._ahead.append(fault.argument)
        else:
            self._audience.strike(fault, now)

    def _publish(self, step: Step) -> None:
        """Write down the truth, then send it to everybody, but for what is hidden."""
        self._truth.write(step.trades)
        shown = self._stamped(self._without_hidden(step))
        self._audience.publish(shown, asyncio.get_running_loop().time(), self._now_s())

    def _stamped(self, step: Step) -> Step:
        for channel in list(self._ahead):
            odd = step.ahead(channel)
            if odd is not None:
                step = odd
                self._ahead.remove(channel)
                self.counters["fault_ahead"] += 1
        return step

    def _without_hidden(self, step: Step) -> Step:
        hidden = self._injector.hidden(step.trades, self._now_s())
        for name, trades in hidden.items():
            self.counters[f"fault_{name}"] += len(trades)
            for made in trades:
                self._source.markets[made.market].hide(made, from_rest=name == "vanish")
        left_out = {made for trades in hidden.values() for made in trades}
        return step.without(left_out) if left_out else step

    def _answer(self, target: str) -> rest.Reply:
        markets = self._source.markets
        if target.startswith(rest.LIST) and (lacking := self._injector.named("unlist", self._now_s())):
            markets = {code: market for code, market in markets.items() if code not in lacking}
        return rest.answer(target, markets, self._now_us() // 1000, self._rules)

    def _now_s(self) -> float:
        """Seconds since the start, the time of the fault schedule."""
        return time.monotonic() - self._started

    def _now_us(self) -> int:
        """Wall time that does not jump: the start's, moved on by the monotonic clock."""
        return self._started_us + int(self._now_s() * 1e6)

    # One socket's conversation.

    async def _converse(self, socket: ServerConnection) -> None:
        assert isinstance(socket, Socket)  # noqa: S101 - by create_connection
        assert socket.request is not None  # noqa: S101 - the handshake is over
        self.counters["connects"] += 1
        dialect = self._dialects[path_of(socket.request)]
        client = Client(self.counters["connects"], socket, dialect, self.options)
        if self._injector.is_on("accept-close", self._now_s()):
            self.counters["fault_accept-close"] += 1
            client.cut()
            return
        self._audience.enter(client)
        client.send(dialect.greeting, asyncio.get_running_loop().time())
        try:
            async for message in socket:
                if not self._hear(client, message):
                    break
        except ConnectionClosed:
            pass  # the client's right; the reason is of no interest here
        finally:
            self._audience.leave(client)

    def _hear(self, client: Client, message: str | bytes) -> bool:
        """Answer one message; False when the connection is to be closed."""
        now = asyncio.get_running_loop().time()
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


async def serve(
    options: SimulatorOptions, stop: asyncio.Event, started: Callable[[Simulator], None] | None = None
) -> None:
    """Run a simulated exchange until `stop` is set; `started` is called with the running one."""
    async with Simulator(options) as exchange:
        if started is not None:
            started(exchange)
        await exchange.run(stop)


def _source(options: SimulatorOptions, rules: Rules, now_us: int) -> SimulatorSource:
    if options.recording is not None:
        return Player(
            open_recording(options.recording),
            speed=options.speed,
            loop=options.loop,
            sockets=options.recording_sockets,
            now_us=now_us,
        )
    pace = Pace(
        rate=options.rate,
        books_per_trade=options.books_per_trade,
        tickers_per_trade=options.tickers_per_trade,
        repeated_books=options.repeated_books,
        stop_after=options.stop_trading_after,
        trades_kept_per_market=options.trades_kept_per_market,
        first_day_markets=rules.first_day,
        totals_lag=rules.totals == "lagging",
        totals_are_rounded=rules.totals_decimals == "4",
        volumes_are_rounded=rules.totals_decimals == "volumes",
    )
    return MarketSource(MarketModel(options.markets, pace, options.seed, now_us))
