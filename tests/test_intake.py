"""From the events of a frame to the outbox: holes, copies, starts, and what no room was left for."""

from dataclasses import replace
from typing import Any

import pytest

from collector.batch import Batch, Kind
from collector.clock import ManualClock
from collector.listener.intake import Intake, gaps_of
from collector.model import Channel, Gap, Source
from collector.publish.outbox import _HARD_FACTOR, Outbox
from collector.settings import BatchSettings, PressureSettings
from collector.stream.batcher import STATES, Batcher
from collector.stream.coverage import Hole
from collector.stream.pressure import PressurePolicy, Reading, State
from tests.stream.making import T0, book, gap, ticker, trade

DECISION = PressurePolicy(PressureSettings()).decide(Reading(), State(), 0.0)


class Bench:
    """An intake with notes of what it told."""

    def __init__(self, capacity: int = 64, **batch: int) -> None:
        self.clock = ManualClock(T0)
        self.clock.advance(100)
        self.outbox = Outbox(capacity)
        self.batcher = Batcher(BatchSettings(**{"max_age_ms": 40, **batch}), "t")
        self.intake = Intake(self.batcher, self.outbox, self.clock)
        self.holes: list[Hole] = []
        self.early: list[tuple[str, int]] = []
        self.lost: list[Gap] = []
        self.intake.listen(
            self.holes.append, lambda market, ms: self.early.append((market, ms)), self.lost.append
        )

    def frame(self, *events: Any, connection: int = 0, after_s: float = 0.1) -> None:
        self.clock.advance(after_s)
        self.intake.on_events(connection, events)

    def batches(self) -> list[Batch]:
        self.intake.flush()
        found = []
        while batch := self.outbox.take(0, states=STATES):
            found.append(batch)
        return found

    def rows(self) -> list[Any]:
        return [row for batch in self.batches() for row in batch.rows]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_events_go_through_once(bench: Bench) -> None:
    """The second socket's copies are held back; all kinds arrive."""
    for connection in (0, 1):
        bench.frame(trade(1), connection=connection)
        bench.frame(ticker(), connection=connection)
        bench.frame(book(), connection=connection)
    assert [type(row).__name__ for row in bench.rows()] == ["Trade", "OrderBook", "Ticker"]
    assert bench.intake.sequencer.held_back == {"trade_copies": 1, "ticker_copies": 1, "orderbook_copies": 1}
    assert bench.intake.counts == {"trade_rows": 1, "ticker_rows": 1, "orderbook_rows": 1}


def test_the_first_frame_ends_the_start_hole_and_a_silence_is_a_hole(bench: Bench) -> None:
    """Frames without events, copies and repeats, vouch for the socket like any other."""
    bench.frame()
    for _ in range(50):
        bench.frame()
    bench.frame(after_s=20)
    assert [hole.reason for hole in bench.holes] == ["start", "stalled"]
    assert bench.holes[1].to_s - bench.holes[1].from_s == pytest.approx(20)


def after_a_busy_minute() -> Bench:
    """Return a bench after a minute of trades, ten a second, the last of them at `T0 + 60_000`."""
    bench = Bench(capacity=1_000)
    for number in range(1, 601):
        bench.frame(trade(number, ms=T0 + number * 100))
    bench.holes.clear()
    return bench


def test_a_leap_of_the_exchanges_time_is_a_hole_though_short() -> None:
    """Two seconds in which all sockets were silent and the exchange went on without us."""
    bench = after_a_busy_minute()
    bench.frame(trade(601, ms=T0 + 62_000), after_s=2)
    (hole,) = bench.holes
    assert (hole.reason, hole.to_s - hole.from_s) == ("stalled", pytest.approx(2))


def test_what_was_only_late_is_no_hole() -> None:
    """The network or we ourselves were slow: what was held back comes, its times go on where they were."""
    bench = after_a_busy_minute()
    bench.frame(*(trade(601 + n, ms=T0 + 60_100 + n * 100) for n in range(20)), after_s=2)
    assert bench.holes == []


def test_what_tells_no_time_may_be_a_leap() -> None:
    """Copies, repeats and tickers alone: a hole too much costs REST calls, one too few trades."""
    bench = after_a_busy_minute()
    bench.frame(ticker(T0 + 60_100), after_s=2)
    assert [hole.reason for hole in bench.holes] == ["stalled"]


def test_a_quiet_stream_does_not_leap() -> None:
    """A trade every two seconds is its way; and of a stream that just began nothing is known."""
    bench = Bench()
    for number in range(60):
        bench.frame(trade(number, ms=T0 + number * 2_000), after_s=2)
    assert [hole.reason for hole in bench.holes] == ["start"]


def test_a_batch_waits_no_longer_than_its_age(bench: Bench) -> None:
    """`tick` closes it."""
    bench.frame(trade(1))
    bench.intake.tick(DECISION)
    assert len(bench.outbox) == 0
    bench.clock.advance(0.05)
    bench.intake.tick(DECISION)
    assert len(bench.outbox) == 1


def test_word_that_a_gap_is_recovered_follows_the_trades_that_closed_it(bench: Bench) -> None:
    """Also where other gaps wait for longer: sent before them, it would be believed if these got lost."""
    bench.intake.add(gap(T0))
    bench.clock.advance(0.03)
    bench.intake.add_recovered([trade(1, source=Source.REST)])
    bench.intake.add(gap(T0 + 5, recovered=True))
    bench.intake.tick(DECISION)
    bench.clock.advance(0.02)
    bench.intake.tick(DECISION)
    assert [type(row).__name__ for row in bench.rows()] == ["Trade", "Gap", "Gap"]


def test_the_pressure_decision_is_followed(bench: Bench) -> None:
    """Merging and factors go to the batcher."""
    strained = replace(DECISION, merge_states=STATES, trade_batch_factor=8.0, state_batch_factor=4.0)
    bench.intake.tick(strained)
    for number in range(5):
        bench.frame(ticker(T0 + number))
    assert [row.exchange_ms for row in bench.rows()] == [T0 + 4]
    assert (bench.batcher.trade_factor, bench.batcher.state_factor) == (8.0, 4.0)


def test_a_full_batch_leaves_at_once() -> None:
    """Without waiting for a tick."""
    bench = Bench(max_rows=2)
    bench.frame(trade(1), trade(2))
    assert len(bench.outbox) == 1


def test_recovered_trades_take_the_same_way(bench: Bench) -> None:
    """An id seen on a socket proves nothing: its trade may have been lost since, so the store decides."""
    bench.frame(trade(1))
    bench.intake.add_recovered([trade(1, source=Source.REST), trade(2, source=Source.REST)])
    assert [(row.id, row.source) for row in bench.rows()] == [
        (1, Source.STREAM),
        (1, Source.REST),
        (2, Source.REST),
    ]
    assert bench.intake.counts["trades_backfilled"] == 2


def test_a_first_trade_from_before_the_start_is_told_once(bench: Bench) -> None:
    """The snapshot of a quiet market: its minute is known in part only."""
    bench.intake.begin({"KRW-BTC": T0, "KRW-ETH": T0})
    bench.frame(trade(1, ms=T0 - 5000))
    bench.frame(trade(2, ms=T0 - 4000))
    bench.frame(trade(3, "KRW-ETH", ms=T0 + 1))
    assert bench.early == [("KRW-BTC", T0 - 5000)]
    assert bench.intake.covered_from_ms == {}


def test_no_trade_is_lost_without_a_gap() -> None:
    """Past the hard limit of the outbox: what is missing is told, counted, and may come again."""
    bench = Bench(capacity=8, max_rows=1)
    count = 8 * _HARD_FACTOR
    for number in range(count + 3):
        bench.frame(trade(number, ms=T0 + number))
    assert bench.intake.counts["trade_rows_lost"] == 3
    assert [(it.market, it.from_ms, it.to_ms, it.reason) for it in bench.lost] == [
        ("KRW-BTC", T0 + number, T0 + number, "overflow") for number in range(count, count + 3)
    ]
    bench.batches()
    bench.intake.add_recovered([trade(count, ms=T0 + count)])
    assert [row.id for row in bench.rows()] == [count]


def test_a_silence_of_trades_alone_becomes_a_hole_at_the_next_trade(bench: Bench) -> None:
    """Books flow, so coverage sees nothing; the watchdog has given a socket up for its trades."""
    bench.frame(trade(1))
    for number in range(200):
        bench.frame(book(T0 * 1000 + number))
    bench.holes.clear()
    bench.intake.on_trade_stall()
    bench.intake.on_trade_stall()
    bench.frame(book(T0 * 1000 + 900))
    assert bench.holes == []
    bench.frame(trade(2))
    ((hole),) = bench.holes
    assert hole.reason == "stalled"
    assert hole.to_s - hole.from_s == pytest.approx(20.2)
    bench.frame(trade(3))
    assert len(bench.holes) == 1


def test_trades_from_another_socket_mean_no_hole(bench: Bench) -> None:
    """One socket's trades stalled, the other's did not."""
    bench.frame(trade(1))
    bench.holes.clear()
    bench.frame(trade(2), connection=1)
    bench.intake.on_trade_stall()
    bench.frame(trade(3), connection=1)
    assert bench.holes == []


def test_latencies_are_those_of_accepted_events(bench: Bench) -> None:
    """From the exchange's time to our receipt."""
    bench.frame(trade(1), trade(1), ticker())
    assert list(bench.intake.lags_ms) == [100, 100]


def test_gaps_of_a_lost_batch() -> None:
    """One per market over all its trades; gaps stay what they are."""
    bench = Bench()
    for row in (trade(1, ms=T0 + 9), trade(2, ms=T0), trade(3, "KRW-ETH", ms=T0 + 5)):
        bench.intake.add(row)
    (trades,) = bench.batches()
    assert gaps_of(trades, "spool_full") == [
        Gap("KRW-BTC", Channel.TRADE, T0, T0 + 9, "spool_full"),
        Gap("KRW-ETH", Channel.TRADE, T0 + 5, T0 + 5, "spool_full"),
    ]
    opened, recovered = gap(T0), gap(T0 + 1, recovered=True)
    bench.intake.add(opened)
    bench.intake.add(recovered)
    (gaps,) = bench.batches()
    assert gaps.channel is Kind.GAP
    assert gaps_of(gaps, "overflow") == [opened, recovered]


def test_a_lost_batch_of_states_is_no_gap() -> None:
    """States are replaced by the next ones."""
    bench = Bench()
    bench.intake.add(ticker())
    (tickers,) = bench.batches()
    assert gaps_of(tickers, "overflow") == []
