"""The listener's event loop: frames that come within a few milliseconds wake it once.

A wake-up costs more than most frames: its code and data have left the caches meanwhile. So while data flow,
the loop rests a little between two looks at its sockets, as a network card moderates its interrupts. A loop
that finds something to read goes on without a rest, so nothing is slower under load, and the first frame
after a silence is taken at once.
"""

import asyncio
import selectors
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
Ready = list[tuple[selectors.SelectorKey, int]]


class CoalescingSelector(selectors.DefaultSelector):
    """A selector that lets things come together.

    Args:
        rest_s: when nothing is ready, and the last look is younger than this, wait until it is that old. What
            comes meanwhile, and timers, may be late by as much.
    """

    def __init__(self, rest_s: float) -> None:
        super().__init__()
        self._rest_s = rest_s
        self._rested_s = 0.0

    def select(self, timeout: float | None = None) -> Ready:
        """Return what is ready, as the class it extends does."""
        ready: Ready = super().select(0)
        if not ready and (timeout is None or timeout > 0):
            rest_s = max(0.0, self._rested_s - time.monotonic())
            if timeout is not None:
                rest_s = min(rest_s, timeout)
                timeout -= rest_s
            time.sleep(rest_s)
            ready = super().select(timeout)
        self._rested_s = time.monotonic() + self._rest_s
        return ready


def run(main: Coroutine[Any, Any, T], rest_s: float) -> T:
    """Run `main` as `asyncio.run` does, in a loop that rests `rest_s` seconds; 0 = in the usual one."""
    with asyncio.Runner(loop_factory=lambda: _new_loop(rest_s)) as runner:
        return runner.run(main)


def _new_loop(rest_s: float) -> asyncio.AbstractEventLoop:
    return asyncio.SelectorEventLoop(CoalescingSelector(rest_s) if rest_s else None)
