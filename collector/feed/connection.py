"""One WebSocket kept alive for ever: dial, subscribe, read, lose, wait, dial again.

The only module that imports `websockets`. It does the I/O and holds no policy: `Session` understands,
`Watchdog` judges, `ReconnectPolicy` decides. We own the reconnect loop because the library's own iterator
resets its delay after any handshake and treats HTTP 429 as fatal (`docs/decisions/0003`).
"""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.frames import Frame, Opcode
from websockets.protocol import Event

from collector.clock import Clock
from collector.errors import ConnectFailed, GaveUp
from collector.feed.framing import split_frames
from collector.feed.reconnect import ConnectBudget, GiveUp, ReconnectPolicy
from collector.feed.session import Input, MarketEvent, Session, SessionState, advance
from collector.settings import ConnectionSettings
from collector.stream.exchange_time import date_ms
from collector.util.network import Way, tls_context, way_to

log = logging.getLogger(__name__)

#: How often a silent socket is looked at.
CHECK_INTERVAL_S = 0.5
#: Frames read from the socket before reading pauses; the handler is synchronous, so this is short-lived.
_MAX_QUEUE = 256


@runtime_checkable
class ReadingTogether(Protocol):
    """An event loop that reads some sockets once in a cycle (`collector.listener.event_loop`)."""

    def read_together(self, fd: int) -> None:
        """Read this one so."""
        ...

    def on_read(self, size: int) -> None:
        """Take note that so many bytes were read of one at once."""
        ...


class FrameSocket(ClientConnection):
    """Hands the data frames of one read from the network to `on_frames` together.

    The library's parser, queue and `recv()` cost several times what we do with a frame, so whole data frames
    are cut out of the stream here. Control frames go to the library one by one; at the first frame that is
    anything else (a fragment, too large, not allowed) the library takes the stream over for good, and its
    events come through `process_event`. What `on_frames` raises is kept in `failure`.
    """

    on_frames: Callable[[Sequence[bytes]], None] | None = None
    failure: Exception | None = None
    #: None while the library parses the stream, else what of an unfinished frame has come so far.
    _rest: bytes | None = None
    _max_bytes = 0
    _on_read: Callable[[int], None] | None = None

    def take_over(self, on_frames: Callable[[Sequence[bytes]], None], max_bytes: int) -> None:
        """Hand frames to `on_frames` from now on; the library goes on parsing if it is in the middle of one.

        Args:
            max_bytes: a larger frame is refused by the library.
        """
        self.on_frames = on_frames
        self._max_bytes = max_bytes
        if isinstance(self.loop, ReadingTogether):
            self._on_read = self.loop.on_read
            self.loop.read_together(self.transport.get_extra_info("socket").fileno())
        if not self.protocol.reader.buffer:
            self._rest = b""

    def data_received(self, data: bytes) -> None:
        """Take what the network brought; overridden to cut frames out of it."""
        if self._on_read is not None:
            self._on_read(len(data))
        if self._rest is None:
            super().data_received(data)
            return
        split = split_frames(self._rest + data, self._max_bytes)
        self._rest = split.rest
        self._hand_on(split.frames)
        for frame in split.control:
            super().data_received(frame)
        if split.strange:
            self._rest = None
            super().data_received(split.strange)

    def process_event(self, event: Event) -> None:
        """Process one incoming event; overridden as the library's own subclasses do."""
        if self.on_frames is None or not isinstance(event, Frame) or not _is_whole(event):
            super().process_event(event)
        else:
            self._hand_on([bytes(event.data)])

    def _hand_on(self, frames: Sequence[bytes]) -> None:
        if not frames or self.on_frames is None or self.failure is not None:
            return
        try:
            self.on_frames(frames)
        except Exception as error:  # noqa: BLE001 - the event loop would swallow it; `_read` raises it
            self.failure = error
            self.transport.abort()


def _is_whole(frame: Frame) -> bool:
    return frame.fin and (frame.opcode is Opcode.BINARY or frame.opcode is Opcode.TEXT)


async def open_socket(url: str, way: Way, settings: ConnectionSettings) -> FrameSocket:
    """Open a socket to the exchange.

    Raises:
        ConnectFailed: it can't be opened, or is refused.
    """
    try:
        socket = await connect(
            url,
            compression=None,
            open_timeout=settings.open_timeout_s,
            close_timeout=settings.close_timeout_s,
            ping_interval=settings.ping_interval_s,
            ping_timeout=settings.ping_timeout_s,
            max_size=settings.max_frame_bytes,
            max_queue=_MAX_QUEUE,
            create_connection=FrameSocket,
            ssl=way.tls,
            **_proxy_options(way),
        )
        assert isinstance(socket, FrameSocket)  # noqa: S101 - `create_connection` made it
        return socket
    except InvalidStatus as error:
        status = error.response.status_code
        wait_s = _seconds(error.response.headers.get("Retry-After"))
        raise ConnectFailed(f"HTTP {status}{way.note}", status=status, retry_after_s=wait_s) from error
    except (OSError, WebSocketException, EOFError, UnicodeError) as error:
        # UnicodeError: a host name that cannot be one.
        raise ConnectFailed(f"{str(error) or type(error).__name__}{way.note}") from error


def _proxy_options(way: Way) -> dict[str, Any]:
    """Return the proxy arguments of `connect`, which would otherwise read the environment."""
    if way.proxy is None:
        return {"proxy": None}
    is_secure = way.proxy.url.startswith("https://")
    return {"proxy": way.proxy.url} | ({"proxy_ssl": tls_context()} if is_secure else {})


class ConnectionDelegate(Protocol):
    """What a connection needs from the listener it belongs to."""

    def new_session(self, connection: "Connection", now_s: float) -> Session:
        """Make the session of a socket that has just opened."""
        ...

    def subscribe_texts(self) -> list[str]:
        """Return what to send first."""
        ...

    def on_frames(
        self,
        connection: "Connection",
        events: Sequence[MarketEvent] | None,
        frames: Sequence[bytes],
        received_ms: int,
    ) -> None:
        """Take frames that came together, and what they carried (None: none was market data)."""
        ...

    def on_disconnected(self, connection: "Connection", reason: str) -> None:
        """Take note that the socket is gone."""
        ...

    def on_date(self, server_ms: int) -> None:
        """Take the time that the exchange's server names in the handshake, epoch ms."""
        ...


@dataclass(slots=True)
class ConnectionTotals:
    """Figures of a connection over all its sockets."""

    connects: int = 0
    losses: int = 0
    frames: int = 0
    last_frame_ms: int | None = None


class Connection:
    """One of the redundant connections of a listener.

    Raises:
        ConfigurationError: a proxy is set that can't be used.
    """

    def __init__(
        self,
        number: int,
        url: str,
        settings: ConnectionSettings,
        delegate: ConnectionDelegate,
        budget: ConnectBudget,
        clock: Clock,
        *,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.number = number
        self.state = SessionState.WAITING
        #: Set while data flows.
        self.streaming = asyncio.Event()
        self.totals = ConnectionTotals()
        self.session: Session | None = None
        self.last_loss: str | None = None
        self._url = url
        self._way = way_to(url)
        self._settings = settings
        self._delegate = delegate
        self._budget = budget
        self._clock = clock
        self._jitter = jitter
        self._policy = ReconnectPolicy(settings)
        self._failures = 0

    def __repr__(self) -> str:
        totals = self.totals
        return f"<Connection {self.number} {self.state}, {totals.connects} connects, {totals.frames} frames>"

    async def run(self) -> None:
        """Stay connected until cancelled.

        Raises:
            GaveUp: after `retries_max` failures in a row, where such a limit is set.
        """
        try:
            while True:
                cause = await self._live_once()
                await self._wait_to_retry(cause)
        finally:
            if self.state is not SessionState.GAVE_UP:
                self.state = advance(self.state, Input.STOP)

    async def _live_once(self) -> Exception:
        """Live through one socket; return what ended it."""
        await asyncio.sleep(self._budget.reserve(self._clock.monotonic()))
        self.state = advance(self.state, Input.DIAL)
        reason = "connect_failed"
        cause: Exception
        try:
            async with await open_socket(self._url, self._way, self._settings) as socket:
                self._opened(socket)
                reason, cause = await self._converse(socket)
        except ConnectFailed as error:
            cause = error
        except (ConnectionClosed, OSError) as error:  # broke while subscribing or closing
            reason, cause = "disconnected", error
        self._lost(reason, cause)
        return cause

    def _opened(self, socket: FrameSocket) -> None:
        headers = {} if socket.response is None else socket.response.headers
        server_ms = date_ms(headers.get("Date"))
        if server_ms is not None:
            self._delegate.on_date(server_ms)
        self.state = advance(self.state, Input.OPENED)
        self.totals.connects += 1
        self.session = self._delegate.new_session(self, self._clock.monotonic())
        log.debug("connection %d is open", self.number)

    async def _converse(self, socket: FrameSocket) -> tuple[str, Exception]:
        """Subscribe and read until the socket ends or stalls; return why."""
        await self._send(socket, self._delegate.subscribe_texts())
        reader = asyncio.create_task(self._read(socket))
        try:
            while True:
                done, _ = await asyncio.wait({reader}, timeout=CHECK_INTERVAL_S)
                if done:
                    return reader.result()
                if stall := self._check():
                    socket.transport.abort()
                    return "stalled", stall
                await self._ask_again(socket)
        finally:
            reader.cancel()
            await asyncio.wait({reader})

    async def _read(self, socket: FrameSocket) -> tuple[str, Exception]:
        """Hand every frame to the session, synchronously, so that the socket is always drained."""
        session = self.session
        assert session is not None  # noqa: S101 - set by `_opened`
        socket.take_over(self._on_frames, self._settings.max_frame_bytes)
        try:
            while True:
                self._on_frames([await socket.recv(decode=False)])
        except ConnectionClosed as error:
            if socket.failure is not None:
                raise socket.failure from None
            if session.server_error is not None:
                refusal = session.server_error
                return "server_error", ConnectFailed(f"{refusal.name}: {refusal.message}")
            return "disconnected", error

    def _on_frames(self, frames: Sequence[bytes]) -> None:
        """Take frames that came together: one look at the clock serves all."""
        session = self.session
        if session is None:  # the socket is being closed
            return
        received_ms, now_s = self._clock.now_ms(), self._clock.monotonic()
        self.totals.frames += len(frames)
        self.totals.last_frame_ms = received_ms
        events = session.on_frames(frames, received_ms, now_s)
        if events is not None and self.state is SessionState.SUBSCRIBED:
            self.state = advance(self.state, Input.DATA)
            self.streaming.set()
            log.debug("connection %d is streaming", self.number)
        self._delegate.on_frames(self, events, frames, received_ms)

    def _check(self) -> Exception | None:
        assert self.session is not None  # noqa: S101 - set by `_opened`
        now_s = self._clock.monotonic()
        if self._failures and self.session.healthy_since(now_s) >= self._settings.healthy_after_s:
            self._failures = 0
        stall = self.session.check(now_s)
        if stall is None:
            return None
        self.session.on_stall(stall)
        return ConnectFailed(
            f"{stall.channel} is silent for {stall.silent_s:.1f} s, limit {stall.limit_s:.1f} s"
        )

    async def _ask_again(self, socket: FrameSocket) -> None:
        assert self.session is not None  # noqa: S101 - set by `_opened`
        texts = self.session.requests(self._clock.monotonic())
        if texts:
            await self._send(socket, texts)

    async def _send(self, socket: FrameSocket, texts: Sequence[str]) -> None:
        async with asyncio.timeout(self._settings.open_timeout_s):
            for text in texts:
                await socket.send(text)

    def _lost(self, reason: str, cause: Exception) -> None:
        self.state = advance(self.state, Input.LOST)
        self.streaming.clear()
        self.totals.losses += 1
        self._failures += 1
        self.last_loss = f"{reason}: {cause}"
        self._delegate.on_disconnected(self, reason)
        self.session = None

    async def _wait_to_retry(self, cause: Exception) -> None:
        decision = self._policy.decide(self._failures, cause, self._jitter)
        if isinstance(decision, GiveUp):
            self.state = advance(self.state, Input.GIVE_UP)
            raise GaveUp(
                f"{self._url}: gave up after {decision.failures} failures in a row, last: {self.last_loss}"
            )
        log.debug("connection %d lost (%s); again in %.1f s", self.number, self.last_loss, decision.delay_s)
        await asyncio.sleep(decision.delay_s)


def _seconds(text: str | None) -> float | None:
    """Read a Retry-After header given in seconds."""
    return float(text) if text and text.isdecimal() else None
