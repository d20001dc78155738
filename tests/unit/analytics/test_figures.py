"""Volumes, changes, windows and patterns: small figures checked by hand."""

from decimal import Decimal

import pytest

from collector.analytics import flow, profile
from collector.analytics.candles import Minute, merge
from collector.analytics.change import changes
from collector.analytics.volume import volumes
from collector.analytics.windows import window_minutes, window_start_ms
from collector.errors import ConfigurationError
from collector.model import MINUTE_MS, Side
from tests.samples.rows import BTC, T0, ticker, trade


def at(minute: int, price: object, volume: object = 1, side: Side = Side.BUY) -> tuple[int, Minute]:
    """Return a candle of one trade, so many minutes after `T0`."""
    open_ms = T0 + minute * MINUTE_MS
    one = [trade(minute, price, volume, side=side, exchange_ms=open_ms)]
    return open_ms, merge(None, one, one)


@pytest.mark.parametrize(("window", "minutes"), [("1m", 1), ("90m", 90), ("4h", 240), ("1d", 1440)])
def test_windows_are_minutes(window: str, minutes: int) -> None:
    """Minutes, hours and days."""
    assert window_minutes(window) == minutes


@pytest.mark.parametrize("window", ["", "0m", "5", "m", "-5m", "5s", "8d", "1.5h", "999999m", "１m"])
def test_what_is_no_window_is_named(window: str) -> None:
    """One line that says what to write."""
    with pytest.raises(ConfigurationError, match="is not a window: write 15m, 4h or 1d"):
        window_minutes(window)


def test_a_window_is_the_running_minute_and_those_before() -> None:
    """Five minutes that end at 12:07:30 start at 12:03:00."""
    assert window_start_ms(T0 + 7 * MINUTE_MS + 30_000, 5) == T0 + 3 * MINUTE_MS


def test_volumes_roll() -> None:
    """What is older than the window is out, to the minute."""
    minutes = dict([at(-1440, 1), at(-1439, 10), at(-4, 20, side=Side.SELL), at(0, 30, 2)])
    rows = {row.window: row for row in volumes(BTC, minutes, T0 + 59_999)}
    assert [rows[window].trade_count for window in ("1m", "5m", "15m", "1h", "24h")] == [1, 2, 2, 2, 3]
    assert (rows["5m"].buy_volume, rows["5m"].sell_volume, rows["5m"].quote_volume) == (2, 1, 80)
    assert rows["5m"].vwap == Decimal(80) / 3


def test_a_window_without_trades_is_zero_and_has_no_price() -> None:
    """Zero is a figure, a price of nothing is not."""
    rows = volumes(BTC, dict([at(-100, 1)]), T0)
    assert [(row.base_volume, row.vwap) for row in rows][:4] == [(0, None)] * 4


def test_changes_start_from_the_price_as_the_window_began() -> None:
    """The close of the newest candle before it, however old; None where there is none."""
    minutes = dict([at(-70, 50), at(-1, 80), at(0, 100)])
    rows = {row.window: row for row in changes(BTC, minutes, ticker(99), T0)}
    assert [rows[window].from_price for window in ("1m", "5m", "15m", "1h", "24h")] == [80, 50, 50, 50, None]
    assert rows["1m"].change_rate == Decimal("0.25")
    assert rows["24h"].change_rate is None
    assert (rows["prev_close"].from_price, rows["prev_close"].change_rate) == (90, Decimal("0.1"))


def test_changes_of_a_market_that_fell_silent_are_zero() -> None:
    """Its last price is still its price."""
    rows = changes(BTC, dict([at(-70, 50)]), None, T0)
    assert [row.change_rate for row in rows] == [0, 0, 0, 0, None, None]


def test_twap_counts_every_minute_alike() -> None:
    """A minute without trades keeps the price before it."""
    minutes = dict([at(0, 10, 1000), at(2, 40)])
    opens = [T0 + n * MINUTE_MS for n in range(4)]
    assert profile.twap(minutes, opens, None) == 25
    assert profile.twap(minutes, [T0 - MINUTE_MS, *opens], Decimal(5)) == 21
    assert profile.twap({}, opens, None) is None


def test_imbalance_is_buys_against_sells() -> None:
    """Three to one is a half."""
    minutes = dict([at(0, 10, 3), at(1, 10, 1, Side.SELL)])
    assert flow.imbalance(minutes.values()) == Decimal("0.5")
    assert flow.imbalance([]) is None


def test_a_large_trade_stands_out_from_the_usual() -> None:
    """Values of about 100 and one of 1000: median 100, MAD 5."""
    trades = [trade(n, 1, value) for n, value in enumerate((90, 95, 100, 100, 105, 110, 1000))]
    ((large, value, score),) = flow.large_trades(trades)
    assert (large.id, value) == (6, 1000)
    assert score == Decimal("0.6745") * 900 / 5


def test_among_equal_trades_a_larger_one_is_still_found() -> None:
    """The MAD is 0 then, so there is no score."""
    trades = [trade(n, 1, 10) for n in range(9)] + [trade(10, 1, 100)]
    assert [(row.id, score) for row, _, score in flow.large_trades(trades)] == [(10, None)]
    assert flow.large_trades([]) == []
