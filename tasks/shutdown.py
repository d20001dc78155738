"""A worker ends within `END_S` of a stop signal, whatever it is doing, without loss of data.

Celery's own cold shutdown runs inside the signal handler, in the middle of whatever the main loop was doing.
Half a batch may be written to a process of the pool then, or half a result read from one, and neither is ever
finished: Celery waits for that process, which waits for the other half. So here the handler leaves a note,
which Celery's loop finds between two events; it stops in good order, and a thread bounds how long that takes:

    0 s       no batch is taken any more; those that run go on
    SOFT_S    the processes that still run one are killed; their batches go back into their queues
    END_S     the worker leaves at once; what it held comes back after the visibility timeout

The signals are those of Celery's cold shutdown: SIGQUIT, and SIGTERM where REMAP_SIGTERM is SIGQUIT.
"""

import logging
import signal
import sys
import threading
import time
import traceback
from queue import SimpleQueue
from typing import Any

from billiard.common import REMAP_SIGTERM
from celery.bootsteps import StartStopStep
from celery.platforms import EX_OK
from celery.signals import worker_shutting_down
from celery.worker import state

from tasks.app import app
from tasks.consumer_watchdog import end, kill_children

log = logging.getLogger(__name__)

SOFT_S = 1.5
END_S = 4.0
SIGNALS = (signal.SIGQUIT, signal.SIGTERM) if REMAP_SIGTERM == "SIGQUIT" else (signal.SIGQUIT,)


class Shutdown(StartStopStep):
    """Takes the signals from Celery's handlers as soon as there is a pool."""

    requires = ("celery.worker.components:Pool",)

    def start(self, parent: Any) -> None:  # noqa: ANN401 - Celery's worker
        """Listen to the signals; Celery calls this before the worker connects to Redis."""
        asked: SimpleQueue[None] = SimpleQueue()  # the one queue that a signal handler may put into
        threading.Thread(target=_bound, args=(asked, parent.hostname), name="stopping", daemon=True).start()

        def note(*_: object) -> None:
            state.should_stop = EX_OK  # type: ignore[assignment] # declared as what it is at first
            asked.put(None)

        for number in SIGNALS:
            signal.signal(number, note)


def _bound(asked: "SimpleQueue[None]", hostname: str) -> None:
    """Wait for a stop to begin, and see to it that it ends."""
    asked.get()
    worker_shutting_down.send(sender=hostname, sig="SIGQUIT", how="Cold", exitcode=EX_OK)
    time.sleep(SOFT_S)
    kill_children()
    time.sleep(END_S - SOFT_S)
    log.error("not stopped within %g s: leaving at once; the main thread is in\n%s", END_S, _place())
    end()


def _place() -> str:
    """Return the stack of the main thread."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    return "".join(traceback.format_stack(frame))


app.steps["worker"].add(Shutdown)
