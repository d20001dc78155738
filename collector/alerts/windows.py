"""What rules with a window look at, kept up to date trade by trade in constant time. Pure."""

from collections import deque
from decimal import Decimal

from collector.analytics.candles import Minute
from collector.model import MINUTE_MS

#: Parts of a window: it moves on by one of them at a time.
_PARTS_OF_CHANGE, _PARTS_OF_VOLUME = 60, 10
_LEAST_MS = 1000
#: Windows that a volume is compared with, and how many of them there have to be.
BASELINE, _BASELINE_MIN = 20, 5
_ZERO = Decimal(0)


class PriceChange:
    """The change of a market's price over a window, a ratio: 0.03 = 3 %."""

    def __init__(self, window_s: int) -> None:
        self.needs_ms = window_s * 1000
        self._length_ms = max(_LEAST_MS, self.needs_ms // _PARTS_OF_CHANGE)
        #: End of each part that had a trade, epoch ms, and its last price.
        self._parts: deque[tuple[int, Decimal]] = deque()
        self._before: Decimal | None = None

    def seed(self, open_ms: int, minute: Minute) -> None:
        """Take a stored minute from before the first trade."""
        self._put(open_ms + MINUTE_MS - 1, minute.last.price)

    def add(self, ms: int, price: Decimal, volume: Decimal) -> Decimal | None:  # noqa: ARG002 - as the other
        """Take a trade; return the change, None while there is no price from before the window."""
        self._put(ms, price)
        while self._parts and self._parts[0][0] <= ms - self.needs_ms:
            self._before = self._parts.popleft()[1]
        return None if not self._before else price / self._before - 1

    def _put(self, ms: int, price: Decimal) -> None:
        end_ms = ms - ms % self._length_ms + self._length_ms
        if self._parts and end_ms <= self._parts[-1][0]:
            end_ms = self._parts.pop()[0]
        self._parts.append((end_ms, price))


class VolumeSpike:
    """The volume of the newest window over the mean of the `BASELINE` windows before it."""

    def __init__(self, window_s: int) -> None:
        self.needs_ms = window_s * 1000 * (BASELINE + 1)
        self._length_ms = max(_LEAST_MS, window_s * 1000 // _PARTS_OF_VOLUME)
        self._parts_of_window = window_s * 1000 // self._length_ms
        #: Number and volume of parts: of the newest window, and of the baseline.
        self._newest: deque[tuple[int, Decimal]] = deque()
        self._older: deque[tuple[int, Decimal]] = deque()
        self._sum, self._older_sum = _ZERO, _ZERO
        self._first: int | None = None

    def seed(self, open_ms: int, minute: Minute) -> None:
        """Take a stored minute from before the first trade, as if traded evenly."""
        pieces = max(1, MINUTE_MS // self._length_ms)
        volume = (minute.buy_volume + minute.sell_volume) / pieces
        for piece in range(pieces):
            self._put((open_ms + piece * self._length_ms) // self._length_ms, volume)

    def add(self, ms: int, price: Decimal, volume: Decimal) -> Decimal | None:  # noqa: ARG002 - as the other
        """Take a trade; return the factor, None while there is too little to compare with."""
        part = self._put(ms // self._length_ms, volume)
        begins = part - self._parts_of_window
        while self._newest and self._newest[0][0] <= begins:
            moved = self._newest.popleft()
            self._older.append(moved)
            self._sum -= moved[1]
            self._older_sum += moved[1]
        oldest = begins - self._parts_of_window * BASELINE
        while self._older and self._older[0][0] <= oldest:
            self._older_sum -= self._older.popleft()[1]
        known = begins + 1 - max(self._first or 0, oldest + 1)
        if known < self._parts_of_window * _BASELINE_MIN or not self._older_sum:
            return None
        return self._sum * known / (self._older_sum * self._parts_of_window)

    def _put(self, part: int, volume: Decimal) -> int:
        if self._first is None:
            self._first = part
        if self._newest and part <= self._newest[-1][0]:
            part, before = self._newest.pop()
            self._newest.append((part, before + volume))
        else:
            self._newest.append((part, volume))
        self._sum += volume
        return part
