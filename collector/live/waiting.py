"""A queue of events between the threads that bring them and the program that takes them."""

import queue
import threading
from collections.abc import Iterator
from typing import Self

from collector.live.events import Event

#: Events that wait for the program; whatever brings them waits as well then.
WAITING_MAX = 5_000
_LOOK_S = 0.2


class Waiting:
    """What brings events puts them here; the program iterates."""

    def __init__(self) -> None:
        self._events: queue.Queue[Event | Exception] = queue.Queue(WAITING_MAX)
        self._closed = threading.Event()

    @property
    def is_closed(self) -> bool:
        """Whether nobody takes events any more."""
        return self._closed.is_set()

    def put(self, event: Event | Exception) -> None:
        """Put an event, or the error that ends it all; waits while the program has enough to do."""
        while not self.is_closed:
            try:
                self._events.put(event, timeout=_LOOK_S)
                return
            except queue.Full:
                continue

    def wait(self, timeout_s: float) -> Event | None:
        """Return the next event, None where none comes in time."""
        try:
            found = self._events.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if isinstance(found, Exception):
            raise found
        return found

    def close(self) -> None:
        """End it; an iteration in another thread ends too."""
        self._closed.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        while not self.is_closed:
            event = self.wait(_LOOK_S)
            if event is not None:
                return event
        raise StopIteration
