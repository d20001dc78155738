"""From the events of a frame to the handoff queue: gaps, stamps, copies, starts, losses, and overflow."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from msgspec import structs

from collector.batch import Batch, Kind
from collector.clock import ManualClock
from collector.listener.pipeline import EventPipeline, gaps_of
from collector.model import Channel, Gap, Source, Ticker, Trade
from collector.publish.handoff import _HARD_FACTOR, HandoffQueue
from collector.settings import BatchSettings, PressureSettings
from collector.stream.batcher import STATES, Batcher
from collector.stream.coverage import EndedOutage
from collector.stream.pressure import PressurePolicy, PressureSample, PressureState
from collector.stream.totals import Missing
from tests.samples.events import T0, book, gap, ticker, trade

DECISION = PressurePolicy(PressureSettings()).decide(PressureSample(), PressureState(), 0.0)


class Bench:
    """A pipeline with notes of what it told."""

    def __init__(self, capacity: int = 64, **batch: int) -> None:
        self.clock = ManualClock(T0)
        self.clock.advance(100)
        self.handoff = HandoffQueue(capacity)
        self.batcher = Batcher(BatchSettings(**{"max_age_ms": 40, **batch}), "t")
        self.pipeline = EventPipeline(self.batcher, self.handoff, self.clock)
        self.outages: list[EndedOutage] = []
        self.early: list[tuple[str, int]] = []
        self.unsent: list[Gap] = []
        self.losses: list[Missing] = []
        self.ahead: list[tuple[int, int]] = []
        self.pipeline.listen(self)

    def on_outage(self, outage: EndedOutage) -> None:
        self.outages.append(outage)

    def on_early_trade(self, market: str, exchange_ms: int) -> None:
        self.early.append((market, exchange_ms))

    def on_unsent(self, gap: Gap) -> None:
        self.unsent.append(gap)

    def on_missing(self, it: Missing) -> None:
        self.losses.append(it)

    def on_ahead(self, trade: Trade, came_ms: int) -> None:
        self.ahead.append((trade.id, came_ms))

    def frame(self, *events: Any, connection: int = 0, after_s: float = 0.1) -> None:
        self.clock.advance(after_s)
        self.pipeline.process(connection, events)

    def batches(self) -> list[Batch]:
        self.pipeline.flush()
        found = []
        while batch := self.handoff.take(0, states=STATES):
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
    assert bench.pipeline.deduplicator.held_back == {
        "trade_copies": 1,
        "ticker_copies": 1,
        "orderbook_copies": 1,
    }
    assert bench.pipeline.counts == {"trade_rows": 1, "ticker_rows": 1, "orderbook_rows": 1}


def test_the_first_frame_ends_the_start_and_a_cut_is_an_outage(bench: Bench) -> None:
    """Frames without events, copies and repeats, vouch for the socket like any other."""
    assert bench.pipeline.outage() == (T0 + 100_000, "start")
    bench.frame(trade(1, ms=T0 + 100_100))
    bench.frame(trade(2, ms=T0 + 101_000), after_s=1)
    bench.pipeline.tick(DECISION)
    assert bench.pipeline.outage() is None
    assert bench.pipeline.covered_until_ms() == T0 + 100_000
    bench.pipeline.coverage.on_disconnected(0, "disconnected")
    assert bench.pipeline.outage() == (T0 + 100_000, "disconnected")
    bench.frame(after_s=20)
    bench.frame(trade(3, ms=T0 + 122_000), after_s=1)
    bench.pipeline.tick(DECISION)
    assert [(outage.from_ms, outage.reason) for outage in bench.outages] == [
        (None, "start"),
        (T0 + 100_000, "disconnected"),
    ]
    assert abs(bench.outages[1].to_ms - (T0 + 121_000)) < 200


def test_a_ticker_from_the_future_freezes_no_ticker(bench: Bench) -> None:
    """It is dropped, and what comes after it passes; a trade waits until REST was asked."""
    day_ms = 86_400_000
    bench.frame(trade(1, ms=T0 + 100_000))
    bench.frame(ticker(T0 + day_ms), trade(2, ms=T0 + day_ms), book((T0 + day_ms) * 1000))
    bench.frame(ticker(T0 + 100_200), trade(3, ms=T0 + 100_200))
    assert [row.exchange_ms - T0 for row in bench.rows()] == [100_000, 100_200, 100_200]
    bench.clock.advance(3)
    bench.pipeline.tick(DECISION)
    assert bench.ahead == [(2, T0 + 103_200)]
    assert bench.rows() == []
    bench.pipeline.pass_ahead("KRW-ETH", T0 + 200_000)
    bench.pipeline.pass_ahead("KRW-BTC", T0 + 103_199)
    assert bench.rows() == []
    bench.pipeline.pass_ahead("KRW-BTC", T0 + 103_200)
    assert [row.exchange_ms - T0 for row in bench.rows()] == [day_ms]
    assert bench.pipeline.doubts.counts == {"ticker_ahead": 1, "orderbook_ahead": 1, "trade_ahead": 1}
    assert bench.pipeline.covered_until_ms() == T0 + 99_200


def test_a_trade_from_the_future_takes_the_time_that_rest_has_for_it(bench: Bench) -> None:
    """The copy of REST counts; one that a socket brought with its true time is another trade."""
    bench.frame(trade(1, ms=T0 + 100_000))
    bench.frame(trade(2, ms=T0 + 86_400_000))
    bench.clock.advance(3)
    bench.pipeline.tick(DECISION)
    rest = [trade(7, ms=T0 + ms, source=Source.REST) for ms in (100_000, 100_150)]
    bench.pipeline.add_recovered(rest)
    bench.pipeline.pass_ahead("KRW-BTC", T0 + 200_000)
    assert [(row.exchange_ms - T0, row.source) for row in bench.rows()] == [
        (100_000, Source.STREAM),
        (100_000, Source.REST),
        (100_150, Source.REST),
    ]
    seen_again = [
        trade(7, ms=T0 + 100_150, source=Source.REST),
        trade(8, ms=T0 + 100_150, source=Source.REST),
    ]
    assert bench.pipeline.totals.recovered(seen_again, T0 + 110_000) == 1


def test_a_trade_from_the_future_that_rest_has_brought_meanwhile_counts_once(bench: Bench) -> None:
    """Another gap is fetched while the stamp is still in doubt: that copy counts, ours does not."""
    bench.frame(trade(1, ms=T0 + 100_000))
    bench.frame(trade(2, ms=T0 + 86_400_000), trade(3, ms=T0 + 86_400_000))
    bench.pipeline.add_recovered([trade(7, ms=T0 + 100_150, source=Source.REST)])
    bench.clock.advance(3)
    bench.pipeline.tick(DECISION)
    assert bench.ahead == [(3, T0 + 103_100)]
    bench.pipeline.add_recovered([trade(7, ms=T0 + 100_150, source=Source.REST)])
    bench.pipeline.pass_ahead("KRW-BTC", T0 + 200_000)
    assert [row.exchange_ms - T0 for row in bench.rows()] == [100_000, 100_150, 100_150, 86_400_000]


def test_a_flood_of_trades_from_the_future_is_passed_on(bench: Bench) -> None:
    """Not one gap for each of thousands."""
    bench.frame(trade(1, ms=T0 + 100_000))
    bench.frame(*(trade(number, ms=T0 + 86_400_000 + number * 60_000) for number in range(2, 502)))
    bench.clock.advance(3)
    bench.pipeline.tick(DECISION)
    assert len(bench.ahead) == 100
    assert len(bench.rows()) == 401


def test_a_host_two_days_behind_loses_no_event(bench: Bench) -> None:
    """What is held at first passes once the next event agrees."""
    bench.clock.jump(-2 * 86_400)
    behind = Bench()
    behind.clock.jump(-2 * 86_400)
    behind.pipeline = EventPipeline(behind.batcher, behind.handoff, behind.clock)
    behind.frame(ticker(T0 + 100_000))
    behind.frame(trade(1, ms=T0 + 100_100), book((T0 + 100_150) * 1000))
    assert sorted(row.exchange_ms - T0 for row in behind.rows()) == [100_000, 100_100, 100_150]


def test_tickers_in_korean_time_are_put_right(bench: Bench) -> None:
    """All of them are nine hours ahead of the trades."""
    for number in range(5):
        ms = T0 + 100_000 + number * 100
        bench.frame(trade(number, ms=ms), ticker(ms + 9 * 3_600_000))
    assert {row.exchange_ms - T0 for row in bench.rows()} == {100_000 + number * 100 for number in range(5)}


def with_total(ms: int, turnover: int) -> Ticker:
    return structs.replace(ticker(ms), quote_volume_day=Decimal(turnover), trade_ms=ms - 50)


def test_a_trade_that_the_totals_have_and_the_sockets_did_not_bring_is_told(bench: Bench) -> None:
    """One is left out of both sockets, the tickers count it."""
    turnover, left_out = 1_000, 70
    for number in range(1, 131):
        made = structs.replace(trade(number, ms=T0 + 100_000 + number * 100), volume=Decimal(number))
        turnover += 100 * number
        if number != left_out:
            bench.frame(made)
        else:
            lost = made
        bench.frame(with_total(T0 + 100_050 + number * 100, turnover), after_s=0)
        bench.pipeline.tick(DECISION)
    (loss,) = bench.losses
    assert (loss.market, loss.turnover) == ("KRW-BTC", 100 * left_out)
    assert loss.from_ms <= lost.exchange_ms <= loss.to_ms
    bench.pipeline.add_recovered([structs.replace(lost, source=Source.REST, id=0)])
    assert bench.pipeline.totals.settle("KRW-BTC", loss.to_ms) is True


def test_a_batch_waits_no_longer_than_its_age(bench: Bench) -> None:
    """`tick` closes it."""
    bench.frame(trade(1))
    bench.pipeline.tick(DECISION)
    assert len(bench.handoff) == 0
    bench.clock.advance(0.05)
    bench.pipeline.tick(DECISION)
    assert len(bench.handoff) == 1


def test_word_that_a_gap_is_recovered_follows_the_trades_that_closed_it(bench: Bench) -> None:
    """Also where other gaps wait for longer: sent before them, it would be believed if these got lost."""
    bench.pipeline.add(gap(T0))
    bench.clock.advance(0.03)
    bench.pipeline.add_recovered([trade(1, source=Source.REST)])
    bench.pipeline.add(gap(T0 + 5, recovered=True))
    bench.pipeline.tick(DECISION)
    bench.clock.advance(0.02)
    bench.pipeline.tick(DECISION)
    assert [type(row).__name__ for row in bench.rows()] == ["Trade", "Gap", "Gap"]


def test_the_pressure_decision_is_followed(bench: Bench) -> None:
    """Merging and factors go to the batcher."""
    strained = replace(DECISION, conflate_states=STATES, trade_batch_factor=8.0, state_batch_factor=4.0)
    bench.pipeline.tick(strained)
    for number in range(5):
        bench.frame(ticker(T0 + number))
    assert [row.exchange_ms for row in bench.rows()] == [T0 + 4]
    assert (bench.batcher.trade_factor, bench.batcher.state_factor) == (8.0, 4.0)


def test_a_full_batch_leaves_at_once() -> None:
    """Without waiting for a tick."""
    bench = Bench(max_rows=2)
    bench.frame(trade(1), trade(2))
    assert len(bench.handoff) == 1


def test_recovered_trades_take_the_same_way(bench: Bench) -> None:
    """An id seen on a socket proves nothing: its trade may have been lost since, so the store decides."""
    bench.frame(trade(1))
    bench.pipeline.add_recovered([trade(1, source=Source.REST), trade(2, source=Source.REST)])
    assert [(row.id, row.source) for row in bench.rows()] == [
        (1, Source.STREAM),
        (1, Source.REST),
        (2, Source.REST),
    ]
    assert bench.pipeline.counts["trades_backfilled"] == 2


def test_a_first_trade_from_before_the_start_is_told_once(bench: Bench) -> None:
    """The snapshot of a quiet market: its minute is known in part only."""
    bench.frame(trade(1, "KRW-XRP", ms=T0 - 3000))
    bench.pipeline.begin({"KRW-BTC": T0, "KRW-ETH": T0, "KRW-XRP": T0})
    bench.frame(trade(1, ms=T0 - 5000))
    bench.frame(trade(2, ms=T0 - 4000))
    bench.frame(trade(3, "KRW-ETH", ms=T0 + 1))
    bench.frame(trade(4, "KRW-XRP", ms=T0 - 2000))
    assert bench.early == [("KRW-XRP", T0 - 3000), ("KRW-BTC", T0 - 5000)]


def test_no_trade_is_lost_without_a_gap() -> None:
    """Past the hard limit of the handoff queue: what is missing is told, counted, and may come again."""
    bench = Bench(capacity=8, max_rows=1)
    count = 8 * _HARD_FACTOR
    for number in range(count + 3):
        bench.frame(trade(number, ms=T0 + number))
    assert bench.pipeline.counts["trade_rows_lost"] == 3
    assert [(it.market, it.from_ms, it.to_ms, it.reason) for it in bench.unsent] == [
        ("KRW-BTC", T0 + number, T0 + number, "overflow") for number in range(count, count + 3)
    ]
    bench.batches()
    bench.pipeline.add_recovered([trade(count, ms=T0 + count)])
    assert [row.id for row in bench.rows()] == [count]


def test_latencies_are_those_of_accepted_events(bench: Bench) -> None:
    """From the exchange's time to our receipt."""
    bench.frame(trade(1), trade(1), ticker())
    assert list(bench.pipeline.lags_ms) == [100, 100]


def test_gaps_of_a_lost_batch() -> None:
    """One per market over all its trades; gaps stay what they are."""
    bench = Bench()
    for row in (trade(1, ms=T0 + 9), trade(2, ms=T0), trade(3, "KRW-ETH", ms=T0 + 5)):
        bench.pipeline.add(row)
    (trades,) = bench.batches()
    assert gaps_of(trades, "spool_full") == [
        Gap("KRW-BTC", Channel.TRADE, T0, T0 + 9, "spool_full"),
        Gap("KRW-ETH", Channel.TRADE, T0 + 5, T0 + 5, "spool_full"),
    ]
    opened, recovered = gap(T0), gap(T0 + 1, recovered=True)
    bench.pipeline.add(opened)
    bench.pipeline.add(recovered)
    (gaps,) = bench.batches()
    assert gaps.channel is Kind.GAP
    assert gaps_of(gaps, "overflow") == [opened, recovered]


def test_a_lost_batch_of_states_is_no_gap() -> None:
    """States are replaced by the next ones."""
    bench = Bench()
    bench.pipeline.add(ticker())
    (tickers,) = bench.batches()
    assert gaps_of(tickers, "overflow") == []
