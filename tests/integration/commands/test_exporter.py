"""`collector metrics`: the whole system on one port, read from Redis."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from decimal import Decimal

import httpx
import msgspec
import pytest
import redis
from prometheus_client import CollectorRegistry, generate_latest

from collector.cli.exporter import look
from collector.cli.run import _greet
from collector.host.metrics import HealthCollector
from collector.host.web import READY_WITHIN_MS, why_not_ready
from collector.model import Side, Trade
from collector.settings import Settings
from collector.store.keys import Keys
from collector.store.read import Reader
from collector.store.store import Store

NOW_MS = 1_790_000_040_000
LISTENER = {
    "id": "here-1",
    "state": "streaming",
    "connections": [{"state": "streaming"}],
    "mode": "flow",
    "frames_per_s": 12.5,
    "lag_ms_p50": 20,
    "lag_ms_p99": 40,
    "lag": {"bounds_s": [0.025, 1.0], "counts": [3, 2, 1], "sum_s": 2.5},
    "spool_bytes": 0,
    "last_frame_ms": NOW_MS,
    "markets": 1,
    "backfills_waiting": 0,
    "counters": {"frames": 7, "rejected:not_json": 2, "stalls:trade": 1},
}
WORKER = {
    "hostname": "ingest1@here",
    "pid": 7,
    "started_ms": NOW_MS - 9,
    "tasks_done": 3,
    "tasks_active": 1,
    "last_task_ms": None,
    "queues": ["orderbook", "ticker", "trade"],
    "busy_ms": 1500,
}
ANALYSIS = {**WORKER, "hostname": "analysis@here", "queues": ["analysis", "archive"]}


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def keys(settings: Settings) -> Keys:
    return Keys(settings.store.key_prefix)


def put(client: redis.Redis, key: str, report: dict) -> None:
    client.set(key, msgspec.json.encode(report))


@pytest.fixture
def system(client: redis.Redis, keys: Keys, settings: Settings) -> Reader:
    """Reports of a listener and two workers, three waiting batches, one stored trade."""
    put(client, keys.listener(LISTENER["id"]), LISTENER)
    for worker in (WORKER, ANALYSIS):
        put(client, keys.worker(worker["hostname"]), worker)
    client.lpush("trade", "a", "b", "c")
    client.rpush(
        "ticker", msgspec.json.encode({"headers": {"created_ms": round(time.time() * 1000) - 7_000}})
    )
    trade = Trade("KRW-BTC", 17, Decimal("161000000"), Decimal("0.5"), Side.BUY, NOW_MS, NOW_MS + 5)
    Store(client, settings.store).put_trades([trade, trade])
    return Reader(client, settings)


def test_ready_when_every_listener_streams_and_every_queue_is_served(
    system: Reader, client: redis.Redis, keys: Keys
) -> None:
    """Not with a silent listener or a queue without a worker, by name; one that has left does not count."""
    assert why_not_ready(look(system), NOW_MS) is None
    silent = why_not_ready(look(system), NOW_MS + READY_WITHIN_MS + 1)
    assert silent == "listener here-1: no frame within 60 s"
    left = {**LISTENER, "id": "here-2", "state": "stopped"}
    put(client, keys.listener("here-2"), {**left, "last_frame_ms": None})
    assert why_not_ready(look(system), NOW_MS) is None
    client.delete(keys.worker(WORKER["hostname"]))
    reason = why_not_ready(look(system), NOW_MS) or ""
    assert "no worker takes from queue trade" in reason
    put(client, keys.listener(LISTENER["id"]), {**LISTENER, "state": "stopped"})
    assert why_not_ready(look(system), NOW_MS) == "no listener reports"


def test_a_redis_that_may_lose_things_is_shown_and_said_at_the_start(
    system: Reader, client: redis.Redis, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """An eviction policy and 3 MB: one line each in the listener's log, and a metric that alerts look at."""
    before = {name: client.config_get(name)[name] for name in ("maxmemory-policy", "maxmemory")}
    client.config_set("maxmemory-policy", "allkeys-lru")
    client.config_set("maxmemory", "3mb")
    try:
        snapshot = look(system)
        _greet(settings, client)
    finally:
        for name, value in before.items():
            client.config_set(name, value)
    assert {"evicts", "small"} <= set(snapshot.redis_problems or ())
    said = [record.getMessage() for record in caplog.records]
    assert [line.partition(":")[0] for line in said] == ["Redis, evicts", "Redis, small"]
    assert "`CONFIG SET maxmemory-policy noeviction`" in said[0]
    registry = CollectorRegistry()
    registry.register(HealthCollector(lambda: snapshot))
    text = generate_latest(registry).decode()
    assert 'bithumb_redis_problem{kind="evicts"} 1.0' in text
    assert 'bithumb_redis_problem{kind="disk"} 0.0' in text


def test_redis_that_is_away_is_shown_as_such(settings: Settings) -> None:
    """Without Redis the exporter still answers: `redis_up` 0, not ready, nothing invented."""
    with redis.Redis(port=1, socket_connect_timeout=0.5) as nobody:
        snapshot = look(Reader(nobody, settings))
    assert snapshot.system == {"redis_up": 0}
    assert why_not_ready(snapshot, NOW_MS) == "Redis does not answer"


def test_command_serves_listeners_workers_and_queues_until_it_is_stopped(
    system: Reader, redis_url: str, eventually: Callable[..., None]
) -> None:
    """One scrape shows all of them; SIGTERM ends it with status 0."""
    argv = [sys.executable, "-m", "collector", "metrics", "--port", "0"]
    process = subprocess.Popen(
        argv, env={**os.environ, "REDIS_URL": redis_url}, stderr=subprocess.PIPE, text=True
    )
    try:
        address = re.search(r"http://[\d.:]+", process.stderr.readline())
        assert address is not None
        text = httpx.get(f"{address[0]}/metrics", timeout=5).text
        ready = httpx.get(f"{address[0]}/readyz", timeout=5)
        healthy = httpx.get(f"{address[0]}/healthz", timeout=5)
    finally:
        process.send_signal(signal.SIGTERM)
        status = process.wait(20)
        process.stderr.close()
    for line in (
        "bithumb_redis_up 1.0",
        'bithumb_queue_length{queue="trade"} 3.0',
        'bithumb_queue_workers{queue="trade"} 1.0',
        'bithumb_queue_workers{queue="analysis"} 1.0',
        'bithumb_listener_events_total{detail="not_json",listener="here-1",name="rejected"} 2.0',
        'bithumb_listener_rejected_total{detail="not_json",listener="here-1"} 2.0',
        'bithumb_listener_frames_total{listener="here-1"} 7.0',
        'bithumb_listener_trade_rows_lost_total{listener="here-1"} 0.0',  # a rise from nothing is seen
        'bithumb_listener_lag_seconds_bucket{le="0.025",listener="here-1"} 3.0',
        'bithumb_listener_lag_seconds_bucket{le="1",listener="here-1"} 5.0',
        'bithumb_listener_lag_seconds_bucket{le="+Inf",listener="here-1"} 6.0',
        'bithumb_listener_lag_seconds_count{listener="here-1"} 6.0',
        'bithumb_listener_lag_seconds_sum{listener="here-1"} 2.5',
        "bithumb_worker_trades_counted_total 1.0",
        'bithumb_worker_tasks_total{worker="ingest1@here"} 3.0',
        'bithumb_worker_events_total{name="trades_counted"} 1.0',
        'bithumb_worker_events_total{name="trades_duplicate"} 1.0',
        "bithumb_dead_letters 0.0",
    ):
        assert line in text.splitlines()
    ages = dict(re.findall(r'queue_oldest_age_seconds\{queue="(\w+)"\} (\S+)', text))
    assert ages.keys() == {"trade", "orderbook", "ticker"}
    assert float(ages["trade"]) == 0
    assert 7 <= float(ages["ticker"]) < 60
    assert 'bithumb_worker_busy_seconds_total{worker="ingest1@here"} 1.5' in text
    (newest,) = re.findall(r"last_frame_timestamp_seconds\{.*\} (.*)", text)
    assert float(newest) == NOW_MS / 1000
    assert "worker_last_task_timestamp_seconds{" not in text  # nothing done is not the year 1970
    assert (ready.status_code, healthy.status_code) == (503, 200)
    assert status == 0
