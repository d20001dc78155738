"""Real batches through a real broker into a worker that runs from our image."""

import json
from collections.abc import Callable
from decimal import Decimal

from pytest_celery import CeleryTestSetup, CeleryTestWorker

from collector.batch import Kind, encode, make
from collector.model import Side, Trade

MINUTE = 1_790_000_040_000
assert MINUTE % 60_000 == 0


def trades(count: int, market: str = "KRW-BTC") -> list[Trade]:
    """Trades of one minute with prices and volumes of more digits than a double has."""
    return [
        Trade(
            market,
            id=17_900_000_000_000_000 + number,
            price=Decimal("161234567.00000001") + number,
            volume=Decimal("0.12345678901234567891"),
            side=Side.BUY if number % 3 else Side.SELL,
            exchange_ms=MINUTE + number,
            received_ms=MINUTE + number + 5,
        )
        for number in range(count)
    ]


def show(worker: CeleryTestWorker, *words: str) -> list[dict]:
    """What `collector show` prints inside the worker's container."""
    status, output = worker.container.exec_run(["collector", "show", *words, "--json"], stderr=False)
    return json.loads(output) if status == 0 else []


def test_published_batch_becomes_a_candle(
    celery_setup: CeleryTestSetup, worker: CeleryTestWorker, eventually: Callable[..., None]
) -> None:
    """A batch of trades sent twice counts once, to the last digit, and can be read from inside."""
    rows = trades(100)
    text = encode(make(Kind.TRADE, rows, listener="smoke", now_ms=MINUTE))
    for _ in range(2):
        celery_setup.app.send_task(
            "tasks.ingest.trades", args=[text], queue="trade", compression="zstd", ignore_result=True
        )
    client = celery_setup.broker.container.client
    eventually(lambda: not client.llen("trade") and not client.hlen("unacked"), 30, "an empty queue")
    candle = show(worker, "candles", "KRW-BTC")[-1]
    assert candle["open_ms"] == MINUTE
    assert candle["trade_count"] == 100
    assert Decimal(candle["open"]) == Decimal("161234567.00000001")
    assert Decimal(candle["close"]) == Decimal("161234666.00000001")
    assert Decimal(candle["base_volume"]) == Decimal("12.345678901234567891")
    assert Decimal(candle["sell_volume"]) == sum(row.volume for row in rows if row.side is Side.SELL)
