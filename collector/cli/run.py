"""`collector run`: the listener alone."""

import asyncio
import logging
import os
import signal
from contextlib import closing, suppress

from collector.cli.store import greet
from collector.errors import BrokerUnavailable, CollectorError, LeaseLost
from collector.host.redis_server import find_url
from collector.listener import loop
from collector.listener.app import Listener, connect_redis, new_lease
from collector.settings import Settings

log = logging.getLogger(__name__)

INTERRUPTED = 130


def run(settings: Settings) -> int:
    """Listen until SIGINT or SIGTERM; return the exit code."""
    return loop.run(_run(settings), settings.connection.rest_ms / 1000)


async def _run(settings: Settings) -> int:
    stop = asyncio.Event()
    received = watch_signals(stop)
    while not stop.is_set():
        await _standby(settings, stop)
        if stop.is_set():
            break
        listener = await _new_listener(settings)
        log.info("listener %s: %s", listener.id, settings.exchange.websocket_url)
        try:
            await listener.run(stop)
        except LeaseLost as error:
            log.warning("%s; on standby", error)
    log.info("stopped, everything flushed")
    return INTERRUPTED if signal.SIGINT in received else 0


async def _new_listener(settings: Settings) -> Listener:
    """Make a listener; one that can't be made (no room for its spool) does not keep its share from others."""
    try:
        return Listener(settings)
    except CollectorError:
        client = connect_redis(settings)
        with closing(client), suppress(BrokerUnavailable):
            await asyncio.to_thread(new_lease(settings, client).give_up)
        raise


async def _standby(settings: Settings, stop: asyncio.Event) -> None:
    """Wait until no other listener serves our share.

    Raises:
        BrokerUnavailable: Redis refuses or does not answer; there is nothing to begin with.
    """
    client = connect_redis(settings)
    lease = new_lease(settings, client)
    said = ""
    try:
        await asyncio.to_thread(greet, client, find_url(settings), settings.publish.socket_timeout_s)
        while (holder := await asyncio.to_thread(lease.take)) and not stop.is_set():
            if holder != said:
                said = holder
                log.warning("share %s is served by %s: on standby", settings.shard, holder)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), settings.publish.lease_ttl_s / 6)
    finally:
        client.close()


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
