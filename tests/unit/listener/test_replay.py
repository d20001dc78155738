"""A recorded session through the whole line: everything is sent, in order, at the pace of the workers."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from collector import batch as batches
from collector.batch import CLASSES
from collector.errors import BrokerUnavailable
from collector.listener import replay as module
from collector.listener.replay import Replay
from collector.model import Gap, OrderBook, Ticker, Trade
from collector.publish.sender import Envelope
from collector.recording import CutRecording, Frame
from collector.settings import BatchSettings, PressureSettings, Settings
from collector.stream.pressure import PressureSample
from tests.samples import legacy_frames
from tests.samples.frames import BOOK, RECEIVED_MS, TICKER, TRADE, wire

LATER_US = str(legacy_frames.TRADE_US + 1)


class Broker:
    """Keeps what is sent; refuses a given number of times; its queue empties by itself."""

    def __init__(self, refusals: int = 0, queue: int = 0, drained_per_look: int = 10**9) -> None:
        self.rows: list[Any] = []
        self.sent_s: list[float] = []
        self.looks = 0
        self._refusals = refusals
        self._queue = queue
        self._drained = drained_per_look

    def send(self, *letters: Envelope) -> None:
        if self._refusals:
            self._refusals -= 1
            raise BrokerUnavailable("away")
        for letter in letters:
            cls: Any = CLASSES[letter.kind]
            self.rows += batches.decode(letter.text, cls).rows
            self.sent_s.append(time.monotonic())
            self._queue += 1

    def limit_rates(self, limits: Mapping[str, str]) -> None:
        """Not asked for here."""

    def probe(self) -> PressureSample:
        self.looks += 1
        self._queue = max(0, self._queue - self._drained)
        return PressureSample(queue_lengths={"trade": self._queue})

    def trade_ids(self) -> list[int]:
        return [row.id for row in self.rows if isinstance(row, Trade)]


def replay(broker: Broker, protocol: str = "current", **changes: Any) -> Replay:
    return Replay(Settings(**changes), protocol, broker, broker.probe)


def frame(text: str, after_ms: int = 0, connection: int = 1, *, binary: bool = True) -> Frame:
    return Frame((RECEIVED_MS + after_ms) * 1000, text.encode(), binary, connection)


def trade(number: int, after_ms: int = 0, connection: int = 1) -> Frame:
    return frame(wire(TRADE, sequential_id=str(number)), after_ms, connection)


def test_everything_is_sent() -> None:
    """All kinds, binary and text, with the recorded receipt times."""
    broker = Broker()
    it = replay(broker)
    it.run([trade(1), frame(wire(TICKER), 10, binary=False), frame(wire(BOOK), 20)], speed=0)
    assert {type(row) for row in broker.rows} == {Trade, Ticker, OrderBook}
    assert {row.received_ms - RECEIVED_MS for row in broker.rows} == {0, 10, 20}
    assert it.counts["frames"] == 3
    assert it.counts["batches_sent"] == 3


def test_copies_of_two_recorded_sockets_are_sent_once() -> None:
    """First copy wins, as live."""
    broker = Broker()
    it = replay(broker)
    it.run([trade(number, number, connection) for number in range(50) for connection in (1, 2)], speed=0)
    assert broker.trade_ids() == list(range(50))
    assert it.counts["trade_rows"] == 50


def test_garbage_is_counted_and_costs_nothing() -> None:
    """Frames no codec understands, broken text among them."""
    broker = Broker()
    it = replay(broker)
    it.run([trade(1), Frame(RECEIVED_MS * 1000, b"\xff\xfe", False), frame("nonsense"), trade(2)], speed=0)
    assert broker.trade_ids() == [1, 2]
    assert it.counts["rejected:not_json"] == 2


def test_the_legacy_protocol_builds_books() -> None:
    """A whole book and a change make two books."""
    broker = Broker()
    it = replay(broker, "legacy")
    received_us = legacy_frames.RECEIVED_MS * 1000
    texts = (legacy_frames.snapshot(), legacy_frames.depth(us=LATER_US), legacy_frames.transaction())
    it.run([Frame(received_us, text.encode()) for text in texts], speed=0)
    assert [type(row) for row in broker.rows].count(OrderBook) == 2
    assert len(broker.trade_ids()) == 1


def test_a_cut_recording_gives_what_was_whole() -> None:
    """The error comes after everything before it has been sent."""

    def frames() -> Iterator[Frame]:
        yield from (trade(number) for number in range(7))
        raise CutRecording(Path("x"), 7)

    broker = Broker()
    it = replay(broker)
    with pytest.raises(CutRecording):
        it.run(frames(), speed=0)
    assert broker.trade_ids() == list(range(7))
    assert it.counts["frames"] == 7


def test_a_short_absence_of_the_broker_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same batch is sent again, none is left out."""
    monkeypatch.setattr(module, "_RETRY_S", 0.01)
    broker = Broker(refusals=5)
    replay(broker, batch=BatchSettings(max_rows=2)).run([trade(number) for number in range(6)], speed=0)
    assert broker.trade_ids() == list(range(6))


def test_a_long_absence_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """After ten tries."""
    monkeypatch.setattr(module, "_RETRY_S", 0.001)
    with pytest.raises(BrokerUnavailable, match="away"):
        replay(Broker(refusals=10**6)).run([trade(1)], speed=0)


def test_a_stop_sends_what_was_read_and_reads_no_more() -> None:
    """Between two frames that are an hour apart, the replay ends at once."""
    broker, stop = Broker(), threading.Event()
    it = Replay(Settings(), "current", broker, broker.probe, stop)
    threading.Timer(0.2, stop.set).start()
    started = time.monotonic()
    it.run([trade(1), trade(2, 3_600_000)], speed=1)
    it.wait_for_workers(0)
    assert time.monotonic() - started < 60
    assert broker.trade_ids() == [1]


def test_a_stop_does_not_wait_for_workers_that_never_come() -> None:
    """What is in the queue stays there for the next ones."""
    broker, stop = Broker(queue=5, drained_per_look=0), threading.Event()
    stop.set()
    started = time.monotonic()
    Replay(Settings(), "current", broker, broker.probe, stop).wait_for_workers(0)
    assert time.monotonic() - started < 60


def test_a_broker_that_stays_away_is_not_asked_to_take_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error comes after the tries for one batch; the frames read are counted all the same."""
    monkeypatch.setattr(module, "_RETRY_S", 0.001)
    broker = Broker(refusals=15)
    it = replay(broker, batch=BatchSettings(max_rows=1))
    with pytest.raises(BrokerUnavailable, match="away"):
        it.run([trade(1), trade(2)], speed=0)
    assert broker.rows == []
    assert it.counts["frames"] == 1


def test_an_empty_queue_is_believed_at_the_second_look() -> None:
    """On its way from the queue to a worker a batch is in neither count."""
    lengths = iter([1, 0, 1, 0, 0])
    broker = Broker()
    probe = lambda: PressureSample(queue_lengths={"trade": next(lengths)})  # noqa: E731 - two words
    Replay(Settings(), "current", broker, probe).wait_for_workers(0)
    assert next(lengths, None) is None


def test_the_recorded_pace_is_kept() -> None:
    """At speed 200 a hundred seconds take half of one."""
    broker = Broker()
    started = time.monotonic()
    replay(broker).run([trade(1, 0), trade(2, 50_000), trade(3, 100_000)], speed=200)
    assert 0.45 <= time.monotonic() - started <= 50
    assert len(broker.sent_s) == 3


def test_a_batch_does_not_wait_for_the_next_frame(eventually: Callable[..., None]) -> None:
    """It is sent while the next frame is an hour away."""
    broker, stop = Broker(), threading.Event()
    it = Replay(Settings(), "current", broker, broker.probe, stop)
    running = threading.Thread(target=it.run, args=([trade(1), trade(2, 3_600_000)], 1))
    running.start()
    try:
        eventually(lambda: broker.trade_ids() == [1], 30, "the first trade sent")
    finally:
        stop.set()
        running.join(30)


def test_as_fast_as_the_workers_take_it() -> None:
    """At speed 0 the queue is looked at every twenty batches, and the replay waits while it is long."""
    broker = Broker(queue=100, drained_per_look=30)
    settings = {"batch": BatchSettings(max_rows=1), "pressure": PressureSettings(queue_low=10)}
    replay(broker, **settings).run([trade(number) for number in range(60)], speed=0)
    assert broker.trade_ids() == list(range(60))
    assert broker.looks >= 5


def test_workers_that_never_come_are_named() -> None:
    """One line that says what to start."""
    broker = Broker(queue=5, drained_per_look=0)
    with pytest.raises(BrokerUnavailable, match="5 batches wait and no worker takes them: start `celery"):
        replay(broker).wait_for_workers(0, timeout_s=0.1)


def test_slow_workers_are_waited_for_as_long_as_anything_moves() -> None:
    """Each batch taken starts the patience again."""
    broker = Broker(queue=8, drained_per_look=1)
    replay(broker).wait_for_workers(0, timeout_s=0.08)
    assert broker.looks >= 8


def test_twice_the_same_recording_gives_the_same_rows() -> None:
    """Nothing depends on the clock of this machine."""
    frames = [trade(number, number) for number in range(100)] + [frame(wire(BOOK), 500)]
    first, second = Broker(), Broker()
    for broker in (first, second):
        replay(broker).run(frames, speed=0)
    assert first.rows == second.rows


def session_of(numbers: range, *, missing: int | None = None, ahead: int | None = None) -> Iterator[Frame]:
    """Yield a trade and its ticker a second, each at its own price; one may be missing or ahead."""
    start_ms, day_turnover = 1790133513739, 14330306973
    for number in numbers:
        price, ms = 116208000 + number * 1000, start_ms + number * 1000
        stamp = ms + 86_400_000 if number == ahead else ms
        day_turnover += price
        made = {
            "trade_price": str(price),
            "trade_timestamp": str(stamp),
            "timestamp": str(stamp + 100),
            "sequential_id": str(number),
        }
        if number != missing:
            yield frame(wire(TRADE, trade_volume="1", **made), number * 1000)
        seen = {"acc_trade_price": str(day_turnover), "trade_price": str(price), "trade_timestamp": str(ms)}
        yield frame(wire(TICKER, timestamp=str(ms + 150), **seen), number * 1000 + 10)


def test_a_trade_that_a_recording_lacks_is_a_gap() -> None:
    """The tickers beside it prove it, as live; there is no REST, so the gap stays open."""
    broker = Broker()
    replay(broker).run(session_of(range(40), missing=25), speed=0)
    (gap,) = [row for row in broker.rows if isinstance(row, Gap)]
    assert (gap.market, gap.channel, gap.reason, gap.recovered) == ("KRW-BTC", "trade", "totals", False)
    assert gap.from_ms <= 1790133513739 + 25_000 <= gap.to_ms
    whole = Broker()
    replay(whole).run(session_of(range(40)), speed=0)
    assert not [row for row in whole.rows if isinstance(row, Gap)]


def test_a_trade_stamped_ahead_is_not_lost() -> None:
    """It is held for two seconds, as live, and stored with its stamp."""
    broker = Broker()
    replay(broker).run(session_of(range(10), ahead=9), speed=0)
    assert sorted(broker.trade_ids()) == list(range(10))
