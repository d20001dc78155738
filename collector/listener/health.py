"""What a listener reports of itself: the `listeners[]` rows of `collector show health`.

The publisher's thread asks for a row to write it into Redis, web threads ask for one at each scrape. Both
read figures that other threads move: numbers, and copies of counters and queues made in one step. What the
report itself remembers between two rows is under its lock.
"""

import math
import os
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from collector.clock import Clock
from collector.feed.backfill import Backfill
from collector.feed.connection import Connection
from collector.feed.connection_group import ConnectionGroup
from collector.feed.rest_client import RestClient
from collector.feed.session import SessionState
from collector.listener.auditor import Auditor
from collector.listener.market_list import MarketList
from collector.listener.pipeline import EventPipeline
from collector.publish.handoff import HandoffQueue
from collector.publish.publisher import Publisher
from collector.stream.batcher import Batcher

N = TypeVar("N", int, float)


@dataclass(slots=True)
class FrameRate:
    """Frames per second between two looks."""

    frames: int = 0
    at_s: float | None = None
    per_s: float = 0.0

    def look(self, frames: int, now_s: float) -> float:
        """Return the rate since the last look at least half a second ago."""
        if self.at_s is None:
            self.frames, self.at_s = frames, now_s
        elif now_s - self.at_s >= 0.5:
            self.per_s = (frames - self.frames) / (now_s - self.at_s)
            self.frames, self.at_s = frames, now_s
        return self.per_s


def percentile(values: Sequence[N], share: float) -> N | None:
    """Return the nearest-rank percentile, or None of nothing."""
    if not values:
        return None
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def state_of(connections: Iterable[Connection]) -> str:
    """Sum the connections up in one word: the best of their states."""
    order = ("streaming", "subscribed", "connecting", "waiting", "gave_up", "stopped")
    states = {str(connection.state) for connection in connections}
    return next((state for state in order if state in states), "starting")


def connection_row(connection: Connection) -> dict[str, Any]:
    """Describe one connection."""
    totals = connection.totals
    return {
        "number": connection.number,
        "state": str(connection.state),
        "connects": totals.connects,
        "losses": totals.losses,
        "frames": totals.frames,
        "last_frame_ms": totals.last_frame_ms,
        "last_loss": connection.last_loss,
    }


def added_up(counters: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Add counters up, names in order; they may grow in another thread meanwhile."""
    total: Counter[str] = Counter()
    for counter in counters:
        total.update(dict(counter))
    return dict(sorted(total.items()))


class HealthReport:
    """Makes the health row of one listener; any thread may ask.

    Args:
        listener: its name.
        ended: counts of sockets that are gone.
    """

    def __init__(
        self,
        listener: str,
        clock: Clock,
        *,
        markets: MarketList,
        pipeline: EventPipeline,
        batcher: Batcher,
        handoff: HandoffQueue,
        connections: ConnectionGroup,
        ended: Counter[str],
        rest: RestClient,
        backfill: Backfill,
        auditor: Auditor | None,
    ) -> None:
        #: Set once, when the listener stops.
        self.has_left = False
        self._listener = listener
        self._clock = clock
        self._markets = markets
        self._pipeline = pipeline
        self._batcher = batcher
        self._handoff = handoff
        self._connections = connections
        self._ended = ended
        self._rest = rest
        self._backfill = backfill
        self._auditor = auditor
        self._lock = threading.Lock()
        self._rate = FrameRate()

    def row(self, publisher: Publisher) -> dict[str, Any]:
        """Return this listener's row of `show health`."""
        connections = list(self._connections.connections)
        last_frames = [each.totals.last_frame_ms for each in connections if each.totals.last_frame_ms]
        lags = list(self._pipeline.lags_ms)
        with self._lock:
            frames_per_s = self._rate.look(self._connections.frames, self._clock.monotonic())
        return {
            "id": self._listener,
            "state": SessionState.STOPPED if self.has_left else state_of(connections),
            "connections": [connection_row(connection) for connection in connections],
            "mode": str(publisher.decision.mode),
            "frames_per_s": round(frames_per_s, 1),
            "lag_ms_p50": percentile(lags, 0.5),
            "lag_ms_p99": percentile(lags, 0.99),
            "lag": self._pipeline.lags.snapshot(),
            "spool_bytes": publisher.spool_bytes,
            "last_frame_ms": max(last_frames, default=None),
            "markets": len(self._markets.markets),
            "markets_refused": len(self._rest.refused_markets),
            "pid": os.getpid(),
            "backfills_waiting": len(self._backfill),
            "counters": self.counters(publisher),
        }

    def counters(self, publisher: Publisher) -> dict[str, int]:
        """Return everything counted so far, by name."""
        sessions = [connection.session for connection in list(self._connections.connections)]
        conflated = added_up([self._batcher.conflated, self._handoff.conflated])
        pipeline = self._pipeline
        return added_up(
            [
                self._ended,
                *(session.totals() for session in sessions if session is not None),
                pipeline.deduplicator.held_back,
                pipeline.doubts.counts,
                pipeline.totals.counts,
                pipeline.counts,
                self._rest.counts,
                self._backfill.counts,
                self._auditor.counts if self._auditor is not None else {},
                publisher.counts,
                {f"{kind}_merged": count for kind, count in conflated.items()},
            ]
        )
