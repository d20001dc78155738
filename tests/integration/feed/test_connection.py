"""One connection against real sockets: servers that refuse, cut, stall, stutter and lie."""

import asyncio
import socket as sockets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from collector.clock import SystemClock
from collector.errors import GaveUp
from collector.feed import connection as module
from collector.feed.connection import Connection
from collector.feed.reconnect import ConnectBudget
from collector.feed.session import MarketEvent, Session, SessionState
from collector.feed.watchdog import new_rhythms
from collector.model import Channel, Trade
from collector.protocol.codec import Subscription
from collector.protocol.current import CurrentCodec
from collector.settings import ConnectionSettings
from collector.simulator import Simulator, SimulatorOptions
from tests.doubles.ports import free_port
from tests.samples.frames import BOOK, TRADE, wire

pytestmark = pytest.mark.server

Eventually = Callable[..., Awaitable[None]]
Handler = Callable[[ServerConnection], Awaitable[None]]

QUICK = ConnectionSettings(
    open_timeout_s=2,
    close_timeout_s=0.5,
    backoff_initial_s=0.05,
    backoff_max_s=0.2,
    healthy_after_s=0.3,
    first_message_timeout_s=0.5,
    stall_min_s=0.4,
    stall_max_s=2,
    blocked_wait_s=0.6,
)


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHECK_INTERVAL_S", 0.05)


class Host:
    """A listener that only takes notes."""

    def __init__(self, settings: ConnectionSettings = QUICK, markets: tuple[str, ...] = ("KRW-BTC",)) -> None:
        self.events: list[MarketEvent] = []
        self.lost: list[str] = []
        self.dates: list[int] = []
        self.sessions: list[Session] = []
        self._settings = settings
        self._subscription = Subscription(markets, tuple(Channel))
        self._rhythms = new_rhythms(settings)

    def new_session(self, connection: Connection, now_s: float) -> Session:
        self.sessions.append(
            Session(CurrentCodec(), self._subscription, self._rhythms, self._settings, now_s)
        )
        return self.sessions[-1]

    def subscribe_texts(self) -> list[str]:
        return CurrentCodec().subscribe(self._subscription)

    def on_frames(
        self,
        connection: Connection,
        events: Sequence[MarketEvent] | None,
        frames: Sequence[bytes],
        received_ms: int,
    ) -> None:
        self.events += events or ()

    def on_date(self, server_ms: int) -> None:
        self.dates.append(server_ms)

    def on_disconnected(self, connection: Connection, reason: str) -> None:
        self.lost.append(reason)


@asynccontextmanager
async def server(handler: Handler, **options: object) -> AsyncIterator[str]:
    async with serve(handler, "127.0.0.1", 0, **options) as listening:  # type: ignore[arg-type]
        port = next(iter(listening.sockets)).getsockname()[1]
        yield f"ws://127.0.0.1:{port}/websocket/v1"


@asynccontextmanager
async def connected(
    url: str, host: Host, settings: ConnectionSettings = QUICK, per_s: float = 1000
) -> AsyncIterator[Connection]:
    """A running connection; it must end at once when cancelled and leave no task behind."""
    before = asyncio.all_tasks()
    it = Connection(0, url, settings, host, ConnectBudget(per_s), SystemClock(), jitter=lambda: 0.5)
    task = asyncio.create_task(it.run())
    try:
        yield it
    finally:
        task.cancel()
        async with asyncio.timeout(5):
            await asyncio.wait({task})
        await asyncio.sleep(0)
        assert it.state in (SessionState.STOPPED, SessionState.GAVE_UP)
        leftover = {left for left in asyncio.all_tasks() - before if "client" in repr(left).lower()}
        assert not leftover


def trade(number: int) -> bytes:
    return wire(TRADE, sequential_id=str(number)).encode()


async def stream(socket: ServerConnection) -> None:
    """Send a trade every 20 ms until the client goes."""
    number = 0
    while True:
        await socket.send(trade(number))
        number += 1
        await asyncio.sleep(0.02)


async def test_it_subscribes_and_streams(eventually_async: Eventually) -> None:
    """The request first, then events; state, totals and the streaming flag follow."""
    requests = []

    async def handler(socket: ServerConnection) -> None:
        requests.append(await socket.recv())
        await stream(socket)

    host = Host()
    async with server(handler) as url, connected(url, host) as it:
        await eventually_async(lambda: len(host.events) >= 3)
        assert it.state is SessionState.STREAMING
        assert it.streaming.is_set()
        assert "STREAMING" in repr(it).upper()
        assert it.totals.connects == 1
        assert it.totals.frames == len(host.events)
        assert it.totals.last_frame_ms is not None
    assert '"codes":["KRW-BTC"]' in requests[0]
    assert host.lost == []
    assert [abs(server_ms - SystemClock().now_ms()) < 60_000 for server_ms in host.dates] == [True]


async def test_every_trade_of_the_simulated_exchange_arrives(eventually_async: Eventually) -> None:
    """In bursts too: no frame is lost between the socket and the host."""
    options = SimulatorOptions(markets=5, rate=0, snapshot_delay_s=0, client_buffer_bytes=64 << 20)
    async with Simulator(options) as exchange:
        host = Host(ConnectionSettings(), exchange_markets(5))
        async with connected(exchange.websocket_url, host, ConnectionSettings()) as it:
            await eventually_async(lambda: it.state is SessionState.STREAMING)
            for _ in range(4):
                exchange.make_trades(300)
                await asyncio.sleep(0.02)
            await eventually_async(lambda: len(trades(host)) >= 1200, 10)
            assert len({(made.market, made.id) for made in trades(host)}) == exchange.trades_made == 1200


def exchange_markets(count: int) -> tuple[str, ...]:
    """The first markets of the simulated exchange."""
    return tuple(Simulator(SimulatorOptions(markets=count))._source.markets)  # type: ignore[attr-defined]


def trades(host: Host) -> list[Trade]:
    return [event for event in host.events if isinstance(event, Trade)]


async def test_text_binary_and_fragmented_messages(eventually_async: Eventually) -> None:
    """All three carry the same frames."""

    async def handler(socket: ServerConnection) -> None:
        await socket.recv()
        await socket.send(trade(1).decode())
        await socket.send(trade(2))
        await socket.send([trade(3)[:40], trade(3)[40:]])
        await socket.send([trade(4).decode()[:40], trade(4).decode()[40:]])
        await socket.send(trade(5))
        await socket.wait_closed()

    host = Host()
    async with server(handler) as url, connected(url, host):
        await eventually_async(lambda: len(host.events) >= 5)
        assert {made.id for made in trades(host)} == {1, 2, 3, 4, 5}


async def test_garbage_costs_neither_its_neighbours_nor_the_connection(eventually_async: Eventually) -> None:
    """Random bytes, broken UTF-8 in a binary frame, wrong JSON: refused and counted."""

    async def handler(socket: ServerConnection) -> None:
        await socket.recv()
        for garbage in (b"\xff\xfe", "nonsense", "[]", '{"type":"candle"}', b"", '{"status":"UP"}'):
            await socket.send(garbage)
            await socket.send(trade(1))
        await socket.wait_closed()

    host = Host()
    async with server(handler) as url, connected(url, host) as it:
        await eventually_async(lambda: len(host.events) >= 6)
        counts = host.sessions[-1].counts
        refused = sum(count for name, count in counts.items() if name.startswith("rejected:"))
        assert (it.totals.connects, refused, counts["statuses"]) == (1, 5, 1)


async def test_a_server_that_accepts_and_hangs_up_is_not_hammered() -> None:
    """The delay grows: a handshake alone is no success. (A library's loop made 841 connects in a second.)"""
    connects = 0

    async def handler(socket: ServerConnection) -> None:
        nonlocal connects
        connects += 1
        await socket.close()

    host = Host()
    settings = QUICK.model_copy(update={"backoff_initial_s": 0.1, "backoff_max_s": 10})
    async with server(handler) as url, connected(url, host, settings):
        await asyncio.sleep(1.2)
    assert 2 <= connects <= 5  # delays of 75, 150, 300, 600 ms
    assert set(host.lost) == {"disconnected"}


async def test_a_snapshot_and_a_hang_up_is_not_hammered_either() -> None:
    """Data must flow for a while before the delay starts from the beginning."""
    connects = 0

    async def handler(socket: ServerConnection) -> None:
        nonlocal connects
        connects += 1
        await socket.recv()
        await socket.send(trade(connects))
        await socket.close()

    settings = QUICK.model_copy(update={"backoff_initial_s": 0.1, "backoff_max_s": 10})
    async with server(handler) as url, connected(url, Host(), settings):
        await asyncio.sleep(1.2)
    assert 2 <= connects <= 5


async def test_the_budget_holds_whatever_the_policy_wants(eventually_async: Eventually) -> None:
    """No delay between failures, five connects a second at the most."""
    attempts = 0

    def refuse(socket: ServerConnection, request: Request) -> Response:
        nonlocal attempts
        attempts += 1
        return socket.respond(HTTPStatus.SERVICE_UNAVAILABLE, "")

    settings = QUICK.model_copy(update={"backoff_initial_s": 0.001, "backoff_max_s": 0.001})
    started_s = time.monotonic()
    async with server(stream, process_request=refuse) as url, connected(url, Host(), settings, per_s=5):
        await eventually_async(lambda: attempts >= 6)
    assert (attempts - 1) / (time.monotonic() - started_s) <= 5


@pytest.mark.parametrize(
    ("status", "headers", "rest_s"),
    [(429, {}, 0.6), (429, {"Retry-After": "30"}, 30), (503, {"Retry-After": "30"}, 30), (503, {}, 0.03)],
)
async def test_refused_handshakes(
    status: int, headers: dict[str, str], rest_s: float, eventually_async: Eventually
) -> None:
    """429 waits 0.6 s here, a wish of the server is respected, a plain 503 is tried again soon."""
    attempts = 0

    def refuse(socket: ServerConnection, request: Request) -> Response:
        nonlocal attempts
        attempts += 1
        response = socket.respond(HTTPStatus(status), "")
        response.headers.update(headers)
        return response

    host = Host()
    started_s = time.monotonic()
    async with server(stream, process_request=refuse) as url, connected(url, host) as it:
        await asyncio.sleep(1)
        await eventually_async(lambda: it.totals.losses >= (1 if rest_s > 0.1 else 4))
        assert it.last_loss == f"connect_failed: HTTP {status}"
        assert it.state in (SessionState.WAITING, SessionState.CONNECTING)
    assert attempts - 1 <= (time.monotonic() - started_s) / rest_s
    assert (set(host.lost), it.totals.connects) == ({"connect_failed"}, 0)


async def test_after_a_refusal_it_streams_as_soon_as_it_may(eventually_async: Eventually) -> None:
    """A minute of 503, here three attempts, is survived."""
    attempts = 0

    def refuse_thrice(socket: ServerConnection, request: Request) -> Response | None:
        nonlocal attempts
        attempts += 1
        return socket.respond(HTTPStatus.SERVICE_UNAVAILABLE, "") if attempts <= 3 else None

    host = Host()
    async with server(stream, process_request=refuse_thrice) as url, connected(url, host) as it:
        await eventually_async(lambda: it.state is SessionState.STREAMING)
    assert (it.totals.connects, it.totals.losses) == (1, 3)


async def test_an_error_frame_and_the_close_after_it(eventually_async: Eventually) -> None:
    """The exchange's reason is the reason of the loss."""

    async def handler(socket: ServerConnection) -> None:
        await socket.recv()
        await socket.send('{"error":{"name":"WRONG_FORMAT","message":"Format 이 맞지 않습니다."}}')
        await socket.close()

    host = Host()
    async with server(handler) as url, connected(url, host) as it:
        await eventually_async(lambda: host.lost)
        assert host.lost[0] == "server_error"
        assert it.last_loss == "server_error: WRONG_FORMAT: Format 이 맞지 않습니다."


async def test_a_cut_socket_is_replaced(eventually_async: Eventually) -> None:
    """TCP reset without a close frame, three times."""
    connects = 0

    async def handler(socket: ServerConnection) -> None:
        nonlocal connects
        connects += 1
        await socket.recv()
        for number in range(10):
            await socket.send(trade(connects * 100 + number))
        await asyncio.sleep(0.05)
        if connects <= 3:
            socket.transport.abort()
        await socket.wait_closed()

    host = Host(QUICK)
    async with server(handler) as url, connected(url, host) as it:
        await eventually_async(lambda: len(host.events) == 40)
        assert host.lost == ["disconnected"] * 3
        assert (it.totals.connects, it.totals.losses, it.totals.frames) == (4, 3, 40)
        assert it.state is SessionState.STREAMING
        assert len(host.sessions) == 4


@pytest.mark.parametrize("first_frames", [0, 5])
async def test_a_silent_socket_is_given_up(first_frames: int, eventually_async: Eventually) -> None:
    """Silent from birth, or after some data; pongs flow all the time and do not count."""

    async def handler(socket: ServerConnection) -> None:
        await socket.recv()
        for number in range(first_frames):
            await socket.send(trade(number))
        try:
            while True:
                await socket.send('{"status":"UP"}')
                await asyncio.sleep(0.05)
        except ConnectionClosed:
            pass

    host = Host()
    async with server(handler) as url, connected(url, host) as it:
        await eventually_async(lambda: host.lost, 3)
        assert host.lost[0] == "stalled"
        assert "is silent for" in (it.last_loss or "")
        await eventually_async(lambda: it.totals.connects >= 2, 3)


async def test_one_silent_channel_among_talking_ones_is_a_stall(eventually_async: Eventually) -> None:
    """Books flow, trades have stopped."""

    async def handler(socket: ServerConnection) -> None:
        await socket.recv()
        for number in range(5):
            await socket.send(trade(number))
        try:
            for number in range(1000):
                await socket.send(wire(BOOK, timestamp=str(1790133514064033 + number)))
                await asyncio.sleep(0.02)
        except ConnectionClosed:
            pass

    host = Host()
    async with server(handler) as url, connected(url, host):
        await eventually_async(lambda: host.lost, 3)
        assert host.lost[0] == "stalled"
        assert host.sessions[0].stall is not None
        assert host.sessions[0].stall.channel is Channel.TRADE


async def test_an_oversized_frame_costs_the_socket_not_the_memory(eventually_async: Eventually) -> None:
    """A frame above the limit closes the socket; the next one works."""
    connects = 0

    async def handler(socket: ServerConnection) -> None:
        nonlocal connects
        connects += 1
        await socket.recv()
        await socket.send(b"x" * 5000 if connects == 1 else trade(7))
        await socket.wait_closed()

    settings = QUICK.model_copy(update={"max_frame_bytes": 4096})
    host = Host(settings)
    async with server(handler) as url, connected(url, host, settings):
        await eventually_async(lambda: host.events)
    assert host.lost[:1] == ["disconnected"]


async def test_nothing_listens_there(eventually_async: Eventually) -> None:
    """One attempt after the other, each a connect that failed."""
    host = Host()
    async with connected(f"ws://127.0.0.1:{free_port()}/x", host) as it:
        await eventually_async(lambda: len(host.lost) >= 3)
        assert (it.totals.connects, set(host.lost)) == (0, {"connect_failed"})


@pytest.mark.parametrize(
    "url", ["ws://" + "a" * 70 + ".example/x", "ws://127.0.0.1:1/x", "ws://no.such.host.invalid/"]
)
async def test_addresses_that_lead_nowhere(url: str, eventually_async: Eventually) -> None:
    """No exception but a failed connect."""
    host = Host()
    async with connected(url, host):
        await eventually_async(lambda: host.lost, 6)
    assert set(host.lost) == {"connect_failed"}


async def test_a_server_that_never_answers_the_handshake(eventually_async: Eventually) -> None:
    """`open_timeout_s` bounds it."""
    with sockets.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        settings = QUICK.model_copy(update={"open_timeout_s": 0.2})
        host = Host()
        async with connected(f"ws://127.0.0.1:{listening.getsockname()[1]}/x", host, settings):
            await eventually_async(lambda: len(host.lost) >= 2, 4)
    assert set(host.lost) == {"connect_failed"}


async def test_it_gives_up_where_a_limit_is_set() -> None:
    """Two retries: three failures, one clear line, and the state says so."""
    settings = QUICK.model_copy(update={"retries_max": 2})
    host = Host()
    url = f"ws://127.0.0.1:{free_port()}/x"
    it = Connection(0, url, settings, host, ConnectBudget(1000), SystemClock())
    with pytest.raises(GaveUp, match="gave up after 3 failures in a row, last: connect_failed") as failure:
        await asyncio.wait_for(it.run(), 5)
    assert (it.state, len(host.lost)) == (SessionState.GAVE_UP, 3)
    assert url in str(failure.value)
    assert "\n" not in str(failure.value)


async def test_flowing_data_resets_the_count_of_failures(eventually_async: Eventually) -> None:
    """Four cuts with healthy stretches between them are no two failures in a row."""
    connects = 0

    async def handler(socket: ServerConnection) -> None:
        nonlocal connects
        connects += 1
        await socket.recv()
        for number in range(25):
            await socket.send(trade(number))
            await asyncio.sleep(0.02)

    settings = QUICK.model_copy(update={"retries_max": 1})
    async with server(handler) as url, connected(url, Host(), settings) as it:
        await eventually_async(lambda: connects >= 5, 8)
        assert it.state is not SessionState.GAVE_UP


async def test_cancellation_in_every_phase_ends_at_once(eventually_async: Eventually) -> None:
    """While waiting, dialling, subscribed and streaming; `connected` checks what is left behind."""

    async def mute(socket: ServerConnection) -> None:
        await socket.wait_closed()

    slow = QUICK.model_copy(update={"backoff_initial_s": 30, "backoff_max_s": 30})
    async with connected(f"ws://127.0.0.1:{free_port()}/x", Host(), slow) as it:
        await eventually_async(lambda: it.totals.losses == 1)
        assert it.state is SessionState.WAITING
    async with server(mute) as url, connected(url, Host()) as it:
        await eventually_async(lambda: it.state is SessionState.SUBSCRIBED)
    async with server(stream) as url, connected(url, Host()) as it:
        await eventually_async(lambda: it.state is SessionState.STREAMING)
    with sockets.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        async with connected(f"ws://127.0.0.1:{listening.getsockname()[1]}/x", Host()) as it:
            await eventually_async(lambda: it.state is SessionState.CONNECTING)


async def test_a_fault_of_our_own_is_not_swallowed() -> None:
    """What the host raises ends the connection with that error, not with a reconnect."""

    class Broken(Host):
        def on_frames(self, *_: object) -> None:
            raise RuntimeError("ours")

    it = Connection(0, "", QUICK, Broken(), ConnectBudget(1000), SystemClock())
    async with server(stream) as url:
        it._url = url
        with pytest.raises(RuntimeError, match="ours"):
            await asyncio.wait_for(it.run(), 5)


async def test_many_reconnects_leave_nothing_behind(eventually_async: Eventually) -> None:
    """After 100 sockets as many tasks as after 10."""
    connects = 0

    async def handler(socket: ServerConnection) -> None:
        nonlocal connects
        connects += 1
        await socket.recv()
        await socket.send(trade(connects))
        socket.transport.abort()

    settings = QUICK.model_copy(update={"backoff_initial_s": 0.001, "backoff_max_s": 0.001})
    host = Host()
    async with server(handler) as url, connected(url, host, settings, per_s=10_000) as it:
        await eventually_async(lambda: it.totals.losses >= 10)
        after_ten = len(asyncio.all_tasks())
        await eventually_async(lambda: it.totals.losses >= 100, 15)
        assert len(asyncio.all_tasks()) <= after_ten + 5
        assert it.totals.connects - it.totals.losses <= 1
        assert len(host.events) <= it.totals.connects
