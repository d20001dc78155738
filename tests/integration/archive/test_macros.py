"""The macros of `collector query`, beside polars over the same frames."""
# ruff: noqa: S608 - names of our own markets

from bisect import bisect_right
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from collector.archive import frames
from collector.archive.archiver import Archiver
from collector.errors import ConfigurationError
from collector.model import Trade
from collector.settings import Settings
from collector.store.store import Store
from tests.samples.rows import BTC, T0, book, trade

HOUR_MS = 3_600_000


@pytest.fixture
def busiest(store: Store, archive: Archiver, truth: list[Trade]) -> str:
    """Half of the trades archived, the rest in Redis alone; the market with the most of them."""
    store.put_trades(truth[: len(truth) // 2])
    archive.run(everything=True)
    store.put_trades(truth[len(truth) // 2 :])
    markets = [trade.market for trade in truth]
    return max(markets, key=markets.count)


def ask(settings: Settings, sql: str) -> Any:
    return frames.query(sql, settings=settings)


@pytest.mark.parametrize("interval", ["1m", "5m", "1h", "4h"])
def test_candles_of_an_interval_are_those_of_frames(settings: Settings, busiest: str, interval: str) -> None:
    """The base currency is a name too."""
    frame = frames.candles(busiest, interval, settings=settings)
    for name in (busiest, busiest.removeprefix("KRW-").lower()):
        assert ask(settings, f"from candles('{name}', '{interval}')").equals(frame)


def test_minutes_are_the_default(settings: Settings, busiest: str) -> None:
    """Beside the view of the same name."""
    sql = f"select count(*) from candles where market = '{busiest}'"
    ((expected,),) = ask(settings, sql).rows()
    assert ask(settings, f"from candles('{busiest}')").height == expected > 0


def test_ohlcv_is_aligned_to_midnight_of_its_zone(settings: Settings, store: Store) -> None:
    """Korean days begin at 15:00 UTC."""
    store.put_trades([trade(number, number, exchange_ms=T0 + number * HOUR_MS) for number in range(1, 5)])
    korean = ask(settings, "select epoch_ms(time) t, open, close, volume from ohlcv('1d')").rows()
    assert [(row[1], row[2]) for row in korean] == [(1, 1), (2, 4)]
    assert (korean[1][0] + 9 * HOUR_MS) % (24 * HOUR_MS) == 0
    utc = ask(settings, "select epoch_ms(time) t, open, close from ohlcv('1d', 'UTC')").rows()
    assert [row[1:] for row in utc] == [(1, 4)]
    assert utc[0][0] % (24 * HOUR_MS) == 0


def test_trades_come_with_the_book_before_them(settings: Settings, store: Store, archive: Archiver) -> None:
    """The newest that is not later; null where there is none."""
    moments = [T0 + 10, T0 + 20]
    for number, ms in enumerate(moments):
        store.put_books([book(bids=((100 + number, 1),), asks=((102 + number, 1),), exchange_us=ms * 1000)])
        archive.run()
    times = [T0 + 9, T0 + 10, T0 + 19, T0 + 20, T0 + 25]
    store.put_trades([trade(number, exchange_ms=ms) for number, ms in enumerate(times, 1)])
    found = ask(settings, f"select exchange_ms, book_ms, bid from trades_with_book('{BTC}')").rows()
    places = [bisect_right(moments, ms) - 1 for ms in times]
    expected = [
        (ms, moments[at], Decimal(100 + at)) if at >= 0 else (ms, None, None)
        for ms, at in zip(times, places, strict=True)
    ]
    assert found == expected


def test_a_volume_profile_has_every_trade_once(settings: Settings, busiest: str) -> None:
    """Levels of equal height from the lowest to the highest price."""
    profile = ask(settings, f"from volume_profile('{busiest}', levels := 7)")
    trades = frames.trades(busiest, settings=settings)
    assert profile["volume"].sum() == trades["volume"].sum()
    assert profile["trade_count"].sum() == trades.height
    low, high = (float(getattr(trades["price"], which)()) for which in ("min", "max"))
    slots = ((trades["price"].cast(pl.Float64) - low) / (high - low) * 7).floor().clip(0, 6)
    counts = slots.value_counts().sort("price")["count"].to_list()
    assert profile["trade_count"].to_list() == counts


def test_an_unknown_interval_is_named(settings: Settings, busiest: str) -> None:
    """With those there are."""
    with pytest.raises(ConfigurationError, match="no such interval: 7m; one of 1m 3m"):
        ask(settings, f"from candles('{busiest}', '7m')")
