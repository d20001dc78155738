"""Real `celery -A tasks worker` processes on a real Redis, killed and cut off."""

import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis
from celery import Celery

from collector import routing
from collector.batch import Kind, encode, make
from collector.clock import SystemClock
from collector.model import Channel, Gap, Side, Trade
from collector.publish.in_flight import InFlightLog
from collector.publish.publisher import envelope_of
from collector.publish.sender import Names
from collector.settings import Settings
from collector.store.dead_letters import DeadLetter, DeadLetters
from collector.store.keys import Keys
from collector.store.read import Reader
from collector.store.store import Store
from tests.doubles.transport import AppTransport
from tests.integration.tasks.test_store import stored_candles
from tests.samples.plain import candles
from tests.samples.rows import BTC, T0, book, ticker, trade

QUEUES = "trade,orderbook,ticker,analysis"
Start = Callable[..., Any]
Eventually = Callable[..., None]


def text(rows: list[Any], kind: Kind = Kind.TRADE) -> str:
    """Return a batch as the listener sends it."""
    return encode(make(kind, rows, listener="test", now_ms=T0))


def send(sender: Celery, task: str, body: str, **headers: int) -> None:
    """Send a batch as the listener does."""
    queue = {routing.INGEST_ORDERBOOKS: "orderbook", routing.INGEST_TICKERS: "ticker"}.get(task, "trade")
    sender.send_task(task, args=(body,), queue=queue, ignore_result=True, compression="zstd", headers=headers)


def some_trades(seed: int, count: int = 3000) -> list[Trade]:
    """Return trades of five markets over ten minutes."""
    random_ = random.Random(seed)
    return [
        trade(
            number,
            random_.randrange(900, 1100),
            f"0.{random_.randrange(1, 10**8):08d}",
            market=f"KRW-M{random_.randrange(5)}",
            side=random_.choice(list(Side)),
            exchange_ms=T0 + random_.randrange(600_000),
        )
        for number in range(count)
    ]


def refuse_writes(client: redis.Redis, keys: Keys) -> None:
    """Let every write of a batch fail until `keys.newest` is deleted."""
    client.set(keys.newest, "not a hash: every write to it fails")


def take_one(sender: Celery, reader: Reader, eventually: Eventually) -> None:
    """Send a batch of one trade and wait until a worker has it."""
    send(sender, routing.INGEST_TRADES, text([trade(1)]))
    eventually(lambda: reader.queues()["unacked"] == 1, 10, "the batch taken")


def settled(reader: Reader) -> bool:
    """Whether nothing waits and nothing is being worked on."""
    return not any(reader.queues()[name] for name in (*QUEUES.split(","), "unacked"))


def test_every_channel_arrives_and_the_worker_reports(
    start_worker: Start, sender: Celery, reader: Reader, eventually: Eventually
) -> None:
    """One worker, started by hand outside the repository, takes all four kinds of batches."""
    quiet = {"COLLECTOR_HEALTH__INTERVAL_S": "0.2", "COLLECTOR_ANALYSIS__BOOK_SAMPLES_S": "0"}
    start_worker("-Q", QUEUES, "--pool", "solo", **quiet)
    send(sender, routing.INGEST_TRADES, text([trade(1)]))
    send(sender, routing.INGEST_TICKERS, text([ticker()], Kind.TICKER))
    send(sender, routing.INGEST_ORDERBOOKS, text([book()], Kind.ORDERBOOK))
    send(sender, routing.INGEST_GAPS, text([Gap(BTC, Channel.TRADE, T0, T0, "start")], Kind.GAP))
    eventually(lambda: reader.counters().get("batches") == 4, 10, "all four batches stored")
    assert tuple(map(len, (reader.candles(BTC), reader.tickers(), reader.books(), reader.gaps(BTC)))) == (
        1,
        1,
        1,
        1,
    )
    eventually(lambda: [w["tasks_done"] for w in reader.health().workers] == [4], 5, "the worker's report")
    (report,) = reader.health().workers
    assert sorted(QUEUES.split(",")) == report["queues"]


def test_workers_killed_in_the_middle_count_every_trade_once(
    start_worker: Start,
    sender: Celery,
    client: redis.Redis,
    reader: Reader,
    keys: Keys,
    eventually: Eventually,
) -> None:
    """Two workers share repeated, shuffled batches; one is killed with its children, another takes over.

    The batches go through the in-flight log, as a listener sends them: Celery alone forgets a message whose
    worker dies between taking it and noting so (docs/decisions/0007).
    """
    clock = SystemClock()
    transport = AppTransport(sender)
    names = Names(keys.unconfirmed, keys.unconfirmed_due, keys.unconfirmed_from)
    in_flight = InFlightLog(client, transport, names, 8_000, clock.now_ms, on_unreadable=print)
    trades = some_trades(seed=1)
    rounds = [trades[start : start + 100] for start in range(0, len(trades), 100)]
    rounds += random.Random(2).sample(rounds, 10)
    options = ("-Q", QUEUES, "-c", "2")
    victim = start_worker(*options, COLLECTOR_WORKER__VISIBILITY_TIMEOUT_S="5")
    for batch in rounds:
        in_flight.send(envelope_of(make(Kind.TRADE, batch, listener="test", now_ms=clock.now_ms()), queues=1))
    eventually(lambda: reader.counters().get("trades_counted", 0) > 300, 10, "some progress")
    os.killpg(victim.pid, signal.SIGKILL)
    start_worker(*options, COLLECTOR_WORKER__VISIBILITY_TIMEOUT_S="5")

    def is_done() -> bool:
        in_flight.send_again(queue_age_ms=0)
        return settled(reader) and not client.hlen(keys.unconfirmed)

    eventually(is_done, 40, "the backlog and the killed worker's batches")
    assert candles(trades) == stored_candles(reader)
    assert len(trades) == reader.counters()["trades_counted"]


def test_a_batch_that_kills_its_worker_is_buried_and_blocks_nobody(
    start_worker: Start,
    sender: Celery,
    client: redis.Redis,
    reader: Reader,
    keys: Keys,
    eventually: Eventually,
    tmp_path: Path,
) -> None:
    """After `attempts_max` deaths it becomes a dead letter with its reason, its trades a gap."""
    start_worker(
        "-Q", QUEUES, "-c", "1", app="tests.doubles.workers.deadly",
        COLLECTOR_WORKER__ATTEMPTS_MAX="2", DEADLY_DIR=str(tmp_path),
    )  # fmt: skip
    send(sender, routing.INGEST_TRADES, text([trade(1, market="KRW-KILL")]))
    send(sender, routing.INGEST_TRADES, text([trade(2), trade(3, market="KRW-HALF")]))
    send(sender, routing.INGEST_TRADES, text([trade(4, market="KRW-BUG")]))
    eventually(lambda: len(reader.dead_letters()) == 2 and settled(reader), 30, "two dead letters")
    reasons = sorted((letter.reason, letter.attempts) for letter in reader.dead_letters())
    assert reasons == [("ZeroDivisionError: nobody foresaw this", 1), ("it ended its worker 2 times", 3)]
    assert {"KRW-KILL", "KRW-BUG"} == {gap.market for gap in reader.gaps()}
    assert [reader.candles(market)[0].trade_count for market in (BTC, "KRW-HALF")] == [1, 1]
    assert list(client.scan_iter(keys.attempts("*"))) == [], "attempts are forgotten once a batch is settled"


def test_a_dead_letter_is_sent_again_and_its_gap_closed(
    start_worker: Start,
    sender: Celery,
    client: redis.Redis,
    reader: Reader,
    settings: Settings,
    eventually: Eventually,
    tmp_path: Path,
) -> None:
    """What failed in a faulty worker is stored by a sound one, from the dead letters."""
    faulty = start_worker("--pool", "solo", app="tests.doubles.workers.deadly", DEADLY_DIR=str(tmp_path))
    send(sender, routing.INGEST_TRADES, text([trade(4, market="KRW-BUG")]))
    send(sender, routing.INGEST_TRADES, "no batch")
    eventually(lambda: len(reader.dead_letters()) == 2, 10, "two dead letters")
    assert [gap.recovered for gap in reader.gaps("KRW-BUG")] == [False]
    faulty.terminate()
    faulty.wait(15)
    start_worker("--pool", "solo")
    letters = DeadLetters(client, settings.store, sender)
    (bug,) = [letter.id for letter in reader.dead_letters() if "ZeroDivision" in letter.reason]
    assert letters.retry(bug) == 1
    eventually(lambda: [gap.recovered for gap in reader.gaps("KRW-BUG")] == [True], 10, "the closed gap")
    assert [row.trade_count for row in reader.candles("KRW-BUG")] == [1]
    assert (letters.drop(), reader.dead_letters()) == (1, [])


def test_what_can_not_be_read_is_a_gap_at_once(
    start_worker: Start,
    sender: Celery,
    client: redis.Redis,
    reader: Reader,
    settings: Settings,
    eventually: Eventually,
) -> None:
    """Batches of another version and garbage: of their markets, or of all; a retry changes nothing else."""
    start_worker("--pool", "solo")
    send(sender, routing.INGEST_TRADES, text([trade(1), trade(2, market="KRW-ETH")]))
    eventually(lambda: len(reader.markets()) == 2, 10, "two markets")
    times = {"created_ms": T0 + 9, "from_ms": T0 + 5, "to_ms": T0 + 7}
    newer = text([trade(3, exchange_ms=T0 + 100)]).replace('"v":1', '"v":9')
    send(sender, routing.INGEST_TRADES, newer, **times)
    gap = Gap("KRW-XRP", Channel.TRADE, T0 + 200, T0 + 300, "stalled")
    send(sender, routing.INGEST_GAPS, text([gap], Kind.GAP).replace('"v":1', '"v":9'), **times)
    send(sender, routing.INGEST_TRADES, "nonsense", **times)
    send(sender, routing.INGEST_TRADES, "of a stranger: it says of no time")
    eventually(lambda: len(reader.dead_letters()) == 4 and settled(reader), 10, "four dead letters")

    def stretches() -> list[tuple[str, int, int]]:
        gaps = reader.open_trade_gaps(reader.markets())
        assert {gap.word for gap in gaps} == {"dead_letter"}
        return sorted((gap.market, gap.from_ms - T0, gap.to_ms - T0) for gap in gaps)

    expected = [
        (BTC, 5, 7), (BTC, 100, 200), ("KRW-ETH", 5, 7), ("KRW-XRP", 5, 7), ("KRW-XRP", 200, 300),
    ]  # fmt: skip
    assert stretches() == expected
    assert reader.counters()["gaps_found"] == len(expected)
    ids = {letter.id for letter in reader.dead_letters()}
    assert DeadLetters(client, settings.store, sender).retry() == 4
    eventually(lambda: len(reader.dead_letters()) == 4 and settled(reader), 10, "the same dead letters")
    assert {letter.id for letter in reader.dead_letters()} == ids
    assert stretches() == expected


def test_a_batch_buried_unread_closes_the_gaps_of_all_markets_when_it_is_stored(
    start_worker: Start,
    sender: Celery,
    client: redis.Redis,
    reader: Reader,
    store: Store,
    settings: Settings,
    eventually: Eventually,
) -> None:
    """What ended workers and was not looked into is stored by a later version."""
    store.put_gaps([Gap(each, Channel.TRADE, T0, T0 + 9, "dead_letter:a1") for each in (BTC, "KRW-ETH")])
    store.put_gaps([Gap(BTC, Channel.TRADE, T0, T0 + 9, "dead_letter:b2")])
    body = text([trade(1)])
    letters = DeadLetters(client, settings.store, sender)
    letters.bury(DeadLetter("a1", routing.INGEST_TRADES, "trade", "", 1, T0, body, everywhere=True))
    start_worker("--pool", "solo")
    assert letters.retry() == 1
    eventually(lambda: len(reader.open_trade_gaps([BTC, "KRW-ETH"])) == 1, 10, "two gaps closed")
    assert [gap.reason for gap in reader.open_trade_gaps([BTC])] == ["dead_letter:b2"]


def test_a_store_that_refuses_is_waited_for(
    start_worker: Start,
    sender: Celery,
    client: redis.Redis,
    reader: Reader,
    keys: Keys,
    eventually: Eventually,
) -> None:
    """While Redis refuses a write the batch waits in its task, and is stored when Redis is well again."""
    refuse_writes(client, keys)
    start_worker("--pool", "solo")
    take_one(sender, reader, eventually)
    client.delete(keys.newest)
    eventually(lambda: settled(reader), 10, "the batch stored")
    assert [row.trade_count for row in reader.candles(BTC)] == [1]
    assert reader.dead_letters() == []
