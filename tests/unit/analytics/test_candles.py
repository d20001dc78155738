"""Candles: edges, intervals, completeness."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from collector.analytics.candles import INTERVALS, Minute, align, merge, view
from collector.analytics.completeness import Known, Losses
from collector.errors import ConfigurationError
from collector.model import MINUTE_MS, Channel, Gap, Source
from tests.samples.rows import BTC, T0, trade

HOUR_MS = 3_600_000


def minute(*trades: object) -> Minute:
    """Return the candle of trades that all count."""
    return merge(None, trades, trades)  # type: ignore[arg-type]


def edges(candle: Minute) -> tuple[Decimal, Decimal]:
    """Return open and close."""
    return candle.first.price, candle.last.price


def test_open_and_close_follow_the_exchange_not_the_arrival() -> None:
    """Time first, then order within the millisecond, then the id."""
    shuffled = [
        trade(9, 3, exchange_ms=T0 + 5, order=1),
        trade(1, 4, exchange_ms=T0 + 5, order=2),
        trade(7, 2, exchange_ms=T0, order=0),
        trade(4, 1, exchange_ms=T0, order=0),
    ]
    assert edges(minute(*shuffled)) == (1, 4)


def test_where_both_sources_show_as_much_the_streams_order_decides() -> None:
    """Ids of two numberings can't be compared."""
    stream = [trade(10, 1), trade(11, 2)]
    rest = [trade(2, 1, source=Source.REST), trade(1, 2, source=Source.REST)]
    assert edges(minute(*rest, *stream)) == (1, 2)


def test_where_the_stream_missed_a_trade_the_order_of_rest_decides() -> None:
    """Of the source that has shown more, the order is known to the end."""
    stream = [trade(10, 1)]
    rest = [trade(1, 1, source=Source.REST), trade(2, 2, source=Source.REST)]
    assert edges(minute(*stream, *rest)) == (1, 2)


@pytest.mark.parametrize("interval", INTERVALS)
def test_every_interval_is_a_view_of_the_minutes(interval: str) -> None:
    """Two days of minutes: opens, closes and sums are those of the minutes inside."""
    start = align(T0, 24 * HOUR_MS)
    minutes = {
        start + n * MINUTE_MS: minute(trade(n, n + 1, "0.1", exchange_ms=start + n * MINUTE_MS))
        for n in range(2 * 1440)
    }
    length = INTERVALS[interval]
    rows = view(BTC, minutes, interval)
    assert len(rows) == 2 * 1440 // length
    for n, row in enumerate(rows):
        assert row.open_ms == start + n * length * MINUTE_MS
        assert (row.open, row.close) == (n * length + 1, (n + 1) * length)
        assert (row.base_volume, row.trade_count) == (length * Decimal("0.1"), length)


def test_the_day_starts_at_midnight_in_korea() -> None:
    """15:00 UTC; four-hour candles are aligned to the same."""
    row = view(BTC, {T0: minute(trade(1))}, "1d")[0]
    assert row.open_time == datetime(2026, 9, 20, 15, tzinfo=UTC)
    assert view(BTC, {T0: minute(trade(1))}, "4h")[0].open_time == datetime(2026, 9, 21, 11, tzinfo=UTC)


def test_an_unknown_interval_is_named_with_those_there_are() -> None:
    """The message says what to write instead."""
    with pytest.raises(ConfigurationError, match=r"'2m' is not an interval: one of 1m, 3m"):
        view(BTC, {}, "2m")


@pytest.mark.parametrize(
    ("from_ms", "to_ms", "complete"),
    [(-9, -1, True), (-9, 0, False), (59_999, 70_000, False), (60_000, 70_000, True), (5, 5, False)],
)
def test_a_gap_makes_the_candles_it_touches_incomplete(from_ms: int, to_ms: int, complete: bool) -> None:
    """To the millisecond, both ends included; a recovered gap touches nothing."""
    minutes = {T0: minute(trade(1))}
    gap = Gap(BTC, Channel.TRADE, T0 + from_ms, T0 + to_ms, "stalled")
    closed = Gap(BTC, Channel.TRADE, T0 + from_ms, T0 + to_ms, "stalled", recovered=True)
    assert [row.complete for row in view(BTC, minutes, "1m", Known(Losses([gap])))] == [complete]
    assert [row.complete for row in view(BTC, minutes, "1m", Known(Losses([closed])))] == [True]


def test_a_candle_that_opens_before_the_oldest_minute_is_not_complete() -> None:
    """Nobody knows what its beginning was: the listener was not there yet, or the minutes have expired."""
    minutes = {T0 + number * MINUTE_MS: minute(trade(1)) for number in range(10)}
    assert T0 % (5 * MINUTE_MS) != 0
    rows = view(BTC, minutes, "5m", Known(from_ms=T0))
    assert [row.complete for row in rows] == [False, *[True] * (len(rows) - 1)]
    assert all(row.complete for row in view(BTC, minutes, "1m", Known(from_ms=T0)))
