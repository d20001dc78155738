"""A thousand reconnects leave nothing behind: no task, no thread, no descriptor, no memory.

The exchange is a process of its own: what it remembers is not the listener's. A busy time before the first
look fills what the listener remembers by design: its last 4,000 frames alone are some MiB.
"""

import asyncio
import ctypes
import gc
import logging
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import psutil
import pytest
from pydantic import SecretStr

from collector.listener.app import Listener
from collector.publish.sender import Envelope
from collector.settings import ConnectionSettings, ExchangeSettings, Settings
from tests.acceptance.scenarios.processes import Process
from tests.doubles.ports import free_port

CUTS = ("--faults", "cut@1s/400ms")
BUSY_RATE, CALM_RATE = 200, 20
WARM, MANY = 150, 1000
#: Of a thousand reconnects: noise of C's allocator, and sets of trade ids that still fill.
GROWTH_MB = 2.0
#: Containers come and go by hundreds with the frames in hand; a leak of one per reconnect is more.
GROWTH_OBJECTS = MANY // 2
#: A hole may still be asked for; the figures at rest are the lowest of so many seconds.
LOOK_S = 5.0
TIMEOUT_S = 900


class Look(NamedTuple):
    """What a listener holds."""

    tasks: int
    threads: int
    #: Beside the connections to Redis: of those a pool keeps as many as threads ever needed at once.
    descriptors: int
    redis: int
    objects: int
    memory_mb: float


class Nowhere:
    """A transport that counts."""

    def __init__(self) -> None:
        self.rows = 0

    def send(self, *letters: Envelope) -> None:
        self.rows += sum(letter.rows for letter in letters)

    def limit_rates(self, limits: object) -> None:
        pass


@pytest.mark.soak
@pytest.mark.timeout(TIMEOUT_S + 60)
async def test_a_thousand_reconnects_leave_nothing_behind(
    redis_url: str,
    tmp_path: Path,
    eventually_async: Callable[..., Awaitable[None]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Both sockets are cut every 400 ms; a thousand reconnects later the figures are the same."""
    caplog.set_level(logging.CRITICAL, "collector")  # pytest keeps what is logged, thousands of lost sockets
    port = free_port()
    listener = Listener(_settings(port, redis_url, tmp_path), sender=Nowhere())

    async def reconnects(count: int) -> None:
        wanted = _connects(listener) + count
        await eventually_async(lambda: _connects(listener) >= wanted, TIMEOUT_S)

    async def look() -> Look:
        async with _exchange(port, tmp_path, CALM_RATE):
            await eventually_async(lambda: _is_streaming(listener), 30, "both sockets stream")
            return await _at_rest(urlsplit(redis_url).port)

    stop = asyncio.Event()
    running = asyncio.create_task(listener.run(stop))
    try:
        async with _exchange(port, tmp_path, BUSY_RATE, *CUTS):
            await reconnects(WARM)
        warm = await look()
        async with _exchange(port, tmp_path, CALM_RATE, *CUTS):
            await reconnects(MANY)
        many = await look()
    finally:
        stop.set()
        await running
    print(f"\nbefore and after {MANY} reconnects: {warm}, {many}")
    assert (many.tasks, many.threads, many.descriptors) == (warm.tasks, warm.threads, warm.descriptors)
    assert many.redis <= many.threads
    assert many.objects - warm.objects < GROWTH_OBJECTS
    assert many.memory_mb - warm.memory_mb < GROWTH_MB


@asynccontextmanager
async def _exchange(port: int, folder: Path, rate: int, *options: str) -> AsyncIterator[None]:
    """The exchange at `port` for a while."""
    argv = ("simulate", "--port", str(port), "--markets", "5", "--rate", str(rate), *options)
    exchange = Process("exchange", ("-m", "collector", *argv), {}, folder)
    try:
        await asyncio.to_thread(exchange.start)
        yield
    finally:
        await asyncio.to_thread(exchange.kill)


def _connects(listener: Listener) -> int:
    return sum(connection.totals.connects for connection in listener.connection_group.connections)


def _is_streaming(listener: Listener) -> bool:
    states = [str(connection.state) for connection in listener.connection_group.connections]
    return states == ["streaming"] * 2


async def _at_rest(redis_port: int | None) -> Look:
    """Return the figures of the quietest moments of some seconds."""
    process = psutil.Process()
    looks = []
    until = time.monotonic() + LOOK_S
    while time.monotonic() < until:
        await asyncio.sleep(0.1)
        gc.collect()
        _give_back()
        memory_mb = round(process.memory_info().rss / (1 << 20), 1)
        tasks, threads = len(asyncio.all_tasks()), threading.active_count()
        peers = [connection.raddr for connection in process.net_connections("tcp")]
        to_redis = sum(bool(peer) and peer.port == redis_port for peer in peers)
        descriptors = process.num_fds() - to_redis
        looks.append((tasks, threads, descriptors, to_redis, len(gc.get_objects()), memory_mb))
    return Look(*map(min, zip(*looks, strict=True)))


def _give_back() -> None:
    """Let C's allocator return what is free, which hundreds of MB of earlier tests may have left it."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _settings(port: int, redis_url: str, folder: Path) -> Settings:
    return Settings(
        redis_url=SecretStr(redis_url),
        data_dir=folder,
        markets=("*",),
        exchange=ExchangeSettings(
            websocket_url=f"ws://127.0.0.1:{port}/websocket/v1", rest_url=f"http://127.0.0.1:{port}"
        ),
        connection=ConnectionSettings(
            connects_per_s=5, backoff_initial_s=0.05, backoff_max_s=0.1, healthy_after_s=0.1, stagger_s=0.1
        ),
    )
