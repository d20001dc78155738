"""How a subscriber that begins in the past comes to where the others are."""

import asyncio
from collections.abc import Iterator

import pytest
import redis

from collector.live.events import NOTICE, Event, Selection
from collector.live.hub import Subscriber
from collector.live.source import event_of
from collector.serve.push import Live
from collector.settings import Settings
from collector.store.event_log import EventLog, Position
from collector.store.keys import Keys
from collector.store.store import Store
from tests.samples.rows import T0, trade

BEGINNING = Position(0, 0)
TRADES = Selection.of("trade", "KRW-BTC")


@pytest.fixture
def live(redis_url: str, settings: Settings) -> Iterator[Live]:
    """A hub whose source does not run: the test publishes."""
    found = Live(redis_url, settings)
    yield found
    found.stop()


async def test_what_one_has_read_itself_does_not_come_again_from_a_hub_that_is_behind(
    live: Live, store: Store, client: redis.Redis, keys: Keys
) -> None:
    """The hub's thread may be busy with candles while others read on."""
    store.put_trades([trade(1, 100, exchange_ms=T0)])
    log = EventLog(client, keys)
    live.hub.position, _ = log.read(BEGINNING)
    store.put_trades([trade(2, 200, exchange_ms=T0 + 1)])
    subscriber = Subscriber()
    live.begin(subscriber, TRADES, BEGINNING)
    filling = asyncio.create_task(live.fill(subscriber, TRADES, BEGINNING))
    found: list[Event] = []
    while len(found) < 2:
        found += await subscriber.events(5)
    position, behind = log.read(live.hub.position)
    await asyncio.sleep(0.2)
    live.hub.publish([event_of(each) for each in behind], position)
    async with asyncio.timeout(5):
        await filling
    store.put_trades([trade(3, 300, exchange_ms=T0 + 2)])
    position, following = log.read(position)
    live.hub.publish([event_of(each) for each in following], position)
    found += await subscriber.events(5)
    assert [each.row.price for each in found] == [100, 200, 300]


async def test_one_that_resumes_where_nothing_is_left_goes_on_with_the_others(
    live: Live, store: Store, client: redis.Redis, keys: Keys
) -> None:
    """What is gone is announced once; then it has what the others have."""
    store.put_trades([trade(1, 100, exchange_ms=T0)])
    log = EventLog(client, keys)
    live.hub.position, _ = log.read(BEGINNING)
    client.xtrim(keys.events, maxlen=0, approximate=False)
    subscriber = Subscriber()
    async with asyncio.timeout(5):
        await live.fill(subscriber, TRADES, Position(1, 0))
    (lost,) = await subscriber.events(1)
    assert (lost.channel, lost.row["reason"]) == (NOTICE, "trimmed")
    assert TRADES in subscriber.selections
