"""`collector record`: the raw frames of one connection to a file, for `replay` and for tests."""

import asyncio
import logging
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from collector.cli.render import output
from collector.cli.run import INTERRUPTED, watch_signals
from collector.clock import SystemClock
from collector.errors import RestError
from collector.feed.connection import Connection
from collector.feed.reconnect import ConnectBudget
from collector.feed.rest_client import RestClient
from collector.feed.session import MarketEvent, Session
from collector.feed.watchdog import new_rhythms
from collector.listener.markets import choose, plain_names
from collector.protocol.choice import new_codec
from collector.protocol.codec import Subscription
from collector.recording import Frame, Limits, RecordingWriter, RotatingWriter
from collector.settings import Settings
from collector.store.read import to_json

log = logging.getLogger(__name__)


#: Either takes frames.
Writer = RecordingWriter | RotatingWriter


def record(
    settings: Settings, file: Path, seconds: float | None, limits: Limits, *, as_json: bool = False
) -> int:
    """Record until `seconds` have passed or a signal comes; return the exit code.

    Args:
        settings: where the exchange is, and what to subscribe to.
        file: the recording; with `limits` its index, beside its numbered files.
        seconds: None = until a signal.
        limits: when a file is full and the next one begins.
        as_json: print the summary as JSON.
    """
    return asyncio.run(_record(settings, file, seconds, limits, as_json))


async def _record(
    settings: Settings, file: Path, seconds: float | None, limits: Limits, as_json: bool
) -> int:
    stop = asyncio.Event()
    received = watch_signals(stop)
    clock = SystemClock()
    subscription = Subscription(await _markets(settings), settings.channels)
    exchange = settings.exchange
    about = (file, exchange.protocol, exchange.websocket_url, clock.now_ms())
    with RotatingWriter(*about, limits) if any(limits) else RecordingWriter(*about) as writer:
        recorder = Recorder(settings, subscription, writer)
        connection = Connection(
            0,
            exchange.websocket_url,
            settings.connection,
            recorder,
            ConnectBudget(settings.connection.connects_per_s),
            clock,
        )
        task = asyncio.create_task(connection.run())
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await _first_of(task, stop)
        if task.done():
            task.result()
        task.cancel()
        await asyncio.wait({task})
    markets = len(subscription.markets)
    if as_json:
        output.write(to_json({"frames": recorder.frames, "markets": markets, "file": str(file)}))
    else:
        output.write(f"{recorder.frames} frames of {markets} markets in {file}")
    return INTERRUPTED if signal.SIGINT in received else 0


async def _markets(settings: Settings) -> tuple[str, ...]:
    async with RestClient(settings.exchange, SystemClock()) as rest:
        try:
            chosen = choose(settings.markets, await rest.markets())
            for sentence in chosen.missing:
                log.warning("COLLECTOR_MARKETS: %s; going on with the others", sentence)
            return chosen.markets
        except RestError:
            names = plain_names(settings.markets)
            if names is None:
                raise
            return names


async def _first_of(task: asyncio.Task[None], stop: asyncio.Event) -> None:
    waiting = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()


class Recorder:
    """Host of a connection that writes every frame down."""

    def __init__(self, settings: Settings, subscription: Subscription, writer: Writer) -> None:
        self.frames = 0
        self._settings = settings
        self._subscription = subscription
        self._writer = writer
        self._rhythms = new_rhythms(settings.connection)

    def new_session(self, connection: Connection, now_s: float) -> Session:  # noqa: ARG002 - the Host protocol
        """Make a session; it is only asked whether the socket is alive."""
        codec = new_codec(self._settings.exchange)
        return Session(codec, self._subscription, self._rhythms, self._settings.connection, now_s)

    def subscribe_texts(self) -> list[str]:
        """Return what the socket sends first."""
        return new_codec(self._settings.exchange).subscribe(self._subscription)

    def on_frames(
        self,
        connection: Connection,
        events: Sequence[MarketEvent] | None,  # noqa: ARG002 - the Host protocol
        frames: Sequence[bytes],
        received_ms: int,
    ) -> None:
        """Write the frames down."""
        for raw in frames:
            self._writer.append(Frame(received_ms * 1000, raw, binary=True, connection=connection.number))
        self.frames += len(frames)

    def on_date(self, server_ms: int) -> None:
        """Take no note: frames are recorded with the time of their arrival here."""

    def on_disconnected(self, connection: Connection, reason: str) -> None:
        """Say so; the recording goes on with the next socket."""
        log.warning("connection %d lost (%s)", connection.number, reason)
