"""The one bounded queue between the event loop and the publisher's thread.

Trades and gaps go first and are never refused up to a hard limit, because behind them is a disk. Tickers and
books that find no room are conflated with those that wait: the newest of a market stays, the rest is counted.

Workers drop tickers and books that grew old in a queue, and the publisher takes them back from there. So the
newest of each market that was handed on stays known here, and `repeat_states` puts it back into the line.
"""

import threading
from collections import Counter, deque
from collections.abc import Collection
from typing import Any

from collector import batch as batches
from collector.batch import Batch, Kind
from collector.stream.batcher import STATES

#: Trade batches are refused only at this multiple of the capacity, when the disk is far too slow.
_HARD_FACTOR = 8


class HandoffQueue:
    """Batches on their way from the batcher to the publisher; safe between threads."""

    def __init__(self, capacity: int, listener: str = "") -> None:
        #: Make one batch of all tickers, or all books, that wait: whatever is held back takes little memory.
        self.conflating = False
        #: States replaced by a newer one while they waited, by kind.
        self.conflated: Counter[str] = Counter()
        self._capacity = capacity
        self._listener = listener
        self._facts: deque[Batch] = deque()
        #: By kind, the one that was handed on longest ago first.
        self._states: dict[Kind, deque[Batch]] = {kind: deque() for kind in sorted(STATES)}
        #: The newest row of each market that was handed on, by kind.
        self._handed: dict[Kind, dict[str, Any]] = {kind: {} for kind in STATES}
        #: Facts neither sent nor on disk: batch id -> time of the oldest that nothing else remembers.
        self._marks: dict[str, int] = {}
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._facts) + sum(map(len, self._states.values()))

    @property
    def fill(self) -> float:
        """Share of the capacity in use; above 1 only while trades wait for a slow disk.

        While conflating, tickers and books do not count: they are held back on purpose, a batch of each kind.
        """
        return (len(self._facts) if self.conflating else len(self)) / self._capacity

    def put(self, batch: Batch) -> bool:
        """Take a batch; False if it is a fact and even the hard limit is reached."""
        with self._changed:
            if batch.channel not in STATES:
                if len(self._facts) >= self._capacity * _HARD_FACTOR:
                    return False
                if mark_ms := batches.mark_of(batch):
                    self._marks[batch.id] = mark_ms
                self._facts.append(batch)
            else:
                self._put_state(self._states[batch.channel], batch)
            self._changed.notify()
        return True

    def take(self, timeout_s: float, *, states: Collection[str]) -> Batch | None:
        """Wait for the next batch, facts first, then the kinds of `states` in turn."""
        with self._changed:
            self._changed.wait_for(lambda: self._has(states), timeout_s)
            if self._facts:
                return self._facts.popleft()
            return self._take_state(states)

    def done(self, batch: Batch) -> None:
        """Forget facts that are out of danger: sent, on disk, or a gap."""
        with self._changed:
            self._marks.pop(batch.id, None)

    @property
    def oldest_mark_ms(self) -> int | None:
        """Time of the oldest fact, epoch ms, that dies with this process."""
        with self._changed:
            return min(self._marks.values(), default=None)

    def put_back(self, batch: Batch) -> None:
        """Take back a state batch that could not be sent; newer ones of its markets win."""
        with self._changed:
            waiting = self._states[batch.channel]
            waiting.appendleft(batch)
            if len(waiting) > self._capacity // 2:
                self._conflate(waiting)

    def repeat_states(self, now_ms: int, kinds: Collection[str]) -> None:
        """Hand on once more what was handed on, unless something newer of its market waits already."""
        with self._changed:
            for kind in [kind for kind in self._states if kind in kinds]:
                waiting = self._states[kind]
                known = {row.market for batch in waiting for row in batch.rows}
                rows = [row for market, row in self._handed[kind].items() if market not in known]
                if rows:
                    waiting.appendleft(batches.make(kind, rows, listener=self._listener, now_ms=now_ms))
            self._changed.notify()

    def wake(self) -> None:
        """Let a waiting `take` look around."""
        with self._changed:
            self._changed.notify_all()

    def _has(self, states: Collection[str]) -> bool:
        return bool(self._facts) or any(self._states[kind] for kind in self._states if kind in states)

    def _take_state(self, kinds: Collection[str]) -> Batch | None:
        """Return the next batch of the kind whose turn it is: a flood of one must not starve the other."""
        kind = next((kind for kind, waiting in self._states.items() if waiting and kind in kinds), None)
        if kind is None:
            return None
        waiting = self._states[kind] = self._states.pop(kind)  # to the end of the line
        if self.conflating and len(waiting) > 1:
            self._conflate(waiting)
        batch = waiting.popleft()
        self._handed[kind].update((row.market, row) for row in batch.rows)
        return batch

    def _put_state(self, waiting: deque[Batch], batch: Batch) -> None:
        waiting.append(batch)
        if len(waiting) > (1 if self.conflating else self._capacity // 4):
            self._conflate(waiting)

    def _conflate(self, waiting: deque[Batch]) -> None:
        """Replace all that waits by one batch of the newest row per market."""
        newest: dict[str, Any] = {}
        total = 0
        for batch in waiting:
            total += len(batch.rows)
            newest.update((row.market, row) for row in batch.rows)
        last = waiting[-1]
        last.rows = list(newest.values())
        self.conflated[last.channel] += total - len(newest)
        waiting.clear()
        waiting.append(last)
