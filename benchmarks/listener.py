"""Bars 1, 2, 9: the listener on one core, as a ratio to a bare `websockets` loop on the same frames."""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.frames import Maker, market_names
from benchmarks.server import FrameServer
from collector.host.redis_server import PrivateRedis
from collector.settings import load

#: Rows per second go far beyond what workers take; nothing is to be merged or spooled here.
_NO_PRESSURE = {
    "COLLECTOR_PRESSURE__QUEUE_HIGH": "1000000",
    "COLLECTOR_PRESSURE__QUEUE_MAX": "2000000",
    "COLLECTOR_PRESSURE__AGE_HIGH_MS": "1000000",
    "COLLECTOR_PRESSURE__REDIS_MEMORY_HIGH": "1",
    "COLLECTOR_PRESSURE__MEMORY_LIMIT_MB": "8192",
    "COLLECTOR_REDUNDANCY": "1",
    # A start asks REST for the running minute of each market; what the sockets bring is measured, not that.
    "COLLECTOR_EXCHANGE__REST_REQUESTS_PER_S": "0.1",
}


@contextmanager
def other_core() -> Iterator[None]:
    """Keep this process, and what it starts meanwhile, off the core of the receivers."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {1})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def make_frames(kind: str, count: int, markets: int) -> list[bytes]:
    """Return `count` frames of `kind` over `markets` markets, all different."""
    maker = Maker(markets, start_ms=int(time.time() * 1000))
    make = maker.trade if kind == "trade" else maker.book
    return [make() for _ in range(count)]


async def run_once(
    side: str,
    frames: Sequence[bytes],
    markets: int,
    redis_url: str,
    python: str = sys.executable,
    checkout: Path | None = None,
) -> dict[str, float]:
    """Serve `frames` to one receiver process on the other core; return what it measured.

    Args:
        python, checkout: the interpreter and the folder of another checkout, whose listener is measured.
    """
    async with FrameServer(frames, market_names(markets)) as server:
        env = {
            **os.environ,
            **_NO_PRESSURE,
            "REDIS_URL": redis_url,
            "COLLECTOR_EXCHANGE__WEBSOCKET_URL": f"ws://127.0.0.1:{server.port}/websocket/v1",
            "COLLECTOR_EXCHANGE__REST_URL": f"http://127.0.0.1:{server.port}",
        }
        with tempfile.TemporaryDirectory() as folder:
            process = await asyncio.create_subprocess_exec(
                *("taskset", "-c", "0", python, "-m", "benchmarks.receivers"),
                *(side, str(server.port), str(len(frames))),
                env={**env, "COLLECTOR_DATA_DIR": folder},
                stdout=subprocess.PIPE,
                cwd=checkout,
            )
            output, _ = await asyncio.wait_for(process.communicate(), 180)
    if process.returncode:
        raise RuntimeError(f"{side} ended with {process.returncode}")
    return dict(json.loads(output.splitlines()[-1]))


def ours_once(kind: str, count: int, markets: int, redis_url: str) -> float:
    """Return our frames a second."""
    frames = make_frames(kind, count, markets)
    with other_core():
        return count / asyncio.run(run_once("ours", frames, markets, redis_url))["seconds"]


def compare(kind: str, count: int, rounds: int, markets: int) -> dict[str, float]:
    """Run both sides alternately; return medians: frames per second, CPU microseconds, ratios of the rounds.

    `ratio` is of the rates, `cpu_ratio` of the processor time a frame took: on a machine that does other work
    the second is the one that stays the same.
    """
    frames = make_frames(kind, count, markets)
    rates: dict[str, list[float]] = {"bare": [], "ours": []}
    cpu: dict[str, list[float]] = {"bare": [], "ours": []}
    with tempfile.TemporaryDirectory() as folder, other_core():
        settings = load().model_copy(update={"data_dir": Path(folder)})
        with PrivateRedis(settings) as server:
            for _ in range(rounds):
                for side, found in rates.items():
                    result = asyncio.run(run_once(side, frames, markets, server.url))
                    found.append(count / result["seconds"])
                    cpu[side].append(result["cpu"] / count * 1e6)
    return {
        "ours": statistics.median(rates["ours"]),
        "bare": statistics.median(rates["bare"]),
        "ratio": median_ratio(rates["ours"], rates["bare"]),
        "cpu_us": statistics.median(cpu["ours"]),
        "bare_cpu_us": statistics.median(cpu["bare"]),
        "cpu_ratio": median_ratio(cpu["bare"], cpu["ours"]),
    }


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the median of the rounds' ratios: a host that changes its speed does so for both sides."""
    return statistics.median(one / other for one, other in zip(ours, theirs, strict=True))


if __name__ == "__main__":
    kind, count, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    print(kind, compare(kind, count, rounds, int(sys.argv[4]) if len(sys.argv) > 4 else 493))
