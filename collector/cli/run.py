"""`collector run`: the listener alone."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from contextlib import closing, suppress
from typing import ParamSpec, TypeVar

import redis

from collector.cli.store import greet
from collector.errors import BrokerUnavailable, CollectorError, ConfigurationError, LeaseLost
from collector.host import garbage
from collector.host.redis_server import find_url
from collector.listener import event_loop
from collector.listener.app import Listener, connect_redis, new_lease
from collector.listener.returning import Returning
from collector.settings import Settings
from collector.store.condition import WORTH_A_WARNING
from collector.store.read import Reader
from collector.util.signals import StopSignals

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

INTERRUPTED = 130


def run(settings: Settings) -> int:
    """Listen until SIGINT or SIGTERM; return the exit code."""
    return event_loop.run(_run(settings), settings.connection.coalesce_ms / 1000)


async def _run(settings: Settings) -> int:
    stop = asyncio.Event()
    received = watch_signals(stop)
    while not stop.is_set():
        await _standby(settings, stop)
        if stop.is_set():
            break
        listener = await _new_listener(settings)
        garbage.settle()
        log.info("listener %s: %s", listener.id, settings.exchange.websocket_url)
        try:
            await listener.run(stop)
            log.log(*listener.farewell())
        except LeaseLost as error:
            log.warning("%s; on standby", error)
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
    said = ""
    returning: Returning | None = None
    try:
        await _unless(stop, _greet, settings, client)
        while not stop.is_set():
            sentence = await _unless(stop, _why_wait, settings, client)
            if sentence is None:
                return
            if sentence != said:
                said = sentence
                log.warning("%s: on standby", sentence)
            returning = await asyncio.to_thread(_give_back, settings, client, returning)
            with suppress(TimeoutError):
                async with asyncio.timeout(settings.publish.lease_ttl_s / 6):
                    await stop.wait()
    finally:
        if returning is not None:
            await asyncio.to_thread(returning.stop)
        client.close()


def _give_back(settings: Settings, client: redis.Redis, returning: Returning | None) -> Returning | None:
    """Send what waits on our disk; return what does so until nothing is left."""
    try:
        if returning is None and Returning.is_needed(settings):
            returning = Returning(settings, client)
        if returning is not None and returning.look():
            returning.stop()
            return None
    except ConfigurationError as error:
        log.warning("the spool is not sent: %s", error)
    except BrokerUnavailable:
        log.debug("the spool waits for Redis")
    return returning


def _greet(settings: Settings, client: redis.Redis) -> None:
    """See that Redis answers, and log what of it will lose data.

    Raises:
        BrokerUnavailable: it refuses or does not answer.
    """
    greet(client, find_url(settings), settings.publish.socket_timeout_s)
    state = Reader(client, settings).condition()
    for problem in state.problems if state else ():
        if problem.kind in WORTH_A_WARNING:
            log.warning("Redis, %s: %s", problem.kind, problem.detail)


def _why_wait(settings: Settings, client: redis.Redis) -> str | None:
    """Take the lease; return why it can't be taken now, or None."""
    try:
        holder = new_lease(settings, client).take()
    except BrokerUnavailable as error:
        return str(error)
    return f"share {settings.shard} is served by {holder}" if holder else None


async def _unless(
    stop: asyncio.Event, work: Callable[P, T], *arguments: P.args, **named: P.kwargs
) -> T | None:
    """Return what `work` gives in a thread, or None at once when the stop comes: a Redis may hang."""
    working = asyncio.ensure_future(asyncio.to_thread(work, *arguments, **named))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not stop.is_set():
        return working.result()
    working.add_done_callback(lambda task: task.exception())  # of no interest any more
    return None


def watch_signals(stop: asyncio.Event) -> list[signal.Signals]:
    """Set `stop` at the first SIGINT or SIGTERM, leave at once at the second; return a list that fills up."""
    received: list[signal.Signals] = []
    signals = StopSignals()

    def on_signal(number: signal.Signals) -> None:
        if signals.arrived() > 1:
            os._exit(INTERRUPTED)
        received.append(number)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal, number)
    return received
