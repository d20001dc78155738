"""The store on a real Redis: exactly once, newest wins, nothing forgotten in silence."""

import contextlib
import threading
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from msgspec.structs import replace

from collector.analytics.book_changes import BookChanges, compare
from collector.errors import BrokerUnavailable, StoreConflict
from collector.model import Channel, Gap, OrderBook, Source, Trade
from collector.settings import Settings, StoreSettings
from collector.store import store as store_module
from collector.store.keys import Keys
from collector.store.read import Reader
from collector.store.redis_client import connect
from collector.store.store import Store
from collector.util.korean_time import DAY_MS
from tests.samples.plain import PlainCandle, candles
from tests.samples.rows import BTC, T0, batches, book, copies, ticker, trade

REAL_REDIS = hypothesis_settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def stored_candles(reader: Reader) -> dict[tuple[str, int], PlainCandle]:
    """Return all stored one-minute candles in the form of the plain computation."""
    return {
        (row.market, row.open_ms): PlainCandle(
            *map(Fraction, (row.open, row.high, row.low, row.close, row.base_volume, row.quote_volume)),
            *map(Fraction, (row.buy_volume, row.sell_volume)),
            trade_count=row.trade_count,
        )
        for market in reader.markets()
        for row in reader.candles(market)
    }


# -- trades


@given(st.data(), copies())
@REAL_REDIS
def test_batches_in_any_order_give_the_plain_candles(
    client: redis.Redis, store: Store, reader: Reader, data: st.DataObject, shown: list[Trade]
) -> None:
    """Split, shuffled, repeated copies from two sources are counted once each."""
    client.flushall()
    for batch in batches(shown, data.draw):
        store.put_trades(batch)
    expected = candles(shown)
    assert expected == stored_candles(reader)
    counted = sum(candle.trade_count for candle in expected.values())
    assert counted == reader.counters()["trades_counted"]
    assert counted == sum(len(reader.trades(market)) for market in reader.markets())


@given(st.data(), copies(max_size=40))
@hypothesis_settings(REAL_REDIS, max_examples=10)
def test_workers_at_once_give_the_plain_candles(
    client: redis.Redis, settings: Settings, reader: Reader, data: st.DataObject, shown: list[Trade]
) -> None:
    """Three writers on the same minutes, each batch delivered to two of them."""
    client.flushall()
    rounds = batches(shown, data.draw)

    def write(mine: Sequence[list[Trade]]) -> None:
        with connect(settings.redis_url.get_secret_value(), settings) as own:
            for batch in mine:
                Store(own, settings.store).put_trades(batch)

    shares = [rounds, rounds[::-1], rounds[1::2]]
    threads = [threading.Thread(target=write, args=(share,)) for share in shares]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert candles(shown) == stored_candles(reader)


@pytest.mark.parametrize("allowed", range(4))
def test_a_batch_cut_off_before_any_request_is_completed_by_its_redelivery(
    store: Store, reader: Reader, settings: Settings, allowed: int
) -> None:
    """Dying before any of the requests to Redis, or before the answer, loses and doubles nothing."""
    shown = [
        trade(number, market=f"KRW-M{number % 3}", exchange_ms=T0 + number * 7_000) for number in range(30)
    ]
    for answered in (True, False):
        with connect(settings.redis_url.get_secret_value(), settings) as dying:
            _cut_after(dying, allowed, answered=answered)
            with contextlib.suppress(BrokerUnavailable):
                Store(dying, settings.store).put_trades(shown)
    store.put_trades(shown)
    assert candles(shown) == stored_candles(reader)
    assert len(shown) == reader.counters()["trades_counted"]


def _cut_after(client: redis.Redis, requests: int, *, answered: bool) -> None:
    """Let `requests` pipelines through, then break the connection: before the next, or before its answer."""
    original, left = client.pipeline, [requests]

    def pipeline(*args: Any, **kwargs: Any) -> Any:
        made = original(*args, **kwargs)
        execute = made.execute

        def cut(*a: Any, **k: Any) -> Any:
            left[0] -= 1
            if left[0] >= 0 or not answered:
                reply = execute(*a, **k)
            if left[0] < 0:
                raise redis.ConnectionError("cut off")
            return reply

        made.execute = cut
        return made

    client.pipeline = pipeline  # type: ignore[method-assign]


def test_a_sealed_minute_is_not_touched_and_leaves_a_gap(
    client: redis.Redis, store: Store, reader: Reader, keys: Keys
) -> None:
    """A trade of a minute whose ids are forgotten can't be told new from old: not counted, but visible."""
    store.put_trades([trade(1)])
    client.delete(keys.trades(BTC, T0))
    store.put_trades([trade(2, 500), trade(3, exchange_ms=T0 + 60_000)])
    first, second = reader.candles(BTC)
    assert (first.trade_count, first.complete) == (1, False)
    assert (second.trade_count, second.complete) == (1, True)
    assert [(gap.reason, gap.from_ms) for gap in reader.gaps(BTC)] == [("too_late", T0)]
    assert reader.counters()["trades_too_late"] == 1


def test_trades_that_expire_between_reading_and_writing_seal_the_minute(
    client: redis.Redis, store: Store, reader: Reader, keys: Keys
) -> None:
    """The commit notices that the ids it remembers are gone, whether it appends or knows all copies."""
    store.put_trades([trade(1)])
    client.delete(keys.trades(BTC, T0))
    store.put_trades([trade(1), trade(2)])
    assert [row.trade_count for row in reader.candles(BTC)] == [1]
    assert reader.counters()["trades_too_late"] == 2


def test_10_000_trades_of_one_minute_fit_one_commit(store: Store, reader: Reader) -> None:
    """The script takes the largest batch there may be, each trade in a millisecond of its own."""
    store.put_trades([trade(number, exchange_ms=T0 + number) for number in range(10_000)])
    assert [row.trade_count for row in reader.candles(BTC)] == [10_000]


def test_losing_every_race_is_a_conflict(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounded: after so many rounds the batch goes back instead of spinning."""
    monkeypatch.setattr(store_module, "PAUSE_MAX_S", 0)
    monkeypatch.setattr(store, "_commit_minutes", lambda groups, late: groups)
    with pytest.raises(StoreConflict, match="try again"):
        store.put_trades([trade(1)])


def test_a_redis_that_refuses_is_named(settings: Settings) -> None:
    """Errors of the client library do not leak."""
    with (
        connect("redis://127.0.0.1:1/0", settings) as nowhere,
        pytest.raises(BrokerUnavailable, match="Redis"),
    ):
        Store(nowhere, settings.store).put_trades([trade(1)])


def test_redis_that_forgot_its_scripts_is_taught_again(
    client: redis.Redis, store: Store, reader: Reader
) -> None:
    """A restarted Redis has no scripts; no batch notices."""
    store.put_trades([trade(1)])
    client.script_flush()
    store.put_trades([trade(2)])
    assert [row.trade_count for row in reader.candles(BTC)] == [2]


def test_trades_do_not_outlive_their_candle(client: redis.Redis, keys: Keys) -> None:
    """Without its candle a minute could not be merged again, whatever the retentions say."""
    store = Store(client, StoreSettings(candle_retention_h=30, trade_retention_h=40))
    store.put_trades([trade(1)])
    lives = [client.ttl(key) for key in (keys.candle(BTC, T0), keys.trades(BTC, T0))]
    assert [pytest.approx(life, abs=5) for life in lives] == [30 * 3600] * 2


# -- tickers and books


@given(st.permutations(range(6)), st.integers(1, 5))
@hypothesis_settings(REAL_REDIS, max_examples=15)
def test_the_newest_ticker_and_book_win_in_any_order(
    client: redis.Redis, store: Store, reader: Reader, order: list[int], cut: int
) -> None:
    """Late and repeated ones change nothing; they are counted."""
    client.flushall()
    tickers = [ticker(100 + age, exchange_ms=T0 + age) for age in order]
    books = [book(((90 + age, 1),), exchange_us=T0 * 1000 + age) for age in order]
    for part in (slice(0, cut), slice(cut, None), slice(0, None)):
        store.put_tickers(tickers[part])
        store.put_books(books[part])
    assert [row.price for row in reader.ticker()] == [105]
    assert [row.bids[0][0] for row in reader.book()] == [95]
    counters = reader.counters()
    for kind in ("tickers", "books"):
        assert sum(counters.get(f"{kind}_{end}", 0) for end in ("stored", "merged", "stale")) == 12


def test_a_book_tells_what_changed_against_the_one_it_replaced(store: Store, reader: Reader) -> None:
    """One level resized, one gone, one new; the best bid stayed."""
    store.put_books([book(((99, 1), (98, 1)), ((101, 1),))])
    store.put_books([book(((99, 2), (97, 1)), ((101, 1),), exchange_us=T0 * 1000 + 1)])
    row = reader.book(BTC)
    assert BookChanges(added=1, removed=1, resized=1, best_moved=False) == row.changes
    assert row.changed_levels == 3


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 30), st.integers(1, 9)), min_size=2, max_size=12))
@REAL_REDIS
def test_what_changed_is_against_the_book_that_was_replaced(
    client: redis.Redis, settings: Settings, reader: Reader, puts: list[tuple[int, int, int]]
) -> None:
    """Three workers store books of one market, some late, some equal: what changed is against the last."""
    client.flushall()
    workers = [Store(client, settings.store) for _ in range(3)]
    stored: OrderBook | None = None
    for worker, age, size in puts:
        shown = book(((99, size), (98 - size, 1)), ((101, 1), (101 + size, 2)), exchange_us=T0 * 1000 + age)
        workers[worker].put_books([shown])
        if stored is None or shown.exchange_us > stored.exchange_us:
            before = (stored.bids, stored.asks) if stored else ((), ())
            row = reader.book(BTC)
            assert row.bids == shown.bids
            assert row.changes == compare(before, (shown.bids, shown.asks))
            stored = shown


def test_a_state_stamped_a_day_ahead_freezes_nothing(store: Store, reader: Reader) -> None:
    """It is replaced by what comes after it, in the same batch or in another, and not by what came before."""
    ahead = {"exchange_ms": T0 + DAY_MS, "received_ms": T0 + 1}
    store.put_tickers([ticker(1)])
    store.put_tickers([ticker(2, **ahead)])
    assert reader.ticker(BTC).price == 2
    store.put_tickers([ticker(1, exchange_ms=T0 - 500)])
    assert reader.ticker(BTC).price == 2
    store.put_tickers([ticker(3, exchange_ms=T0 + 700)])
    assert reader.ticker(BTC).price == 3
    store.put_tickers([ticker(4, **{**ahead, "received_ms": T0 + 900}), ticker(5, exchange_ms=T0 + 1_000)])
    assert reader.ticker(BTC).price == 5
    store.put_books([book(exchange_us=(T0 + DAY_MS) * 1000, received_ms=T0 + 1)])
    store.put_books([book(((77, 1),), exchange_us=(T0 + 5) * 1000)])
    assert reader.book(BTC).bids[0][0] == 77


# -- the newest time


@pytest.mark.parametrize("market", [BTC, "KRW-NEW"])
def test_one_trade_stamped_ahead_moves_no_window(store: Store, reader: Reader, market: str) -> None:
    """Neither does a second fill of the same order, in the same batch or the next."""
    store.put_trades([trade(1), trade(2, market="KRW-ETH")], T0)
    for number in (3, 4, 5):
        ahead = trade(number, market=market, exchange_ms=T0 + DAY_MS, received_ms=T0 + 900)
        store.put_trades([ahead, trade(number, exchange_ms=T0 + number)], T0 + 950)
    assert reader.as_of_ms() == T0 + 5
    assert reader.last_trade_ms([BTC])[BTC] == T0 + 5
    assert reader.last_trade_ms(["KRW-NEW"]) == {}
    assert reader.volume(BTC)[0].trade_count == 4
    assert [row.exchange_ms for row in reader.trades(BTC)] == [T0, T0 + 3, T0 + 4, T0 + 5]


def test_a_clock_that_is_slow_stops_no_window(store: Store, reader: Reader) -> None:
    """What the sender's clock doubts is believed once a market goes on, or another agrees."""
    for second in range(4):
        late = {"exchange_ms": T0 + second * 1_500, "received_ms": T0 - DAY_MS}
        store.put_trades([trade(second, **late)], T0 - DAY_MS)
    assert reader.as_of_ms() == T0 + 4_500
    store.put_trades([trade(9, exchange_ms=T0 + DAY_MS, received_ms=T0)], T0)
    store.put_tickers([ticker(market="KRW-ETH", exchange_ms=T0 + DAY_MS + 5, received_ms=T0)], T0)
    assert reader.as_of_ms() == T0 + DAY_MS + 5


def test_a_time_that_was_ahead_is_put_right(
    store: Store, reader: Reader, client: redis.Redis, keys: Keys
) -> None:
    """An earlier version believed it; the sender's clock and its events agree that it is wrong."""
    store.put_trades([trade(1)], T0)
    client.hset(keys.newest, mapping={"as_of": T0 + DAY_MS, f"trade:{BTC}": T0 + DAY_MS})
    store.put_trades([trade(2, exchange_ms=T0 - DAY_MS)], T0 + 50)
    assert reader.as_of_ms() == T0 + DAY_MS, "what a backfill brings proves nothing"
    store.put_trades([trade(3, exchange_ms=T0 + 9)], T0 + 50)
    assert (reader.as_of_ms(), reader.last_trade_ms([BTC])) == (T0 + 9, {BTC: T0 + 9})


def test_after_a_long_stop_windows_go_on(store: Store, reader: Reader) -> None:
    """Hours without data, then one trade: it is as new as its arrival."""
    store.put_trades([trade(1)], T0)
    store.put_trades([trade(2, exchange_ms=T0 + 10 * 3_600_000)], T0 + 10 * 3_600_000)
    assert reader.as_of_ms() == T0 + 10 * 3_600_000


# -- gaps


def test_gaps_that_begin_together_for_different_reasons_are_two(store: Store, reader: Reader) -> None:
    """One that is recovered, even a wider one, does not hide the other."""
    wide = Gap(BTC, Channel.TRADE, T0, T0 + 9, "start")
    store.put_gaps([wide, replace(wide, recovered=True)])
    store.put_gaps([Gap(BTC, Channel.TRADE, T0, T0 + 5, "dead_letter:a1")])
    store.put_gaps([Gap(BTC, Channel.TRADE, T0, T0 + 5, "dead_letter:b2", recovered=True)])
    assert {(gap.reason, gap.recovered) for gap in reader.open_trade_gaps([BTC])} == {
        ("dead_letter:a1", False)
    }
    assert [(gap.reason, gap.recovered) for gap in reader.gaps(BTC)] == [
        ("dead_letter", False), ("dead_letter", True), ("start", True),
    ]  # fmt: skip


def test_gaps_stored_before_the_reason_was_part_of_their_name(
    client: redis.Redis, store: Store, reader: Reader, keys: Keys
) -> None:
    """They are read, closed, and no second one is made of them."""
    client.hset(keys.gaps(BTC), f"trade:{T0}", f'[{T0 + 5},"stalled",false]')
    client.sadd(keys.markets, BTC)
    (gap,) = reader.open_trade_gaps([BTC])
    assert gap == Gap(BTC, Channel.TRADE, T0, T0 + 5, "stalled")
    store.put_gaps([gap, Gap(BTC, Channel.TRADE, T0, T0 + 3, "refused")])
    assert len(reader.gaps(BTC)) == 2
    store.put_gaps([replace(gap, recovered=True)])
    assert [gap.reason for gap in reader.open_trade_gaps([BTC])] == ["refused"]
    assert len(reader.gaps(BTC)) == 2


@given(st.permutations([(10, False), (10, True), (5, True), (5, False)]), st.booleans())
@hypothesis_settings(REAL_REDIS, max_examples=15)
def test_the_widest_gap_stands_and_of_equal_ones_the_recovered(
    client: redis.Redis, store: Store, reader: Reader, versions: list[tuple[int, bool]], at_once: bool
) -> None:
    """Whatever came first: recovered as far as the widest version says so."""
    client.flushall()
    gaps = [Gap(BTC, Channel.TRADE, T0, T0 + width, "stalled", recovered) for width, recovered in versions]
    for part in [gaps] if at_once else [[gap] for gap in gaps]:
        store.put_gaps(part)
    assert [(gap.to_ms, gap.recovered) for gap in reader.gaps()] == [(T0 + 10, True)]


def test_a_recovery_that_covers_less_than_the_gap_does_not_close_it(store: Store, reader: Reader) -> None:
    """A gap that grew after its backfill is still open."""
    store.put_gaps([Gap(BTC, Channel.TRADE, T0, T0 + 5, "stalled", recovered=True)])
    store.put_gaps([Gap(BTC, Channel.TRADE, T0, T0 + 9, "stalled")])
    assert [(gap.to_ms, gap.recovered) for gap in reader.gaps()] == [(T0 + 9, False)]


def test_other_sources_ids_are_recognised_across_batches(store: Store, reader: Reader) -> None:
    """A backfill that repeats what the stream has shown adds only what the stream missed."""
    store.put_trades([trade(5), trade(6, exchange_ms=T0 + 1)])
    rest = [trade(500 + ms, exchange_ms=T0 + ms, source=Source.REST) for ms in range(3)]
    store.put_trades(rest)
    assert [row.trade_count for row in reader.candles(BTC)] == [3]
    assert [row.id for row in reader.trades(BTC)] == [5, 6, 502]
