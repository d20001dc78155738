"""The rotating audit on a real Redis: verdicts written, gaps opened and closed, nothing asked in vain."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import pytest
import redis
from msgspec import structs

from collector.analytics.minutes import absorb
from collector.analytics.reconcile import figures_of
from collector.clock import ManualClock
from collector.errors import RestError
from collector.feed.backfill import MissingStretch
from collector.listener.auditor import Auditor
from collector.model import MINUTE_MS, Channel, Gap, Trade
from collector.protocol.rest import ExchangeCandle
from collector.settings import AuditSettings, Settings
from collector.store.read import Reader
from collector.store.store import Store
from collector.store.verified import DayResult, Verified
from tests.integration.tasks.conftest import client, reader, store
from tests.samples.rows import BTC, T0, trade

__all__ = ["client", "reader", "store"]

pytestmark = pytest.mark.server

ETH = "KRW-ETH"
Eventually = Callable[..., Awaitable[None]]


class Exchange:
    """Candles of some trades."""

    def __init__(self, trades: Sequence[Trade]) -> None:
        self.trades = list(trades)
        self.asked: list[tuple[str, int, int]] = []
        self.failure: Exception | None = None

    async def candles(self, market: str, end_ms: int, count: int) -> tuple[ExchangeCandle, ...]:
        self.asked.append((market, end_ms, count))
        if self.failure:
            raise self.failure
        mine = [it for it in self.trades if it.market == market and it.exchange_ms < end_ms]
        opens = sorted({it.minute_ms for it in mine}, reverse=True)[:count]
        return tuple(self._candle(ms, [it for it in mine if it.minute_ms == ms]) for ms in opens)

    @staticmethod
    def _candle(open_ms: int, trades: list[Trade]) -> ExchangeCandle:
        minute = absorb(None, {}, trades).minute
        assert minute
        return ExchangeCandle(open_ms, **structs.asdict(figures_of(minute)))


class Bench:
    """An auditor over a store, and what it asked for."""

    def __init__(self, exchange: Exchange, client: redis.Redis, settings: Settings) -> None:
        self.clock = ManualClock(T0 + 5 * MINUTE_MS + 10_000)
        self.store = Store(client, settings.store)
        self.verified = Verified(client, settings.store)
        self.opened: list[tuple[str, int, int]] = []
        self.closed: list[Gap] = []
        self.is_behind = False
        self.auditor = Auditor(
            exchange,
            self.verified,
            self.clock,
            AuditSettings(requests_per_s=50, interval_s=1),
            markets=lambda: (BTC, ETH),
            exchange_ms=self.clock.now_ms,
            streamed_ms=lambda: None,
            open_gap=self._open,
            close_gap=self._close,
            is_behind=lambda: self.is_behind,
            lag_max_s=60,
            share="1/1",
        )

    def _open(self, market: str, from_ms: int, to_ms: int) -> None:
        self.opened.append((market, from_ms, to_ms))
        self.store.put_gaps([Gap(market, Channel.TRADE, from_ms, to_ms, "audit")])

    def _close(self, gap: Gap) -> None:
        self.closed.append(gap)
        self.store.put_gaps([structs.replace(gap, recovered=True)])


@asynccontextmanager
async def auditing(bench: Bench) -> AsyncIterator[None]:
    task = asyncio.create_task(bench.auditor.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


MADE = [trade(n, 100 + n, exchange_ms=T0 + n * 20_000) for n in range(17)]
ALSO = [trade(n, 50, market=ETH, exchange_ms=T0 + n * 60_000) for n in (1, 4, 5)]
LAST_MS = T0 + 4 * MINUTE_MS


async def test_minutes_that_are_the_exchanges_are_verified(
    client: redis.Redis, settings: Settings, reader: Reader, eventually_async: Eventually
) -> None:
    """From the oldest that is stored on; the running one is not compared."""
    exchange = Exchange(MADE + ALSO)
    bench = Bench(exchange, client, settings)
    bench.store.put_trades(MADE + ALSO)
    async with auditing(bench):
        await eventually_async(lambda: bench.auditor.counts["audit_minutes_equal"] == 5 + 4)
        await asyncio.sleep(0.5)
    minutes = reader.minutes(BTC, T0, T0 + 10 * MINUTE_MS)
    found = bench.verified.verdicts(BTC, minutes)
    assert found == {ms: True if ms <= LAST_MS else None for ms in minutes}
    known = bench.verified.read(ETH, T0, LAST_MS)
    assert [known.of(T0 + n * MINUTE_MS, None) for n in range(6)] == [None, None, True, True, None, None]
    assert (bench.opened, bench.closed) == ([], [])
    assert bench.auditor.counts == {"audit_calls": 2, "audit_minutes_equal": 9}
    assert {market for market, _, _ in exchange.asked} == {BTC, ETH}


async def test_a_trade_that_is_missing_is_fetched_and_the_gap_closed_by_the_candle(
    client: redis.Redis, settings: Settings, reader: Reader, eventually_async: Eventually
) -> None:
    """Wherever it got lost: the stored candle is compared."""
    bench = Bench(Exchange(MADE + ALSO), client, settings)
    lost = MADE[4]
    bench.store.put_trades([it for it in MADE if it is not lost] + ALSO)
    async with auditing(bench):
        await eventually_async(lambda: bench.auditor.counts["audit_minutes_equal"] == 8)
        assert bench.opened == []
        bench.clock.advance(5)
        await eventually_async(lambda: bench.opened)
        gap = Gap(BTC, Channel.TRADE, lost.minute_ms, lost.minute_ms + MINUTE_MS - 1, "audit")
        assert bench.opened == [(BTC, gap.from_ms, gap.to_ms)]
        (stored,) = [row for row in reader.candles(BTC) if row.open_ms == lost.minute_ms]
        assert stored.complete is False
        bench.store.put_trades([lost])
        bench.auditor.on_fetched(MissingStretch(BTC, gap.from_ms, gap.to_ms, "audit"))
        bench.clock.advance(3)
        await eventually_async(lambda: bench.closed)
    assert bench.closed == [gap]
    minutes = reader.minutes(BTC, T0, LAST_MS)
    assert bench.verified.verdicts(BTC, minutes) == dict.fromkeys(minutes, True)
    assert bench.auditor.counts["audit_minutes_less"] == 1


async def test_other_gaps_are_closed_by_candles_too(
    client: redis.Redis, settings: Settings, eventually_async: Eventually
) -> None:
    """One whose every minute is proven; not one of which a minute is not, nor what the totals say."""
    bench = Bench(Exchange(MADE + ALSO), client, settings)
    bench.store.put_trades(MADE + ALSO)
    gaps = [
        Gap(BTC, Channel.TRADE, T0 + 70_000, T0 + 130_000, "disconnected"),
        Gap(BTC, Channel.TRADE, T0 + 250_000, T0 + 310_000, "disconnected"),
        Gap(BTC, Channel.TRADE, T0 + 70_000, T0 + 80_000, "totals"),
        Gap(ETH, Channel.TRADE, T0 + 130_000, T0 + 140_000, "stalled"),
        Gap(ETH, Channel.TRADE, T0 - 70_000, T0 + 140_000, "start"),
    ]
    bench.store.put_gaps(gaps)
    async with auditing(bench):
        await eventually_async(lambda: bench.auditor.counts["audit_minutes_equal"] == 9)
        await eventually_async(lambda: len(bench.closed) == 2)
        await asyncio.sleep(0.3)
    assert bench.closed == [gaps[0], gaps[3]]


async def test_nothing_is_compared_while_trades_wait_or_the_exchange_is_away(
    client: redis.Redis, settings: Settings, eventually_async: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    """Both are made up for; a failure is logged once a minute."""
    exchange = Exchange(MADE + ALSO)
    bench = Bench(exchange, client, settings)
    bench.store.put_trades(MADE + ALSO)
    bench.is_behind = True
    async with auditing(bench):
        await asyncio.sleep(0.5)
        assert exchange.asked == []
        exchange.failure, bench.is_behind = RestError("HTTP 503"), False
        await eventually_async(lambda: bench.auditor.counts["audit_failures"] == 2)
        exchange.failure = None
        bench.clock.advance(11)
        await eventually_async(lambda: bench.auditor.counts["audit_minutes_equal"])
    assert bench.opened == []
    assert caplog.text.count("can't be compared") == 1


async def test_a_market_without_a_trade_on_either_side_costs_no_call(
    client: redis.Redis, settings: Settings, eventually_async: Eventually
) -> None:
    """Its turnover of the day stood still."""
    exchange = Exchange(MADE)
    bench = Bench(exchange, client, settings)
    bench.store.put_trades(MADE)
    async with auditing(bench):
        await eventually_async(lambda: bench.auditor.counts["audit_calls"] == 1)
        for second in range(0, 400, 4):
            asked_ms = T0 + 5 * MINUTE_MS + (second - 4) * 1000
            bench.auditor.on_turnover(ETH, MADE[0].price, asked_ms)
        bench.clock.advance(200)
        await eventually_async(lambda: bench.auditor.counts["audit_minutes_equal"] > 5)
        await asyncio.sleep(0.3)
    assert ETH not in {market for market, _, _ in exchange.asked}
    known = bench.verified.read(ETH, T0, T0 + 20 * MINUTE_MS)
    assert known.of(T0 + 5 * MINUTE_MS, None) is True


DAY_START_MS = (T0 + 9 * 3_600_000) // 86_400_000 * 86_400_000 - 9 * 3_600_000


async def test_the_day_before_is_gone_through_once(
    client: redis.Redis, settings: Settings, eventually_async: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    """What has no verdict yet is compared, from where our data begin; the result is stored and logged."""
    caplog.set_level(logging.INFO, "collector")
    made = [trade(n, 100 + n, exchange_ms=T0 + n * 1_800_000) for n in range(3)]
    exchange = Exchange([*made, trade(9, 7, exchange_ms=T0 + 86_400_000)])
    bench = Bench(exchange, client, settings)
    bench.store.put_trades(made)
    bench.clock = bench.auditor._clock = ManualClock(DAY_START_MS + 86_400_000 + 9 * 60_000)
    bench.auditor._exchange_ms = bench.clock.now_ms
    async with auditing(bench):
        await asyncio.sleep(0.5)
        asked = len(exchange.asked)
        bench.clock.advance(61)
        await eventually_async(
            lambda: (day := bench.auditor._day) and day.start_ms == DAY_START_MS and day.ends_ms
        )
        bench.clock.advance(301)
        await eventually_async(lambda: bench.verified.results(DAY_START_MS, "1/1"))
    minutes = (DAY_START_MS + 86_400_000 - T0) // 60_000
    assert bench.verified.results(DAY_START_MS) == [DayResult(2, minutes, minutes, 0, 0)]
    assert f"2026-09-21 in Korea: all {minutes} minutes of 2 markets are the exchange's" in caplog.text
    assert 0 < len(exchange.asked) - asked < 6
    again = Bench(exchange, client, settings)
    again.auditor._exchange_ms = bench.clock.now_ms
    exchange.asked.clear()
    async with auditing(again):
        await asyncio.sleep(0.5)
    assert again.auditor._day is None


async def test_a_day_that_differs_is_a_warning(
    client: redis.Redis, settings: Settings, eventually_async: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    """With how many minutes; what lacks trades is fetched."""
    exchange = Exchange([trade(n, 100 + n, exchange_ms=T0 + n * 60_000) for n in range(3)])
    bench = Bench(exchange, client, settings)
    bench.store.put_trades([exchange.trades[0], exchange.trades[2]])
    bench.clock = bench.auditor._clock = ManualClock(DAY_START_MS + 86_400_000 + 11 * 60_000)
    bench.auditor._exchange_ms = bench.clock.now_ms
    async with auditing(bench):
        for _ in range(40):
            await asyncio.sleep(0.1)
            bench.clock.advance(20)
        await eventually_async(lambda: bench.verified.results(DAY_START_MS))
    (result,) = bench.verified.results(DAY_START_MS)
    assert (result.differing, result.unknown) == (1, 0)
    assert "1 differ from the exchange's, 0 could not be compared" in caplog.text
    assert (BTC, T0 + MINUTE_MS, T0 + 2 * MINUTE_MS - 1) in bench.opened
