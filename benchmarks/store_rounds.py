"""One side of `benchmarks.against`: batches of one shape into Redis by the code of one checkout.

    PYTHON benchmarks/store_rounds.py CHECKOUT REDIS_URL SHAPE

Run by path with the interpreter of the checkout, so that `collector` is that checkout's, back to c869435.
Prints one JSON object: rows, and for a row the CPU microseconds of this process and of Redis, bytes of Redis'
memory and of its append-only file.
"""

import gc
import importlib
import inspect
import json
import os
import random
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple

START_MS = 1_790_000_040_000
_SECOND_MS = 1_000


class Shape(NamedTuple):
    """So many batches of so many rows over so many markets, `per_s` rows in a second of exchange time."""

    kind: str
    batches: int
    rows: int
    markets: int
    per_s: float


SHAPES = {
    "trades": Shape("trade", 600, 15, 493, 300),
    "burst": Shape("trade", 60, 1000, 493, 20_000),
    "few": Shape("trade", 60, 1000, 5, 20_000),
    "many": Shape("trade", 60, 1000, 2000, 20_000),
    "books": Shape("orderbook", 150, 85, 493, 1700),
}
REPEATS = 0.45


def texts(shape: Shape) -> list[str]:
    """Return the batches as a listener writes them; the same for every checkout."""
    from benchmarks.frames import Maker, market_names
    from collector.batch import Kind, encode, make
    from collector.model import Side, Trade
    from collector.protocol.current import CurrentCodec

    draw = random.Random(3)
    names = market_names(shape.markets)
    maker, codec = Maker(shape.markets, START_MS, shape.per_s / _SECOND_MS), CurrentCodec()
    last: dict[str, Any] = {}

    def trade(number: int) -> Trade:
        at_ms = START_MS + int(number / shape.per_s * _SECOND_MS)
        price, volume = Decimal(draw.randint(1000, 99999)), Decimal(f"{draw.uniform(0.0001, 2):.8f}")
        side = draw.choice((Side.BUY, Side.SELL))
        return Trade(draw.choice(names), (at_ms << 20) + number, price, volume, side, at_ms, at_ms + 40)

    def book(number: int) -> Any:
        at_ms, market = START_MS + int(number / shape.per_s * _SECOND_MS), draw.choice(names)
        if market not in last or draw.random() > REPEATS:
            (last[market],) = codec.decode(maker.book(market), at_ms)
        levels = last[market].levels
        return type(last[market])(market, at_ms * 1000 + number % 1000, at_ms + 40, levels)

    row: Callable[[int], Any] = trade if shape.kind == "trade" else book
    return [
        encode(
            make(
                Kind(shape.kind),
                [row(first + i) for i in range(shape.rows)],
                listener="bench",
                now_ms=START_MS,
            )
        )
        for first in range(0, shape.batches * shape.rows, shape.rows)
    ]


def measure(url: str, shape: Shape) -> dict[str, float]:
    """Store all batches as a worker does and return what a row cost."""
    import redis

    made = texts(shape)
    client = redis.Redis.from_url(url)
    client.flushall()
    store = storing(client, url)
    before = _redis(client)
    gc.collect()
    started_s = time.process_time()
    for text in made:
        store(shape.kind, text)
    cpu_s = time.process_time() - started_s
    after = _redis(client)
    rows = shape.batches * shape.rows
    found = {name: (after[name] - before[name]) / rows for name in after}
    return {"rows": rows, "worker_us": cpu_s / rows * 1e6, **found}


def storing(client: Any, url: str) -> Callable[[str, str], None]:
    """Return what stores a batch, by kind and text, as the checkout's worker does without Celery."""
    os.environ["REDIS_URL"] = url
    from collector import batch as batches
    from collector.settings import Settings

    try:
        from collector.store import store as module

        memory: Any = module.Memory()
    except ImportError:  # the names before
        module = importlib.import_module("tasks.store")
        memory = {}
    settings = Settings().store
    books: Any = getattr(batches, "WrittenBookBatch", batches.BookBatch)
    takes_sending = "sent_ms" in inspect.signature(module.Store.put_trades).parameters

    def put(kind: str, text: str) -> None:
        store = module.Store(client, settings, memory)
        if kind == "trade":
            batch = batches.decode(text, batches.TradeBatch)
            store.put_trades(batch.rows, *([batch.created_ms] if takes_sending else []))
        else:
            store.put_books(batches.decode(text, books).rows)

    return put


def _redis(client: Any) -> dict[str, float]:
    found = client.info("everything")
    return {
        "redis_us": (found["used_cpu_user"] + found["used_cpu_sys"]) * 1e6,
        "memory_bytes": found["used_memory_dataset"],
        "file_bytes": found.get("aof_current_size", 0),
    }


if __name__ == "__main__":
    checkout, redis_url, name = sys.argv[1:]
    sys.path.insert(0, checkout)
    print(json.dumps(measure(redis_url, SHAPES[name])))
