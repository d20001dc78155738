"""The exchange's limits per address: connections and REST calls a second. Pure."""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from collector.simulator.options import SimulatorOptions

#: Addresses whose limits are remembered.
MAX_ADDRESSES = 1000


@dataclass(slots=True)
class SlidingWindow:
    """Allows `limit` events within any one second."""

    limit: int
    _moments: deque[float] = field(default_factory=deque)

    def allow(self, now: float) -> bool:
        """Count an event at monotonic `now` if it is within the limit."""
        self._forget(now)
        if len(self._moments) >= self.limit:
            return False
        self._moments.append(now)
        return True

    def left(self, now: float) -> int:
        """Return how many more would be allowed at `now`."""
        self._forget(now)
        return self.limit - len(self._moments)

    def _forget(self, now: float) -> None:
        while self._moments and self._moments[0] <= now - 1:
            self._moments.popleft()


@dataclass(slots=True)
class ConnectGate:
    """Ten connections a second, then 429; whoever goes on is blocked for ten minutes (protocol 1.9)."""

    connects_per_s: int
    block_after_refusals: int
    block_s: float
    _window: SlidingWindow = field(init=False)
    _refusals: int = 0
    _blocked_until: float = float("-inf")

    def __post_init__(self) -> None:
        self._window = SlidingWindow(self.connects_per_s)

    def allow(self, now: float) -> bool:
        """Say whether a connection attempt at monotonic `now` gets through."""
        if now < self._blocked_until:
            return False
        if self._window.allow(now):
            self._refusals = 0
            return True
        self._refusals += 1
        if self._refusals >= self.block_after_refusals:
            self._blocked_until, self._refusals = now + self.block_s, 0
        return False


class RateLimiter:
    """The limits of every address that comes."""

    def __init__(self, options: SimulatorOptions) -> None:
        self._options = options
        self._gates: dict[str, ConnectGate] = {}
        self._calls: dict[tuple[str, str], SlidingWindow] = {}

    def admits(self, address: str, now: float) -> bool:
        """Say whether a handshake from `address` gets through."""
        if address not in self._gates:
            _bound(self._gates)
            options = self._options
            self._gates[address] = ConnectGate(
                options.connects_per_s, options.block_after_refusals, options.block_s
            )
        return self._gates[address].allow(now)

    def calls_left(self, address: str, category: str, now: float) -> int | None:
        """Count a REST call; return how many more there may be this second, None when it is one too many."""
        key = address, category
        if key not in self._calls:
            _bound(self._calls)
            self._calls[key] = SlidingWindow(self._options.rest_requests_per_s)
        window = self._calls[key]
        return window.left(now) if window.allow(now) else None


def _bound(remembered: dict[Any, Any]) -> None:
    """Forget all addresses before there are too many; a local server sees a handful."""
    if len(remembered) >= MAX_ADDRESSES:
        remembered.clear()
