"""A scenario of `benchmarks.pressure_simulation`, and what a run of it looked like."""

from collections.abc import Callable
from dataclasses import dataclass, field

from collector.stream.pressure import Mode


@dataclass(frozen=True)
class Scenario:
    """What happens: times the ordinary load, workers alive, and whether Redis answers, by the second."""

    name: str
    hours: float
    load: Callable[[float], float]
    workers: Callable[[float], float] = lambda _: 1.0
    redis: Callable[[float], bool] = lambda _: True


@dataclass
class Trace:
    """What a run looked like, one entry per reading."""

    scenario: Scenario
    minutes: list[float] = field(default_factory=list)
    offered: list[float] = field(default_factory=list)
    done: list[float] = field(default_factory=list)
    trades: list[float] = field(default_factory=list)
    states: list[float] = field(default_factory=list)
    spooled: list[float] = field(default_factory=list)
    trade_age_s: list[float] = field(default_factory=list)
    state_age_s: list[float] = field(default_factory=list)
    redis_memory: list[float] = field(default_factory=list)
    modes: list[Mode] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    missing_trades: float = 0.0

    @property
    def changes(self) -> list[tuple[float, Mode, str]]:
        """Return (minute, mode entered, reason)."""
        rows = zip(self.minutes, self.modes, self.reasons, strict=True)
        return [row for row in rows if row[2]]
