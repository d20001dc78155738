"""The one bounded queue: facts first and never refused in normal life, states merged to the newest."""

import threading
import time
from collections.abc import Collection
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from collector import batch as batches
from collector.batch import Batch, Kind
from collector.publish.handoff import _HARD_FACTOR, HandoffQueue
from collector.stream.batcher import STATES
from tests.samples.events import T0, book, gap, ticker, trade


def made(*rows: Any) -> Batch:
    kinds = {"Trade": Kind.TRADE, "Ticker": Kind.TICKER, "OrderBook": Kind.ORDERBOOK, "Gap": Kind.GAP}
    return batches.make(kinds[type(rows[0]).__name__], rows, listener="t", now_ms=T0)


def everything(it: HandoffQueue, *, states: Collection[str] = STATES) -> list[Batch]:
    taken = []
    while batch := it.take(0, states=states):
        taken.append(batch)
    return taken


def test_facts_go_first_and_in_order() -> None:
    """Trades and gaps share a line; tickers and books wait behind them."""
    it = HandoffQueue(64)
    rows = [ticker(), trade(1), book(), gap(), trade(2)]
    for row in rows:
        it.put(made(row))
    kinds = [batch.channel for batch in everything(it)]
    assert kinds[:3] == [Kind.TRADE, Kind.GAP, Kind.TRADE]
    assert set(kinds[3:]) == {Kind.TICKER, Kind.ORDERBOOK}


def test_states_can_be_left_waiting() -> None:
    """While the broker is away only facts are taken: they have a disk to go to."""
    it = HandoffQueue(64)
    it.put(made(ticker()))
    it.put(made(trade()))
    assert [batch.channel for batch in everything(it, states=())] == [Kind.TRADE]
    assert len(it) == 1


def test_under_pressure_only_the_newest_of_what_waited_is_handed_on() -> None:
    """One batch of each kind, whatever piled up while the queue was too old; the rest counts as merged."""
    it = HandoffQueue(64)
    it.conflating = True
    for number in range(3):
        it.put(made(ticker(T0 + number)))
    it.put(made(book()))
    batches = [it.take(0, states=STATES) for _ in range(3)]
    found = {batch.channel: [row.exchange_ms for row in batch.rows] for batch in batches if batch}
    assert found == {Kind.TICKER: [T0 + 2], Kind.ORDERBOOK: [T0]}
    assert it.conflated == {Kind.TICKER: 2}


def test_tickers_and_books_take_turns() -> None:
    """A flood of books, of which one always waits, does not keep a ticker back."""
    it = HandoffQueue(64)
    it.put(made(ticker()))
    kinds = []
    for number in range(4):
        it.put(made(book(T0 * 1000 + number)))
        it.put(made(book(T0 * 1000 + 10 + number)))
        taken = it.take(0, states=STATES)
        assert taken is not None
        kinds.append(taken.channel)
    assert kinds == [Kind.ORDERBOOK, Kind.TICKER, Kind.ORDERBOOK, Kind.ORDERBOOK]


def test_what_was_handed_on_can_be_repeated() -> None:
    """The newest of each market goes out once more; what has a newer one in the line does not."""
    it = HandoffQueue(64)
    for batch in (made(ticker(T0), ticker(T0, "KRW-OLD")), made(ticker(T0 + 1)), made(book())):
        it.put(batch)
    everything(it)
    it.put(made(ticker(T0 + 2)))
    it.repeat_states(T0 + 9, STATES)
    rows = [(row.market, row.exchange_ms) for batch in everything(it) for row in batch.rows]
    assert sorted(rows) == [("KRW-BTC", T0), ("KRW-BTC", T0 + 2), ("KRW-OLD", T0)]
    assert not it.conflated


def test_one_kind_alone_can_be_repeated() -> None:
    """The other was not taken back from its queue."""
    it = HandoffQueue(64)
    it.put(made(ticker()))
    it.put(made(book()))
    everything(it)
    it.repeat_states(T0 + 9, (Kind.ORDERBOOK,))
    assert [batch.channel for batch in everything(it)] == [Kind.ORDERBOOK]


def test_states_without_room_are_merged_to_the_newest_of_each_market() -> None:
    """A quarter of the capacity per kind; what was replaced is counted."""
    it = HandoffQueue(16)
    for number in range(5):
        it.put(made(ticker(T0 + number), ticker(T0 + number, "KRW-ETH")))
    assert len(it) == 1
    (merged,) = everything(it)
    assert {(row.market, row.exchange_ms) for row in merged.rows} == {
        ("KRW-BTC", T0 + 4),
        ("KRW-ETH", T0 + 4),
    }
    assert it.conflated == {Kind.TICKER: 8}


def test_a_state_put_back_loses_against_newer_ones() -> None:
    """It could not be sent; meanwhile others have come."""
    it = HandoffQueue(8)
    old = made(ticker(T0), ticker(T0, "KRW-OLD"))
    for number in range(1, 3):
        it.put(made(ticker(T0 + number)))
    for _ in range(4):
        it.put_back(made(*old.rows))
    newest = {row.market: row.exchange_ms for batch in everything(it) for row in batch.rows}
    assert newest == {"KRW-BTC": T0 + 2, "KRW-OLD": T0}


def test_facts_are_refused_only_at_the_hard_limit() -> None:
    """Far above the capacity, and states never are."""
    it = HandoffQueue(8)
    taken = [it.put(made(trade(number))) for number in range(8 * _HARD_FACTOR + 5)]
    assert taken == [True] * 8 * _HARD_FACTOR + [False] * 5
    assert it.put(made(ticker()))
    assert it.fill == _HARD_FACTOR + 1 / 8
    it.conflating = True
    assert it.fill == _HARD_FACTOR, "states do not count: merging bounds them"


def test_states_never_take_more_than_their_share() -> None:
    """However many come."""
    it = HandoffQueue(64)
    for number in range(1000):
        it.put(made(ticker(T0 + number)))
        it.put(made(book((T0 + number) * 1000)))
        assert len(it) <= 34
    assert (
        it.conflated[Kind.TICKER] + sum(len(b.rows) for b in everything(it) if b.channel is Kind.TICKER)
        == 1000
    )


def test_while_merging_what_is_held_back_stays_small() -> None:
    """However long the queues have no room: one batch of each kind, a row for each market."""
    it = HandoffQueue(256)
    it.conflating = True
    for number in range(1000):
        it.put(made(ticker(T0 + number), ticker(T0 + number, "KRW-ETH")))
        it.put(made(book((T0 + number) * 1000)))
        assert len(it) == 2
    assert sorted(len(batch.rows) for batch in everything(it)) == [1, 2]
    assert it.conflated == {Kind.TICKER: 1998, Kind.ORDERBOOK: 999}


def test_a_take_waits_no_longer_than_asked_and_a_wake_does_not_make_it_return_nothing_wrong() -> None:
    """An empty handoff queue: None after the time; a batch at once."""
    it = HandoffQueue(8)
    started = time.monotonic()
    assert it.take(0.05, states=STATES) is None
    assert time.monotonic() - started >= 0.04
    threading.Timer(0.05, it.put, (made(trade()),)).start()
    assert it.take(60, states=STATES) is not None
    assert time.monotonic() - started < 30


def test_two_threads_lose_nothing() -> None:
    """Two thousand facts and as many states through a small handoff queue: facts all and in order."""
    it, taken = HandoffQueue(2000), []
    count = 2_000

    def consume() -> None:
        while len([1 for batch in taken if batch.channel is Kind.TRADE]) < count:
            batch = it.take(1, states=STATES)
            if batch is not None:
                taken.append(batch)
            if taken and taken[-1].channel is Kind.TRADE and taken[-1].rows[0].id == count - 1:
                return

    consumer = threading.Thread(target=consume)
    consumer.start()
    for number in range(count):
        assert it.put(made(trade(number)))
        it.put(made(ticker(T0 + number)))
    consumer.join(20)
    assert not consumer.is_alive()
    facts = [batch.rows[0].id for batch in taken if batch.channel is Kind.TRADE]
    assert facts == list(range(count))
    states = sum(len(batch.rows) for batch in [*taken, *everything(it)] if batch.channel is Kind.TICKER)
    assert states + it.conflated[Kind.TICKER] == count


@given(st.lists(st.tuples(st.sampled_from(["put", "back", "take"]), st.integers(0, 3)), max_size=60))
def test_the_newest_state_of_each_market_always_comes_out(script: list[tuple[str, int]]) -> None:
    """Puts, takes and put-backs in any order; nothing is newer than what comes last."""
    it, newest, out, clock = HandoffQueue(8), {}, {}, T0
    for action, market in script:
        if action == "put":
            clock += 1
            newest[f"M-{market}"] = clock
            it.put(made(ticker(clock, f"M-{market}")))
        elif (batch := it.take(0, states=STATES)) is not None:
            if action == "back":
                it.put_back(batch)
            else:
                out |= {row.market: row.exchange_ms for row in batch.rows}
    for batch in everything(it):
        out |= {row.market: row.exchange_ms for row in batch.rows}
    assert out == newest
