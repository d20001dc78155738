"""Bar 10: the obvious design, one Celery task per message: `python -m benchmarks.obvious`.

A listener that calls `apply_async` for every trade, and a worker whose task adds it to a candle in Redis with
one round trip: floats, no validation, nothing counted once only. A worker of one process, as fast as both go.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import redis

from benchmarks.frames import MARKETS, Maker
from benchmarks.machine import describe
from collector.host.redis_server import PrivateRedis
from collector.settings import load
from tests.acceptance.scenarios.processes import Process

ROOT = Path(__file__).resolve().parent.parent
APP = """
import os, json, redis
from celery import Celery
app = Celery("obvious", broker=os.environ["REDIS_URL"])
app.conf.update(task_ignore_result=True, task_acks_late=True, worker_prefetch_multiplier=1)
store = redis.Redis.from_url(os.environ["REDIS_URL"])

@app.task
def trade(text):
    row = json.loads(text)
    key = f"obvious:{row['code']}:{row['trade_timestamp'] // 60000}"
    with store.pipeline(transaction=False) as pipe:
        pipe.hincrby(key, "count", 1)
        pipe.hincrbyfloat(key, "base", row["trade_volume"])
        pipe.hincrbyfloat(key, "quote", row["trade_volume"] * row["trade_price"])
        pipe.hset(key, "close", row["trade_price"])
        pipe.incr("obvious:done")
        pipe.execute()
"""
FEED = """
import sys
from obvious import trade
for line in open(sys.argv[1]):
    trade.apply_async((line,), retry=False, argsrepr="-")
"""


def rate(seconds: float) -> float:
    """Return trades a second that go all the way."""
    maker = Maker(MARKETS, start_ms=int(time.time() * 1000))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "obvious.py").write_text(APP)
        (folder / "feed.py").write_text(FEED)
        frames = (maker.trade() for _ in range(int(seconds * 3000)))
        (folder / "frames").write_text("\n".join(json.dumps(json.loads(frame)) for frame in frames))
        with PrivateRedis(load().model_copy(update={"data_dir": folder / "data"})) as server:
            env = {"REDIS_URL": server.url, "PYTHONPATH": str(folder), "PATH": os.environ["PATH"]}
            argv = ("-m", "celery", "-A", "obvious", "worker", "-c", "1", "--loglevel", "WARNING")
            client = redis.Redis.from_url(server.url)
            with (
                Process("worker", argv, env, folder) as worker,
                Process("feed", ("feed.py", str(folder / "frames")), env, folder),
            ):
                worker.wait_until(lambda: client.get("obvious:done"), 60)
                before, started_s = int(client.get("obvious:done") or 0), time.monotonic()
                time.sleep(seconds)
                return (int(client.get("obvious:done") or 0) - before) / (time.monotonic() - started_s)


def main() -> None:
    """Print the rate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=15)
    print(describe())
    print(f"one task per message: {rate(parser.parse_args().seconds):,.0f} trades/s")


if __name__ == "__main__":
    main()
