"""Task events of real workers, as Flower receives them: all of them, in few messages."""

import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery

from collector import routing
from collector.store.read import Reader
from tests.integration.tasks.test_workers import send, text
from tests.samples.rows import trade

Start = Callable[..., Any]
Eventually = Callable[..., None]
TASKS = 40
KINDS = {"task-received", "task-started", "task-succeeded"}


class Listener(threading.Thread):
    """Receives events as Flower does."""

    def __init__(self, app: Celery) -> None:
        super().__init__(daemon=True)
        self.heard: list[tuple[str, str]] = []
        self.messages = 0
        self._app = app
        self._stopped = threading.Event()

    def run(self) -> None:
        """Receive until stopped."""
        with self._app.connection_for_read() as connection:
            receiver = self._app.events.Receiver(connection, handlers={"*": self._take})
            receive = receiver._receive

            def counted(*arguments: Any) -> None:
                self.messages += 1
                receive(*arguments)

            receiver._receive = counted
            while not self._stopped.is_set():
                try:
                    receiver.capture(timeout=0.2, wakeup=False)
                except TimeoutError:
                    continue

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        self.join(10)

    def _take(self, event: dict[str, Any]) -> None:
        if event["type"] in KINDS:
            self.heard.append((event["type"], event["uuid"]))


@pytest.fixture
def events(sender: Celery) -> Iterator[Listener]:
    """A listener that is there before the workers are."""
    listener = Listener(sender)
    listener.start()
    yield listener
    listener.stop()


def complete(events: Listener, tasks: int) -> bool:
    """Tell whether everything was heard of so many tasks, and nothing twice."""
    assert len(set(events.heard)) == len(events.heard)
    return len(events.heard) == tasks * len(KINDS)


def test_all_events_of_all_tasks_come_together(
    start_worker: Start, sender: Celery, events: Listener, eventually: Eventually
) -> None:
    """Each task is received, started and done, and three events of each are not three messages."""
    start_worker("-Q", "trade", "-c", "2", "--without-gossip", "--without-mingle")
    before = events.messages
    for number in range(TASKS):
        send(sender, routing.INGEST_TRADES, text([trade(number)]))
    eventually(lambda: complete(events, TASKS), 20, "every event")
    assert events.messages - before < TASKS


def test_the_last_events_are_sent_before_a_worker_ends(
    start_worker: Start, sender: Celery, reader: Reader, events: Listener, eventually: Eventually
) -> None:
    """A warm stop right after a task: what Flower was not told yet, it is told now."""
    worker = start_worker("-Q", "trade", "-c", "1", "--without-gossip", "--without-mingle")
    send(sender, routing.INGEST_TRADES, text([trade(1)]))
    eventually(lambda: reader.counters().get("trades_counted") == 1, 10, "the trade")
    worker.send_signal(signal.SIGTERM)
    worker.wait(15)
    eventually(lambda: complete(events, 1), 5, "its events")
