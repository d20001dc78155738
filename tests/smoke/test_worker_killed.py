"""A worker container is killed with batches in its hands: they are delivered again and count once."""

from collections.abc import Callable
from decimal import Decimal, localcontext

import pytest
from pytest_celery import CeleryTestSetup, CeleryTestWorker

from collector.batch import Kind, encode, make
from collector.model import Trade
from tests.smoke.test_worker_container import MINUTE, show, trades

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
    """Killed in the middle of 18,000 trades and started again: the candle is exact to the last digit."""
    rows = trades(BATCHES * ROWS)
    client = celery_setup.broker.container.client
    for batch in batches(rows):
        celery_setup.app.send_task(
            "tasks.ingest.trades", args=[batch], queue="trade", compression="zstd", ignore_result=True
        )
    eventually(lambda: client.llen("trade") < BATCHES - 5 and client.hlen("unacked"), 30, "work under way")
    worker.kill()
    in_hand, waiting = client.hlen("unacked"), client.llen("trade")
    assert in_hand > 0
    assert waiting > 0

    worker.restart()
    eventually(lambda: not client.llen("trade") and not client.hlen("unacked"), 60, "every batch is stored")
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


def batches(rows: list[Trade]) -> list[str]:
    """The rows as batches in their wire form."""
    cuts = range(0, len(rows), ROWS)
    return [encode(make(Kind.TRADE, rows[cut : cut + ROWS], listener="smoke", now_ms=MINUTE)) for cut in cuts]
