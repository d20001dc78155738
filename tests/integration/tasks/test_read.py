"""The reader: the promised rows and JSON, and what it says where there is nothing."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
import redis

from collector.errors import BrokerUnavailable, ConfigurationError, NoData
from collector.model import MINUTE_MS, Channel, Gap, Source
from collector.settings import Settings
from collector.store.keys import Keys
from collector.store.read import Reader, to_json
from collector.store.store import Store
from tests.samples.rows import BTC, T0, book, ticker, trade

HOUR_MS = 60 * MINUTE_MS

#: The interface's promise, field for field.
PROMISED = {
    "candles": "market interval open_ms open_time open high low close base_volume quote_volume buy_volume "
    "sell_volume vwap trade_count complete",
    "ticker": "market price change change_price change_rate prev_closing_price open high low base_volume_24h "
    "quote_volume_24h exchange_ms received_ms",
    "book": "market exchange_ms bids asks spread spread_bps mid microprice imbalance bid_depth ask_depth "
    "changed_levels",
    "volume": "market window base_volume quote_volume buy_volume sell_volume vwap trade_count",
    "changes": "market window change_rate from_price to_price",
    "trades": "market id price volume side exchange_ms received_ms",
    "gaps": "market channel from_ms to_ms reason recovered",
}


def _rows(reader: Reader, what: str) -> list[Any]:
    """Return what a method has of KRW-BTC, as rows."""
    found = getattr(reader, what)(BTC)
    return found if isinstance(found, list) else [found]


@pytest.fixture
def filled(store: Store, reader: Reader) -> Reader:
    """A reader with a bit of everything for KRW-BTC."""
    store.put_trades([trade(1, "728107452.06423197609921044", "1.4E-7")])
    store.put_tickers([ticker()])
    store.put_books([book()])
    store.put_gaps([Gap(BTC, Channel.ORDERBOOK, T0, T0, "stalled")])
    return reader


@pytest.mark.parametrize("what", PROMISED)
def test_rows_have_the_promised_fields_in_order(filled: Reader, what: str) -> None:
    """More may follow, none is missing."""
    row = json.loads(to_json([*_rows(filled, what)]))[0]
    promised = PROMISED[what].split()
    assert list(row)[: len(promised)] == promised


def test_decimals_are_strings_without_exponent(filled: Reader) -> None:
    """To the last digit, whatever their size."""
    (row,) = json.loads(to_json(filled.trades(BTC)))
    assert (row["price"], row["volume"]) == ("728107452.06423197609921044", "0.00000014")
    (row,) = json.loads(to_json(filled.candles(BTC)))
    assert row["quote_volume"] == "101.9350432889924766538894616"
    (row,) = json.loads(to_json(filled.ticker()))
    assert row["base_volume_24h"] == "0.00000014"


def test_one_market_has_one_ticker_and_one_book(filled: Reader, store: Store) -> None:
    """The row itself where a market is named; lists of all, or of those that are named, in their order."""
    store.put_tickers([ticker(market="KRW-ETH")])
    assert (filled.ticker(BTC).market, filled.book(BTC).market) == (BTC, BTC)
    assert (
        [row.market for row in filled.ticker()]
        == [row.market for row in filled.tickers()]
        == [BTC, "KRW-ETH"]
    )
    assert [row.market for row in filled.tickers(["KRW-ETH", BTC])] == ["KRW-ETH", BTC]
    assert [row.market for row in filled.books(["KRW-ETH", BTC])] == [BTC]
    with pytest.raises(NoData, match="KRW-ETH has no order book yet"):
        filled.book("KRW-ETH")


def test_open_times_are_aware(filled: Reader) -> None:
    """A `datetime` in UTC, ISO 8601 with `Z` in JSON."""
    (row,) = filled.candles(BTC)
    assert row.open_time == datetime(2026, 9, 21, 13, 33, tzinfo=UTC)
    assert row.open_time.timestamp() * 1000 == row.open_ms
    assert json.loads(to_json(row))["open_time"] == "2026-09-21T13:33:00Z"


def test_a_client_that_was_lent_stays_open(filled: Reader, client: redis.Redis, settings: Settings) -> None:
    """A connection of its own is closed at the end, one that was lent is not."""
    with Reader(client, settings) as reader:
        reader.markets()
    assert client.connection_pool._available_connections[0]._sock is not None
    with Reader(settings.redis_url.get_secret_value(), settings) as own:
        own.markets()
    assert own._redis.connection_pool._available_connections[0]._sock is None


def test_rows_are_frozen(filled: Reader) -> None:
    """What was read is not edited."""
    with pytest.raises(AttributeError):
        filled.candles(BTC)[0].open = Decimal(1)  # type: ignore[misc]


def test_a_market_nobody_has_seen_is_an_error_that_names_those_there_are(filled: Reader) -> None:
    """Every method with a market says so."""
    methods: list[Callable[[str], Any]] = [getattr(filled, what) for what in PROMISED]
    for method in methods:
        with pytest.raises(NoData, match="KRW-NO is not a market we have data of: KRW-BTC"):
            method("KRW-NO")


def test_markets_are_named_as_people_write_them(filled: Reader) -> None:
    """Every method with a market takes `btc` for KRW-BTC."""
    for what in PROMISED:
        assert getattr(filled, what)("btc") == getattr(filled, what)(BTC)
    assert filled.several("btc/krw,KRW-*") == filled.markets()


def test_nothing_is_an_empty_list(store: Store, reader: Reader) -> None:
    """Before anything arrived, and for a market that is known by its book alone."""
    assert [reader.ticker(), reader.book(), reader.gaps(), reader.markets()] == [[]] * 4
    store.put_books([book()])
    for what in ("candles", "volume", "changes", "trades", "gaps"):
        assert getattr(reader, what)(BTC) == []
    assert reader.tickers([BTC]) == []
    assert to_json([]) == "[]"


def test_candles_are_cut_by_time_and_limit(store: Store, reader: Reader) -> None:
    """`from` and `to` speak of opens, `limit` of the newest; whole intervals are never cut apart."""
    store.put_trades([trade(n, n + 1, exchange_ms=T0 + n * MINUTE_MS) for n in range(60)])
    assert len(reader.candles(BTC)) == 60
    assert [row.open for row in reader.candles(BTC, limit=2)] == [59, 60]
    cut = reader.candles(BTC, from_ms=T0 + 5 * MINUTE_MS, to_ms=T0 + 7 * MINUTE_MS)
    assert [row.open_ms for row in cut] == [T0 + n * MINUTE_MS for n in (5, 6, 7)]
    assert [row.trade_count for row in reader.candles(BTC, "15m", limit=2)] == [15, 3]
    with pytest.raises(ConfigurationError):
        reader.candles(BTC, "7m")


def test_candles_of_several_days_are_one_list(store: Store, reader: Reader) -> None:
    """Two and a half days, stored by UTC day, read as days of Korea."""
    store.put_trades([trade(n, 1, exchange_ms=T0 + n * HOUR_MS) for n in range(60)])
    assert [row.trade_count for row in reader.candles(BTC, "1d")] == [2, 24, 24, 10]
    assert {row.trade_count for row in reader.volume(BTC)} == {1, 24}


def test_trades_are_cut_by_time_and_limit(store: Store, reader: Reader) -> None:
    """The newest come, oldest first."""
    store.put_trades([trade(n, exchange_ms=T0 + n * 1000) for n in range(200)])
    assert [row.id for row in reader.trades(BTC, limit=3)] == [197, 198, 199]
    cut = reader.trades(BTC, from_ms=T0 + 59_000, to_ms=T0 + 61_000)
    assert [row.id for row in cut] == [59, 60, 61]
    assert len(reader.trades(BTC)) == 200


def test_windows_end_at_the_newest_event_of_any_market(store: Store, reader: Reader) -> None:
    """A silent market's last minute is over when another market says so."""
    store.put_trades([trade(1)])
    assert reader.volume(BTC)[0].trade_count == 1
    store.put_tickers([ticker(market="KRW-ETH", exchange_ms=T0 + 60_000)])
    assert [row.trade_count for row in reader.volume(BTC)][:2] == [0, 1]


def test_the_last_trade_is_known_per_market(store: Store, reader: Reader) -> None:
    """For a listener that starts: where its knowledge ends; a late trade does not move it back."""
    store.put_trades([trade(1, exchange_ms=T0 + 9), trade(2, market="KRW-ETH")])
    store.put_trades([trade(3, exchange_ms=T0 + 5)])
    assert reader.last_trade_ms([BTC, "KRW-ETH", "KRW-NO"]) == {BTC: T0 + 9, "KRW-ETH": T0}
    assert reader.last_trade_ms([]) == {}


def test_what_backfills_brought_is_known_per_market(store: Store, reader: Reader) -> None:
    """Trades that came from REST alone; one that the stream had is no gain."""
    store.put_trades([trade(1, 100)])
    store.put_trades([trade(1, 100, source=Source.REST), trade(2, 101, 2, source=Source.REST)])
    assert reader.recovered_trades([BTC, "KRW-NO"]) == {BTC: 1, "KRW-NO": 0}
    assert reader.recovered_trades([]) == {}


def test_health_adds_up_listeners_queues_workers_and_counters(
    store: Store, reader: Reader, client: redis.Redis, keys: Keys
) -> None:
    """Counters of listeners and workers are one list; whoever stopped reporting is not in it."""
    store.put_trades([trade(1)])
    for name, count in (("a", 2), ("b", 3)):
        report = {"id": name, "state": "streaming", "counters": {"frames": count}}
        client.set(keys.listener(name), msgspec.json.encode(report))
    client.set(keys.worker("w@h"), msgspec.json.encode({"hostname": "w@h"}))
    client.lpush("trade", "batch")
    client.hset("unacked", "tag", "batch")
    health = reader.health()
    assert [row["id"] for row in health.listeners] == ["a", "b"]
    assert (health.queues["trade"], health.queues["unacked"], health.queues["orderbook"]) == (1, 1, 0)
    assert health.workers == [{"hostname": "w@h"}]
    assert (health.counters["frames"], health.counters["trades_counted"]) == (5, 1)
    assert list(json.loads(to_json(health)))[:4] == ["listeners", "queues", "workers", "counters"]


def test_a_reader_takes_an_address_too(filled: Reader, settings: Settings) -> None:
    """For scripts: no client to make."""
    assert Reader(settings.redis_url.get_secret_value(), settings).markets() == [BTC]


def test_a_redis_that_is_away_is_named(settings: Settings) -> None:
    """One of our errors, one line."""
    with pytest.raises(BrokerUnavailable, match="Redis"):
        Reader("redis://127.0.0.1:1/0", settings).markets()


def test_an_address_of_another_kind_is_named(settings: Settings) -> None:
    """A typing slip is an error of configuration, not a stack trace of the client library."""
    with pytest.raises(ConfigurationError, match="REDIS_URL"):
        Reader("http://127.0.0.1:6379/0", settings)
