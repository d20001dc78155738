"""The candles of live events are those of `collector show candles`, though only what changed is read."""

from random import Random

import pytest
import redis

from collector.analytics.candles import INTERVALS, align
from collector.live.candles import LiveCandles
from collector.model import MINUTE_MS
from collector.settings import Settings
from collector.store.history import History
from collector.store.read import Reader
from collector.store.store import Store
from tests.samples.rows import BTC, T0, trade

ETH = "KRW-ETH"


@pytest.mark.parametrize("seed", range(3))
def test_after_each_batch_they_are_what_a_reader_finds(
    seed: int, store: Store, client: redis.Redis, settings: Settings
) -> None:
    """Minutes and days begin, quiet minutes are left out, late trades change older candles."""
    dice = Random(seed)
    live, reader = LiveCandles(History(client, settings)), Reader(client, settings)
    now_ms = T0
    for number in range(60):
        now_ms += dice.choice((0, 5_000, 40_000, 70_000, 5 * MINUTE_MS, 6 * 60 * MINUTE_MS))
        rows = []
        for place in range(dice.randint(1, 4)):
            back_ms = dice.choice((0, 0, 0, 10, 2 * MINUTE_MS, 90 * MINUTE_MS))
            market, at_ms = dice.choice((BTC, ETH)), max(T0, now_ms - back_ms)
            rows.append(trade(10 * number + place, dice.randint(100, 200), exchange_ms=at_ms, market=market))
        store.put_trades(rows)
        touched: dict[str, set[int]] = {}
        for row in rows:
            touched.setdefault(row.market, set()).add(align(row.exchange_ms, MINUTE_MS))
        found = {(row.market, row.interval, row.open_ms): row for row in live.of(touched, lambda *_: True)}
        assert {key[:2] for key in found} == {(name, each) for name in touched for each in INTERVALS}
        stored = {
            (row.market, row.interval, row.open_ms): row
            for market in touched
            for interval in INTERVALS
            for row in reader.candles(market, interval, limit=10_000)
        }
        for key, row in found.items():
            of_all = stored[key]
            assert (row.prices, row.vwap, row.trade_count) == (of_all.prices, of_all.vwap, of_all.trade_count)
            assert (row.base_volume, row.quote_volume) == (of_all.base_volume, of_all.quote_volume)
