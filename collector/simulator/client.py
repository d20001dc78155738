"""One client's WebSocket on the server: what it asked for, when it last spoke, what it is owed."""

import asyncio
from collections import deque
from collections.abc import Sequence

from websockets.asyncio.server import ServerConnection, broadcast
from websockets.protocol import State

from collector.simulator.current import UP
from collector.simulator.dialect import Dialect
from collector.simulator.options import SimulatorOptions
from collector.simulator.requests import Subscription
from collector.simulator.wire import Payload, data_frames


class Socket(ServerConnection):
    """A server connection that remembers when the peer last sent anything, control frames included."""

    heard_at = 0.0

    def data_received(self, data: bytes) -> None:
        self.heard_at = self.loop.time()
        super().data_received(data)


class Client:
    """The server's side of one open socket."""

    def __init__(self, number: int, socket: Socket, dialect: Dialect, options: SimulatorOptions) -> None:
        self.number = number
        self.dialect = dialect
        self.subscription = Subscription()
        #: Frames written to it so far.
        self.frames = 0
        self._socket = socket
        self._options = options
        self._as_text = not (dialect.binary and options.binary)
        self._sent_at = socket.heard_at = asyncio.get_running_loop().time()
        self._asked: deque[tuple[float, Subscription]] = deque()
        self._up_at: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether frames can still be sent."""
        return self._socket.state is State.OPEN and not self._socket.transport.is_closing()

    @property
    def waiting_bytes(self) -> int:
        """What was written but not yet taken by the peer."""
        return self._socket.transport.get_write_buffer_size()

    @property
    def requested(self) -> Subscription:
        """The newest request, whether it has taken effect or not."""
        return self._asked[-1][1] if self._asked else self.subscription

    def ask(self, subscription: Subscription, now: float) -> None:
        """Note a request; it takes effect after the usual delay, until then the one before runs on."""
        self._asked.append((now + self._options.snapshot_delay_s, subscription))

    def next_effective(self, now: float) -> Subscription | None:
        """Return the next request that takes effect by now, once each."""
        if not self._asked or now < self._asked[0][0]:
            return None
        _, self.subscription = self._asked.popleft()
        return self.subscription

    def start_ups(self, now: float) -> None:
        """Begin the endless series that one text `PING` asks for."""
        if self._up_at is None:
            self._up_at = now + self._options.up_first_s

    def up_due(self, now: float) -> tuple[bytes, ...]:
        """Return the keepalive frame when its time has come."""
        if self._up_at is None or now < self._up_at:
            return ()
        self._up_at += self._options.up_interval_s
        return (UP,)

    def is_idle(self, now: float) -> bool:
        """Whether nothing was sent or received for the idle time."""
        return now - max(self._sent_at, self._socket.heard_at) >= self._options.idle_timeout_s

    def send(self, payloads: Sequence[Payload], now: float) -> None:
        """Write frames without waiting; the transport's buffer holds what the peer does not take."""
        if not payloads or not self.is_open:
            return
        self._sent_at = now
        self.frames += len(payloads)
        if self._as_text:
            payloads = [
                each.decode(errors="replace") if isinstance(each, bytes) else each for each in payloads
            ]
        if self._socket.protocol.extensions:
            for payload in payloads:
                broadcast([self._socket], payload)
        else:
            self._socket.transport.write(data_frames(payloads))

    async def close(self, code: int) -> None:
        """Close with the closing handshake."""
        await self._socket.close(code)

    def cut(self) -> None:
        """Drop the connection without a close frame, as the exchange does when idle: 1006."""
        self._socket.transport.abort()
