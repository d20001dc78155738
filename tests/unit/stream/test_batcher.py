"""Batches close by count, bytes or age; no fact is lost and no order changed; states are merged on demand."""

from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector import batch as batches
from collector.batch import Batch, Kind
from collector.model import Gap, OrderBook, Source, Ticker, Trade
from collector.settings import BatchSettings
from collector.stream.batcher import STATES, Batcher, partition_of
from tests.samples.events import T0, book, gap, levels, ticker, trade


def batcher(**changes: int) -> Batcher:
    return Batcher(BatchSettings(**changes), "listener-1")


def ids(batch: Batch | None) -> list[int]:
    assert batch is not None
    return [row.id for row in batch.rows if isinstance(row, Trade)]


def test_a_batch_closes_by_count() -> None:
    """The row that fills it is in it."""
    it = batcher(max_rows=3)
    assert it.add(trade(1), 0.0, T0) is None
    assert it.add(trade(2), 0.0, T0) is None
    assert ids(it.add(trade(3), 0.0, T0)) == [1, 2, 3]
    assert it.pending() == 0


def test_a_batch_closes_by_bytes() -> None:
    """About as many as are really written: within a factor of two of the bound."""
    it = batcher(max_rows=10_000, max_bytes=20_000)
    wide = levels(*((str(116_208_000 + n), "0.3313") for n in range(15)))
    for number in range(1000):
        closed = it.add(book(T0 * 1000 + number, bids=wide, asks=wide), 0.0, T0)
        if closed is not None:
            assert 10_000 < len(batches.encode(closed)) < 40_000
            return
    pytest.fail("it never closed")


def test_a_batch_closes_by_the_age_of_its_oldest_row() -> None:
    """Rows that follow do not make it younger."""
    it = batcher(max_age_ms=40)
    it.add(gap(), 10.0, T0)
    it.add(gap(), 10.035, T0)
    assert list(it.due(10.039, T0)) == []
    (closed,) = it.due(10.0401, T0)
    assert len(closed.rows) == 2
    assert list(it.due(99.0, T0)) == []


def test_few_trades_wait_less_than_many() -> None:
    """Few leave in the cycle in which they were read; many are worth a wait."""
    it = batcher(max_age_ms=40)
    it.add(trade(1), 10.0, T0)
    assert list(it.due(10.011, T0)) == []
    assert [ids(closed) for closed in it.due(10.0121, T0)] == [[1]]
    for number in range(50):
        it.add(trade(number), 20.0, T0)
    assert list(it.due(20.019, T0)) == []
    assert [len(closed.rows) for closed in it.due(20.0201, T0)] == [50]
    for number in range(200):
        it.add(trade(number), 30.0, T0)
    assert list(it.due(30.039, T0)) == []
    assert [len(closed.rows) for closed in it.due(30.0401, T0)] == [200]


def test_what_is_due_soon_closes_with_what_is_due() -> None:
    """They are sent together; what is young stays, and so does all while nothing is due."""
    it = batcher(max_age_ms=40)
    it.add(gap(), 10.0, T0)
    it.add(book(T0), 9.98, T0)
    it.add(ticker(T0), 10.0, T0)
    assert list(it.due(10.039, T0)) == []
    assert {closed.channel for closed in it.due(10.041, T0)} == {Kind.GAP, Kind.ORDERBOOK}


def test_what_is_due_before_the_next_look_is_due_now() -> None:
    """A loop that will look again only then would close it too late."""
    it = batcher(max_age_ms=40)
    it.add(gap(), 10.0, T0)
    assert list(it.due(10.001, T0, within_s=0.038)) == []
    assert [len(closed.rows) for closed in it.due(10.001, T0, within_s=0.04)] == [1]


def test_factors_stretch_count_bytes_and_age_of_their_kind() -> None:
    """Trades and states have factors of their own; tickers have three times the time of gaps anyway."""
    it = batcher(max_rows=2, max_age_ms=40)
    it.trade_factor, it.state_factor = 2.0, 4.0
    it.add(ticker(T0), 0.0, T0)
    it.add(ticker(T0 + 1), 0.0, T0)
    assert [it.add(trade(number), 0.0, T0) is None for number in range(4)] == [True, True, True, False]
    it.add(trade(9), 0.0, T0)
    assert [closed.channel for closed in it.due(0.1, T0)] == [Kind.TRADE]
    assert [closed.channel for closed in it.due(0.479, T0)] == []
    assert [closed.channel for closed in it.due(0.481, T0)] == [Kind.TICKER]


def test_each_kind_has_its_own_batch() -> None:
    """A batch holds rows of one kind and says so."""
    it = batcher()
    for row in (trade(), ticker(), book(), gap(), trade(2)):
        it.add(row, 0.0, T0)
    closed = {batch.channel: len(batch.rows) for batch in it.flush(T0 + 7)}
    assert closed == {Kind.TRADE: 2, Kind.TICKER: 1, Kind.ORDERBOOK: 1, Kind.GAP: 1}


def test_the_envelope() -> None:
    """A fresh id, the listener, and the moment it was closed."""
    it = batcher(max_rows=1)
    one, two = it.add(trade(), 0.0, T0), it.add(trade(), 0.0, T0 + 5)
    assert one is not None
    assert two is not None
    assert one.id != two.id
    assert (two.listener, two.created_ms) == ("listener-1", T0 + 5)


def test_the_oldest_that_nothing_else_remembers() -> None:
    """Trades of the stream and gaps that open, while they are in an open batch."""
    it = batcher(max_rows=3)
    assert it.oldest_mark_ms is None
    for row in (ticker(T0 - 9), trade(1, ms=T0 - 8, source=Source.REST), gap(T0 - 7, recovered=True)):
        it.add(row, 0.0, T0)
    assert it.oldest_mark_ms is None
    it.add(trade(2), 0.0, T0)
    it.add(gap(T0 - 5), 0.0, T0)
    assert it.oldest_mark_ms == T0 - 5
    list(it.flush(T0))
    assert it.oldest_mark_ms is None


def test_the_batch_of_one_market_is_closed_on_demand() -> None:
    """With all that are collected beside it, and no other."""
    it = batcher(trade_queues=4)
    assert it.close_trades("KRW-BTC", T0) is None
    for number in range(20):
        it.add(trade(number, f"KRW-M{number}"), 0.0, T0)
    closed = it.close_trades("KRW-M3", T0)
    assert closed is not None
    shares = {partition_of(row.market, 4) for row in closed.rows}
    assert shares == {partition_of("KRW-M3", 4)}
    assert it.pending() == 20 - len(closed.rows) > 0


def test_shards_keep_the_markets_apart() -> None:
    """Every trade batch holds markets of one share only, and a market is always in the same one."""
    it = batcher(trade_queues=4, max_rows=10_000)
    for number in range(400):
        it.add(trade(number, f"KRW-M{number % 40}"), 0.0, T0)
        it.add(ticker(market=f"KRW-M{number % 40}"), 0.0, T0)
    closed = list(it.flush(T0))
    shards = [
        {partition_of(row.market, 4) for row in batch.rows} for batch in closed if batch.channel is Kind.TRADE
    ]
    assert sorted(shard for (shard,) in shards) == [0, 1, 2, 3]
    assert sum(batch.channel is Kind.TICKER for batch in closed) == 1


def test_a_share_is_the_same_in_every_process_and_version() -> None:
    """Python's own hash is not; these values must never change."""
    assert [partition_of(market, 8) for market in ("KRW-BTC", "KRW-ETH", "BTC-ETH")] == [5, 0, 4]
    assert partition_of("KRW-BTC", 1) == 0


def test_merging_keeps_the_newest_per_market_and_counts_the_rest() -> None:
    """Only states; trades and gaps are never merged."""
    it = batcher()
    it.conflating = True
    for number in range(5):
        it.add(ticker(T0 + number), 0.0, T0)
        it.add(ticker(T0 + number, "KRW-ETH"), 0.0, T0)
        it.add(book((T0 + number) * 1000), 0.0, T0)
        it.add(trade(number), 0.0, T0)
        it.add(gap(T0 + number), 0.0, T0)
    rows = {batch.channel: batch.rows for batch in it.flush(T0)}
    assert [(row.market, row.exchange_ms) for row in rows[Kind.TICKER]] == [
        ("KRW-BTC", T0 + 4),
        ("KRW-ETH", T0 + 4),
    ]
    assert [row.exchange_us for row in rows[Kind.ORDERBOOK]] == [(T0 + 4) * 1000]
    assert (len(rows[Kind.TRADE]), len(rows[Kind.GAP])) == (5, 5)
    assert it.conflated == {Kind.TICKER: 8, Kind.ORDERBOOK: 4}


def test_the_last_row_of_a_market_is_its_newest_whenever_merging_begins() -> None:
    """On, off and on again within one batch: nothing older stands behind something newer."""
    it = batcher()
    for number, merging in enumerate((True, False, True, True, False, False, True)):
        it.conflating = merging
        it.add(ticker(T0 + number), 0.0, T0)
    (closed,) = it.flush(T0)
    times = [row.exchange_ms for row in closed.rows]
    assert times == sorted(times)
    assert times[-1] == T0 + 6
    assert len(times) + it.conflated[Kind.TICKER] == 7


rows = st.one_of(
    st.builds(trade, st.integers(0, 10**6), st.sampled_from(["KRW-A", "KRW-B", "KRW-C"])),
    st.builds(ticker, st.integers(T0, T0 + 10**6), st.sampled_from(["KRW-A", "KRW-B", "KRW-C"])),
    st.builds(book, st.integers(T0 * 1000, T0 * 1000 + 10**6), st.sampled_from(["KRW-A", "KRW-B"])),
    st.builds(gap, st.integers(T0, T0 + 10**6), st.sampled_from(["KRW-A", "KRW-B"])),
)
steps = st.tuples(rows, st.booleans(), st.floats(0, 0.1), st.sampled_from([1.0, 1.5, 8.0]))


@given(st.lists(steps, max_size=80), st.integers(1, 7), st.integers(1, 3), st.integers(1, 60))
def test_nothing_is_lost_and_no_order_is_changed(
    script: list[tuple[Any, bool, float, float]], max_rows: int, shards: int, max_age_ms: int
) -> None:
    """Facts come out as they went in; of every state the last one comes out, and the rest is counted."""
    it = batcher(max_rows=max_rows, trade_queues=shards, max_age_ms=max_age_ms)
    now_s, closed = 0.0, []
    for row, merging, wait_s, factor in script:
        now_s += wait_s
        it.conflating, it.trade_factor, it.state_factor = merging, factor, factor
        closed += list(it.due(now_s, T0))
        filled = it.add(row, now_s, T0)
        closed += [filled] if filled else []
    closed += list(it.flush(T0))
    assert it.pending() == 0
    sent, came = [row for row, *_ in script], [row for batch in closed for row in batch.rows]
    for kind in (Trade, Gap):
        assert by_market(sent, kind) == by_market(came, kind)
    states = [row for row in sent if isinstance(row, Ticker | OrderBook)]
    came_states = [row for row in came if isinstance(row, Ticker | OrderBook)]
    assert len(states) == len(came_states) + it.conflated.total()
    for kind in (Ticker, OrderBook):
        last_in, last_out = by_market(states, kind), by_market(came_states, kind)
        assert {market: them[-1] for market, them in last_in.items()} == {
            market: them[-1] for market, them in last_out.items()
        }
    assert all(len(batch.rows) <= max_rows * 8 for batch in closed)
    assert all(batch.rows for batch in closed)


def by_market(found: list[Any], kind: type) -> dict[str, list[Any]]:
    grouped: dict[str, list[Any]] = defaultdict(list)
    for row in found:
        if isinstance(row, kind):
            grouped[row.market].append(row)
    return grouped


def test_states_are_what_may_be_merged() -> None:
    """Trades and gaps are facts."""
    assert frozenset({Kind.TICKER, Kind.ORDERBOOK}) == STATES
