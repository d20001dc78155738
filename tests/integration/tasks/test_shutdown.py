"""A worker that is told to stop ends in time, whatever it does at that moment, and loses nothing."""

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery

from collector import routing
from collector.store.keys import Keys
from collector.store.read import Reader
from tasks.consumer_watchdog import EXIT_STATUS
from tasks.shutdown import END_S
from tests.integration.tasks.test_workers import refuse_writes, send, settled, some_trades, take_one, text
from tests.samples.rows import trade

Start = Callable[..., Any]
Eventually = Callable[..., None]
#: The longest wait for a process to end or a batch to be stored: how long that takes is the machine's affair.
WAIT_S = 30.0
PATIENT, PATIENT_END_S = "tests.doubles.workers.patient", 90.0
SHORT = {"COLLECTOR_WORKER__VISIBILITY_TIMEOUT_S": "5"}


def test_a_stop_that_comes_while_half_a_batch_is_written(
    start_worker: Start, sender: Celery, reader: Reader, eventually: Eventually
) -> None:
    """Celery would leave the other half unwritten and wait for a process that waits for it."""
    worker = start_worker("-Q", "trade", "-c", "1", app="tests.doubles.workers.halfway", **SHORT)
    trades = some_trades(seed=1)
    send(sender, routing.INGEST_TRADES, text(trades))
    assert worker.wait(PATIENT_END_S) == 0
    if not settled(reader):
        start_worker("-Q", "trade", "-c", "1", **SHORT)
    counted = ("trades_counted", len(trades))
    eventually(lambda: counted in reader.counters().items() and settled(reader), WAIT_S, "all are stored")


@pytest.mark.parametrize("pool", ["prefork", "solo"])
@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGTERM])
def test_a_batch_that_does_not_end_goes_back_into_its_queue(
    start_worker: Start,
    sender: Celery,
    client: redis.Redis,
    reader: Reader,
    keys: Keys,
    eventually: Eventually,
    number: signal.Signals,
    pool: str,
) -> None:
    """At once, not after the visibility timeout."""
    refuse_writes(client, keys)
    options = ("-Q", "trade", "--pool", pool, "-c", "1")
    worker = start_worker(*options, app=PATIENT, REMAP_SIGTERM="SIGQUIT")
    take_one(sender, reader, eventually)
    worker.send_signal(number)
    assert worker.wait(PATIENT_END_S) == 0
    assert (reader.queues()["trade"], reader.queues()["unacked"]) == (1, 0)
    client.delete(keys.newest)
    start_worker("-Q", "trade", "-c", "1")
    eventually(lambda: reader.counters().get("trades_counted") == 1, WAIT_S, "the batch stored")


def test_a_worker_that_waits_for_redis_does_not_wait_when_it_is_to_stop(
    start_worker: Start,
    sender: Celery,
    client: redis.Redis,
    keys: Keys,
    reader: Reader,
    eventually: Eventually,
) -> None:
    """Neither for the next attempt nor for the visibility timeout: both are an hour away here."""
    refuse_writes(client, keys)
    hours = {"PATIENT_PAUSE_S": "7200", "COLLECTOR_WORKER__VISIBILITY_TIMEOUT_S": "14400"}
    worker = start_worker("-Q", "trade", "--pool", "solo", app=PATIENT, **hours)
    take_one(sender, reader, eventually)
    worker.send_signal(signal.SIGQUIT)
    assert worker.wait(PATIENT_END_S) == 0
    assert (reader.queues()["trade"], reader.queues()["unacked"]) == (1, 0)


def test_a_worker_whose_main_process_hangs_leaves_by_force(
    start_worker: Start, sender: Celery, reader: Reader, eventually: Eventually, tmp_path: Path
) -> None:
    """With the pool `solo` the batch is in the main process; it comes back after the visibility timeout."""
    options = ("-Q", "trade", "--pool", "solo")
    worker = start_worker(*options, app="tests.doubles.workers.deadly", DEADLY_DIR=str(tmp_path))
    send(sender, routing.INGEST_TRADES, text([trade(market="KRW-HANG")]))
    eventually(lambda: reader.queues()["unacked"] == 1, WAIT_S, "the batch taken")
    started = time.monotonic()
    worker.send_signal(signal.SIGQUIT)
    assert worker.wait(END_S + WAIT_S) == EXIT_STATUS
    assert time.monotonic() - started > END_S - 1
    start_worker("-Q", "trade", "--pool", "solo", **SHORT)
    eventually(lambda: reader.counters().get("trades_counted") == 1, WAIT_S, "the batch stored")
