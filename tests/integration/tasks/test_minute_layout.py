"""Minutes in Redis: chunks, what a worker remembers of them, and the layout before."""

from collections.abc import Iterable

import msgspec
import pytest
import redis
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from collector.analytics.dedup import Row
from collector.analytics.minutes import absorb
from collector.archive.source import ArchiveSource
from collector.model import Source, Trade
from collector.settings import Settings
from collector.store import store as store_module
from collector.store.keys import Keys
from collector.store.read import Reader
from collector.store.store import Memory, Store
from tests.integration.tasks.test_store import stored_candles
from tests.samples.plain import candles
from tests.samples.rows import BTC, T0, batches, copies, trade

REAL_REDIS = hypothesis_settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
_json = msgspec.json.Encoder(decimal_format="string").encode


def store_old(client: redis.Redis, keys: Keys, shown: Iterable[Trade]) -> None:
    """Store trades as the version before did: the candle as JSON, a hash of milliseconds."""
    groups: dict[tuple[str, int], list[Trade]] = {}
    for each in shown:
        groups.setdefault((each.market, each.minute_ms), []).append(each)
    for (market, minute_ms), mine in groups.items():
        rows: dict[int, list[Row]] = {}
        minute = absorb(None, rows, mine).minute
        client.sadd(keys.markets, market)
        client.hset(keys.newest, f"trade:{market}", max(each.exchange_ms for each in mine))
        client.hset(keys.candle(market, minute_ms), str(minute_ms), _json(minute))
        for ms, known in rows.items():
            client.hset(keys.trades(market, minute_ms), str(ms), _json(known))
        client.expire(keys.trades(market, minute_ms), 1_000)


def commands_of(client: redis.Redis, name: str) -> int:
    """Return how often Redis ran a command."""
    found = client.info("commandstats").get(f"cmdstat_{name}")
    return int(found["calls"]) if found else 0


@given(st.data(), copies(), st.integers(0, 100))
@REAL_REDIS
def test_what_the_version_before_stored_is_gone_on_with(
    client: redis.Redis,
    settings: Settings,
    keys: Keys,
    reader: Reader,
    data: st.DataObject,
    shown: list[Trade],
    share: int,
) -> None:
    """Wherever the update came: the same candles and trades as if all had been stored by one version."""
    client.flushall()
    cut = len(shown) * share // 100
    store_old(client, keys, shown[:cut])
    assert candles(shown[:cut]) == stored_candles(reader)
    store = Store(client, settings.store)
    for batch in batches(shown, data.draw):
        store.put_trades(batch)
    expected = candles(shown)
    assert expected == stored_candles(reader)
    assert sum(row.trade_count for row in expected.values()) == sum(
        len(reader.trades(market)) for market in reader.markets()
    )


def test_a_minute_of_the_version_before_is_written_anew_and_expires_as_before(
    client: redis.Redis, store: Store, reader: Reader, keys: Keys, settings: Settings
) -> None:
    """The first commit turns the hash into chunks; readers and the archive read both."""
    store_old(client, keys, [trade(1), trade(2, exchange_ms=T0 + 5)])
    archive = ArchiveSource(client, settings)
    rows, trades = dict(archive.rows([(BTC, T0)]))[BTC, T0], reader.trades(BTC)
    store.put_trades([trade(1)])
    assert client.type(keys.trades(BTC, T0)) == b"hash", "a copy that is known changes nothing"
    store.put_trades([trade(3, exchange_ms=T0 + 7)])
    assert client.type(keys.trades(BTC, T0)) == b"list"
    assert 0 < client.ttl(keys.trades(BTC, T0)) <= 1_000
    assert [row.id for row in reader.trades(BTC)] == [1, 2, 3]
    assert dict(archive.rows([(BTC, T0)]))[BTC, T0].items() >= rows.items()
    assert reader.trades(BTC)[:2] == trades
    assert reader.counters()["trades_duplicate"] == 1


def test_a_batch_that_goes_on_reads_nothing(client: redis.Redis, store: Store, reader: Reader) -> None:
    """The worker that wrote a minute appends to it without reading, also in the same millisecond."""
    store.put_trades([trade(1), trade(2)])
    reads = commands_of(client, "lindex")
    for number in range(3, 30):
        store.put_trades([trade(number, exchange_ms=T0 + number // 3), trade(number)])
        store.put_trades([trade(number, exchange_ms=T0 + number // 3)])
    late = commands_of(client, "lindex") - reads
    assert late > 0, "trades of T0 are old by then"
    store.put_trades([trade(50, exchange_ms=T0 + 60_000)])
    reads = commands_of(client, "lindex")
    for number in range(51, 60):
        store.put_trades([trade(number, exchange_ms=T0 + 60_000 + number // 3)])
    assert commands_of(client, "lindex") == reads
    assert len(reader.trades(BTC)) == sum(row.trade_count for row in reader.candles(BTC))


@pytest.mark.parametrize("loss", ["the key", "everything", "what came last"])
def test_a_redis_that_lost_data_is_not_taken_for_what_the_worker_remembers(
    client: redis.Redis, settings: Settings, keys: Keys, reader: Reader, loss: str
) -> None:
    """A redelivered copy is known only where Redis still has it; other data of as many copies are others."""
    memory = Memory()
    worker = Store(client, settings.store, memory)
    worker.put_trades([trade(1, 100)])
    kept = client.dump(keys.candle(BTC, T0)), client.dump(keys.trades(BTC, T0))
    worker.put_trades([trade(2, 200)])
    if loss == "everything":
        client.flushall()
    elif loss == "the key":
        client.delete(keys.candle(BTC, T0), keys.trades(BTC, T0))
    else:
        for key, value in zip((keys.candle(BTC, T0), keys.trades(BTC, T0)), kept, strict=True):
            client.restore(key, 0, value, replace=True)
        Store(client, settings.store).put_trades([trade(3, 300)])
    worker.put_trades([trade(2, 200)])
    found = {row.id for row in reader.trades(BTC)}
    assert 2 in found
    (candle,) = reader.candles(BTC)
    assert candle.trade_count == len(found)
    assert candle.high == (300 if 3 in found else 200)


@given(st.data(), copies(max_size=30))
@hypothesis_settings(REAL_REDIS, max_examples=25)
def test_two_workers_that_remember_take_turns(
    client: redis.Redis, settings: Settings, reader: Reader, data: st.DataObject, shown: list[Trade]
) -> None:
    """What one remembers is stale as soon as the other has written; a refused commit is repeated."""
    client.flushall()
    workers = [Store(client, settings.store, Memory()) for _ in range(2)]
    for batch in batches(shown, data.draw):
        data.draw(st.sampled_from(workers)).put_trades(batch)
    assert candles(shown) == stored_candles(reader)
    counted = reader.counters()["trades_counted"]
    assert counted == sum(len(reader.trades(market)) for market in reader.markets())


def test_old_trades_find_their_copies_in_old_chunks(store: Store, reader: Reader) -> None:
    """A backfill long after, of what the stream showed and of what it missed, over many chunks."""
    for number in range(40):
        store.put_trades([trade(number, exchange_ms=T0 + 1_000 * number)])
    rest = [
        trade(900 + number, exchange_ms=T0 + 500 * number, source=Source.REST, nth=1) for number in range(80)
    ]
    for _ in range(2):
        store.put_trades(rest)
    assert [row.trade_count for row in reader.candles(BTC)] == [80]
    assert reader.counters()["trades_recovered"] == 40
    assert reader.counters()["trades_duplicate"] == 40 + 80


def test_minutes_of_more_markets_than_are_remembered(
    client: redis.Redis, settings: Settings, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is bounded; what was forgotten is read again."""
    monkeypatch.setattr(store_module, "MINUTES_MAX", 10)
    memory = Memory()
    for number in range(3):
        for part in range(4):
            markets = [f"KRW-{part}{each}" for each in range(10)]
            rows = [trade(number, market=market, exchange_ms=T0 + number) for market in markets]
            Store(client, settings.store, memory).put_trades(rows)
            assert len(memory.minutes) <= 20
    assert [row.trade_count for market in reader.markets() for row in reader.candles(market)] == [3] * 40
