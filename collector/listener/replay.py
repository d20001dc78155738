"""A recorded session through the whole pipeline: the same line as live frames, without the sockets.

Nothing is merged, expired or spooled here: a replay waits for the workers instead, so that the same recording
always gives the same results.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable

from collector.batch import Batch
from collector.errors import BrokerUnavailable, ConfigurationError
from collector.feed.session import Session
from collector.feed.watchdog import new_rhythms
from collector.model import Channel
from collector.protocol.codec import Codec, Subscription
from collector.publish.publisher import Transport, letter_of
from collector.recording import Frame
from collector.settings import Settings
from collector.stream.batcher import KINDS, Batcher
from collector.stream.book import BookBuilder
from collector.stream.deduplicator import Deduplicator
from collector.stream.pressure import PressureSample

_SEND_ATTEMPTS = 10
_RETRY_S = 1.0
_WAIT_S = 0.05
#: Batches sent between two looks at the queues.
_LOOK_EVERY = 20
#: After a stop, how long the workers may take for what has been sent.
_STOP_WAIT_S = 1.5


class Replay:
    """Frames in, batches out.

    Args:
        new_codec: makes the translator of one recorded socket.
        probe: reads the queues, so that the replay can wait for the workers.
        stop: set from outside to end early; what has been read is still sent.
    """

    def __init__(
        self,
        settings: Settings,
        protocol: str,
        new_codec: Callable[[], Codec],
        sender: Transport,
        probe: Callable[[], PressureSample],
        stop: threading.Event | None = None,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._settings = settings
        self._new_codec = new_codec
        self._needs_books = protocol == "legacy"
        self._sender = sender
        self._probe = probe
        self._stop = stop or threading.Event()
        self._sessions: dict[int, Session] = {}
        self._deduplicator = Deduplicator()
        self._batcher = Batcher(settings.batch, "replay")

    def run(self, frames: Iterable[Frame], speed: float) -> None:
        """Send everything; `speed` 1 is as recorded, 0 as fast as the workers take it.

        Raises:
            ConfigurationError: the recording is cut; what was whole has been sent.
            BrokerUnavailable: Redis stayed away.
        """
        try:
            self._play(frames, speed)
        except ConfigurationError:
            self._flush()
            raise
        finally:
            for session in self._sessions.values():
                self.counts.update(session.totals())
        self._flush()

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

    def _flush(self) -> None:
        for batch in self._batcher.flush(_now_ms()):
            self._send(batch)

    def _on_frame(self, frame: Frame) -> None:
        session = self._sessions.get(frame.connection)
        if session is None:
            session = self._sessions[frame.connection] = self._new_session()
        raw = frame.raw if frame.binary else frame.raw.decode(errors="replace")
        for event in session.on_frame(raw, frame.received_ms, frame.received_us / 1e6) or ():
            if self._deduplicator.accept(event):
                self.counts[f"{KINDS[type(event)]}_rows"] += 1
                filled = self._batcher.add(event, frame.received_us / 1e6, _now_ms())
                if filled is not None:
                    self._send(filled)

    def _new_session(self) -> Session:
        settings = self._settings.connection
        subscription = Subscription((), tuple(Channel))
        books = BookBuilder() if self._needs_books else None
        return Session(self._new_codec(), subscription, new_rhythms(settings), settings, 0.0, books=books)

    def _wait_until(self, due_s: float) -> None:
        """Sleep until a frame is due, sending what has waited long enough meanwhile."""
        while (left_s := due_s - time.monotonic()) > 0 and not self._stop.is_set():
            if left_s > self._settings.batch.max_age_ms / 1000:
                self._flush()
            self._stop.wait(min(left_s, 0.2))

    def _send(self, batch: Batch) -> None:
        letter = letter_of(batch, self._settings.batch.shards)
        for attempt in range(_SEND_ATTEMPTS):
            try:
                self._sender.send(letter)
                break
            except BrokerUnavailable:
                if attempt == _SEND_ATTEMPTS - 1 or self._stop.wait(_RETRY_S):
                    raise
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


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
