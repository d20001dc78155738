"""A worker container is killed with batches in its hands: they are delivered again and count once."""

from collections.abc import Callable, Iterator
from decimal import Decimal, localcontext

import pytest
import redis
from pytest_celery import CeleryTestSetup, CeleryTestWorker

from collector.batch import Batch, Kind, make
from collector.clock import SystemClock
from collector.model import Trade
from collector.publish.in_flight import InFlightLog
from collector.publish.publisher import envelope_of
from collector.publish.sender import Names
from collector.settings import Settings
from collector.store.keys import Keys
from tests.acceptance.smoke.test_worker_container import MINUTE, show, trades
from tests.doubles.transport import AppTransport

BATCHES, ROWS = 60, 300
VISIBILITY_TIMEOUT_S = 5


@pytest.fixture
def default_worker_env(default_worker_env: dict) -> dict:
    """Batches of a killed worker come back soon enough to watch."""
    return default_worker_env | {"COLLECTOR_WORKER__VISIBILITY_TIMEOUT_S": str(VISIBILITY_TIMEOUT_S)}


def test_batches_of_a_killed_worker_are_delivered_again(
    celery_setup: CeleryTestSetup,
    worker: CeleryTestWorker,
    eventually: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Killed in the middle of 18,000 trades and started again: the candle is exact to the last digit.

    The batches go through the in-flight log, as a listener sends them: Celery alone forgets a message whose
    worker dies between taking it and noting so (docs/decisions/0007).
    """
    rows = trades(BATCHES * ROWS)
    client = redis.Redis.from_url(celery_setup.broker.container.celeryconfig["host_url"])
    keys = Keys(Settings().store.key_prefix)
    timeout_ms = 2 * VISIBILITY_TIMEOUT_S * 1000
    transport = AppTransport(celery_setup.app)
    names = Names(keys.unconfirmed, keys.unconfirmed_due, keys.unconfirmed_from)
    unreadable: list[int] = []
    in_flight = InFlightLog(client, transport, names, timeout_ms, SystemClock().now_ms, unreadable.append)
    for batch in batches(rows):
        in_flight.send(envelope_of(batch, queues=1))
    eventually(lambda: client.llen("trade") < BATCHES - 5 and client.hlen("unacked"), 30, "work under way")
    worker.kill()
    in_hand, waiting = client.hlen("unacked"), client.llen("trade")
    assert in_hand > 0
    assert waiting > 0

    worker.restart()

    def is_done() -> bool:
        in_flight.send_again(queue_age_ms=0)
        return not client.llen("trade") and not client.hlen("unacked") and not client.hlen(keys.unconfirmed)

    eventually(is_done, 60, "every batch is stored")
    candle = show(worker, "candles", "KRW-BTC")[-1]
    with capsys.disabled():
        stored = candle["trade_count"]
        print(f"\nworker killed with {in_hand} batches in hand, {waiting} waiting; {stored} trades stored")
    assert candle["open_ms"] == MINUTE
    assert candle["trade_count"] == len(rows)
    with localcontext(prec=100):
        assert Decimal(candle["base_volume"]) == sum(row.volume for row in rows)
        assert Decimal(candle["quote_volume"]) == sum(row.price * row.volume for row in rows)
    assert candle["complete"] is True
    assert unreadable == []


def batches(rows: list[Trade]) -> Iterator[Batch]:
    """The rows as batches."""
    for cut in range(0, len(rows), ROWS):
        yield make(Kind.TRADE, rows[cut : cut + ROWS], listener="smoke", now_ms=SystemClock().now_ms())
