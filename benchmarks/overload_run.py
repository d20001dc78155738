"""What a run of `benchmarks.overload` showed."""

from collections.abc import Callable
from dataclasses import dataclass, field

from collector.listener.health import percentile


@dataclass
class Sample:
    """One look. Figures of Redis are None while it does not answer."""

    at_s: float
    memory_mb: float
    mode: str | None = None
    queues: dict[str, int] | None = None
    spool_bytes: int | None = None
    #: Since the exchange's time of what is stored: the market that is worst off, and the best.
    ticker_age_s: float | None = None
    book_age_s: float | None = None
    newest_book_age_s: float | None = None
    trades_behind: int | None = None


@dataclass
class Run:
    """What one variant showed."""

    name: str
    samples: list[Sample] = field(default_factory=list)
    load_s: float = 0.0
    trades_sent: int = 0
    trades_lost: int = 0
    trades_doubled: int = 0
    wrong: list[str] = field(default_factory=list)
    #: After the end of the load, until every trade was stored, and until the mode was FLOW with empty queues.
    drained_s: float = 0.0
    flow_s: float = 0.0
    counters: dict[str, int] = field(default_factory=dict)
    mode_log: list[str] = field(default_factory=list)
    #: What was to be sent during the load: trades once, books `TIMES - 1` times what the workers sustain.
    trades_planned: float = 0.0
    books_planned: float = 0.0
    #: Of the whole machine, in the last minute of the load.
    load_average: float = 0.0

    def worst(self, figure: Callable[[Sample], float | None]) -> float:
        """Return the highest value of `figure` that was seen during the load."""
        return self.at_most(figure, 1)

    def at_most(self, figure: Callable[[Sample], float | None], share: float) -> float:
        """Return what `figure` did not exceed in `share` of the looks during the load."""
        seen = [figure(sample) for sample in self.samples if sample.at_s <= self.load_s]
        values = [value for value in seen if value is not None]
        return percentile(values, share) or 0.0
