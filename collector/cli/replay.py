"""`collector replay`: a recorded session through the whole pipeline."""

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

from collector.cli.progress import progress
from collector.cli.render import output
from collector.cli.run import INTERRUPTED
from collector.cli.serve import MISSING, page_url
from collector.cli.store import check_room, greet
from collector.cli.up import all_roles, page_port
from collector.clock import SystemClock
from collector.errors import BrokerUnavailable, ConfigurationError
from collector.host.redis_client import connect
from collector.host.redis_server import find_url
from collector.host.services import log_dir
from collector.host.supervisor import Supervisor
from collector.listener.app import connect_redis
from collector.listener.replay import Replay
from collector.publish.probe import Probe
from collector.publish.sender import Sender
from collector.recording import Frame, Recording, open_recording
from collector.routing import ORDERBOOK, TICKER, trade_queues
from collector.settings import Settings
from collector.store.read import to_json
from collector.util.signals import StopSignals
from collector.util.times import Span, nothing

log = logging.getLogger(__name__)

#: First and last millisecond of receipt, None = without end.
Stretch = tuple[int | None, int | None]


def replay(
    settings: Settings,
    file: Path,
    *,
    speed: float,
    workers: int,
    stretch: Stretch = (None, None),
    as_json: bool = False,
    serve: bool = False,
) -> int:
    """Send `file` to the running workers, or to some of our own if nothing runs yet; return the exit code.

    Args:
        serve: beside our own workers serve the page, until a signal.
    """
    recording = open_recording(file, *(None if ms is None else ms * 1000 for ms in stretch))
    stop = threading.Event()

    def send() -> None:
        _send(settings, recording, speed, stretch, stop, as_json=as_json)

    try:
        url = find_url(settings)
    except BrokerUnavailable:
        asyncio.run(_with_own_workers(settings, workers, stop, send, serve=serve))
    else:
        if serve:
            log.info("a system is running already: what is sent is on its page")
        _check(url, settings)
        _on_signals(stop)
        send()
    return INTERRUPTED if stop.is_set() else 0


def _check(url: str, settings: Settings) -> None:
    with closing(connect(url, settings)) as client:
        greet(client, url, settings.publish.socket_timeout_s)
        check_room(client, url)


def _on_signals(stop: threading.Event) -> None:
    """Set `stop` at the first SIGINT or SIGTERM, leave at once at the second."""
    signals = StopSignals()

    def on_signal(number: int, _: object) -> None:  # noqa: ARG001 - what `signal` calls with
        if signals.arrived() > 1:
            os._exit(INTERRUPTED)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)


async def _with_own_workers(
    settings: Settings, workers: int, stop: threading.Event, work: Callable[[], None], *, serve: bool
) -> None:
    """Run `work` in a thread while a private Redis and workers run; stop them afterwards.

    With a page that is after a signal.
    """
    port = page_port(settings) if serve else None
    if serve and port is None:
        raise ConfigurationError(MISSING)
    with all_roles(settings, workers=workers, serve_port=port, listener=False) as (roles, _):
        # A signal ends the work first: what it has read still goes to Redis.
        supervisor = Supervisor(roles, log_dir(settings), on_signal=stop.set)
        running = asyncio.create_task(supervisor.run())
        try:
            if await _finds_redis(settings, running, stop):
                if port is not None:
                    log.info("serving %s", page_url(settings.serve.host, port))
                await _work(work, running, stop)
                if port is not None and not stop.is_set():
                    log.info("all is sent; the page stays until Ctrl-C")
                    signalled = asyncio.create_task(asyncio.to_thread(stop.wait))
                    await asyncio.wait({signalled, running}, return_when=asyncio.FIRST_COMPLETED)
                    stop.set()  # also where a role failed: its error is that of `running`
        finally:
            supervisor.stop()
            await running


async def _finds_redis(settings: Settings, running: asyncio.Task[bool], stop: threading.Event) -> bool:
    """Wait for the private Redis; False after a signal, or where the supervisor gave up and reported why."""
    while not running.done() and not stop.is_set():
        try:
            find_url(settings)
            return True
        except BrokerUnavailable:
            await asyncio.sleep(0.1)
    return False


async def _work(work: Callable[[], None], running: asyncio.Task[bool], stop: threading.Event) -> None:
    working = asyncio.create_task(asyncio.to_thread(work))
    await asyncio.wait({working, running}, return_when=asyncio.FIRST_COMPLETED)
    if not working.done():  # a second signal, or a role that failed: the error is that of `running`
        stop.set()
        await asyncio.wait({working})
        working.exception()
        return
    working.result()


def _send(
    settings: Settings,
    recording: Recording,
    speed: float,
    stretch: Stretch,
    stop: threading.Event,
    *,
    as_json: bool,
) -> None:
    queues = [*trade_queues(settings.batch.trade_queues), ORDERBOOK, TICKER]
    client = connect_redis(settings)
    try:
        probe = Probe(client, queues, clock=SystemClock())
        sender = Sender(client, None)
        run = Replay(settings, recording.protocol, sender, probe.read, stop)
        cut = _Cut(stretch)
        broken: ConfigurationError | None = None
        try:
            with progress(recording.path.name, recording.size) as step:
                run.run(cut.within(recording.frames(step)), speed)
        except ConfigurationError as error:  # the file is cut: what is whole counts
            broken = error
        run.wait_for_workers(0)
        if empty := cut.nothing(recording.path, settings.zone):
            log.warning("%s", empty)
        output.write(_json(run) if as_json else _summary(run))
        if broken is not None:
            raise broken
    finally:
        client.close()


@dataclass
class _Cut:
    """Takes the frames received in a stretch, both ends included, and remembers what there was."""

    stretch: Stretch
    taken: int = 0
    known: Span | None = None

    def within(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Yield those frames."""
        from_ms, to_ms = self.stretch
        for frame in frames:
            at_ms = frame.received_ms
            self.known = Span(self.known.from_ms if self.known else at_ms, at_ms)
            if (from_ms is None or at_ms >= from_ms) and (to_ms is None or at_ms <= to_ms):
                self.taken += 1
                yield frame

    def nothing(self, path: Path, zone: ZoneInfo) -> str:
        """Return the sentence about a stretch without frames, else an empty text."""
        asked = Span(*self.stretch)
        if self.taken or asked == (None, None):
            return ""
        return f"{path}: {nothing('frames', None, asked, self.known, zone)}"


def _rejected(run: Replay) -> int:
    return sum(count for name, count in run.counts.items() if name.startswith("rejected:"))


def _summary(run: Replay) -> str:
    counts = run.counts
    return (
        f"{counts['frames']} frames: {counts['trade_rows']} trades, {counts['orderbook_rows']} order books "
        f"({counts['books_repeated']} repeats left out), {counts['ticker_rows']} tickers, "
        f"{_rejected(run)} refused"
    )


def _json(run: Replay) -> str:
    names = {
        "frames": "frames",
        "trades": "trade_rows",
        "orderbooks": "orderbook_rows",
        "orderbooks_repeated": "books_repeated",
        "tickers": "ticker_rows",
    }
    return to_json(
        {**{name: run.counts[counter] for name, counter in names.items()}, "refused": _rejected(run)}
    )
