"""What a listener tells about itself: the `listeners[]` rows of `collector show health`."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from collector.feed.connection import Connection

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
