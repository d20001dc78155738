"""`collector replay`: a recorded session through the whole pipeline."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from collector.app import connect_redis, new_codec
from collector.clock import SystemClock
from collector.commands.up import all_roles
from collector.errors import BrokerUnavailable
from collector.publish.probe import Probe
from collector.publish.sender import Sender
from collector.recording import Recording, open_recording
from collector.redis_server import find_url
from collector.replay import Replay
from collector.roles import log_dir
from collector.settings import Settings
from collector.supervisor import Supervisor

log = logging.getLogger(__name__)

_READY_TIMEOUT_S = 30.0


def replay(settings: Settings, file: Path, *, speed: float, workers: int) -> int:
    """Send `file` to the running workers, or to some of our own if nothing runs yet; return the exit code."""
    recording = open_recording(file)
    try:
        find_url(settings)
    except BrokerUnavailable:
        asyncio.run(_with_own_workers(settings, workers, lambda: _send(settings, recording, speed)))
    else:
        _send(settings, recording, speed)
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


def _send(settings: Settings, recording: Recording, speed: float) -> None:
    exchange = settings.exchange.model_copy(update={"protocol": recording.protocol})
    shards = settings.batch.shards
    queues = ["trade", "orderbook", "ticker", *(f"trade.{n}" for n in range(shards) if shards > 1)]
    client = connect_redis(settings)
    try:
        probe = Probe(client, queues, clock=SystemClock())
        run = Replay(settings, recording.protocol, lambda: new_codec(exchange), Sender(None), probe.read)
        try:
            run.run(recording, speed)
        finally:
            run.wait_for_workers(0)
            print(_summary(run))
    finally:
        client.close()


def _summary(run: Replay) -> str:
    counts = run.counts
    rejected = sum(count for name, count in counts.items() if name.startswith("rejected:"))
    return (
        f"{counts['frames']} frames: {counts['trade_rows']} trades, {counts['orderbook_rows']} order books "
        f"({counts['books_repeated']} repeats left out), {counts['ticker_rows']} tickers, {rejected} refused"
    )
