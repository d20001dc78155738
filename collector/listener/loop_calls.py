"""The one way from other threads into the listener's event loop.

The publisher's thread reports losses here; nothing of the pipeline or the gap tracker is touched outside of
the loop.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import Any


class LoopCalls:
    """Has functions called in the event loop, in order; `call` may be used by any thread.

    A lock guards the loop's opening and closing: a call is either queued while the loop runs, or dropped.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def open(self) -> None:
        """Take calls from now on, for the running loop."""
        with self._lock:
            self._loop = asyncio.get_running_loop()

    def close(self) -> None:
        """Drop all further calls: the loop is about to end."""
        with self._lock:
            self._loop = None

    def call(self, function: Callable[..., object], *arguments: Any) -> None:  # noqa: ANN401 - the function's own
        """Have `function` called with `arguments` in the event loop; nothing is returned or awaited."""
        with self._lock:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(function, *arguments)
