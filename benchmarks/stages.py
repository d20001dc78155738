"""Where the time goes, stage by stage, without sockets: `python -m benchmarks.stages`.

Every stage does its work alone on the same frames, one core, the best of some rounds; microseconds a frame.
What is left to the figures of `benchmarks.listener` are the kernel, threads, and caches that others emptied;
the last two tables show what those do: books decoded, and batches sent, after a pause each.
"""

import gc
import os
import tempfile
import time
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from celery import Celery
from kombu import compression
from kombu.utils import json

from benchmarks.frames import MARKETS, market_names
from benchmarks.listener import make_frames
from benchmarks.machine import describe
from benchmarks.server import wrap
from collector import batch as batches
from collector.analytics.depth import derive
from collector.batch import Batch, BookBatch, Kind, WrittenBookBatch
from collector.clock import SystemClock
from collector.feed.arbitration import FeedArbiter
from collector.feed.framing import split_frames
from collector.feed.session import Session
from collector.feed.watchdog import new_rhythms
from collector.host.redis_client import connect
from collector.host.redis_server import PrivateRedis
from collector.listener.pipeline import EventPipeline
from collector.model import Channel
from collector.protocol.codec import Subscription, parse_json
from collector.protocol.current import CurrentCodec
from collector.protocol.fast_path import read_book, take_apart
from collector.publish.handoff import HandoffQueue
from collector.publish.publisher import envelope_of
from collector.publish.sender import TASKS, Sender  # with the compression that goes with it
from collector.settings import BatchSettings, ConnectionSettings, Settings
from collector.stream.batcher import Batcher

FRAMES, ROUNDS = 6_000, 9
#: Frames that one read brings under load.
TOGETHER = 150
#: Rows of a batch under load.
ROWS = 1_000
#: Batches sent, with so much time between them, as at the exchange's mix.
SENDS, PAUSE_S = 200, 0.02
#: Goes through an iterator and keeps nothing.
_drop = deque[object](maxlen=0).extend


def measure(work: Callable[[], object]) -> float:
    """Return the microseconds a frame of `work`, which handles all of them."""
    best_s = float("inf")
    for _ in range(ROUNDS):
        gc.collect()
        started_s = time.process_time()
        work()
        best_s = min(best_s, time.process_time() - started_s)
    return best_s / FRAMES * 1e6


def stages(kind: str) -> Iterator[tuple[str, float]]:
    """Yield name and cost of each stage of `trade` or `orderbook` frames; indented: part of the one above."""
    frames = make_frames(kind, FRAMES, MARKETS)
    now_ms = time.time_ns() // 1_000_000
    stream = [b"".join(map(wrap, frames[i : i + TOGETHER])) for i in range(0, FRAMES, TOGETHER)]
    yield (
        "frames cut out of the stream",
        measure(lambda: _drop(split_frames(part, 1 << 20) for part in stream)),
    )
    yield "session: first copy, watchdog, understood", measure(lambda: _session(frames, now_ms))
    yield "  understood: text to validated row", measure(lambda: _decode(frames, now_ms))
    if kind == "trade":
        yield "    parsed, every number exact", measure(lambda: _drop(map(parse_json, frames)))
    else:
        texts = [text for raw in frames if (text := take_apart(raw))]
        yield "    taken apart by its layout", measure(lambda: _drop(map(take_apart, frames)))
        yield "    levels cut out, validated by pydantic", measure(lambda: _drop(map(read_book, texts)))
    events = _events(frames, now_ms)
    yield "pipeline: outages, sequence, batch", measure(lambda: _pipeline(events))

    made = _batches(kind, events, now_ms)
    bodies = [*map(_body, made)]
    packed = [*map(_compressed, bodies)]
    yield (
        "batch written as JSON, twice: its text, Celery's body",
        measure(lambda: _drop(map(_body, made))),
    )
    yield "compressed", measure(lambda: _drop(map(_compressed, bodies)))
    yield "kombu's message around it", measure(lambda: _drop(map(_message, packed)))


def _events(frames: list[bytes], now_ms: int) -> list[Any]:
    codec = CurrentCodec()
    return [event for raw in frames for event in codec.decode(raw, now_ms)]


def _batches(kind: str, events: list[Any], now_ms: int) -> list[Batch]:
    return [
        batches.make(Kind(kind), events[start : start + ROWS], listener="listener", now_ms=now_ms)
        for start in range(0, len(events), ROWS)
    ]


def _body(batch: Batch) -> str:
    return json.dumps(((batches.encode(batch),), {}, {}))


def _compressed(body: str) -> bytes:
    return bytes(compression.compress(body, "zstd")[0])


def _decode(frames: list[bytes], now_ms: int) -> None:
    codec = CurrentCodec()
    for raw in frames:
        codec.decode(raw, now_ms)


def _session(frames: list[bytes], now_ms: int) -> None:
    settings = ConnectionSettings()
    subscription = Subscription(tuple(market_names()), tuple(Channel))
    session = Session(
        CurrentCodec(), subscription, new_rhythms(settings), settings, 0.0, arbiter=FeedArbiter()
    )
    for number, raw in enumerate(frames):
        session.on_frame(raw, now_ms, number // TOGETHER / 100)


def _pipeline(events: list[Any]) -> None:
    pipeline = EventPipeline(Batcher(BatchSettings(), "listener"), HandoffQueue(10_000), SystemClock())
    for start in range(0, FRAMES, TOGETHER):
        pipeline.process(0, events[start : start + TOGETHER])


def _message(body: bytes) -> str:
    return str(json.dumps({"body": b64encode(body).decode()}))


def worker_stages() -> Iterator[tuple[str, float]]:
    """Yield name and cost of what a worker does with a book, Redis apart."""
    now_ms = time.time_ns() // 1_000_000
    books = _events(make_frames("orderbook", FRAMES, MARKETS), now_ms)
    texts = [*map(batches.encode, _batches("orderbook", books, now_ms))]
    rows = [row for text in texts for row in batches.decode(text, BookBatch).rows]
    written = [bytes(book.levels) for book in books]
    yield (
        "batch read, its numbers looked at",
        measure(lambda: _drop(batches.decode(text, WrittenBookBatch) for text in texts)),
    )
    yield "by a reader: levels read", measure(lambda: _drop(map(batches.read_levels, written)))
    yield (
        "by a reader: compared with the book before, measures",
        measure(lambda: _drop(map(derive, rows[1:], rows))),
    )


def sends() -> Iterator[tuple[str, float]]:
    """Yield CPU microseconds of a batch of 40 books, sent by us and by Celery alone, `SENDS` times."""
    (batch,) = _batches("orderbook", _events(make_frames("orderbook", 40, MARKETS), 0), 0)
    letter = envelope_of(batch, 1)
    with tempfile.TemporaryDirectory() as folder, PrivateRedis(Settings(data_dir=Path(folder))) as server:
        os.environ["REDIS_URL"] = server.url
        sender = Sender(connect(server.url, Settings()), None)
        app = Celery("celery", broker=server.url, set_as_current=False)
        app.conf.broker_transport = "kombu.transport.redis:Transport"
        options: dict[str, Any] = {"queue": letter.queue, "compression": "zstd", "ignore_result": True}
        ways: dict[str, Callable[[], object]] = {
            "sent": lambda: sender.send(letter),
            "sent by Celery's `send_task`": lambda: app.send_task(
                TASKS[letter.kind], (letter.text,), **options
            ),
        }
        for name, send in ways.items():
            send()
            used_s = 0.0
            for _ in range(SENDS):
                _drop(memoryview(bytes(4 << 20))[::64])  # empties the caches, as other work would
                time.sleep(PAUSE_S)
                started_s = time.thread_time()
                send()
                used_s += time.thread_time() - started_s
            yield name, used_s / SENDS * 1e6
        sender.close()
        app.close()


def after_a_pause(together: int, pause_s: float) -> float:
    """Return the CPU microseconds of a book that is decoded with so many others after each pause."""
    frames = make_frames("orderbook", min(FRAMES, together * 300), MARKETS)
    codec, now_ms = CurrentCodec(), time.time_ns() // 1_000_000
    started_s = time.process_time()
    for start in range(0, len(frames), together):
        for raw in frames[start : start + together]:
            codec.decode(raw, now_ms)
        time.sleep(pause_s)
    return (time.process_time() - started_s) / len(frames) * 1e6


def main() -> None:
    """Print the table of both kinds, and what caches do."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    print(describe())
    for kind, name in (("trade", "a trade"), ("orderbook", "a book of 15 levels")):
        print(f"\n{name}, us")
        for stage, micros in stages(kind):
            print(f"  {stage:55} {micros:5.1f}")
    print("\na book of 15 levels in a worker, us")
    for stage, micros in worker_stages():
        print(f"  {stage:55} {micros:5.1f}")
    print("\na book decoded together with others, then a pause, us")
    for together, pause_s in ((1, 0.001), (4, 0.004), (17, 0.004), (68, 0.016)):
        micros = after_a_pause(together, pause_s)
        print(f"  {f'{together} together, {pause_s * 1000:g} ms':55} {micros:5.1f}")
    print(f"\na batch of 40 books after {PAUSE_S * 1000:g} ms and other work, us")
    for name, micros in sends():
        print(f"  {name:55} {micros:5.0f}")


if __name__ == "__main__":
    main()
