"""The command line run in this process, against a Redis filled with known data."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from collector.model import Channel, Gap, OrderBook, Side, Ticker, Trade
from collector.settings import Settings
from collector.store.redis_client import connect
from collector.store.store import Store
from tests.doubles.command_line import MINUTE, T0, Ended, Run, run

__all__ = ["MINUTE", "T0", "Ended", "Run", "run"]

D = Decimal

ROOT = Path(__file__).resolve().parents[3]
WORKER_TIMEOUT_S = 30

TRADES = (
    Trade("KRW-BTC", 1, D("100000000"), D("0.5"), Side.BUY, T0 + 1, T0 + 20),
    Trade("KRW-BTC", 2, D("100002000"), D("0.25"), Side.SELL, T0 + 2, T0 + 21),
    Trade("KRW-BTC", 3, D("99999000"), D("1.00000001"), Side.BUY, T0 + MINUTE + 5, T0 + MINUTE + 25),
    Trade("KRW-DUST", 9, D("2.1E-7"), D("3"), Side.BUY, T0 + MINUTE + 5, T0 + MINUTE + 25),
)
TICKER = Ticker(
    market="KRW-BTC",
    exchange_ms=T0 + MINUTE + 6,
    received_ms=T0 + MINUTE + 26,
    price=D("99999000"),
    change="fall",
    change_price=D("-1000"),
    change_rate=D("-0.00001"),
    prev_closing_price=D("100000000"),
    open=D("100000000"),
    high=D("100002000"),
    low=D("99999000"),
    base_volume_24h=D("1234.5"),
    quote_volume_24h=D("123456789012.5"),
)
BOOK = OrderBook(
    "KRW-BTC",
    (T0 + MINUTE + 7) * 1000,
    T0 + MINUTE + 27,
    ((D("99999000"), D("2")), (D("99998000"), D("1"))),
    ((D("100001000"), D("1")),),
)
GAPS = (
    Gap("KRW-BTC", Channel.TRADE, T0 + 100, T0 + 200, "disconnected"),
    Gap("KRW-BTC", Channel.ORDERBOOK, T0 + MINUTE, T0 + MINUTE + 50, "stalled", recovered=True),
)


@pytest.fixture
def redis_in_force(monkeypatch: pytest.MonkeyPatch, redis_url: str, settings: Settings) -> str:
    """The empty test server as `REDIS_URL`."""
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("COLLECTOR_DATA_DIR", str(settings.data_dir))
    return redis_url


@pytest.fixture
def filled(redis_in_force: str, settings: Settings) -> str:
    """The test server, in force, with the data above."""
    fill(redis_in_force, settings)
    return redis_in_force


@pytest.fixture(scope="module")
def worker(redis_server: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A worker on the queue `analysis` of this session's server."""
    argv = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "-Q", "analysis", "-P", "solo"]
    log = tmp_path_factory.mktemp("worker") / "log"
    env = {**os.environ, "REDIS_URL": redis_server.url}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*argv, "--loglevel", "INFO"], cwd=ROOT, env=env, stdout=output, stderr=output
        )
    try:
        deadline = time.monotonic() + WORKER_TIMEOUT_S
        while b" ready." not in log.read_bytes():
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(WORKER_TIMEOUT_S)


def fill(url: str, settings: Settings) -> None:
    """Store the data above as a worker would."""
    with connect(url, settings) as client:
        store = Store(client, settings.store)
        store.put_trades(TRADES)
        store.put_tickers([TICKER])
        store.put_books([BOOK])
        store.put_gaps(GAPS)
