"""Order books in Redis: as they were written, two slots, and the layout before."""

import msgspec
import pytest
import redis
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from collector.analytics.depth import derive
from collector.analytics.leaps import LEAP_MS, Stamp, is_newer
from collector.archive.source import ArchiveSource
from collector.model import Channel, OrderBook, Ticker
from collector.settings import Settings
from collector.store.keys import Keys
from collector.store.read import Reader
from collector.store.store import Store
from tests.samples.rows import BTC, T0, book, ticker

REAL_REDIS = hypothesis_settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
BIDS = [((99, 1), (98, 1)), ((99, 2), (98, 1)), ((97, "0.5"),), (), ((99, 0), (98, 1))]
STAMPS = st.tuples(st.sampled_from([0, 1, 5, LEAP_MS + 9, 2 * LEAP_MS + 9]), st.integers(0, 8))


def store_old(client: redis.Redis, keys: Keys, shown: OrderBook, before: OrderBook | None = None) -> None:
    """Store a book as the version before did: the derived one, as JSON."""
    value = msgspec.json.Encoder(decimal_format="string").encode(derive(shown, before))
    stamp = f"{shown.exchange_us}:{shown.received_ms}"
    client.sadd(keys.markets, shown.market)
    client.hset(keys.state(Channel.ORDERBOOK, shown.market), mapping={"stamp": stamp, "value": value})


@given(st.lists(st.sampled_from(BIDS), min_size=1, max_size=8), st.integers(0, 2))
@REAL_REDIS
def test_a_book_is_read_as_it_was_derived_when_it_was_stored(
    client: redis.Redis, settings: Settings, keys: Keys, reader: Reader, bids: list[tuple], old: int
) -> None:
    """Whatever the books, repeated ones too, and whichever version stored the first of them."""
    client.flushall()
    before: OrderBook | None = None
    for number, side in enumerate(bids):
        shown = book(side, exchange_us=T0 * 1000 + number, received_ms=T0 + number)
        if number < old:
            store_old(client, keys, shown, before)
        else:
            Store(client, settings.store).put_books([shown])
        assert reader.book(BTC) == derive(shown, before)
        assert ArchiveSource(client, settings).books() == [derive(shown, before)]
        before = shown


def test_a_repeated_book_costs_only_its_stamp(client: redis.Redis, store: Store, keys: Keys) -> None:
    """Its levels are not written again, and the layout before leaves nothing behind."""
    store_old(client, keys, book())
    for number, bids in enumerate((BIDS[0], BIDS[0], BIDS[1]), start=1):
        store.put_books([book(bids, exchange_us=T0 * 1000 + number)])
    stored = client.hgetall(keys.state(Channel.ORDERBOOK, BTC))
    assert sorted(stored) == [b"0", b"1", b"stamp"]
    assert stored[b"stamp"].endswith(b":1")
    store.put_books([book(BIDS[1], exchange_us=T0 * 1000 + 9)])
    assert client.hgetall(keys.state(Channel.ORDERBOOK, BTC)) == stored | {
        b"stamp": b"%d:%d:1=" % (T0 * 1000 + 9, T0 + 100)
    }


@given(st.lists(STAMPS, min_size=2, max_size=6))
@pytest.mark.parametrize("channel", [Channel.TICKER, Channel.ORDERBOOK])
@REAL_REDIS
def test_the_script_decides_as_python_does(
    client: redis.Redis, store: Store, keys: Keys, channel: Channel, stamps: list[tuple[int, int]]
) -> None:
    """Times ahead of their arrival, late arrivals, equal ones: the same state stands."""
    client.flushall()
    known: Stamp | None = None
    for ahead_ms, arrival in stamps:
        ms, received_ms = T0 + ahead_ms, T0 + arrival
        state: Ticker | OrderBook
        if channel is Channel.TICKER:
            state, stamp = ticker(exchange_ms=ms, received_ms=received_ms), Stamp(ms, received_ms)
            store.put_tickers([state])
        else:
            us = ms * 1000 + arrival % 3
            state, stamp = book(exchange_us=us, received_ms=received_ms), Stamp(us, received_ms)
            store.put_books([state])
        if known is None or is_newer(stamp, known):
            known = stamp
        found = client.hget(keys.state(channel, BTC), "stamp")
        assert found is not None
        assert tuple(map(int, found.split(b":")[:2])) == known
