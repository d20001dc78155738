"""Alerts in workers that take the queue `alert`: one of them evaluates, all of them deliver.

A delivery is due in Redis until a channel took it or it was given up (`collector.alerts.ledger`). A task
only carries its name, so one that is lost, repeated or late does no harm.
"""

from typing import Any

from celery.signals import worker_ready, worker_shutting_down
from kombu.exceptions import OperationalError

from collector import routing
from collector.alerts.delivery import attempt
from collector.alerts.evaluator import Evaluator
from collector.alerts.ledger import Ledger
from collector.errors import BrokerUnavailable, CollectorError
from collector.host.redis_server import find_url
from collector.settings import current
from collector.store.redis_client import client
from tasks.app import app


@app.task(
    name=routing.ALERT_DELIVER,
    ignore_result=True,
    throws=(CollectorError,),
    rate_limit=current().alert.rate_limit,
)
def deliver(firing_id: str, channel: str, **_: object) -> None:
    """Try to deliver a firing to a channel."""
    settings = current()
    attempt(Ledger(client(), settings), firing_id, channel, settings.alert)


_running: list[Evaluator] = []


@worker_ready.connect
def start(sender: Any, **_: object) -> None:  # noqa: ANN401 - Celery's consumer
    """Start the evaluator of a worker that takes the queue; Celery calls this once it consumes."""
    settings = current()
    if routing.ALERT not in sender.app.amqp.queues.consume_from:
        return
    evaluator = Evaluator(find_url(settings), settings, _send)
    evaluator.start()
    _running.append(evaluator)


def _send(firing_id: str, channel: str) -> None:
    try:
        app.send_task(
            routing.ALERT_DELIVER, args=(firing_id, channel), queue=routing.ALERT, ignore_result=True
        )
    except OperationalError as error:
        raise BrokerUnavailable(f"Redis: {error}") from error


@worker_shutting_down.connect
def stop(**_: object) -> None:
    """Stop the evaluator; Celery calls this when a stop begins."""
    while _running:
        _running.pop().stop()
