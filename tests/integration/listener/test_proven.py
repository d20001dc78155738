"""A whole listener against an exchange that leaves trades out, and on hosts that sleep or have a wrong clock.

Every trade comes out, and every gap is closed: the exchange's totals and its own times see to it.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from collector.clock import SystemClock
from collector.feed import backfill
from collector.listener import maintenance, market_list
from collector.listener.app import Listener
from collector.model import Channel, Gap, Source
from collector.settings import Settings
from collector.simulator import Simulator, SimulatorOptions
from tests.integration.listener.test_app import Eventually, Memory, listening, lost, quick, streaming

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("early_in_the_minute")]

DAY_S = 86_400.0


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backfill, "SETTLE_S", 0.2)
    monkeypatch.setattr(backfill, "_FIRST_RETRY_S", 0.2)
    monkeypatch.setattr(market_list, "RETRY_S", (0.1, 0.2))


class HostClock(SystemClock):
    """A host's clock that can be wrong and can be stepped; the monotonic one stands still while it sleeps."""

    def __init__(self, wrong_s: float = 0.0) -> None:
        self._wrong_ms = round(wrong_s * 1000)

    def now_ms(self) -> int:
        return super().now_ms() + self._wrong_ms

    def step(self, seconds: float) -> None:
        self._wrong_ms += round(seconds * 1000)


Execution = tuple[str, int, str, str, str]


def made(truth: Path) -> Counter[Execution]:
    rows = map(json.loads, truth.read_text().splitlines())
    return Counter((it["market"], it["exchange_ms"], it["price"], it["volume"], it["side"]) for it in rows)


def stored(*memories: Memory) -> Counter[Execution]:
    """Return the executions that a store would count: of equal trades as many as one source has shown."""
    shown: dict[Source, Counter[Execution]] = {source: Counter() for source in Source}
    names = {
        (
            it.source,
            it.market,
            it.id if it.source is Source.STREAM else it.nth,
            it.exchange_ms,
            it.price,
            it.volume,
            it.side,
        )
        for memory in memories
        for it in memory.trades()
    }
    for source, market, _, ms, price, volume, side in names:
        shown[source][market, ms, format(price, "f"), format(volume, "f"), str(side)] += 1
    return shown[Source.STREAM] | shown[Source.REST]


def spans(memory: Memory, reason: str) -> list[float]:
    """Return how long the gaps of a reason were, in seconds."""
    gaps = {(it.market, it.from_ms): it for it in memory.of(Gap) if it.channel is Channel.TRADE}
    return [(it.to_ms - it.from_ms) / 1000 for it in gaps.values() if it.reason == reason]


async def all_came(
    eventually_async: Eventually, truth: Path, *memories: Memory, within_s: float = 30
) -> None:
    """Wait until every trade is there, exactly as often as it was made, and no gap is open."""
    try:
        await eventually_async(
            lambda: stored(*memories) == made(truth) and not memories[-1].open_gaps(), within_s
        )
    except pytest.fail.Exception:
        true, ours = made(truth), stored(*memories)
        pytest.fail(f"lost {true - ours}, too many {ours - true}, open {memories[-1].open_gaps()}")


def options(truth: Path, **more: Any) -> SimulatorOptions:
    return SimulatorOptions(
        **{
            "markets": 4,
            "rate": 120,
            "books_per_trade": 1,
            "truth": truth,
            "client_buffer_bytes": 64 << 20,
            **more,
        }
    )


def is_learned(listener: Listener, exchange: Simulator) -> bool:
    """Tell whether the totals of every market agree with its trades often enough to prove a loss."""
    totals, codes = listener._pipeline.totals, [*exchange.markets]
    return all(map(totals.whole_until_ms, codes)) and totals.counts["totals_agree"] >= 10 * len(codes)


async def leave_out(exchange: Simulator, eventually_async: Eventually) -> None:
    """Hide one trade in ten from every socket for two seconds, trade on for a while, and stop."""
    exchange.begin("leave-out:0.1@0s:2s")
    await eventually_async(lambda: exchange.counters["fault_leave-out"] > 3, 30)
    made_by_then = exchange.trades_made
    await eventually_async(lambda: exchange.trades_made > made_by_then + 400, 60)
    exchange.stop_trading()


@pytest.mark.parametrize(
    "rules", ["", "totals=lagging", "totals-decimals=4", "rest-lag=3s", "totals=lagging,kst=ticker"]
)
async def test_trades_that_no_socket_brings_are_found_by_the_totals(
    rules: str, settings: Settings, tmp_path: Path, eventually_async: Eventually
) -> None:
    """Some in a hundred, nothing is silent and nothing is cut; only REST and the day's totals have them."""
    truth = tmp_path / "truth.jsonl"
    async with (
        Simulator(options(truth, rules=rules)) as exchange,
        listening(quick(settings, exchange)) as (listener, memory),
    ):
        await eventually_async(lambda: is_learned(listener, exchange), 60)
        await leave_out(exchange, eventually_async)
        await all_came(eventually_async, truth, memory)
        counters = listener.counters()
    assert counters["totals_lost"] > 0
    assert counters["totals_recovered"] > 0
    assert counters.get("totals_unexplained", 0) == 0
    assert {it.reason for it in memory.of(Gap)} == {"start", "totals"}


async def test_without_the_ticker_channel_rest_is_the_witness(
    settings: Settings, tmp_path: Path, eventually_async: Eventually
) -> None:
    """One look a second here, a minute in production."""
    truth = tmp_path / "truth.jsonl"
    async with Simulator(options(truth)) as exchange:
        wanted = quick(settings, exchange, channels=(Channel.TRADE, Channel.ORDERBOOK))
        often = wanted.exchange.model_copy(update={"totals_interval_s": 0.5})
        async with listening(wanted.model_copy(update={"exchange": often})) as (listener, memory):
            await eventually_async(lambda: is_learned(listener, exchange), 60)
            await leave_out(exchange, eventually_async)
            await all_came(eventually_async, truth, memory)
    assert {it.reason for it in memory.of(Gap)} == {"start", "totals"}


async def test_a_healthy_run_opens_no_gap_but_those_of_its_start(
    settings: Settings, tmp_path: Path, eventually_async: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    """And logs two lines."""
    truth = tmp_path / "truth.jsonl"
    async with (
        Simulator(options(truth, stop_trading_after=1_000)) as exchange,
        listening(quick(settings, exchange)) as (listener, memory),
    ):
        await eventually_async(lambda: exchange.finished, 30)
        await all_came(eventually_async, truth, memory)
        totals = {name: count for name, count in listener.counters().items() if name.startswith("totals_")}
    assert {it.reason for it in memory.of(Gap)} == {"start"}
    assert set(totals) == {"totals_agree"}
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("collector.listener")]
    assert len(ours) <= 2, ours


async def test_a_host_that_slept_has_a_gap_as_long_as_its_sleep(
    settings: Settings, tmp_path: Path, eventually_async: Eventually
) -> None:
    """Its monotonic clock stood still; sockets are dropped on waking."""
    truth, clock = tmp_path / "truth.jsonl", HostClock()
    async with (
        Simulator(options(truth, stop_trading_after=5_500)) as exchange,
        listening(quick(settings, exchange), clock=clock) as (listener, memory),
    ):
        await eventually_async(lambda: streaming(listener) == 2 and exchange.trades_made > 600, 30)
        clock.step(30)
        exchange.skip(30)
        for client in exchange.clients:
            client.cut()
        await eventually_async(lambda: lost(listener) == 2 and streaming(listener) == 2)
        await eventually_async(lambda: exchange.finished, 30)
        await all_came(eventually_async, truth, memory)
    (span,) = set(map(round, spans(memory, "disconnected")))
    assert 30 <= span <= 35


@pytest.mark.parametrize("wrong_s", [-60, 60])
async def test_a_restart_with_a_clock_that_is_slow_or_fast_misses_nothing(
    wrong_s: float, settings: Settings, tmp_path: Path, eventually_async: Eventually
) -> None:
    """By a minute: the gap of the start ends where the exchange's data begin."""
    truth = tmp_path / "truth.jsonl"
    async with Simulator(options(truth, stop_trading_after=1_200)) as exchange:
        async with listening(quick(settings, exchange)) as (_, first):
            await eventually_async(lambda: len(first.trades()) > 300, 20)
        await eventually_async(lambda: exchange.trades_made > len(first.trades()) + 150)
        async with listening(quick(settings, exchange), clock=HostClock(wrong_s)) as (listener, second):
            await eventually_async(lambda: exchange.finished, 30)
            await all_came(eventually_async, truth, first, second)
            assert -1_000 < listener._pipeline.lags_ms[-1] < 5_000


@pytest.mark.parametrize("wrong_s", [-2 * DAY_S, -9 * 3600, 9 * 3600, 2 * DAY_S])
async def test_a_host_that_starts_with_a_wrong_clock_and_is_put_right_misses_nothing(
    wrong_s: float, settings: Settings, tmp_path: Path, eventually_async: Eventually
) -> None:
    """Days behind, or Korean time for UTC and the other way; NTP steps later."""
    truth, clock = tmp_path / "truth.jsonl", HostClock(wrong_s)
    async with (
        Simulator(options(truth, stop_trading_after=800)) as exchange,
        listening(quick(settings, exchange), clock=clock) as (listener, memory),
    ):
        await eventually_async(lambda: exchange.trades_made > 400, 30)
        clock.step(-wrong_s)
        await eventually_async(lambda: exchange.finished, 30)
        await all_came(eventually_async, truth, memory)
        assert not any(name.startswith("rejected") for name in listener.counters())


@pytest.mark.parametrize("kind", ["trade", "ticker", "orderbook"])
async def test_one_event_stamped_a_day_ahead_freezes_nothing(
    kind: str, settings: Settings, tmp_path: Path, eventually_async: Eventually
) -> None:
    """A trade gets the time that REST has for it; tickers and books go on."""
    truth = tmp_path / "truth.jsonl"
    async with (
        Simulator(options(truth, markets=1)) as exchange,
        listening(quick(settings, exchange)) as (listener, memory),
    ):
        await eventually_async(lambda: is_learned(listener, exchange), 60)
        exchange.begin(f"ahead={kind}@0s")
        await eventually_async(lambda: exchange.counters["fault_ahead"] == 1, 30)
        made_by_then = exchange.trades_made
        await eventually_async(lambda: exchange.trades_made > made_by_then + 500, 60)
        exchange.stop_trading()
        await all_came(eventually_async, truth, memory)
        await eventually_async(lambda: listener.counters().get(f"{kind}_ahead") == 1, 30)
        assert listener.counters().get("totals_unexplained", 0) == 0
    newest_ms = max(ms for _, ms, *_ in made(truth))
    assert max(row.exchange_ms for row in memory.rows if not isinstance(row, Gap)) <= newest_ms + 5_000


@pytest.mark.parametrize("kind", ["trade", "ticker", "orderbook"])
async def test_a_kind_of_events_in_korean_time_is_put_right(
    kind: str, settings: Settings, tmp_path: Path, eventually_async: Eventually
) -> None:
    """Each of them is nine hours ahead."""
    truth = tmp_path / "truth.jsonl"
    async with (
        Simulator(options(truth, rules=f"kst={kind}", stop_trading_after=500)) as exchange,
        listening(quick(settings, exchange)) as (listener, memory),
    ):
        await eventually_async(lambda: exchange.finished, 30)
        await all_came(eventually_async, truth, memory)
        assert listener.counters()[f"{kind}_in_kst"] > 50
    newest_ms = max(ms for _, ms, *_ in made(truth))
    assert max(row.exchange_ms for row in memory.rows if not isinstance(row, Gap)) <= newest_ms + 5_000


async def test_maintenance_of_the_exchange_is_the_reason_of_its_outage(
    settings: Settings,
    tmp_path: Path,
    eventually_async: Eventually,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Sockets bring nothing and the totals of the day stand still: while it lasts, and in its gap."""
    monkeypatch.setattr(maintenance, "_LEAST_S", 0.5)
    truth = tmp_path / "truth.jsonl"
    faults = options(truth, faults="maintenance@4s:4s", stop_trading_after=900)
    async with Simulator(faults) as exchange:
        wanted = quick(settings, exchange)
        connection = wanted.connection.model_copy(update={"stall_min_s": 1.0, "stall_max_s": 1.0})
        often = wanted.exchange.model_copy(update={"totals_interval_s": 0.2})
        wanted = wanted.model_copy(update={"exchange": often, "connection": connection})
        async with listening(wanted) as (listener, memory):
            reasons = lambda: (listener._pipeline.outage() or (0, ""))[1]  # noqa: E731
            await eventually_async(lambda: reasons() == "maintenance", 30)
            await eventually_async(lambda: exchange.finished, 30)
            await all_came(eventually_async, truth, memory)
    assert "maintenance" in {gap.reason for gap in memory.of(Gap)}
    assert sum("maintenance" in record.getMessage() for record in caplog.records) == 1
