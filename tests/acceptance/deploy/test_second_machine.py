"""Two machines that share nothing but `REDIS_URL`: listeners by share of the markets, workers by shard."""

import time
from pathlib import Path

import pytest

from collector.host.redis_client import connect
from collector.settings import Settings
from collector.store.read import Reader
from tests.acceptance.deploy.fleet import MARKETS, Exchange, listener, worker
from tests.acceptance.scenarios.system import wait_for_room_in_the_minute
from tests.acceptance.scenarios.truth import compare_all
from tests.acceptance.scenarios.waits import until

RATE, SECONDS = 200, 10
SHARDS = {"COLLECTOR_BATCH__TRADE_QUEUES": "2"}


@pytest.mark.timeout(150)
def test_two_listeners_and_two_workers_share_the_market(
    redis_url: str, settings: Settings, tmp_path: Path
) -> None:
    """Each listener has its own markets, each worker its own shard; together every trade counts once."""
    machine = {**SHARDS, "REDIS_URL": redis_url}
    exchange = Exchange(tmp_path, rate=RATE, trades=RATE * SECONDS)
    workers = [
        worker("worker0", "trade,trade.0,orderbook,ticker", machine, tmp_path),
        worker("worker1", "trade,trade.1,orderbook,ticker", machine, tmp_path),
    ]
    env = {**machine, **exchange.env}
    listeners = [listener(f"listener{i}", {**env, "COLLECTOR_SHARD": f"{i}/2"}, tmp_path) for i in (1, 2)]
    with connect(redis_url, settings) as client, workers[0], workers[1]:
        reader = Reader(client, settings)
        workers[0].wait_until(lambda: len(reader.workers()) == 2)
        wait_for_room_in_the_minute(8)
        since_ms = int(time.time() // 60) * 60_000
        with exchange, listeners[0], listeners[1]:
            until(
                lambda: (
                    reader.counters().get("trades_counted", 0) >= exchange.truth.read() >= exchange.trades
                ),
                60,
                "every trade is stored",
                lambda: "\n".join(process.output() for process in (*listeners, *workers)),
            )
            rows = reader.listeners()
            done = {row["hostname"].split("@")[0]: row["tasks_done"] for row in reader.workers()}
        verdict = compare_all(exchange.truth, reader, since_ms)
    assert sum(row["markets"] for row in rows) == MARKETS
    assert all(row["markets"] > 0 for row in rows)
    assert all(done[name] > 0 for name in ("worker0", "worker1"))
    assert verdict.wrong == []
    assert (verdict.sent, verdict.lost, verdict.doubled) == (exchange.trades, 0, 0)
