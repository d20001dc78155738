"""First copy wins, newest wins, memory is bounded, and what is held back is counted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.model import OrderBook, Source, Ticker, Trade
from collector.stream import deduplicator as module
from collector.stream.deduplicator import Deduplicator
from tests.samples.events import T0, book, ticker, trade


def test_a_trade_passes_once_per_market() -> None:
    """The same id in another market is another trade; order does not matter."""
    it = Deduplicator()
    trades = [trade(2), trade(1), trade(2), trade(2, "KRW-ETH"), trade(1)]
    assert [it.accept(each) for each in trades] == [True, True, False, True, False]
    assert it.held_back == {"trade_copies": 2}


def test_a_copy_from_rest_with_the_same_id_is_a_copy() -> None:
    """Same id, same trade, whoever brought it."""
    it = Deduplicator()
    assert it.accept(trade(1))
    assert not it.accept(trade(1, source=Source.REST))


def test_newer_states_pass_older_and_equal_ones_do_not() -> None:
    """Tickers by milliseconds, books by microseconds."""
    it = Deduplicator()
    tickers = [ticker(T0), ticker(T0 + 2), ticker(T0 + 1), ticker(T0 + 2), ticker(T0, "KRW-ETH")]
    assert [it.accept(each) for each in tickers] == [True, True, False, False, True]
    books = [book(T0 * 1000), book(T0 * 1000 + 1), book(T0 * 1000)]
    assert [it.accept(each) for each in books] == [True, True, False]
    assert it.held_back == {"ticker_older": 1, "ticker_copies": 1, "orderbook_older": 1}


def test_a_lost_trade_may_pass_once_more() -> None:
    """What could not be kept further down the line is welcome from a backfill."""
    it = Deduplicator()
    it.accept(trade(1))
    it.forget([trade(1), trade(7), trade(1, "KRW-NEW")])
    assert it.accept(trade(1))
    assert not it.accept(trade(1))


def test_invented_markets_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit a new name is held back and counted; markets that are known go on."""
    monkeypatch.setattr(module, "_MARKETS_MAX", 3)
    it = Deduplicator()
    for make in (trade, ticker, book):
        passed = [it.accept(make(T0 + number, f"KRW-M{number}")) for number in range(5)]
        assert passed == [True] * 3 + [False] * 2
        assert it.accept(make(T0 + 9, "KRW-M0"))
    assert it.held_back["beyond_markets_max"] == 6


def test_memory_is_bounded_and_long_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last trades of all markets together are always known, never more than twice as many.

    Were it so many of each market, 493 of them would fill hundreds of megabytes in a day.
    """
    monkeypatch.setattr(module, "_TRADES_KEPT", kept := 500)
    it = Deduplicator()
    trades = [trade(number, f"KRW-M{number % 7}") for number in range(6 * kept)]
    for number, each in enumerate(trades):
        assert it.accept(each)
        assert not it.accept(trades[max(0, number - kept + 1)])
        assert len(it._trades) <= 2 * kept + 7 * module._ALWAYS_KEPT


def test_the_last_trade_of_a_quiet_market_is_never_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every new subscription brings it once more, hours later; passed on it would count as too late."""
    monkeypatch.setattr(module, "_TRADES_KEPT", kept := 100)
    it = Deduplicator()
    quiet = [trade(number, "KRW-QUIET") for number in range(40)]
    assert all(it.accept(each) for each in quiet)
    for number in range(5 * kept):
        assert it.accept(trade(number))
    assert not any(it.accept(each) for each in quiet[-module._ALWAYS_KEPT :])
    assert it.accept(trade(40, "KRW-QUIET"))
    assert all(it.accept(trade(number)) for number in range(5 * kept, 8 * kept))
    assert not it.accept(trade(40, "KRW-QUIET"))


events = st.one_of(
    st.builds(trade, st.integers(0, 20), st.sampled_from(["A-A", "B-B"])),
    st.builds(ticker, st.integers(T0, T0 + 20), st.sampled_from(["A-A", "B-B"])),
    st.builds(book, st.integers(T0 * 1000, T0 * 1000 + 20), st.sampled_from(["A-A", "B-B"])),
)


@given(st.lists(events, max_size=60), st.randoms(use_true_random=False))
def test_two_copies_of_a_stream_pass_as_one(script: list[Trade | Ticker | OrderBook], random) -> None:
    """Two sockets, each in order, mixed at random: the trades of one, and the states end the same."""
    one, both = Deduplicator(), Deduplicator()
    single = [event for event in script if one.accept(event)]
    mixed, queues = [], [list(script), list(script)]
    while any(queues):
        mixed.append(random.choice([queue for queue in queues if queue]).pop(0))
    merged = [event for event in mixed if both.accept(event)]
    trades = [{(it.market, it.id) for it in found if isinstance(it, Trade)} for found in (single, merged)]
    assert trades[0] == trades[1]
    assert sum(isinstance(it, Trade) for it in merged) == len(trades[1])
    for kind in (Ticker, OrderBook):
        assert last(single, kind) == last(merged, kind)
    assert len(merged) + both.held_back.total() == 2 * len(script)


def last(found: list[Trade | Ticker | OrderBook], kind: type) -> dict[str, int]:
    return {
        it.market: it.exchange_us if isinstance(it, OrderBook) else it.exchange_ms
        for it in found
        if isinstance(it, kind)
    }
