"""A histogram of durations with fixed bounds, which can be added up over time and listeners. Pure."""

from bisect import bisect_left
from collections.abc import Sequence


class Histogram:
    """Counts durations by the smallest bound that they do not exceed.

    Args:
        bounds_ms: rising; what exceeds the last is counted behind it.
    """

    def __init__(self, bounds_ms: Sequence[int]) -> None:
        self.bounds_ms = tuple(bounds_ms)
        self.counts = [0] * (len(self.bounds_ms) + 1)
        self.sum_ms = 0

    def observe(self, value_ms: int) -> None:
        """Count a duration; a negative one, of clocks that differ, counts as none."""
        self.counts[bisect_left(self.bounds_ms, value_ms)] += 1
        if value_ms > 0:
            self.sum_ms += value_ms

    def snapshot(self) -> dict[str, object]:
        """Return it as JSON: bounds in seconds, counts of each (one more, for what exceeds the last), sum."""
        return {
            "bounds_s": [bound / 1000 for bound in self.bounds_ms],
            "counts": list(self.counts),
            "sum_s": self.sum_ms / 1000,
        }
