"""A thousand reconnects leave nothing behind: no task, no thread, no descriptor, no memory.

The exchange is a process of its own: what it remembers is not the listener's. The first reconnects fill what
is kept of the last frames.
"""

import asyncio
import gc
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
import pytest
from pydantic import SecretStr

from collector.app import Listener
from collector.publish.sender import Letter
from collector.settings import ConnectionSettings, ExchangeSettings, Settings
from tests.scenarios.processes import Process
from tests.scenarios.system import free_port

WARM, MANY = 100, 1100
GROWTH_MB = 8
TIMEOUT_S = 900


class Nowhere:
    """A transport that counts."""

    def __init__(self) -> None:
        self.rows = 0

    def send(self, letter: Letter) -> None:
        self.rows += letter.rows

    def limit_rates(self, limits: object) -> None:
        pass


@pytest.mark.soak
@pytest.mark.timeout(TIMEOUT_S + 60)
async def test_a_thousand_reconnects_leave_nothing_behind(
    redis_url: str, tmp_path: Path, eventually_async: Callable[..., Awaitable[None]]
) -> None:
    """Both sockets are cut every 400 ms; a thousand reconnects later the figures are the same."""
    port = free_port()
    options = ("--port", str(port), "--markets", "5", "--rate", "20", "--faults", "cut@1s/400ms")
    with Process("exchange", ("-m", "collector", "simulate", *options), {}, tmp_path) as exchange:
        exchange.wait_until(lambda: "rest " in exchange.output())
        listener = Listener(_settings(port, redis_url, tmp_path), sender=Nowhere())

        def connects() -> int:
            return sum(connection.totals.connects for connection in listener.fleet.connections)

        stop = asyncio.Event()
        running = asyncio.create_task(listener.run(stop))
        try:
            await eventually_async(lambda: connects() >= WARM, TIMEOUT_S)
            warm = _figures()
            await eventually_async(lambda: connects() >= MANY, TIMEOUT_S)
            many = _figures()
        finally:
            stop.set()
            await running
    print(f"\nafter {WARM} and {MANY} reconnects (MiB, tasks, threads, descriptors): {warm}, {many}")
    assert many[0] - warm[0] < GROWTH_MB
    for before, after in zip(warm[1:], many[1:], strict=True):
        assert after <= before + 4  # what happens to be open between a cut and a connect


def _figures() -> tuple[float, int, int, int]:
    """Return resident memory, tasks, threads and descriptors."""
    gc.collect()
    process = psutil.Process()
    memory_mb = round(process.memory_info().rss / (1 << 20), 1)
    return memory_mb, len(asyncio.all_tasks()), threading.active_count(), process.num_fds()


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
