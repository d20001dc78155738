"""A second stop signal, distinguished from a copy of the first one."""

import time
from collections.abc import Callable

#: One wish to stop may arrive twice: `timeout` signals its child and then its process group, a terminal the
#: group of a program that passes the signal on. Copies come within milliseconds, a second wish does not.
COPY_S = 0.5


class StopSignals:
    """Counts wishes to stop.

    Attributes:
        wishes: how many there were; signals that came within `COPY_S` of the first one are part of it.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self.wishes = 0
        self._now_s = now_s
        self._first_s = 0.0

    def arrived(self) -> int:
        """Take note of a signal; return the number of the wish: 1 is the first, from 2 on stop at once.

        0 is a copy of the first one, to be ignored.
        """
        now_s = self._now_s()
        if not self.wishes:
            self._first_s = now_s
        elif now_s - self._first_s < COPY_S:
            return 0
        self.wishes += 1
        return self.wishes
