"""`python -m benchmarks.live`: what the event stream costs and how soon a subscriber has a trade.

    python -m benchmarks.live memory                 Redis' memory for ten minutes of 300 trades a second
    python -m benchmarks.live latency [SUBSCRIBERS]  exchange to subscriber, others following 20 markets each

`latency` runs `collector simulate` with 493 markets and `collector up`, as a user would, on this machine:
the clocks are the same. All subscribers' trades are compared with those of one that follows every market.
"""

import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path

import httpx
import psutil
import redis
from pydantic import SecretStr
from websockets.asyncio.client import ClientConnection, connect

from collector.host.redis_server import PrivateRedis
from collector.model import Side, Trade
from collector.settings import Settings
from collector.store.keys import Keys
from collector.store.store import Store
from tests.doubles.ports import free_port

MARKETS, PER_SUBSCRIBER = 493, 20
START_S, WARM_S, SECONDS, REST_S = 90, 300, 60, 2.0
RATE = 300
BEGIN_MS = 1_700_000_000_000
PRICE, SIZE = Decimal("116208000"), Decimal("0.00012345")


def memory() -> None:
    """Print the size of the stream after ten minutes of trades in batches of 40 ms."""
    settings = Settings(data_dir=Path(tempfile.mkdtemp()), redis_url=SecretStr(""))
    server, dice = PrivateRedis(settings), random.Random(1)
    server.start()
    try:
        client = redis.Redis.from_url(server.url)
        store, number = Store(client, settings.store), 0
        for ms in range(0, 600_000, 40):
            rows = []
            for _ in range(RATE * 40 // 1000):
                number += 1
                market = f"KRW-M{min(int(dice.expovariate(1 / 40)), MARKETS - 1):03}"
                now_ms = BEGIN_MS + ms
                rows.append(Trade(market, number, PRICE, SIZE, Side.BUY, now_ms, now_ms + 50))
            store.put_trades(rows)
        key = Keys(settings.store.key_prefix).events
        size, entries = int(client.memory_usage(key, samples=0) or 0), client.xlen(key)
        print(
            f"{number:,} trades, {entries:,} entries, {size:,} bytes: {size / entries:.0f} an entry, ", end=""
        )
        print(f"{size * 6 / 1e6:.0f} MB an hour")
    finally:
        server.stop()


def latency(subscribers: int) -> None:
    """Print how soon trades came, what was lost, and the CPU of the server."""
    folder, exchange, page = Path(tempfile.mkdtemp()), free_port(), free_port()
    program = [sys.executable, "-m", "collector"]
    env = {
        **os.environ,
        "COLLECTOR_DATA_DIR": str(folder),
        "COLLECTOR_SERVE__PORT": str(page),
        "COLLECTOR_SERVE__CLIENTS_MAX": str(subscribers + 10),
        "COLLECTOR_EXCHANGE__WEBSOCKET_URL": f"ws://127.0.0.1:{exchange}/websocket/v1",
        "COLLECTOR_EXCHANGE__REST_URL": f"http://127.0.0.1:{exchange}",
        "COLLECTOR_MARKETS": "*",
    }
    options = ["--port", str(exchange), "--markets", str(MARKETS), "--rate", str(RATE)]
    with (folder / "log").open("wb") as log:
        running = [
            subprocess.Popen([*program, "simulate", *options], stdout=log, stderr=log),
            subprocess.Popen([*program, "up"], env=env, stdout=log, stderr=log),
        ]
        try:
            asyncio.run(_measure(f"ws://127.0.0.1:{page}/v1/ws", subscribers, psutil.Process(running[1].pid)))
        finally:
            for process in reversed(running):
                process.terminate()
                process.wait(30)


async def _measure(url: str, subscribers: int, up: psutil.Process) -> None:
    everything = await _connected(url)
    names = await _markets(everything)
    await _warm(url)
    dice = random.Random(1)
    choices = [dice.sample(names, min(PER_SUBSCRIBER, len(names))) for _ in range(subscribers)]
    sockets = [await _connected(url) for _ in choices]
    counts = [0] * subscribers
    lags_ms: list[int] = []
    seen: Counter[str] = Counter()
    for socket, markets in zip(sockets, choices, strict=True):
        await socket.send(json.dumps({"op": "subscribe", "channels": ["trade"], "markets": markets}))
    await everything.send(json.dumps({"op": "subscribe", "channels": ["trade"], "start": "now"}))
    await asyncio.sleep(REST_S)
    server = next(each for each in up.children(recursive=True) if "serve" in each.cmdline())
    tasks = [asyncio.create_task(_count(socket, counts, place)) for place, socket in enumerate(sockets)]
    before_s, end_s = sum(server.cpu_times()[:2]), time.monotonic() + SECONDS
    while time.monotonic() < end_s:
        event = json.loads(await everything.recv())
        if event.get("channel") == "trade":
            seen[event["market"]] += 1
            if not event["data"]["late"]:  # a backfill of what was before the start
                lags_ms.append(round(time.time() * 1000) - event["data"]["exchange_ms"])
    cpu = (sum(server.cpu_times()[:2]) - before_s) / SECONDS
    await asyncio.sleep(REST_S)
    for task in tasks:
        task.cancel()
    lags_ms.sort()
    expected = sum(seen[market] for markets in choices for market in markets)
    print(f"{len(lags_ms):,} trades in {SECONDS} s: p50 {lags_ms[len(lags_ms) // 2]} ms, ", end="")
    print(f"p99 {lags_ms[len(lags_ms) * 99 // 100]} ms from the exchange to a subscriber")
    print(f"{subscribers} subscribers of {PER_SUBSCRIBER} markets: {sum(counts):,} trades, at least ", end="")
    print(f"{expected:,} expected; server {cpu:.0%} of a core")


async def _connected(url: str) -> ClientConnection:
    deadline_s = time.monotonic() + START_S
    while True:
        try:
            return await connect(url, max_size=None, max_queue=None)
        except OSError:
            if time.monotonic() > deadline_s:
                raise
            await asyncio.sleep(0.5)


async def _markets(socket: ClientConnection) -> list[str]:
    """Return the markets of which tickers came within some seconds of the system's start."""
    await socket.send(json.dumps({"op": "subscribe", "channels": ["ticker"]}))
    found: set[str] = set()
    deadline_s = time.monotonic() + START_S
    while len(found) < MARKETS * 0.9 and time.monotonic() < deadline_s:
        event = json.loads(await asyncio.wait_for(socket.recv(), START_S))
        found |= {event["market"]} if event.get("channel") == "ticker" else set()
    await socket.send(json.dumps({"op": "unsubscribe", "channels": ["ticker"]}))
    return sorted(found)


async def _warm(url: str) -> None:
    """Wait until the start is over: the running minute of each market is asked of REST, a minute or two."""
    deadline_s = time.monotonic() + WARM_S
    address = url.replace("ws://", "http://").removesuffix("/v1/ws") + "/v1/gaps"
    async with httpx.AsyncClient(timeout=30) as client:
        while time.monotonic() < deadline_s:
            gaps = (await client.get(address, params={"limit": 10_000})).json()
            if gaps and all(gap["recovered"] for gap in gaps):
                return
            await asyncio.sleep(1)
    sys.exit(f"the gaps of the start are still open after {WARM_S} s")


async def _count(socket: ClientConnection, counts: list[int], place: int) -> None:
    async for message in socket:
        counts[place] += '"channel":"trade"' in str(message)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["memory"]:
            memory()
        case ["latency", *number]:
            latency(int(number[0]) if number else 200)
        case _:
            sys.exit(__doc__)
