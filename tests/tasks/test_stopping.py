"""A worker that is told to stop ends in time, whatever it does at that moment, and loses nothing."""

import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis
from celery import Celery

from tasks import routing
from tasks.keys import Keys
from tasks.liveness import EXIT_STATUS
from tasks.read import Reader
from tasks.stopping import END_S
from tests.tasks.test_workers import refuse_writes, send, settled, some_trades, take_one, text

Start = Callable[..., Any]
Eventually = Callable[..., None]
#: The time a busy machine may take to end a process.
SLACK_S = 3.0
SHORT = {"COLLECTOR_WORKER__VISIBILITY_TIMEOUT_S": "5"}


def test_a_stop_that_comes_while_half_a_batch_is_written(
    start_worker: Start, sender: Celery, reader: Reader, eventually: Eventually
) -> None:
    """Celery would leave the other half unwritten and wait for a process that waits for it."""
    worker = start_worker("-Q", "trade", "-c", "1", app="tests.tasks.halfway", **SHORT)
    trades = some_trades(seed=1)
    send(sender, routing.INGEST_TRADES, text(trades))
    assert worker.wait(END_S + SLACK_S) == 0
    if not settled(reader):
        start_worker("-Q", "trade", "-c", "1", **SHORT)
    counted = ("trades_counted", len(trades))
    eventually(lambda: counted in reader.counters().items() and settled(reader), 20, "all are stored")


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGTERM])
def test_a_batch_that_does_not_end_goes_back_into_its_queue(
    start_worker: Start,
    sender: Celery,
    client: redis.Redis,
    reader: Reader,
    keys: Keys,
    eventually: Eventually,
    number: signal.Signals,
) -> None:
    """At once, not after the visibility timeout."""
    refuse_writes(client, keys)
    worker = start_worker("-Q", "trade", "-c", "1", REMAP_SIGTERM="SIGQUIT")
    take_one(sender, reader, eventually)
    worker.send_signal(number)
    assert worker.wait(END_S + SLACK_S) == 0
    assert (reader.queues()["trade"], reader.queues()["unacked"]) == (1, 0)
    client.delete(keys.newest)
    start_worker("-Q", "trade", "-c", "1")
    eventually(lambda: reader.counters().get("trades_counted") == 1, 10, "the batch stored")


def test_a_worker_whose_main_process_hangs_leaves_by_force(
    start_worker: Start,
    sender: Celery,
    client: redis.Redis,
    reader: Reader,
    keys: Keys,
    eventually: Eventually,
) -> None:
    """With the pool `solo` the batch is in the main process; it comes back after the visibility timeout."""
    refuse_writes(client, keys)
    worker = start_worker("-Q", "trade", "--pool", "solo", COLLECTOR_WORKER__VISIBILITY_TIMEOUT_S="30")
    take_one(sender, reader, eventually)
    started = time.monotonic()
    worker.send_signal(signal.SIGQUIT)
    assert worker.wait(END_S + SLACK_S) == EXIT_STATUS
    assert time.monotonic() - started > END_S - 1
    client.delete(keys.newest)
    start_worker("-Q", "trade", "--pool", "solo", **SHORT)
    eventually(lambda: reader.counters().get("trades_counted") == 1, 20, "the batch stored")
