"""The task events of a worker for Flower are sent together, five times a second.

Celery sends the events of a task as soon as its event loop turns, one message for each turn; with dozens of
tasks a second that was a third of what a worker's main process did.
"""

from typing import Any

from celery import bootsteps
from celery.worker.consumer.events import Events
from kombu.common import ignore_errors

from tasks.app import app

#: An event waits so long for others.
EVERY_S = 0.2
#: So many go out at once.
TOGETHER_MAX = 1_000


class EventsTogether(bootsteps.StartStopStep):
    """Delays the sending of a consumer's task events."""

    requires = (Events,)

    def __init__(self, c: Any, **options: Any) -> None:  # noqa: ANN401 - Celery's consumer
        super().__init__(c, **options)
        self._is_due = False

    def start(self, c: Any) -> None:  # noqa: ANN401 - Celery's consumer
        """Take over from the consumer; Celery calls this for each connection."""
        dispatcher: Any = c.event_dispatcher
        if dispatcher is None or c.hub is None:  # without an event loop Celery sends each event by itself
            return

        def flush() -> None:
            if self._is_due:
                self._is_due = False
                dispatcher.flush()

        def on_event() -> None:
            if not self._is_due:
                self._is_due = True
                c.timer.call_after(EVERY_S, flush)

        self._is_due = False
        dispatcher.buffer_limit = TOGETHER_MAX
        dispatcher.on_send_buffered = on_event

    def stop(self, c: Any) -> None:  # noqa: ANN401 - Celery's consumer
        """Send what waits."""
        if self._is_due and c.event_dispatcher is not None:
            self._is_due = False
            ignore_errors(c, c.event_dispatcher.flush)


app.steps["consumer"].add(EventsTogether)
