"""The two sides of bars 1, 2 and 9, a process each: `python -m benchmarks.receivers bare|ours PORT N`.

Both print one JSON object: seconds from the first frame to the last one done, and CPU seconds of the process.
"""

import asyncio
import json
import sys
import time

import websockets

from collector.host import logs
from collector.listener import event_loop
from collector.listener.app import Listener
from collector.settings import LogSettings, load


async def bare(port: int, count: int) -> dict[str, float]:
    """What any client must pay at least: receive and `json.loads`."""
    async with websockets.connect(
        f"ws://127.0.0.1:{port}/websocket/v1", compression=None, max_queue=256
    ) as socket:
        await socket.send("[]")
        json.loads(await socket.recv())
        started_s, cpu_s = time.perf_counter(), time.process_time()
        for _ in range(count - 1):
            json.loads(await socket.recv())
        return {"seconds": time.perf_counter() - started_s, "cpu": time.process_time() - cpu_s}


async def ours(count: int) -> dict[str, float]:
    """The listener: socket, pydantic, batches, accepted by Redis as Celery messages."""
    logs.set_up(LogSettings(level="error"))
    listener, stop = Listener(load()), asyncio.Event()
    running = asyncio.create_task(listener.run(stop))
    while not listener.connection_group.frames and not running.done():  # noqa: ASYNC110 - an event would cost the loop
        await asyncio.sleep(0.001)
    started_s, cpu_s = time.perf_counter(), time.process_time()
    while (sent := _sent(listener)) < count and not running.done():
        await asyncio.sleep(0.01)
        if time.perf_counter() - started_s > 120:
            raise TimeoutError(f"{sent} of {count} rows after 120 s: {listener.counters()}")
    result = {"seconds": time.perf_counter() - started_s, "cpu": time.process_time() - cpu_s}
    stop.set()
    await running
    return result


def _sent(listener: Listener) -> int:
    counts = listener.counters()
    return counts.get("trade_rows_sent", 0) + counts.get("orderbook_rows_sent", 0)


if __name__ == "__main__":
    side, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    rest_s = load().connection.coalesce_ms / 1000
    found = asyncio.run(bare(port, count)) if side == "bare" else event_loop.run(ours(count), rest_s)
    print(json.dumps(found))
