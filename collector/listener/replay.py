"""A recorded session through the listener's own pipeline, without sockets.

Sessions, pipeline and handoff queue are those of a live listener; time is that of the recording. Nothing is
conflated, expired or spooled here: a replay waits for the workers instead, so that the same recording always
gives the same results. There is no REST to ask: trades that are proven to be missing are recorded as gaps,
and those that are stamped ahead of all others are stored as they are.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable

from collector.batch import Batch
from collector.errors import BrokerUnavailable, ConfigurationError
from collector.feed.session import Session
from collector.listener.pipeline import EventPipeline, LossObserver
from collector.listener.sessions import SessionFactory
from collector.model import Channel, Gap, Trade
from collector.protocol.codec import Subscription
from collector.publish.handoff import HandoffQueue
from collector.publish.publisher import Transport, envelope_of
from collector.recording import Frame
from collector.settings import Settings
from collector.stream.batcher import STATES, Batcher
from collector.stream.exchange_time import ExchangeTime
from collector.stream.pressure import PressurePolicy, PressureSample, PressureState
from collector.stream.totals import Missing

#: No batch is closed by its age in recorded time: at full speed that would be one for every few frames.
_NEVER_MS = 1 << 62
_SEND_ATTEMPTS = 10
#: Between two looks of the pipeline at what time alone makes due, in recorded time; and at the end of a
#: recording, so that nothing is held any more.
_TICK_S, _END_S = 0.02, 5.0
_RETRY_S = 1.0
_WAIT_S = 0.05
#: Batches sent between two looks at the queues.
_LOOK_EVERY = 20
#: After a stop, how long the workers may take for what has been sent.
_STOP_WAIT_S = 1.5


class RecordedClock:
    """Durations by the recording, the present by this machine: queued batches have their true age."""

    def __init__(self) -> None:
        self.at_s = 0.0

    def now_ms(self) -> int:
        """Epoch milliseconds, UTC."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Return when the newest frame was received, in seconds; never goes back."""
        return self.at_s

    def reach(self, received_us: int) -> None:
        """Go on to a frame's receipt."""
        self.at_s = max(self.at_s, received_us / 1e6)


class _Losses(LossObserver):
    """What is missing of a recording can't be fetched: it becomes a gap at once."""

    def __init__(self, pipeline: EventPipeline) -> None:
        self._pipeline = pipeline

    def on_missing(self, it: Missing) -> None:
        """Record a gap, and accept that it stays."""
        self._pipeline.add(Gap(it.market, Channel.TRADE, it.from_ms, it.to_ms, "totals"))
        self._pipeline.totals.settle(it.market, it.to_ms, is_complete=False, is_last=True)

    def on_ahead(self, trade: Trade, came_ms: int) -> None:
        """Pass the trade on."""
        self._pipeline.pass_ahead(trade.market, came_ms)


class Replay:
    """Frames in, batches out.

    Args:
        protocol: `current` or `legacy`, of the recording.
        probe: reads the queues, so that the replay can wait for the workers.
        stop: set from outside to end early; what has been read is still sent.
    """

    def __init__(
        self,
        settings: Settings,
        protocol: str,
        sender: Transport,
        probe: Callable[[], PressureSample],
        stop: threading.Event | None = None,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._settings = settings
        self._sender = sender
        self._probe = probe
        self._stop = stop or threading.Event()
        self._clock = RecordedClock()
        self._decision = PressurePolicy(settings.pressure).decide(PressureSample(), PressureState(), 0.0)
        exchange = settings.exchange.model_copy(update={"protocol": protocol})
        self._factory = SessionFactory(exchange, settings.connection, redundancy=1)
        self._sessions: dict[int, Session] = {}
        self._handoff = HandoffQueue(settings.publish.queue_batches, "replay")
        self._pipeline: EventPipeline | None = None
        self._ticked_s = 0.0

    def run(self, frames: Iterable[Frame], speed: float) -> None:
        """Send everything; `speed` 1 is as recorded, 0 as fast as the workers take it.

        Raises:
            ConfigurationError: the recording is cut; what was whole has been sent.
            BrokerUnavailable: Redis stayed away.
        """
        try:
            try:
                self._play(frames, speed)
            except ConfigurationError:
                self._end()
                raise
            self._end()
        finally:
            for session in self._sessions.values():
                self.counts.update(session.totals())
            if self._pipeline is not None:
                self.counts.update(self._pipeline.counts)

    def _play(self, frames: Iterable[Frame], speed: float) -> None:
        started_s = time.monotonic()
        first_us: int | None = None
        for frame in frames:
            first_us = frame.received_us if first_us is None else first_us
            if speed:
                self._wait_until(started_s + (frame.received_us - first_us) / 1e6 / speed)
            if self._stop.is_set():
                return
            self._on_frame(frame)

    def _on_frame(self, frame: Frame) -> None:
        self._clock.reach(frame.received_us)
        pipeline = self._pipeline = self._pipeline or self._new_pipeline(frame)
        session = self._sessions.get(frame.connection)
        if session is None:
            subscription = Subscription((), tuple(Channel))
            session = self._sessions[frame.connection] = self._factory.new(subscription, self._clock.at_s)
        raw = frame.raw if frame.binary else frame.raw.decode(errors="replace")
        events = session.on_frames([raw], frame.received_ms, self._clock.at_s)
        if events is not None:
            pipeline.process(frame.connection, events)
        if self._clock.at_s - self._ticked_s >= _TICK_S:
            self._ticked_s = self._clock.at_s
            pipeline.tick(self._decision)
        self._send_waiting()

    def _new_pipeline(self, first: Frame) -> EventPipeline:
        exchange_time = ExchangeTime(first.received_ms, self._clock.at_s)
        by_size = self._settings.batch.model_copy(update={"max_age_ms": _NEVER_MS})
        batcher = Batcher(by_size, "replay")
        pipeline = EventPipeline(batcher, self._handoff, self._clock, exchange_time)
        pipeline.listen(_Losses(pipeline))
        return pipeline

    def _flush(self) -> None:
        if self._pipeline is not None:
            self._pipeline.flush()
        self._send_waiting()

    def _end(self) -> None:
        """Let go of what the pipeline holds back, and send everything."""
        if self._pipeline is not None:
            self._clock.at_s += _END_S
            self._pipeline.tick(self._decision)
        self._flush()

    def _send_waiting(self) -> None:
        while batch := self._handoff.take(0, states=STATES):
            self._send(batch)

    def _wait_until(self, due_s: float) -> None:
        """Sleep until a frame is due, sending what has waited long enough meanwhile."""
        while (left_s := due_s - time.monotonic()) > 0 and not self._stop.is_set():
            if left_s > self._settings.batch.max_age_ms / 1000:
                self._flush()
            self._stop.wait(min(left_s, 0.2))

    def _send(self, batch: Batch) -> None:
        envelope = envelope_of(batch, self._settings.batch.trade_queues)
        for attempt in range(_SEND_ATTEMPTS):
            try:
                self._sender.send(envelope)
                break
            except BrokerUnavailable:
                if attempt == _SEND_ATTEMPTS - 1 or self._stop.wait(_RETRY_S):
                    raise
        self._handoff.done(batch)
        self.counts["batches_sent"] += 1
        if self.counts["batches_sent"] % _LOOK_EVERY == 0 and not self._stop.is_set():
            self.wait_for_workers(self._settings.pressure.queue_low)

    def wait_for_workers(self, backlog: int, timeout_s: float = 120.0) -> None:
        """Wait until no more than `backlog` batches wait or are being worked on; after a stop, not for long.

        Raises:
            BrokerUnavailable: nothing moved for `timeout_s`.
        """
        least, moved_s = None, time.monotonic()
        stopped_s: float | None = None
        calm = 0
        while stopped_s is None or time.monotonic() - stopped_s < _STOP_WAIT_S:
            reading = self._probe()
            waiting = (
                reading.trade_backlog
                + reading.unacked
                + sum(reading.queue_lengths.get(queue, 0) for queue in ("orderbook", "ticker"))
            )
            calm = calm + 1 if waiting <= backlog else 0
            if calm > (backlog == 0):  # a batch is in neither count while it goes from the queue to a worker
                return
            if least is None or waiting < least:
                least, moved_s = waiting, time.monotonic()
            elif time.monotonic() - moved_s > timeout_s:
                raise BrokerUnavailable(
                    f"{waiting} batches wait and no worker takes them: start `celery -A tasks worker`"
                )
            if self._stop.is_set() and stopped_s is None:
                stopped_s = time.monotonic()
            time.sleep(_WAIT_S)
