"""What this run covers, written into Redis at every look at it; and whether Redis still holds that.

Two threads meet here. The event loop takes a snapshot of what is covered at every tick, in one piece, so that
no trade is between two places. The publisher's thread adds what is on disk and on its way, and writes; what
has moved on meanwhile is named once too often, never too seldom. The snapshot, and whether one is waited for,
are under the lock; all else belongs to the publisher's thread once a snapshot is there.

Nothing is written before the run has begun, that is, before what may be missing since the last run is a gap:
until then what the last run wrote holds.
"""

import threading
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from collector.analytics.completeness import Status
from collector.analytics.watermark import LAG_MS, lost_from_ms
from collector.publish.sender import FACTS, Envelope
from collector.store.coverage import CoverageStore, decode, encode

#: Statuses that may have been written or not.
_DOUBTS_KEPT = 1_000
#: Batches whose trades are older than what is covered by so much are noted one by one, so many of them.
_OLD_MS, _OLD_KEPT = 60_000, 1_000


class Snapshot(NamedTuple):
    """What is covered at a moment, by the exchange's time in epoch ms.

    Attributes:
        covered_until_ms: when the last data came.
        outage_since_ms: since when no socket streams, None while one does; `outage_reason`: why.
        unsent_from_ms: time of the oldest fact in the memory of this process alone.
    """

    covered_until_ms: int
    outage_since_ms: int | None = None
    outage_reason: str | None = None
    unsent_from_ms: int | None = None


class Forgotten(NamedTuple):
    """What Redis may have lost of what was handed to it: stretches of time of every market, epoch ms."""

    stretches: tuple[tuple[int, int], ...]


class Watermark:
    """The status of a run.

    Args:
        run: a name that no other run has.
        exchange_ms: the exchange's time; called in the publisher's thread.
    """

    def __init__(self, store: CoverageStore, run: str, exchange_ms: Callable[[], int]) -> None:
        self._store = store
        self._run = run
        self._exchange_ms = exchange_ms
        self._lock = threading.Lock()
        self._snapshot: Snapshot | None = None
        self._began_ms = 0
        #: What is in Redis as far as is known, and what may be there instead.
        self._written = b""
        self._in_doubt: deque[bytes] = deque(maxlen=_DOUBTS_KEPT)
        self._status = Status(0)
        self._redis_id = ""
        self._is_waiting = False
        #: Batches of facts handed over since the last status, and the exchange's time then.
        self._handed_since = 0
        self._handed_ms = 0
        #: Marker, and from when to when, of batches with old trades.
        self._old: deque[tuple[int, int, int]] = deque(maxlen=_OLD_KEPT)

    def begin(self, found: bytes, began_ms: int) -> None:
        """Go on from the status that was found, which may be none; in the event loop.

        Args:
            began_ms: from when on trades may be missing that the last run did not bring.
        """
        before = decode(found)
        self._written, self._began_ms = found, began_ms
        self._status = Status(began_ms, run=self._run, marker=before.marker if before else 0)

    def note(self, snapshot: Snapshot) -> None:
        """Take what is covered now; in the event loop."""
        with self._lock:
            self._snapshot = snapshot

    def go_on(self) -> None:
        """Take note that what was forgotten is a gap now, or on its way to be one; in the event loop."""
        with self._lock:
            self._snapshot = None
            self._is_waiting = False

    def on_handed(self, envelope: Envelope) -> None:
        """Take note of a batch that Redis took; in the publisher's thread."""
        if envelope.kind not in FACTS:
            return
        self._handed_since += 1
        self._handed_ms = self._exchange_ms()
        if envelope.from_ms and envelope.from_ms < self._handed_ms - _OLD_MS:
            self._old.append((self._status.marker, envelope.from_ms, envelope.to_ms))

    def write(
        self, *, spooled_from_ms: int | None, spool: str, in_flight_from_ms: int | None
    ) -> Forgotten | None:
        """Write the status; return what Redis has forgotten, once; in the publisher's thread.

        After that nothing is written until `go_on`, and a snapshot in which it is a gap.

        Args:
            spooled_from_ms: time of the oldest fact on disk, None for none; `spool`: name of what is there.
            in_flight_from_ms: time of the oldest that was handed to Redis a while ago and is not stored.

        Raises:
            BrokerUnavailable: Redis refuses or does not answer in time.
        """
        with self._lock:
            snapshot = None if self._is_waiting else self._snapshot
        if snapshot is None:
            return None
        pending = (snapshot.unsent_from_ms, spooled_from_ms, in_flight_from_ms)
        status = Status(
            covered_until_ms=snapshot.covered_until_ms,
            outage_since_ms=snapshot.outage_since_ms,
            outage_reason=snapshot.outage_reason,
            pending_from_ms=min((ms for ms in pending if ms is not None), default=None),
            run=self._run,
            marker=self._status.marker + 1,
            unsent_from_ms=snapshot.unsent_from_ms,
            spooled_from_ms=spooled_from_ms,
            spool=spool,
            now_ms=self._exchange_ms(),
        )
        text = encode(status)
        expected = (self._written, *self._in_doubt)
        self._in_doubt.append(text)
        reply = self._store.write(text, expected, self._redis_id)
        is_restarted = not reply.is_written and reply.found in expected
        self._redis_id = reply.run_id
        if reply.is_written:
            self._written, self._status, self._handed_since = text, status, 0
            self._in_doubt.clear()
            return None
        return self._forgotten(reply.found, is_restarted=is_restarted)

    def _forgotten(self, found: bytes, *, is_restarted: bool) -> Forgotten | None:
        """Adopt what is in Redis as what was written last; return what is lost since."""
        before, handed = decode(found), self._handed_since
        from_ms = lost_from_ms(before, self._status, self._began_ms, self._exchange_ms())
        self._written = found
        self._in_doubt.clear()
        self._handed_since = 0
        marker = before.marker if before else 0
        old = [(old_ms, to_ms) for at, old_ms, to_ms in self._old if at >= marker]
        self._status = Status(0, run=self._run, marker=max(marker, self._status.marker))
        if from_ms is None or (is_restarted and not handed):
            return None
        with self._lock:
            self._is_waiting = True
        to_ms = max(from_ms, self._handed_ms + LAG_MS)
        return Forgotten((*_joined(old), (from_ms, to_ms)))


def _joined(stretches: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return stretches of time without those that overlap or touch another."""
    joined: list[tuple[int, int]] = []
    for from_ms, to_ms in sorted(stretches):
        if joined and from_ms <= joined[-1][1] + 1:
            joined[-1] = joined[-1][0], max(joined[-1][1], to_ms)
        else:
            joined.append((from_ms, to_ms))
    return joined
