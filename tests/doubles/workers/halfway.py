"""The workers' app, told to stop while half a batch is written to a process of its pool, once.

`celery -A tests.doubles.workers.halfway worker`. Under load it happens by itself: a pipe is smaller than a
large batch.
"""

import os
import signal
from typing import Any

from billiard.connection import Connection

from tests.doubles.workers.patient import app

__all__ = ["app"]

LARGE = 10_000
_is_over = False
_send_offset = Connection.send_offset


def _halfway(self: Connection, buf: Any, offset: int) -> int:
    global _is_over  # pool processes keep a reference to this function: it can't be taken back
    if _is_over or len(buf) < LARGE:
        return _send_offset(self, buf, offset)
    _is_over = True
    written = _send_offset(self, buf[: len(buf) // 2], offset)
    os.kill(os.getpid(), signal.SIGQUIT)  # handled before the next line
    return written


Connection.send_offset = _halfway
