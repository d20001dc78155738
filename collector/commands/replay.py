"""`collector replay`: a recorded session through the whole pipeline."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from collector.app import connect_redis, new_codec
from collector.clock import SystemClock
from collector.commands.progress import progress
from collector.commands.up import all_roles
from collector.errors import BrokerUnavailable
from collector.publish.probe import Probe
from collector.publish.sender import Sender
from collector.recording import Frame, Recording, open_recording
from collector.redis_server import find_url
from collector.render import output
from collector.replay import Replay
from collector.roles import log_dir
from collector.settings import Settings
from collector.supervisor import Supervisor
from tasks.read import to_json

log = logging.getLogger(__name__)

_READY_TIMEOUT_S = 30.0


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
) -> int:
    """Send `file` to the running workers, or to some of our own if nothing runs yet; return the exit code."""
    recording = open_recording(file, *(None if ms is None else ms * 1000 for ms in stretch))

    def work() -> None:
        _send(settings, recording, speed, stretch, as_json=as_json)

    try:
        find_url(settings)
    except BrokerUnavailable:
        asyncio.run(_with_own_workers(settings, workers, work))
    else:
        work()
    return 0


async def _with_own_workers(settings: Settings, workers: int, work: Callable[[], None]) -> None:
    """Run `work` in a thread while a private Redis and workers run; stop them afterwards."""
    with all_roles(settings, workers=workers, listener=False) as (roles, _):
        supervisor = Supervisor(roles, log_dir(settings))
        running = asyncio.create_task(supervisor.run())
        try:
            await _until_redis(settings, running)
            working = asyncio.create_task(asyncio.to_thread(work))
            await asyncio.wait({working, running}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                working.result()
        finally:
            supervisor.stop()
            await running


async def _until_redis(settings: Settings, running: asyncio.Task[bool]) -> None:
    async with asyncio.timeout(_READY_TIMEOUT_S):
        while not running.done():
            try:
                find_url(settings)
                return
            except BrokerUnavailable:
                await asyncio.sleep(0.1)


def _send(settings: Settings, recording: Recording, speed: float, stretch: Stretch, *, as_json: bool) -> None:
    exchange = settings.exchange.model_copy(update={"protocol": recording.protocol})
    shards = settings.batch.shards
    queues = ["trade", "orderbook", "ticker", *(f"trade.{n}" for n in range(shards) if shards > 1)]
    client = connect_redis(settings)
    try:
        probe = Probe(client, queues, clock=SystemClock())
        run = Replay(settings, recording.protocol, lambda: new_codec(exchange), Sender(None), probe.read)
        try:
            with progress(recording.path.name, recording.size) as step:
                run.run(_within(recording.frames(step), stretch), speed)
        finally:
            run.wait_for_workers(0)
            output.write(_json(run) if as_json else _summary(run))
    finally:
        client.close()


def _within(frames: Iterable[Frame], stretch: Stretch) -> Iterator[Frame]:
    """Yield the frames received in the stretch, both ends included."""
    from_ms, to_ms = stretch
    for frame in frames:
        if (from_ms is None or frame.received_ms >= from_ms) and (
            to_ms is None or frame.received_ms <= to_ms
        ):
            yield frame


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
