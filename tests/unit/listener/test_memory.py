"""What a listener remembers between socket and handoff queue is bounded: a long day does not fill the memory.

An hour of the whole system is `python -m benchmarks.system mix --seconds 3600`; this is the part that counts
trades, in a minute. Redis and the sender's threads are not in it.
"""

import tracemalloc

import pytest

from collector.clock import ManualClock
from collector.feed.arbitration import FeedArbiter
from collector.feed.session import Session
from collector.feed.watchdog import new_rhythms
from collector.listener.pipeline import EventPipeline
from collector.model import Channel
from collector.protocol.codec import Subscription
from collector.protocol.current import CurrentCodec
from collector.publish.handoff import HandoffQueue
from collector.settings import BatchSettings, ConnectionSettings
from collector.stream.batcher import STATES, Batcher
from collector.stream.deduplicator import _TRADES_KEPT
from tests.samples.frames import BOOK, RECEIVED_MS, TRADE, wire

MARKETS = [f"KRW-M{number:03d}" for number in range(493)]
#: Whatever is remembered by generations, trades or frames, is as full at each look.
LOOK = 4 * _TRADES_KEPT
FRAMES_KEPT = LOOK * 9 // 8 // 45
FRAMES_PER_S = 1_500
GROWTH_BYTES = 128 << 10


class Middle:
    """A session and a pipeline, of which somebody takes the batches."""

    def __init__(self) -> None:
        self.clock = ManualClock(RECEIVED_MS)
        settings = ConnectionSettings()
        subscription = Subscription(tuple(MARKETS), tuple(Channel))
        self.session = Session(
            CurrentCodec(),
            subscription,
            new_rhythms(settings),
            settings,
            0.0,
            arbiter=FeedArbiter(FRAMES_KEPT),
        )
        self.handoff = HandoffQueue(1_000)
        self.pipeline = EventPipeline(Batcher(BatchSettings(), "t"), self.handoff, self.clock)
        self.made = 0

    def run(self, trades: int) -> int:
        """Let so many trades pass, a book after every eighth; return the bytes that are held then."""
        for _ in range(trades):
            self.made += 1
            market = MARKETS[self.made * 7 % len(MARKETS)]
            number, now_ms = str(self.made), str(self.clock.now_ms())
            self.take(
                wire(
                    TRADE, code=f'"{market}"', sequential_id=number, trade_timestamp=now_ms, timestamp=now_ms
                )
            )
            if self.made % 8 == 0:
                self.take(wire(BOOK, code=f'"{market}"', timestamp=f"{now_ms}000", level=number))
        self.pipeline.flush()
        while self.handoff.take(0, states=STATES):
            pass
        return tracemalloc.get_traced_memory()[0]

    def take(self, frame: str) -> None:
        """Bring one frame from a socket to the batches."""
        self.clock.advance(1 / FRAMES_PER_S)
        events = self.session.on_frame(frame.encode(), self.clock.now_ms(), self.clock.monotonic())
        self.pipeline.process(0, events)


@pytest.mark.soak
def test_a_day_of_trades_does_not_fill_the_memory() -> None:
    """Ids were once kept for each market: 80 bytes a trade, up to hundreds of megabytes."""
    middle = Middle()
    tracemalloc.start()
    try:
        looks = [middle.run(LOOK) for _ in range(3)]
    finally:
        tracemalloc.stop()
    print([f"{look / (1 << 20):.2f} MiB" for look in looks])
    assert middle.pipeline.counts["trade_rows"] == 3 * LOOK
    assert middle.pipeline.counts["orderbook_rows"] == 3 * LOOK // 8
    assert looks[2] - looks[1] < GROWTH_BYTES
