"""Verdicts in Redis: by market and Korean day, read for any stretch."""

import pytest
import redis

from collector.analytics.verdicts import written
from collector.model import MINUTE_MS, Channel, Gap
from collector.settings import Settings
from collector.store.keys import Keys
from collector.store.read import Reader
from collector.store.store import Store
from collector.store.verified import Verified
from tests.samples.rows import BTC, trade

pytestmark = pytest.mark.server

DAY_MS, KST_MS = 86_400_000, 9 * 3_600_000
#: Korean midnight.
MIDNIGHT_MS = 20_718 * DAY_MS - KST_MS


@pytest.fixture
def verified(client: redis.Redis, settings: Settings) -> Verified:
    """On the Redis of the store."""
    return Verified(client, settings.store)


def minutes(store: Store, reader: Reader, *opens: int) -> dict:
    """Store a trade in each of these minutes, and return them."""
    store.put_trades([trade(open_ms // 1000, exchange_ms=open_ms + 5) for open_ms in opens])
    return reader.minutes(BTC, min(opens), max(opens))


def test_verdicts_are_read_as_they_were_written(verified: Verified, store: Store, reader: Reader) -> None:
    """Over midnight in Korea too; a minute that changed since has none."""
    opens = [MIDNIGHT_MS + n * MINUTE_MS for n in (-2, -1, 0, 1)]
    ours = minutes(store, reader, *opens)
    verified.write(BTC, {ms: written(ms != opens[1], ours[ms]) for ms in opens[:3]}, [])
    assert verified.verdicts(BTC, ours) == dict(zip(opens, [True, False, True, None], strict=True))
    store.put_trades([trade(7, exchange_ms=opens[0] + 6)])
    assert verified.verdicts(BTC, reader.minutes(BTC, opens[0], opens[0])) == {opens[0]: None}
    assert verified.verdicts("KRW-ETH", ours) == dict.fromkeys(opens)
    assert verified.verdicts(BTC, {}) == {}


def test_quiet_stretches_grow_in_one_field_for_each_day(
    verified: Verified, client: redis.Redis, settings: Settings
) -> None:
    """A market that is quiet for a day takes no more memory than one that is so for a minute."""
    for n in range(-120, 120):
        from_ms = MIDNIGHT_MS + n * MINUTE_MS
        verified.write(BTC, {}, [(from_ms, from_ms + MINUTE_MS)])
    verified.write(BTC, {}, [(MIDNIGHT_MS - 200 * MINUTE_MS, MIDNIGHT_MS - 190 * MINUTE_MS)])
    keys = Keys(settings.store.key_prefix)
    names = [keys.verified(BTC, MIDNIGHT_MS - 1), keys.verified(BTC, MIDNIGHT_MS)]
    assert [name.rpartition(":")[2] for name in names] == ["20260921", "20260922"]
    assert [client.hlen(name) for name in names] == [2, 1]
    assert all(client.ttl(name) > settings.store.candle_retention_h * 3600 for name in names)
    known = verified.read(BTC, MIDNIGHT_MS - DAY_MS, MIDNIGHT_MS + DAY_MS)
    found = {n for n in range(-300, 300) if known.of(MIDNIGHT_MS + n * MINUTE_MS, None)}
    assert found == set(range(-120, 120)) | set(range(-200, -190))


def test_a_stretch_is_proven_by_all_its_minutes(verified: Verified, store: Store, reader: Reader) -> None:
    """Those with trades and those without, as they are now."""
    opens = [MIDNIGHT_MS - MINUTE_MS, MIDNIGHT_MS, MIDNIGHT_MS + MINUTE_MS]
    ours = minutes(store, reader, opens[0], opens[2])
    stretch = opens[0] + 30_000, opens[2] + 1
    verified.write(BTC, {ms: written(True, ours[ms]) for ms in (opens[0], opens[2])}, [])
    assert not verified.is_proven(BTC, *stretch)
    verified.write(BTC, {}, [(opens[1], opens[2])])
    assert verified.is_proven(BTC, *stretch)
    assert not verified.is_proven(BTC, stretch[0], opens[2] + MINUTE_MS)
    store.put_trades([trade(7, exchange_ms=opens[1] + 6)])
    assert not verified.is_proven(BTC, *stretch)


def test_our_side_of_some_minutes(verified: Verified, store: Store, reader: Reader) -> None:
    """The stored candles of both UTC days, and the open gaps in trades."""
    utc_midnight_ms = MIDNIGHT_MS + KST_MS
    opens = [utc_midnight_ms - MINUTE_MS, utc_midnight_ms]
    minutes(store, reader, *opens)
    is_open = Gap(BTC, Channel.TRADE, opens[0], opens[1], "stalled")
    closed = Gap(BTC, Channel.TRADE, opens[0], opens[1], "disconnected", recovered=True)
    store.put_gaps([is_open, closed, Gap(BTC, Channel.TICKER, opens[0], opens[1], "stalled")])
    found = verified.ours(BTC, [*opens, opens[1] + MINUTE_MS])
    assert list(found.minutes) == opens
    assert found.gaps == [is_open]
    assert verified.oldest(BTC, 3_600_000, utc_midnight_ms) == opens[0]
    assert verified.oldest(BTC, 59_999, utc_midnight_ms) == opens[1]
    assert verified.oldest("KRW-ETH", 3_600_000, utc_midnight_ms) is None


def test_until_when_a_market_was_found_equal_only_grows(
    verified: Verified, store: Store, reader: Reader, client: redis.Redis, settings: Settings
) -> None:
    """By minutes with trades and by quiet ones; a comparison of an older day does not take it back."""
    opens = [MIDNIGHT_MS + n * MINUTE_MS for n in range(4)]
    ours = minutes(store, reader, *opens)
    proven = Keys(settings.store.key_prefix).proven
    verified.write(
        BTC, {opens[1]: written(True, ours[opens[1]]), opens[2]: written(False, ours[opens[2]])}, []
    )
    assert client.zscore(proven, BTC) == opens[2]
    verified.write(BTC, {opens[0]: written(True, ours[opens[0]])}, [])
    verified.write(BTC, {opens[3]: written(False, ours[opens[3]])}, [])
    assert client.zscore(proven, BTC) == opens[2]
    verified.write(BTC, {}, [(opens[2], opens[3] + MINUTE_MS)])
    assert client.zscore(proven, BTC) == opens[3] + MINUTE_MS
