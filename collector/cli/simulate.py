"""`collector simulate`: a local Bithumb."""

import asyncio
import signal
from typing import Any

from collector.cli.run import INTERRUPTED, watch_signals
from collector.simulator.options import SimulatorOptions
from collector.simulator.server import Simulator, serve


def simulate(**options: Any) -> int:  # noqa: ANN401 - the fields of SimulatorOptions
    """Serve until SIGINT or SIGTERM; return the exit code."""
    return asyncio.run(_simulate(SimulatorOptions(**options)))


async def _simulate(options: SimulatorOptions) -> int:
    stop = asyncio.Event()
    received = watch_signals(stop)
    await serve(options, stop, _announce)
    return INTERRUPTED if signal.SIGINT in received else 0


def _announce(exchange: Simulator) -> None:
    print(f"websocket {exchange.websocket_url}")
    print(f"legacy    {exchange.legacy_websocket_url}")
    print(f"rest      {exchange.rest_url}", flush=True)
