"""Queues of their own: old states expire, shards are exact, a flood of books leaves trades alone."""

import statistics
import time

import pytest

from collector.batch import Kind, make
from collector.host.services import ingest_queues
from collector.listener.app import connect_redis
from collector.model import OrderBook, Ticker, Trade
from collector.publish.publisher import envelope_of
from collector.publish.sender import Sender
from collector.settings import current
from tests.acceptance.scenarios import waits
from tests.acceptance.scenarios.truth import compare_all
from tests.integration.pressure.conftest import Line
from tests.samples.rows import T0, book, ticker, trade

#: Batches of 500 books: seconds of work for one worker.
FLOOD = 300
ROUNDS = 12


@pytest.fixture
def sender(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Sender:
    """The listener's own, with states that expire after a second."""
    monkeypatch.setenv("REDIS_URL", redis_url)
    current.cache_clear()
    return Sender(connect_redis(current()), state_expires_s=1)


def send(sender: Sender, row: Trade | Ticker | OrderBook, kind: Kind) -> None:
    """Send one row as the listener does."""
    sender.send(envelope_of(make(kind, [row], listener="test", now_ms=T0), queues=1))


def test_old_tickers_and_books_expire_and_old_trades_do_not(line: Line, sender: Sender) -> None:
    """What waited for a worker longer than `state_expires_s` is dropped by it unseen."""
    send(sender, ticker(), Kind.TICKER)
    send(sender, book(), Kind.ORDERBOOK)
    send(sender, trade(1), Kind.TRADE)
    time.sleep(1.2)
    line.ready(line.worker("worker", "trade,orderbook,ticker"))
    waits.until(lambda: line.counted() == 1, 10, "the trade")
    waits.until(lambda: not any(line.reader.queues().values()), 10, "empty queues")
    assert (line.reader.ticker(), line.reader.book()) == ([], [])

    def are_stored() -> bool:
        """Sent again where a busy machine let them wait for a second."""
        send(sender, ticker(), Kind.TICKER)
        send(sender, book(), Kind.ORDERBOOK)
        time.sleep(0.2)
        return bool(line.reader.ticker() and line.reader.book())

    waits.until(are_stored, 20, "fresh ones")


def test_workers_that_come_late_find_the_newest_alone(line: Line) -> None:
    """Tickers and books that waited are taken back: one batch of each kind is there, with every market."""
    line.ready(line.worker("trades", "trade"))
    line.exchange(markets=12, rate=100)
    line.listener("listener", {"COLLECTOR_PRESSURE__QUEUE_LOW": "8", "COLLECTOR_PRESSURE__QUEUE_HIGH": "80"})
    waits.until(lambda: line.taken_back() > 10, 20, "batches are taken back", line.report)
    time.sleep(3)
    queues = line.reader.queues()
    assert max(queues["orderbook"], queues["ticker"]) <= 1
    line.ready(line.worker("states", "orderbook,ticker"))
    waits.until(lambda: len(line.reader.book()) == len(line.reader.ticker()) == 12, 5, "all", line.report)
    newest_ms = max(row.exchange_ms for row in line.reader.book())
    assert time.time() * 1000 - newest_ms < 3_000, "as old as what waited"
    counters = line.reader.health().counters
    assert counters["orderbook_rows_taken_back"] > 0 < counters["ticker_rows_taken_back"]


def test_two_workers_on_four_trade_shards_are_exact(line: Line, since_ms: int) -> None:
    """Each market's trades go through one queue to one worker; together they are all the trades."""
    trades = 600
    sharded = {"COLLECTOR_BATCH__TRADE_QUEUES": "4"}
    queues = ingest_queues(4, 2)
    workers = [line.worker(f"w{n}", ",".join(names), sharded) for n, names in enumerate(queues)]
    line.ready(*workers)
    line.exchange(markets=12, rate=150, stop_after=trades)
    line.listener("listener", sharded)
    waits.until(lambda: line.is_stored(trades), 60, "all trades are stored", line.report)
    verdict = compare_all(line.truth, line.reader, since_ms)
    assert (verdict.sent, verdict.lost, verdict.doubled, verdict.wrong) == (trades, 0, 0, [])
    done = {row["hostname"]: row["tasks_done"] for row in line.reader.workers()}
    assert len(done) == 2
    assert min(done.values()) > 0


def test_a_flood_of_books_does_not_delay_trades(line: Line, sender: Sender) -> None:
    """With a worker for each kind, a trade is stored as fast as ever while books pile up."""
    line.ready(line.worker("trades", "trade"), line.worker("books", "orderbook,ticker"))
    calm_s = [stored_after_s(line, sender, number) for number in range(ROUNDS)]
    rows = [book(market=f"KRW-M{number % 100}") for number in range(500)]
    flood = envelope_of(make(Kind.ORDERBOOK, rows, listener="test", now_ms=T0), queues=1)
    flooder = Sender(connect_redis(current()), state_expires_s=None)
    for _ in range(FLOOD):
        flooder.send(flood)
    flooded_s = [stored_after_s(line, sender, ROUNDS + number) for number in range(ROUNDS)]
    assert line.reader.queues()["orderbook"] > 0, "books were still waiting when the last trade was stored"
    # Generous, since both workers and the test share the cores; behind the books it would be seconds.
    assert statistics.median(flooded_s) < 5 * statistics.median(calm_s) + 0.1


def stored_after_s(line: Line, sender: Sender, number: int) -> float:
    """Send a trade; return how long it took to be counted."""
    send(sender, trade(number), Kind.TRADE)
    return waits.until(lambda: line.counted() > number, 5, f"trade {number} is stored")
