"""Redis' memory over a real hour, two checkouts at the same time: `python -m benchmarks.store_hour DIR`.

300 trades a second over 493 markets, in batches of 15 every 50 ms, go through the worker's code of both
checkouts into a private Redis each. Every minute prints the bytes of the data in Redis and the bytes appended
to its file, ours over theirs. DIR is a clone with its own `.venv`.

    PYTHON benchmarks/store_hour.py CHECKOUT REDIS_URL SECONDS     one side, by path
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

PER_S, ROWS, MARKETS = 300, 15, 493
_REPORT_S = 60.0


def one_side(url: str, seconds: float) -> None:
    """Store trades as they are due; print a line of figures each minute."""
    import random
    from decimal import Decimal

    import redis
    from store_rounds import storing  # type: ignore[import-not-found] # beside this file

    from collector.batch import Kind, encode, make
    from collector.model import Side, Trade

    draw, client = random.Random(3), redis.Redis.from_url(url)
    store = storing(client, url)
    client.config_set("auto-aof-rewrite-percentage", 0)
    names = [f"KRW-M{number:03d}" for number in range(MARKETS)]
    begun_s, number, report_s, cpu_s = time.monotonic(), 0, _REPORT_S, time.process_time()
    while (now_s := time.monotonic() - begun_s) < seconds:
        if now_s >= report_s:
            report_s += _REPORT_S
            print(json.dumps(figures(client, now_s, number, time.process_time() - cpu_s)), flush=True)
        if number >= now_s * PER_S:
            time.sleep(0.01)
            continue
        rows = []
        for _ in range(ROWS):
            number += 1
            at_ms = int(time.time() * 1000)
            price, volume = Decimal(draw.randint(1000, 99999)), Decimal(f"{draw.uniform(0.0001, 2):.8f}")
            side = draw.choice((Side.BUY, Side.SELL))
            rows.append(
                Trade(draw.choice(names), (at_ms << 20) + number, price, volume, side, at_ms, at_ms + 40)
            )
        batch = make(Kind.TRADE, rows, listener="bench", now_ms=int(time.time() * 1000))
        store("trade", encode(batch))
    print(json.dumps(figures(client, seconds, number, time.process_time() - cpu_s)), flush=True)


def figures(client: Any, after_s: float, rows: int, cpu_s: float) -> dict[str, float]:
    """Return what Redis holds, and what all of it cost."""
    found = client.info("everything")
    return {
        "minutes": after_s / 60,
        "rows": rows,
        "memory_mb": found["used_memory_dataset"] / 1e6,
        "file_mb": found["aof_current_size"] / 1e6,
        "redis_cpu_s": found["used_cpu_user"] + found["used_cpu_sys"],
        "worker_cpu_s": cpu_s,
    }


def beside(rival: Path, seconds: float) -> Iterator[tuple[dict[str, float], dict[str, float]]]:
    """Yield the figures of both sides, each minute."""
    from benchmarks.against import HERE, python_of
    from collector.host.redis_server import PrivateRedis
    from collector.settings import Settings

    with ExitStack() as stack:
        sides = []
        for checkout in (HERE, rival):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            server = stack.enter_context(PrivateRedis(Settings(data_dir=folder)))
            command = [python_of(checkout), __file__, str(checkout), server.url, str(seconds)]
            side = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=checkout)
            stack.callback(side.wait)
            stack.callback(side.terminate)
            sides.append(side)
        ours, theirs = (side.stdout for side in sides)
        assert ours is not None
        assert theirs is not None
        for one, other in zip(ours, theirs, strict=False):
            yield json.loads(one), json.loads(other)


def main() -> None:
    """Measure and print."""
    from benchmarks.against import HERE, commit_of
    from benchmarks.machine import describe

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rival", type=Path, help="another checkout, with its own .venv")
    parser.add_argument("--seconds", type=float, default=3600)
    chosen = parser.parse_args()
    print(f"{describe()}; {commit_of(HERE)} over {commit_of(chosen.rival)}", flush=True)
    for ours, theirs in beside(chosen.rival.resolve(), chosen.seconds):
        parts = ", ".join(
            f"{name} {ours[name] / theirs[name]:.2f} ({ours[name]:.1f} / {theirs[name]:.1f})"
            for name in ("memory_mb", "file_mb", "redis_cpu_s", "worker_cpu_s")
            if theirs[name]
        )
        print(f"{ours['minutes']:.0f} min, {ours['rows']:,} trades: {parts}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 3 and not sys.argv[2].startswith("-"):
        sys.path.insert(0, sys.argv[1])
        one_side(sys.argv[2], float(sys.argv[3]))
    else:
        main()
