"""`collector run`: the listener alone."""

import asyncio
import logging
import os
import signal

from collector.app import Listener
from collector.settings import Settings

log = logging.getLogger(__name__)

INTERRUPTED = 130


def run(settings: Settings) -> int:
    """Listen until SIGINT or SIGTERM; return the exit code."""
    return asyncio.run(_run(settings))


async def _run(settings: Settings) -> int:
    stop = asyncio.Event()
    received = watch_signals(stop)
    listener = Listener(settings)
    log.info("listener %s: %s", listener.id, settings.exchange.websocket_url)
    await listener.run(stop)
    log.info("stopped, everything flushed")
    return INTERRUPTED if signal.SIGINT in received else 0


def watch_signals(stop: asyncio.Event) -> list[signal.Signals]:
    """Set `stop` at the first SIGINT or SIGTERM, leave at once at the second; return a list that fills up."""
    received: list[signal.Signals] = []

    def on_signal(number: signal.Signals) -> None:
        if received:
            os._exit(INTERRUPTED)
        received.append(number)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal, number)
    return received
