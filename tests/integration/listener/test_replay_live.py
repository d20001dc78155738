"""A recording played again stores what the live run stored of the same frames, byte by byte."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from collector.batch import CLASSES, Batch, decode
from collector.clock import ManualClock
from collector.feed.session import Session
from collector.feed.watchdog import new_rhythms
from collector.listener.pipeline import EventPipeline
from collector.listener.replay import Replay
from collector.model import Channel, OrderBook, Ticker, Trade
from collector.protocol.codec import Subscription
from collector.protocol.current import CurrentCodec
from collector.publish.handoff import HandoffQueue
from collector.publish.publisher import envelope_of
from collector.recording import Recording, open_recording
from collector.settings import BatchSettings, Settings, StoreSettings
from collector.store.minute_layout import VERSION_BYTES, read_chunks
from collector.store.redis_client import connect
from collector.store.store import Store
from collector.stream.batcher import STATES, Batcher
from tests.acceptance.recorded.sources import UPBIT
from tests.unit.listener.test_replay import Broker

Rows = list[Any]


@pytest.fixture
def recording(shared_dir: Path) -> Recording:
    """Two minutes in the words of the current socket."""
    return open_recording(UPBIT.path(shared_dir))


def live(recording: Recording) -> Rows:
    """Return the rows a listener sends of the frames, each taken at the moment it was received."""
    settings = Settings(batch=BatchSettings(max_age_ms=40))
    first = next(iter(recording)).received_us
    clock, batcher, handoff = ManualClock(first // 1000), Batcher(settings.batch, "live"), HandoffQueue(1_000)
    pipeline, rows, at_us = EventPipeline(batcher, handoff, clock), [], first
    session = Session(
        CurrentCodec(),
        Subscription((), tuple(Channel)),
        new_rhythms(settings.connection),
        settings.connection,
        0.0,
    )
    for frame in recording:
        clock.advance(max(0, frame.received_us - at_us) / 1e6)
        at_us = max(at_us, frame.received_us)
        events = session.on_frame(frame.raw, frame.received_ms, frame.received_us / 1e6)
        pipeline.process(frame.connection, events or ())
        rows += taken(handoff)
    pipeline.flush()
    return [*rows, *taken(handoff)]


def taken(handoff: HandoffQueue) -> Iterator[Any]:
    """Yield the rows of all batches that wait, as a worker reads them."""
    batch: Batch | None
    while batch := handoff.take(0, states=STATES):
        letter = envelope_of(batch, 1)
        cls: Any = CLASSES[letter.kind]
        yield from decode(letter.text, cls).rows


def replayed(recording: Recording) -> Rows:
    """Return the rows a replay sends."""
    broker = Broker()
    replay = Replay(Settings(), "current", broker, broker.probe)
    replay.run(recording, 0)
    return broker.rows


def stored(rows: Rows, url: str, prefix: str) -> dict[bytes, Any]:
    """Store the rows as workers do; return the bytes of every candle, trade and last state."""
    settings = Settings(redis_url=url, store=StoreSettings(key_prefix=prefix))
    with connect(url, settings) as client:
        store = Store(client, settings.store)
        for start in range(0, len(rows), 300):
            some = rows[start : start + 300]
            store.put_trades([row for row in some if isinstance(row, Trade)])
        for kind, put in ((OrderBook, store.put_books), (Ticker, store.put_tickers)):
            for row in (row for row in rows if isinstance(row, kind)):
                put([row])
        return dump(client, prefix)


def dump(client: redis.Redis, prefix: str) -> dict[bytes, Any]:
    """Return all results under a prefix: candles without their versions, trades however they were batched."""
    found: dict[bytes, Any] = {}
    for kind in ("candle", "trades", "ticker", "book"):
        for key in client.scan_iter(f"{prefix}{kind}:*"):
            name = key.removeprefix(prefix.encode())
            if kind == "trades":
                found[name] = read_chunks(int(name.rsplit(b":", 1)[1]), client.lrange(key, 0, -1))
            else:
                found[name] = client.hgetall(key)
            if kind == "candle":
                found[name] = {minute: stored[VERSION_BYTES:] for minute, stored in found[name].items()}
    return found


def test_a_replay_stores_the_bytes_of_the_live_run(recording: Recording, redis_url: str) -> None:
    """Candles, single trades, the last books and tickers of every market."""
    of_live, of_replay = live(recording), replayed(recording)
    first, second = stored(of_live, redis_url, "live:"), stored(of_replay, redis_url, "again:")
    kinds = {key.split(b":")[0] for key in first}
    assert {b"candle", b"trades"} <= kinds
    assert first == second
    print(f"{len(of_live)} rows, {len(first)} keys of {sorted(kinds)}: equal byte by byte")
