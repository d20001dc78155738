"""The publisher's thread: every trade is sent, or on disk, or reported lost, whatever the broker does."""

import itertools
import random
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from collector import batch as batches
from collector.batch import Batch, GapBatch, Kind, TickerBatch, TradeBatch
from collector.clock import SystemClock
from collector.errors import BrokerUnavailable, InvalidBatch
from collector.model import Source, Trade
from collector.publish import segment
from collector.publish.handoff import HandoffQueue
from collector.publish.publisher import Loss, Publisher, at_home, envelope_of, pack, times_of, unpack
from collector.publish.revoke import Revoked
from collector.publish.sender import Envelope
from collector.publish.spool import Spool
from collector.settings import BatchSettings, PressureSettings, PublishSettings, Settings, SpoolSettings
from collector.stream.pressure import CONFLATED_AT_ONCE, Decision, Mode, PressureSample
from tests.samples.events import T0, book, gap, ticker, trade

Eventually = Callable[..., None]


@dataclass
class Broker:
    """A transport, a probe and a housekeeping that fail on demand."""

    is_down: bool = False
    #: Takes nothing although it answers: full, or a replica.
    refuses: bool = False
    #: Takes batches and gives none back.
    refuses_recall: bool = False
    #: Share of sends that arrive and fail all the same.
    hangs_up: float = 0.0
    queue: int = 0
    state_age_ms: int = 0
    #: Tickers wait for a worker that does not come, behind so many of others.
    holds_tickers: bool = False
    others_tickers: int = 0
    on_send: Callable[[Sequence[Envelope]], object] = lambda _: None
    #: Workers that have started.
    started: int = 0
    waiting: list[Envelope] = field(default_factory=list)
    sent_s: dict[str, float] = field(default_factory=dict)
    letters: list[Envelope] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)

    def send(self, *letters: Envelope) -> None:
        if self.is_down or self.refuses:
            raise BrokerUnavailable("down")
        self.on_send(letters)
        for letter in letters:
            self.letters.append(letter)
            if self.holds_tickers and letter.kind is Kind.TICKER:
                self.waiting.append(letter)
                self.sent_s[letter.id] = time.monotonic()
        if random.random() < self.hangs_up:
            raise BrokerUnavailable("hung up")

    def limit_rates(self, limits: Mapping[str, str]) -> None:
        """Not asked for here."""

    def probe(self) -> PressureSample:
        if self.is_down:
            raise BrokerUnavailable("down")
        tickers = len(self.waiting) + self.others_tickers + (self.state_age_ms > 0)
        lengths = {"trade": self.queue, "ticker": tickers, "orderbook": 0}
        waited_s = [time.monotonic() - self.sent_s[letter.id] for letter in self.waiting]
        age_ms = max(self.state_age_ms, round(max(waited_s, default=0) * 1000))
        return PressureSample(queue_lengths=lengths, ages_ms={"ticker": age_ms}, workers_started=self.started)

    def revoke(self, queue: str, ids: Collection[str]) -> Revoked:
        if self.is_down or self.refuses or self.refuses_recall:
            raise BrokerUnavailable("down")
        taken = [letter.id for letter in self.waiting if (letter.kind, letter.id in ids) == (queue, True)]
        self.waiting = [letter for letter in self.waiting if letter.id not in taken]
        return Revoked(taken, len(self.waiting) + self.others_tickers + (self.state_age_ms > 0))

    def keep_house(self, publisher: Publisher, reading: PressureSample) -> None:
        if self.is_down or self.refuses:
            raise BrokerUnavailable("no writes")
        self.decisions.append(publisher.decision)

    def tickers(self) -> dict[str, int]:
        """Return the newest of each market that was sent."""
        texts = [letter.text for letter in self.letters if letter.kind is Kind.TICKER]
        return {row.market: row.exchange_ms for t in texts for row in batches.decode(t, TickerBatch).rows}

    def trade_ids(self) -> list[int]:
        return [
            row.id
            for letter in self.letters
            if letter.kind is Kind.TRADE
            for row in batches.decode(letter.text, TradeBatch).rows
        ]


class Bench:
    """A publisher with all around it."""

    def __init__(
        self,
        folder: Path,
        broker: Broker,
        spool_bytes: int,
        interrupt: Callable[[], None] = lambda: None,
        **pressure: Any,
    ) -> None:
        self.broker = broker
        self.handoff = HandoffQueue(256)
        self.lost: list[tuple[Batch, str]] = []
        self.settings = Settings(
            publish=PublishSettings(probe_interval_s=0.02),
            pressure=PressureSettings(hold_s=0.05, **pressure),
            spool=SpoolSettings(drain_batches_per_s=2000),
        )
        self.spool = Spool(
            folder,
            max_bytes=spool_bytes,
            segment_bytes=1 << 20,
            fsync_interval_s=0.05,
            clock=SystemClock(),
            times_of=times_of,
        )
        self.publisher = Publisher(
            self.settings,
            self.handoff,
            self.spool,
            broker,
            broker.probe,
            broker.revoke,
            SystemClock(),
            housekeeping=broker.keep_house,
            on_batch_lost=lambda batch, reason: self.lost.append((batch, reason)),
            interrupt=interrupt,
        )

    @property
    def mode(self) -> Mode:
        return self.publisher.decision.mode

    def put(self, *rows: Any) -> None:
        kinds = {"Trade": Kind.TRADE, "Ticker": Kind.TICKER, "OrderBook": Kind.ORDERBOOK, "Gap": Kind.GAP}
        kind = kinds[type(rows[0]).__name__]
        assert self.handoff.put(batches.make(kind, rows, listener="t", now_ms=T0))


@contextmanager
def bench(
    folder: Path, broker: Broker | None = None, spool_bytes: int = 16 << 20, **pressure: Any
) -> Iterator[Bench]:
    it = Bench(folder, broker or Broker(), spool_bytes, **pressure)
    it.publisher.start()
    try:
        yield it
    finally:
        assert it.publisher.stop(10)
        assert it.publisher.failure is None


def test_a_stop_interrupts_what_hangs_and_keeps_the_rest_on_disk(tmp_path: Path) -> None:
    """A Redis that never answers costs a stop no more than its time."""
    hangs, entered = threading.Event(), threading.Event()

    class Hanging(Broker):
        def send(self, *_: Envelope) -> None:
            entered.set()
            hangs.wait(60)
            raise BrokerUnavailable("interrupted")

    it = Bench(tmp_path, Hanging(), 16 << 20, interrupt=hangs.set)
    it.publisher.start()
    it.put(trade(1))
    it.put(trade(2))
    assert entered.wait(5)
    started_s = time.monotonic()
    assert it.publisher.stop(1)
    assert time.monotonic() - started_s < 3
    assert it.publisher.left_on_disk == 2


def opened(folder: Path) -> Spool:
    return Spool(folder, max_bytes=1 << 30, segment_bytes=1 << 20, fsync_interval_s=1, clock=SystemClock())


def spooled(folder: Path) -> list[int]:
    """Return the ids of the trades that wait on disk."""
    found = []
    with opened(folder) as it:
        while (payload := it.peek()) is not None:
            letter = unpack(payload)
            if letter.kind is Kind.TRADE:
                found += [row.id for row in batches.decode(letter.text, TradeBatch).rows]
            it.ack()
    return found


def test_batches_are_sent_as_they_come(tmp_path: Path, eventually: Eventually) -> None:
    """Each to its queue, facts and states alike; nothing touches the disk."""
    with bench(tmp_path) as it:
        it.put(trade(1), trade(2))
        it.put(gap())
        it.put(ticker())
        it.put(book())
        eventually(lambda: len(it.broker.letters) == 4)
        queues = {letter.kind: (letter.queue, letter.rows) for letter in it.broker.letters}
        assert queues == {
            Kind.TRADE: ("trade", 2),
            Kind.GAP: ("trade", 1),
            Kind.TICKER: ("ticker", 1),
            Kind.ORDERBOOK: ("orderbook", 1),
        }
        assert it.publisher.spool_bytes == 0
    assert it.publisher.counts["trade_rows_sent"] == 2


def test_a_broker_that_goes_and_comes_back(tmp_path: Path, eventually: Eventually) -> None:
    """FLOW, SPOOL while it is away, MERGE, FLOW; the disk is drained in order and nothing is missing."""
    with bench(tmp_path) as it:
        it.put(trade(0))
        eventually(lambda: it.broker.letters)
        it.broker.is_down = True
        for number in range(1, 50):
            it.put(trade(number))
        it.put(ticker())
        eventually(lambda: it.mode is Mode.SPOOL)
        eventually(lambda: it.publisher.counts["trade_rows_spooled"] == 49)
        assert it.publisher.spool_bytes > 0
        it.broker.is_down = False
        eventually(lambda: it.mode is Mode.FLOW)
        eventually(lambda: it.publisher.spool_bytes == 0)
        eventually(lambda: any(letter.kind is Kind.TICKER for letter in it.broker.letters))
        eventually(lambda: it.broker.decisions[-1].mode is Mode.FLOW)
        assert it.broker.trade_ids() == list(range(50))
    modes = [mode for mode, _ in itertools.groupby(decision.mode for decision in it.broker.decisions)]
    assert modes[:1] + modes[-3:] == [Mode.FLOW, Mode.SPOOL, Mode.MERGE, Mode.FLOW]
    assert it.publisher.counts["mode_changes_to_spool"] == 1


def test_a_broker_that_answers_and_takes_nothing(tmp_path: Path, eventually: Eventually, caplog) -> None:
    """The probe works, writes are refused: it stays away until a write succeeds, and says so once."""
    with bench(tmp_path) as it:
        it.broker.refuses = True
        it.put(trade(1))
        eventually(lambda: it.mode is Mode.SPOOL)
        for number in range(2, 30):
            it.put(trade(number))
            time.sleep(0.01)
        assert it.mode is Mode.SPOOL
        assert sum("trades go to disk" in record.message for record in caplog.records) == 1
        it.broker.refuses = False
        eventually(lambda: it.publisher.spool_bytes == 0)
        assert sorted(it.broker.trade_ids()) == list(range(1, 30))


def test_a_full_queue_sends_trades_to_disk(tmp_path: Path, eventually: Eventually) -> None:
    """Workers that do not keep up: the backlog stays bounded, and comes back as they catch up."""
    with bench(tmp_path, queue_low=2, queue_high=4, queue_max=8) as it:
        it.broker.queue = 9
        eventually(lambda: it.mode is Mode.SPOOL)
        it.put(trade(1))
        eventually(lambda: it.publisher.counts["trade_rows_spooled"] == 1)
        assert it.broker.letters == []
        it.broker.queue = 0
        eventually(lambda: it.broker.trade_ids() == [1])


def test_while_merging_few_states_go_between_two_looks(tmp_path: Path, eventually: Eventually) -> None:
    """What comes in between is merged here, where it costs nothing and can't grow old; the newest arrives."""
    with bench(tmp_path, queue_low=2, queue_high=4, queue_max=8) as it:
        it.broker.queue = 5
        eventually(lambda: it.mode is Mode.MERGE)
        looks = len(it.broker.decisions)
        for number in range(200):
            it.put(ticker(T0 + number))
            time.sleep(0.001)
        eventually(lambda: not len(it.handoff))
        sent = it.publisher.counts["ticker_batches_sent"]
        assert sent <= CONFLATED_AT_ONCE * (len(it.broker.decisions) - looks + 2)
        assert it.handoff.conflated[Kind.TICKER] == 200 - it.publisher.counts["ticker_rows_sent"] > 0
        (newest,) = batches.decode(it.broker.letters[-1].text, TickerBatch).rows
        assert newest.exchange_ms == T0 + 199


def test_states_that_expired_in_their_queue_are_sent_once_more(
    tmp_path: Path, eventually: Eventually
) -> None:
    """Workers drop what is too old unseen: a market that has been quiet since must not stay out of date."""
    with bench(tmp_path) as it:
        it.put(ticker(T0), ticker(T0, "KRW-QUIET"))
        eventually(lambda: it.publisher.counts["ticker_rows_sent"] == 2)
        it.broker.state_age_ms = it.settings.publish.state_expires_s * 1000
        eventually(lambda: it.mode is Mode.MERGE)
        it.put(ticker(T0 + 1))
        time.sleep(0.1)
        assert it.publisher.counts["states_repeated"] == 0, "the queue is old yet"
        it.broker.letters.clear()
        it.broker.state_age_ms = 0
        eventually(lambda: it.broker.tickers() == {"KRW-QUIET": T0, "KRW-BTC": T0 + 1})
        time.sleep(0.1)
        assert it.publisher.counts["states_repeated"] == 1


def test_states_are_sent_once_more_when_a_worker_has_started(tmp_path: Path, eventually: Eventually) -> None:
    """It may follow one that died with a batch of them; others that start at once change nothing."""
    with bench(tmp_path) as it:
        it.put(ticker(T0), ticker(T0, "KRW-QUIET"))
        eventually(lambda: it.publisher.counts["ticker_rows_sent"] == 2)
        it.broker.letters.clear()
        it.broker.started = 1
        eventually(lambda: it.broker.tickers() == {"KRW-BTC": T0, "KRW-QUIET": T0})
        it.broker.started = 2
        time.sleep(0.1)
        assert it.publisher.counts["states_repeated"] == 1


def test_batches_that_wait_are_sent_together(tmp_path: Path, eventually: Eventually) -> None:
    """One round trip for all, in their order."""
    it = Bench(tmp_path, Broker(), 16 << 20)
    sizes: list[int] = []
    it.broker.on_send = lambda letters: sizes.append(len(letters))
    for number in range(5):
        it.put(trade(number))
    it.put(ticker(T0))
    it.publisher.start()
    try:
        eventually(lambda: it.publisher.counts["batches_sent"] == 6)
        assert sizes == [6]
        assert it.broker.trade_ids() == [0, 1, 2, 3, 4]
    finally:
        assert it.publisher.stop(10)


#: With twenty batches of trades waiting, MERGE is not left.
BEHIND_MARKS = {"queue_low": 8, "queue_high": 160, "age_low_ms": 100}


def fill_ticker_queue(it: Bench, eventually: Eventually) -> None:
    """Put tickers in batches of their own until MERGE is entered, and some more."""
    it.put(ticker(T0, "KRW-QUIET"))
    for number in range(30):
        it.put(ticker(T0 + number))
        eventually(lambda: not len(it.handoff) or it.mode is not Mode.FLOW)
    assert it.mode is not Mode.FLOW


def test_states_that_wait_in_their_queue_are_taken_back_and_the_newest_go(
    tmp_path: Path, eventually: Eventually
) -> None:
    """Workers that are behind find one batch, the newest of each market, instead of all that was sent."""
    broker = Broker(holds_tickers=True, queue=20)
    with bench(tmp_path, broker, **BEHIND_MARKS) as it:
        fill_ticker_queue(it, eventually)
        newest = {"KRW-QUIET": T0, "KRW-BTC": T0 + 29}
        eventually(lambda: len(broker.waiting) == 1 and broker.tickers() == newest)
        rows = batches.decode(broker.waiting[0].text, TickerBatch).rows
        assert {row.market: row.exchange_ms for row in rows} == newest
        counts = dict(it.publisher.counts)
        assert counts["state_batches_taken_back"] >= 20
        assert counts["ticker_rows_taken_back"] >= counts["state_batches_taken_back"]
    sent = it.publisher.counts["ticker_batches_sent"] - it.publisher.counts["state_batches_taken_back"]
    assert sent == len(broker.waiting) == 1


def test_states_of_other_listeners_stay_and_ours_wait_here(tmp_path: Path, eventually: Eventually) -> None:
    """Nothing is put behind another batch: where others' are left, the newest waits until they are taken."""
    broker = Broker(holds_tickers=True, others_tickers=1, queue=20)
    with bench(tmp_path, broker, **BEHIND_MARKS) as it:
        fill_ticker_queue(it, eventually)
        eventually(lambda: broker.waiting == [])
        time.sleep(0.1)
        assert broker.waiting == []
        broker.letters.clear()
        broker.others_tickers = 0
        eventually(lambda: broker.tickers() == {"KRW-QUIET": T0, "KRW-BTC": T0 + 29})


def test_states_are_not_lost_where_taking_them_back_fails(tmp_path: Path, eventually: Eventually) -> None:
    """Redis may have removed them and not been heard: once it answers again, the newest go once more."""
    broker = Broker(holds_tickers=True, queue=20, refuses_recall=True)
    with bench(tmp_path, broker, **BEHIND_MARKS) as it:
        fill_ticker_queue(it, eventually)
        eventually(lambda: it.publisher.counts["send_failures"] > 0)
        broker.waiting.clear()
        broker.letters.clear()
        broker.refuses_recall = False
        eventually(lambda: broker.tickers() == {"KRW-QUIET": T0, "KRW-BTC": T0 + 29})


def test_a_stop_flushes_to_the_broker(tmp_path: Path) -> None:
    """What is in the handoff queue when it stops is sent."""
    with bench(tmp_path) as it:
        for number in range(100):
            it.put(trade(number))
        it.put(ticker())
    assert sorted(it.broker.trade_ids()) == list(range(100))
    assert it.publisher.counts["ticker_rows_sent"] == 1
    assert not it.publisher.is_alive


def test_a_stop_without_broker_flushes_to_disk(tmp_path: Path, eventually: Eventually) -> None:
    """At once. Facts wait for the next run; old tickers do not, and are counted."""
    with bench(tmp_path, Broker(is_down=True)) as it:
        eventually(lambda: it.mode is Mode.SPOOL)
        for number in range(20):
            it.put(trade(number))
        it.put(ticker(), ticker(T0 + 1))
        started = time.monotonic()
        assert it.publisher.stop(60)
        assert time.monotonic() - started < 30
    assert it.publisher.counts["ticker_rows_dropped"] == 2
    assert spooled(tmp_path) == list(range(20))


def test_the_next_run_brings_back_what_the_last_one_kept(tmp_path: Path, eventually: Eventually) -> None:
    """A spool left on disk is drained at the next start."""
    with bench(tmp_path, Broker(is_down=True)) as it:
        eventually(lambda: it.mode is Mode.SPOOL)
        it.put(trade(1))
        it.put(gap())
    with bench(tmp_path) as it:
        eventually(lambda: len(it.broker.letters) == 2)
        assert it.broker.trade_ids() == [1]
    assert spooled(tmp_path) == []


def test_a_full_disk_is_told_aloud(tmp_path: Path, eventually: Eventually, caplog) -> None:
    """What fits stays; what does not is reported with its rows, and in two lines however long it goes on."""
    with bench(tmp_path, Broker(is_down=True), spool_bytes=1 << 20) as it:
        eventually(lambda: it.mode is Mode.SPOOL)
        for number in range(40):
            it.put(*(trade(number * 1000 + each) for each in range(1000)))
        eventually(lambda: len(it.lost) > 1)
        eventually(lambda: len(it.handoff) == 0)
        assert sum("could not be kept" in message for message in caplog.messages) == 1
    lost = [row.id for batch, _ in it.lost for row in batch.rows]
    assert {reason for _, reason in it.lost} == {"spool_full"}
    assert it.publisher.counts["trade_rows_lost"] == len(lost) > 0
    assert sorted([*lost, *spooled(tmp_path)]) == list(range(40_000))


def test_the_end_of_a_full_disk_is_one_line(tmp_path: Path, eventually: Eventually, caplog) -> None:
    """With the rows that it cost, once Redis takes trades again."""
    caplog.set_level("INFO")
    with bench(tmp_path, Broker(is_down=True), spool_bytes=1 << 20) as it:
        eventually(lambda: it.mode is Mode.SPOOL)
        for number in range(40):
            it.put(*(trade(number * 1000 + each) for each in range(1000)))
        eventually(lambda: it.lost and len(it.handoff) == 0)
        it.broker.is_down = False
        eventually(lambda: it.mode is not Mode.SPOOL)
        it.put(trade(50_000))
        ends = lambda: [line for line in caplog.messages if "are kept again" in line]  # noqa: E731
        eventually(ends)
        lost = it.publisher.counts["trade_rows_lost"]
    assert ends() == [f"batches are kept again; {lost} rows were lost and lie in gaps"]


def test_a_record_of_another_version_does_not_stop_the_drain(tmp_path: Path, eventually: Eventually) -> None:
    """It is sound by its checksum and makes no sense: counted, given up, and the next one comes."""
    with opened(tmp_path) as it:
        for payload in (b"v9 what\nis this", b"\xff\xfe", b""):
            it.append(payload)
        it.append(pack(envelope_of(batches.make(Kind.TRADE, [trade(7)], listener="t", now_ms=T0), 1)))
    with bench(tmp_path) as running:
        eventually(lambda: running.broker.trade_ids() == [7])
        assert running.publisher.counts["spool_batches_unreadable"] == 3
        assert running.publisher.spool_bytes == 0
        losses = running.publisher.take_losses()
        assert [(loss.market, loss.to_ms - loss.from_ms) for loss in losses] == [(None, 600_000)] * 3
        assert running.publisher.take_losses() == []


def test_of_an_address_of_another_version_the_rows_still_tell_what_is_lost(
    tmp_path: Path, eventually: Eventually
) -> None:
    """Market by market."""
    text = batches.encode(batches.make(Kind.TRADE, [trade(7), trade(8, "KRW-ETH")], listener="t", now_ms=T0))
    with opened(tmp_path) as it:
        it.append(f"v9 {T0}\n{text}".encode())
    with bench(tmp_path) as running:
        eventually(lambda: running.publisher.counts["spool_batches_unreadable"] == 1)
    assert running.publisher.take_losses() == [Loss("KRW-BTC", T0, T0 + 100), Loss("KRW-ETH", T0, T0 + 100)]


def test_behind_damage_no_gap_is_believed_to_be_recovered(tmp_path: Path, eventually: Eventually) -> None:
    """The trades that closed it may be what is lost: the damage is a gap, and so is that one, again."""
    rows: list[list[Any]] = [
        [trade(1)],
        [trade(2, source=Source.REST)],
        [gap(T0 - 90_000, recovered=True), gap(T0 - 80_000)],
        [gap(T0 - 70_000, recovered=True)],
        [trade(3)],
    ]
    with bench(tmp_path, Broker(is_down=True)) as it:
        eventually(lambda: it.mode is Mode.SPOOL)
        for batch in rows:
            it.put(*batch)
    (path,) = tmp_path.glob("*.spool")
    content = path.read_bytes()
    ends = [record.end for record in segment.scan(content)]
    path.write_bytes(content[: ends[1] - 5] + b"!" + content[ends[1] - 4 :])
    with bench(tmp_path) as running:
        eventually(lambda: running.broker.trade_ids() == [1, 3])
        running.put(gap(T0 - 60_000, recovered=True))
        eventually(lambda: len(running.broker.letters) == 4)
    gaps = [letter.text for letter in running.broker.letters if letter.kind is Kind.GAP]
    assert [row for text in gaps for row in batches.decode(text, GapBatch).rows] == [
        gap(T0 - 80_000), gap(T0 - 60_000, recovered=True)
    ]  # fmt: skip
    damaged, *doubted = running.publisher.take_losses()
    assert damaged.market is None
    assert damaged.from_ms <= T0 <= damaged.to_ms
    assert doubted == [
        Loss("KRW-BTC", from_ms, from_ms + 1_000, "stalled") for from_ms in (T0 - 90_000, T0 - 70_000)
    ]


def test_what_is_out_of_danger(tmp_path: Path, eventually: Eventually) -> None:
    """Sent or on disk; what found no room is not, until somebody has taken note of it."""
    with bench(tmp_path, Broker(is_down=True), spool_bytes=1 << 20) as it:
        it.put(trade(1))
        eventually(lambda: it.publisher.spool_mark_ms == T0)
        assert it.handoff.oldest_mark_ms is None
        for number in range(40):
            it.put(*(trade(number * 1000 + each, ms=T0 + number) for each in range(1000)))
        eventually(lambda: it.publisher.counts["trade_rows_spooled"] + 1000 * len(it.lost) == 40_001)
        lost_ms = [row.exchange_ms for batch, _ in it.lost for row in batch.rows]
        eventually(lambda: it.handoff.oldest_mark_ms == min(lost_ms))
        for batch, _ in it.lost:
            it.handoff.done(batch)
        assert it.handoff.oldest_mark_ms is None
        it.broker.is_down = False
        eventually(lambda: it.publisher.spool_mark_ms is None, 10)


def test_a_letter_that_was_packed_before_there_were_times() -> None:
    """Its rows tell them."""
    whole = envelope_of(batches.make(Kind.TRADE, [trade(7), trade(8, ms=T0 + 5)], listener="t", now_ms=T0), 1)
    address, _, text = pack(whole).partition(b"\n")
    assert unpack(pack(whole)) == whole
    assert unpack(b" ".join(address.split()[:5]) + b"\n" + text) == replace(whole, to_ms=T0 + 105)


@pytest.mark.parametrize("seed", range(12))
def test_every_trade_is_sent_kept_or_reported(tmp_path: Path, seed: int) -> None:
    """A broker that fails, refuses, hangs up and comes back at random, a small disk, a stop at any moment."""
    dice = random.Random(seed)
    broker = Broker(hangs_up=dice.choice([0, 0, 0.1]))
    count, put = dice.randrange(50, 400), 0
    with bench(tmp_path, broker, spool_bytes=dice.choice([1 << 20, 8 << 20])) as it:
        while put < count:
            rows = dice.choice([1, 5, 200])
            it.put(*(trade(put + number) for number in range(rows)))
            it.put(ticker(T0 + put))
            put += rows
            if dice.random() < 0.2:
                broker.is_down = dice.random() < 0.5
                broker.refuses = dice.random() < 0.3
                time.sleep(dice.random() * 0.05)
    sent, kept = broker.trade_ids(), spooled(tmp_path)
    lost = [row.id for batch, _ in it.lost for row in batch.rows if isinstance(row, Trade)]
    assert {*sent, *kept, *lost} == set(range(put))
    assert not set(lost) & {*sent, *kept}
    if not broker.hangs_up:
        assert len(sent) + len(kept) + len(lost) == put  # exactly once: nothing twice either


def test_letters_survive_their_packing() -> None:
    """Address and text come back as they were; anything else is refused by name."""
    letter = envelope_of(batches.make(Kind.TRADE, [trade(1)], listener="수집기", now_ms=T0), 1)
    assert unpack(pack(letter)) == letter
    for payload in (b"", b"a b c d e\n", b"trade trade 1 x id\n", b"\xff"):
        with pytest.raises(InvalidBatch):
            unpack(payload)


def test_queues_of_shards() -> None:
    """Trades go to their share's queue; a share that is no more falls back to `trade`."""
    letter = envelope_of(batches.make(Kind.TRADE, [trade(1, "KRW-BTC")], listener="t", now_ms=T0), 8)
    assert letter.queue == "trade.5"
    assert at_home(letter, 8).queue == "trade.5"
    assert [at_home(letter, shards).queue for shards in (1, 2, 5)] == ["trade"] * 3
    assert envelope_of(batches.make(Kind.GAP, [gap()], listener="t", now_ms=T0), 8).queue == "trade"
    assert BatchSettings().trade_queues == 1
