"""The event stream: each counted trade once, in the order of the commits, or announced as lost."""

import time
from collections import Counter

import pytest
import redis
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from collector.errors import ConfigurationError
from collector.model import Source, Trade
from collector.settings import Settings
from collector.store import event_log
from collector.store.event_log import Counted, Cursor, EventLog, Lost, Position
from collector.store.keys import Keys
from collector.store.read import Reader
from collector.store.store import Memory, Store
from tests.integration.tasks.test_minute_layout import store_old
from tests.samples.rows import BTC, T0, batches, copies, trade

REAL_REDIS = hypothesis_settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
BEGIN = Position(0, 0)


@pytest.fixture
def log(client: redis.Redis, keys: Keys) -> EventLog:
    return EventLog(client, keys)


def at(number: int, **fields: object) -> Trade:
    """Return a trade so many milliseconds after `T0`."""
    return trade(number, exchange_ms=T0 + number, **fields)


def everything(log: EventLog, after: Position = BEGIN, *, at_once: int = 3) -> list[Counted | Lost]:
    """Return all that follows, read in small pieces."""
    found: list[Counted | Lost] = []
    while True:
        position, events = log.read(after, count=at_once)
        if position == after:
            return found
        found, after = found + events, position


def facts(events: list[Counted | Lost]) -> Counter[tuple[object, ...]]:
    rows = [event.trade for event in events if isinstance(event, Counted)]
    return Counter((row.market, row.exchange_ms, row.price, row.volume, row.side) for row in rows)


@given(st.data(), copies(), st.integers(0, 50))
@REAL_REDIS
def test_each_counted_trade_is_there_once(
    client: redis.Redis,
    settings: Settings,
    keys: Keys,
    reader: Reader,
    log: EventLog,
    data: st.DataObject,
    shown: list[Trade],
    share: int,
) -> None:
    """However they are batched, delivered again, by two workers, and also where an update came between."""
    client.flushall()
    cut = len(shown) * share // 100
    store_old(client, keys, shown[:cut])
    before = Counter(
        (row.market, row.exchange_ms, row.price, row.volume, row.side)
        for market in reader.markets()
        for row in reader.trades(market)
    )
    workers = [Store(client, settings.store, Memory()) for _ in range(2)]
    for batch in batches(shown, data.draw):
        for _ in range(data.draw(st.integers(1, 2))):
            data.draw(st.sampled_from(workers)).put_trades(batch)
    stored = Counter(
        (row.market, row.exchange_ms, row.price, row.volume, row.side)
        for market in reader.markets()
        for row in reader.trades(market)
    )
    events = everything(log)
    assert facts(events) == stored - before
    ids = [event.position for event in events if isinstance(event, Counted)]
    assert ids == sorted(set(ids))
    if ids:
        place = data.draw(st.integers(0, len(ids) - 1))
        assert everything(log, Position.parse(str(ids[place]))) == events[place + 1 :]


def test_a_backfilled_trade_is_late(client: redis.Redis, settings: Settings, log: EventLog) -> None:
    store = Store(client, settings.store)
    store.put_trades([at(1), at(2)])
    store.put_trades([at(1, source=Source.REST, nth=1), at(3, source=Source.REST, nth=1)])
    events = [event for event in everything(log) if isinstance(event, Counted)]
    assert [(event.trade.exchange_ms - T0, event.is_late) for event in events] == [
        (1, False),
        (2, False),
        (3, True),
    ]


def test_what_is_not_kept_is_announced(
    client: redis.Redis, settings: Settings, keys: Keys, log: EventLog
) -> None:
    """Trimmed, expired, or forgotten by a Redis that lost its last writes."""
    assert log.lost(BEGIN) is None
    store = Store(client, settings.store)
    for number in range(5):
        store.put_trades([at(number)])
    events = [event for event in everything(log) if isinstance(event, Counted)]
    assert log.lost(BEGIN) is None
    assert log.lost(events[0].position) is None
    client.xtrim(keys.events, maxlen=2, approximate=False)
    assert log.lost(events[0].position) == Lost(events[0].position, events[3].position, "trimmed")
    assert log.lost(events[3].position) is None
    ahead = Position(events[-1].position.ms + 5, 0)
    lost = log.lost(ahead)
    assert lost is not None
    assert (lost.after[:2], lost.until, lost.reason) == (events[-1].position[:2], ahead, "store_lost")
    client.delete(keys.trades(BTC, T0 - T0 % 60_000))
    assert [event.reason for event in everything(log) if isinstance(event, Lost)] == ["expired", "expired"]


def test_no_stream_where_it_is_off(client: redis.Redis, settings: Settings, keys: Keys) -> None:
    store = Store(client, settings.store.model_copy(update={"events_max": 0}))
    store.put_trades([at(1)])
    assert not client.exists(keys.events)


def test_the_stream_is_bounded(client: redis.Redis, settings: Settings, keys: Keys) -> None:
    """By its length; whole nodes of 100 entries go at once."""
    store = Store(client, settings.store.model_copy(update={"events_max": 50}))
    for number in range(400):
        store.put_trades([at(number)])
    assert 50 <= client.xlen(keys.events) <= 150


@pytest.mark.parametrize("text", ["", "1", "abc", "1-2-x", "0x1-2", "1-2-3-4", "9" * 40 + "-0", "١-٢"])
def test_an_id_of_another_system_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="is no id of an event"):
        Position.parse(text)


def test_what_was_trimmed_while_a_reader_stood_still_is_announced(
    client: redis.Redis, keys: Keys, store: Store, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that takes nothing for an hour holds its reader up, without any error."""
    store.put_trades([at(1)])
    cursor = Cursor(log, BEGIN)
    assert len(cursor.next()) == 1
    for number in range(2, 5):
        store.put_trades([at(number)])
    client.xtrim(keys.events, maxlen=1, approximate=False)
    monkeypatch.setattr(event_log, "_AWAY_S", 0)
    lost, last = cursor.next()
    assert isinstance(lost, Lost)
    assert lost.reason == "trimmed"
    assert isinstance(last, Counted)
    assert last.trade.exchange_ms == T0 + 4


def test_whoever_wants_the_oldest_that_is_kept_misses_nothing(
    client: redis.Redis, keys: Keys, store: Store, log: EventLog
) -> None:
    for number in range(4):
        store.put_trades([at(number)])
    client.xtrim(keys.events, maxlen=2, approximate=False)
    cursor = Cursor(log, BEGIN)
    cursor.doubt()
    assert [type(each) for each in cursor.next()] == [Counted, Counted]


def test_a_store_that_was_emptied_is_announced_to_whoever_was_reading(
    client: redis.Redis, settings: Settings, log: EventLog
) -> None:
    """New entries have later ids, so nothing else would show that trades may come again."""
    Store(client, settings.store).put_trades([trade(1)])
    cursor = Cursor(log, BEGIN)
    assert len(cursor.next()) == 1
    before = cursor.position
    client.flushdb()
    time.sleep(0.01)  # ids are times: the next one is another one
    Store(client, settings.store).put_trades([trade(1)])
    lost, again = cursor.next()
    assert isinstance(lost, Lost)
    assert isinstance(again, Counted)
    assert (lost.after, lost.until, lost.reason) == (BEGIN, before, "store_lost")
    assert again.trade.id == 1
    assert cursor.next() == []
    resumed = Cursor(log, before)
    assert [type(each).__name__ for each in resumed.next()] == ["Lost", "Counted"]
