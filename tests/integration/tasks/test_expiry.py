"""Batches that waited too long are dropped and counted, judged by Redis' clock, whatever our own says."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from collector.batch import Kind, make
from collector.clock import ManualClock
from collector.counters import Counter
from collector.host.redis_clock import JUMP_MS, SYNC_S, RedisClock
from collector.model import OrderBook, Ticker
from collector.publish.publisher import envelope_of
from collector.publish.sender import Sender
from collector.settings import Settings, current
from collector.store.read import Reader
from tests.samples.events import T0, book, ticker

AHEAD_S = 11
Start = Callable[..., object]
Eventually = Callable[..., None]


class Server:
    """Redis' TIME, some seconds off the clock of this machine."""

    def __init__(self, clock: ManualClock, ahead_s: float) -> None:
        self._clock, self.ahead_s, self.asked = clock, ahead_s, 0

    def time(self) -> tuple[int, int]:
        self.asked += 1
        return divmod(self._clock.now_ms() * 1000 + round(self.ahead_s * 1_000_000), 1_000_000)


def test_the_time_of_redis_is_kept_without_asking_each_time() -> None:
    """It goes on by the monotonic clock, and is asked for again after some seconds."""
    clock = ManualClock()
    server = Server(clock, ahead_s=-7.25)
    ours = RedisClock(server, clock)  # type: ignore[arg-type]
    assert (ours.now_ms(), ours.ahead_ms()) == (clock.now_ms() - 7250, 7250)
    clock.advance(SYNC_S - 0.1)
    assert (ours.now_ms(), server.asked) == (clock.now_ms() - 7250, 1)
    server.ahead_s = 3
    clock.advance(0.2)
    assert (ours.now_ms(), ours.ahead_ms(), server.asked) == (clock.now_ms() + 3000, -3000, 2)


def test_a_clock_that_was_set_or_slept_is_noticed_at_once() -> None:
    """What passed on a suspended machine is unknown to its monotonic clock."""
    clock = ManualClock()
    server = Server(clock, ahead_s=0)
    ours = RedisClock(server, clock)  # type: ignore[arg-type]
    ours.now_ms()
    clock.jump(JUMP_MS / 1000 - 0.1)
    assert (ours.ahead_ms(), server.asked) == (JUMP_MS - 100, 1)
    clock.jump(30)
    assert (ours.ahead_ms(), server.asked) == (0, 2)


def send(expires_s: int, row: Ticker | OrderBook, kind: Kind, client: redis.Redis) -> None:
    """Send as the listener does, its deadline by Redis' clock."""

    def redis_ms() -> int:
        seconds, micros = client.time()
        return int(seconds) * 1000 + int(micros) // 1000

    sender = Sender(client, expires_s, redis_ms)
    sender.send(envelope_of(make(kind, [row], listener="test", now_ms=T0), queues=1))
    sender.close()


@pytest.fixture
def in_force(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", redis_url)
    current.cache_clear()


@pytest.mark.server
@pytest.mark.usefixtures("in_force")
def test_a_worker_whose_clock_is_ahead_drops_nothing_and_says_so(
    start_worker: Start, client: redis.Redis, settings: Settings, eventually: Eventually, tmp_path: Path
) -> None:
    """By its own clock every ticker would be too old; its row tells how far off that clock is."""
    start_worker(
        "-Q", "ticker,orderbook", "-P", "solo", app="tests.doubles.workers.ahead", AHEAD_S=str(AHEAD_S)
    )
    send(10, ticker(), Kind.TICKER, client)
    send(10, book(), Kind.ORDERBOOK, client)
    reader = Reader(client, settings)
    eventually(lambda: reader.tickers() and reader.books(), 10, "both are stored")
    (worker,) = reader.workers()
    assert abs(worker["clock_ahead_ms"] - AHEAD_S * 1000) < 1000
    assert not {Counter.TICKERS_EXPIRED, Counter.BOOKS_EXPIRED} & reader.counters().keys()
    (log,) = tmp_path.glob("*.log")
    assert re.search(r"this machine's clock is 1[01]\.\d s ahead of Redis': use NTP", log.read_text())


@pytest.mark.server
@pytest.mark.usefixtures("in_force")
def test_what_waited_too_long_is_counted_and_said(
    start_worker: Start, client: redis.Redis, settings: Settings, eventually: Eventually, tmp_path: Path
) -> None:
    """Rows, not batches; one line for many."""
    for _ in range(3):
        send(-1, ticker(), Kind.TICKER, client)
    send(-1, book(), Kind.ORDERBOOK, client)
    start_worker("-Q", "ticker,orderbook", "-P", "solo")
    reader = Reader(client, settings)
    expired = {Counter.TICKERS_EXPIRED: 3, Counter.BOOKS_EXPIRED: 1}
    eventually(lambda: expired.items() <= reader.counters().items(), 10, "all are counted")
    assert (reader.tickers(), reader.books()) == ([], [])
    (log,) = tmp_path.glob("*.log")
    assert log.read_text().count("s too old and is dropped; the counter") == 1
