"""The listener's event loop: frames that come within some milliseconds wake it once.

A wake-up costs more than most frames: its code and data have left the caches meanwhile. So while data flow,
the loop looks at its exchange sockets once in a cycle, as a network card moderates its interrupts, and takes
all that came. Whatever else it waits for, answers of REST, threads and timers, wakes it at once. Nothing is
slower under load: a loop that needs longer than a cycle for what it read does not rest, nor does one that has
not read all there was, and the first frame after a silence is taken at once.
"""

import asyncio
import selectors
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
Ready = list[tuple[selectors.SelectorKey, int]]
#: asyncio reads at most 256 KiB of a socket at a time: after so much there may be more.
MUCH_BYTES = 128 << 10


class CoalescingSelector(selectors.DefaultSelector):
    """A selector that lets what comes on some sockets come together.

    Args:
        rest_s: length of a cycle.
    """

    def __init__(self, rest_s: float) -> None:
        super().__init__()
        #: Called when the loop is about to wait in a cycle, with the seconds until its end.
        self.before_rest: Callable[[float], None] = lambda _: None
        self._rest_s = rest_s
        self._rests_until_s = 0.0
        #: What does not wait for the end of a cycle.
        self._urgent = selectors.DefaultSelector()
        self._together: set[int] = set()

    def read_together(self, fd: int) -> None:
        """Let what comes on this socket wait for the end of the cycle."""
        self._together.add(fd)
        if fd in self._urgent.get_map():
            self._urgent.unregister(fd)

    def go_on(self) -> None:
        """End the cycle: there is more to read."""
        self._rests_until_s = 0.0

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:  # noqa: ANN401
        """Register as the class it extends does."""
        key = super().register(fileobj, events, data)
        if key.fd not in self._together:
            self._urgent.register(fileobj, events, data)
        return key

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:  # noqa: ANN401
        """Change as the class it extends does."""
        key = super().modify(fileobj, events, data)
        if key.fd not in self._together:
            self._urgent.modify(fileobj, events, data)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:  # noqa: ANN401
        """Unregister as the class it extends does."""
        key = super().unregister(fileobj)
        if key.fd in self._together:
            self._together.discard(key.fd)
        else:
            self._urgent.unregister(fileobj)
        return key

    def select(self, timeout: float | None = None) -> Ready:
        """Return what is ready, as the class it extends does, of some sockets only once in a cycle."""
        left_s = self._rests_until_s - time.monotonic()
        if left_s > 0:
            if timeout is not None and timeout <= 0:
                return self._urgent.select(0)
            self.before_rest(left_s)
            rest_s = left_s if timeout is None else min(left_s, timeout)
            urgent = self._urgent.select(rest_s)
            if urgent or rest_s < left_s:
                return urgent
            if timeout is not None:
                timeout -= rest_s
        ready: Ready = super().select(timeout)
        if any(key.fd in self._together for key, _ in ready):
            self._rests_until_s = time.monotonic() + self._rest_s
        return ready

    def close(self) -> None:
        """Close as the class it extends does."""
        self._urgent.close()
        super().close()


class CoalescingLoop(asyncio.SelectorEventLoop):
    """An event loop with such a selector."""

    def __init__(self, rest_s: float) -> None:
        self.coalescing = CoalescingSelector(rest_s)
        super().__init__(self.coalescing)

    def read_together(self, fd: int) -> None:
        """Let what comes on this socket come together; as long as it is open."""
        self.coalescing.read_together(fd)

    def on_read(self, size: int) -> None:
        """Take note that so many bytes were read of such a socket at once."""
        if size >= MUCH_BYTES:
            self.coalescing.go_on()


def before_rest(call: Callable[[float], None]) -> None:
    """Have `call` called with the seconds until the loop looks at its sockets again, before it rests."""
    loop = asyncio.get_running_loop()
    if isinstance(loop, CoalescingLoop):
        loop.coalescing.before_rest = call


def run(main: Coroutine[Any, Any, T], rest_s: float) -> T:
    """Run `main` as `asyncio.run` does, in a loop with cycles of `rest_s` seconds; 0 = in the usual one."""
    with asyncio.Runner(loop_factory=lambda: _new_loop(rest_s)) as runner:
        return runner.run(main)


def _new_loop(rest_s: float) -> asyncio.AbstractEventLoop:
    return CoalescingLoop(rest_s) if rest_s else asyncio.SelectorEventLoop()
