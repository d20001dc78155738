"""A whole listener against the simulated exchange: every trade comes out, whatever happens to the sockets."""

import asyncio
import json
import logging
import os
import re
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import redis
from pydantic import SecretStr

from collector import batch
from collector.batch import CLASSES, Kind
from collector.clock import Clock, ManualClock, SystemClock
from collector.errors import ConfigurationError, GaveUp, PipelineError
from collector.feed import backfill
from collector.host.redis_server import PrivateRedis
from collector.listener import market_list, outage_log, outages, stored_gaps
from collector.listener.app import Listener
from collector.listener.pacing import AnalysisPacing
from collector.listener.stored_gaps import StoredGaps
from collector.model import Channel, Gap, OrderBook, Side, Source, Ticker, Trade
from collector.publish.sender import Envelope
from collector.settings import AuditSettings, ConnectionSettings, ExchangeSettings, PublishSettings, Settings
from collector.simulator import Simulator, SimulatorOptions
from collector.simulator.current import trade_frame
from collector.simulator.events import SimTrade
from collector.store.keys import Keys
from collector.store.read import Reader
from collector.store.store import Store

pytestmark = pytest.mark.usefixtures("early_in_the_minute")

Eventually = Callable[..., Awaitable[None]]
KRW5 = 5


class Memory:
    """A transport that keeps the rows."""

    def __init__(self) -> None:
        self.rows: list[Any] = []
        self.limits: list[dict[str, str]] = []

    def send(self, *letters: Envelope) -> None:
        for letter in letters:
            cls: Any = CLASSES[letter.kind]
            self.rows += batch.decode(letter.text, cls).rows

    def limit_rates(self, limits: Mapping[str, str]) -> None:
        self.limits.append(dict(limits))

    def of(self, kind: type) -> list[Any]:
        return [row for row in self.rows if isinstance(row, kind)]

    def trades(self) -> list[Trade]:
        return self.of(Trade)

    def streamed(self) -> list[Trade]:
        return [trade for trade in self.trades() if trade.source is Source.STREAM]

    def open_gaps(self) -> set[tuple[str, str, int]]:
        """Return what is still missing of trades."""
        gaps = [gap for gap in self.of(Gap) if gap.channel is Channel.TRADE]
        recovered = {(gap.market, gap.channel, gap.from_ms) for gap in gaps if gap.recovered}
        return {(gap.market, gap.channel, gap.from_ms) for gap in gaps} - recovered


def quick(settings: Settings, simulator: Simulator | None, **changes: Any) -> Settings:
    """Return settings for a listener of `simulator` with short waits."""
    parts = {
        "exchange": ExchangeSettings(
            websocket_url=simulator.websocket_url if simulator else "ws://127.0.0.1:1",
            rest_url=simulator.rest_url if simulator else "http://127.0.0.1:1",
            rest_requests_per_s=100,
            rest_lag_max_s=1,
            market_refresh_s=1,
        ),
        "connection": ConnectionSettings(
            connects_per_s=5,
            stagger_s=0.05,
            close_timeout_s=0.5,
            backoff_initial_s=0.1,
            backoff_max_s=0.3,
            first_message_timeout_s=8,
        ),
        "publish": PublishSettings(probe_interval_s=0.05, socket_timeout_s=2),
        "audit": AuditSettings(enabled=False),  # nothing is stored here
        "markets": ("*",),
    }
    return settings.model_copy(update={**parts, **changes})


@pytest.fixture(autouse=True)
def _no_rest_before_a_backfill(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backfill, "SETTLE_S", 0.2)
    monkeypatch.setattr(backfill, "_FIRST_RETRY_S", 0.2)
    monkeypatch.setattr(market_list, "RETRY_S", (0.1, 0.2))


@asynccontextmanager
async def listening(settings: Settings, clock: Clock | None = None) -> AsyncIterator[tuple[Listener, Memory]]:
    """A running listener; it must stop in time and leave no task behind."""
    memory, stop = Memory(), asyncio.Event()
    listener = Listener(settings, clock=clock, sender=memory)
    task = asyncio.create_task(listener.run(stop))
    try:
        yield listener, memory
    finally:
        stop.set()
        async with asyncio.timeout(10):
            await task


def streaming(listener: Listener) -> int:
    return sum(str(each.state) == "streaming" for each in listener.connection_group.connections)


def missing(truth: Path, memory: Memory) -> list[dict[str, Any]]:
    """Return the trades of the truth file that arrived under neither of their ids."""
    ids = {(trade.market, trade.id) for trade in memory.trades()}
    made = [json.loads(line) for line in truth.read_text().splitlines()]
    return [it for it in made if not {(it["market"], it["id"]), (it["market"], it["rest_id"])} & ids]


@pytest.mark.parametrize("frame_format", ["DEFAULT", "SIMPLE"])
async def test_every_trade_arrives_once(
    frame_format: str, settings: Settings, tmp_path: Path, eventually_async: Eventually
) -> None:
    """Two sockets, both formats: each trade of the truth once, exact, with books and tickers beside it."""
    truth = tmp_path / "truth.jsonl"
    async with Simulator(SimulatorOptions(markets=KRW5, rate=0, truth=truth)) as exchange:
        wanted = quick(settings, exchange)
        wanted = wanted.model_copy(
            update={"exchange": wanted.exchange.model_copy(update={"format": frame_format})}
        )
        async with listening(wanted) as (listener, memory):
            await eventually_async(lambda: streaming(listener) == 2)
            for _ in range(5):
                exchange.make_trades(100)
                await asyncio.sleep(0.05)
            await eventually_async(lambda: len(memory.trades()) >= 500)
    made = [json.loads(line) for line in truth.read_text().splitlines()]
    expected = {
        (it["market"], it["id"], it["price"], it["volume"], it["side"], it["exchange_ms"]) for it in made
    }
    stream = [trade for trade in memory.trades() if trade.source is Source.STREAM]
    came = [
        (it.market, it.id, format(it.price, "f"), format(it.volume, "f"), str(it.side), it.exchange_ms)
        for it in stream
    ]
    assert len(came) == len(set(came)) == 500
    assert set(came) == expected
    assert memory.of(OrderBook)
    assert memory.of(Ticker)
    assert not any(name.startswith(("rejected", "surprise")) for name in listener.counters())


async def test_trades_of_an_outage_come_back_through_rest(
    settings: Settings, tmp_path: Path, eventually_async: Eventually
) -> None:
    """All sockets cut, trades made meanwhile: recorded as a gap, fetched, and the gap is closed."""
    truth = tmp_path / "truth.jsonl"
    async with Simulator(SimulatorOptions(markets=KRW5, rate=0, truth=truth)) as exchange:
        exchange.make_trades(200)
        async with listening(quick(settings, exchange)) as (listener, memory):
            await eventually_async(lambda: streaming(listener) == 2)
            for _ in range(3):
                exchange.make_trades(100)
                await asyncio.sleep(0.3)
            for client in exchange.clients:
                client.cut()
            exchange.make_trades(300)
            await eventually_async(lambda: streaming(listener) == 2)
            exchange.make_trades(100)
            await eventually_async(lambda: not missing(truth, memory), 10, "all trades")
            await eventually_async(lambda: not memory.open_gaps(), 10, "the end of all gaps")
    assert {gap.reason for gap in memory.of(Gap)} >= {"start", "disconnected"}
    assert any(trade.source is Source.REST for trade in memory.trades())


async def test_an_outage_is_two_lines_in_the_log(
    settings: Settings,
    eventually_async: Eventually,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One when it begins, one when it ends with what it brought; the start had two of its own."""
    monkeypatch.setattr(outage_log, "_LOOK_S", 0.01)
    monkeypatch.setattr(outages, "SETTLE_S", 0.5)
    monkeypatch.setattr(outages, "PATIENCE_S", 110.0)  # a busy machine fetches slowly
    monkeypatch.setattr(StoredGaps, "_read_recovered", lambda _: None)  # nothing is stored here
    caplog.set_level(logging.INFO, "collector")

    def lines() -> list[str]:
        """Lines about all sockets; one of two that is slow on a busy machine has lines of its own."""
        ours = [each for each in caplog.records if each.name == outage_log.__name__]
        return [text for each in ours if not (text := each.getMessage()).startswith("socket ")]

    async with (
        Simulator(SimulatorOptions(markets=KRW5, rate=0)) as exchange,
        listening(quick(settings, exchange)) as (listener, _),
    ):
        await eventually_async(lambda: len(lines()) == 2 and streaming(listener) == 2, 60, "the start")
        for client in exchange.clients:
            client.cut()
        exchange.make_trades(300)
        await eventually_async(lambda: len(lines()) == 4 and streaming(listener) == 2, 60, "the end")
    began, ended = lines()[2:4]
    assert began.startswith("no data any more: disconnected: ")
    fetched = re.fullmatch(
        r"data again after \d+\.\d s: ([\d,]+) trades fetched from REST; no gap is left open", ended
    )
    assert fetched
    assert int(fetched[1].replace(",", "")) >= 300
    assert len(lines()) == 4


async def test_nulls_of_a_first_day_cost_no_trade(
    settings: Settings, tmp_path: Path, eventually_async: Eventually
) -> None:
    """The market's trades are there, its ticker and books too, and what was null is counted by name."""
    truth = tmp_path / "truth.jsonl"
    options = SimulatorOptions(markets=2, rate=0, truth=truth, rules="first-day=1,snapshot-trades=5")
    async with Simulator(options) as exchange:
        exchange.make_trades(20)
        async with listening(quick(settings, exchange)) as (listener, memory):
            await eventually_async(lambda: streaming(listener) == 2)
            exchange.make_trades(200)
            await eventually_async(lambda: not missing(truth, memory), 10, "all trades")
            of_market = lambda kind: [it for it in memory.of(kind) if it.market == "KRW-ETH"]  # noqa: E731
            await eventually_async(lambda: of_market(Ticker) and of_market(OrderBook))
        counters = listener.counters()
    assert len({it.id for it in memory.streamed()}) == len(memory.streamed()), (
        "a snapshot's copy is held back"
    )
    assert {it.prev_closing_price for it in of_market(Ticker)} == {None}
    assert all(counters[f"tolerated:trade.{name}"] > 0 for name in ("change", "prev_closing_price"))
    assert not any(name.startswith("rejected") for name in counters)


async def test_refused_trades_are_gaps_that_are_filled(
    settings: Settings, tmp_path: Path, eventually_async: Eventually
) -> None:
    """Junk that looks like a trade may be one: its market is fetched again, or all where none is named."""
    truth = tmp_path / "truth.jsonl"
    options = SimulatorOptions(markets=2, rate=100, truth=truth, faults="garbage:0.1")
    async with Simulator(options) as exchange, listening(quick(settings, exchange)) as (_, memory):
        refused = lambda: [gap for gap in memory.of(Gap) if gap.reason == "refused"]  # noqa: E731
        await eventually_async(lambda: {gap.market for gap in refused()} == {"KRW-BTC", "KRW-ETH"}, 10)
        exchange._injector._shares.clear()
        await eventually_async(lambda: refused() and not memory.open_gaps(), 15, "the end of all gaps")
        assert len({gap.from_ms for gap in refused()}) <= 4


async def test_trades_between_two_runs_come_back(
    settings: Settings, tmp_path: Path, eventually_async: Eventually
) -> None:
    """The second run goes on where the first one has said that it ended."""
    truth = tmp_path / "truth.jsonl"
    async with Simulator(SimulatorOptions(markets=1, rate=0, truth=truth)) as exchange:
        async with listening(quick(settings, exchange)) as (listener, first):
            await eventually_async(lambda: streaming(listener) == 2)
            exchange.make_trades(20)
            await eventually_async(lambda: len(first.trades()) >= 20)
        exchange.make_trades(1500)  # three pages
        async with listening(quick(settings, exchange)) as (_, second):
            await eventually_async(lambda: len({it.id for it in second.trades()}) >= 1500, 10)
            await eventually_async(lambda: not second.open_gaps(), 10)
        second.rows += first.rows
        assert missing(truth, second) == []


async def test_a_trade_stamped_a_day_ahead_moves_no_start(
    settings: Settings, tmp_path: Path, eventually_async: Eventually
) -> None:
    """Both sockets bring it; the next run goes on where this one ended all the same."""
    truth = tmp_path / "truth.jsonl"
    async with Simulator(SimulatorOptions(markets=2, rate=0, truth=truth)) as exchange:
        async with listening(quick(settings, exchange)) as (listener, first):
            await eventually_async(lambda: streaming(listener) == 2)
            exchange.make_trades(50)
            made = SimTrade("KRW-BTC", 77, 77, 10**8, 10**8, True, time.time_ns() // 1000 + 86_000 * 10**6, 0)
            for client in exchange.clients:
                client.send([trade_frame(made, made.ms, "REALTIME", simple=False)], 0.0)
            await eventually_async(lambda: 77 in {trade.id for trade in first.trades()})
            await eventually_async(lambda: not missing(truth, first))
        exchange.make_trades(300)
        async with listening(quick(settings, exchange)) as (_, second):
            whole = lambda: not missing(truth, merged(first, second))  # noqa: E731
            await eventually_async(whole, 10, "all trades")
            await eventually_async(lambda: second.of(Gap) and not second.open_gaps(), 10)


async def test_a_redis_that_can_not_be_read_at_the_start_is_waited_for(
    settings: Settings, tmp_path: Path, eventually_async: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    """Meanwhile trades are kept on disk; then the run goes on where the last one ended, and not before."""
    truth = tmp_path / "truth.jsonl"
    own = Settings(data_dir=tmp_path / "redis")
    with PrivateRedis(own) as server:
        settings = settings.model_copy(update={"redis_url": SecretStr(server.url)})
        async with Simulator(SimulatorOptions(markets=2, rate=0, truth=truth)) as exchange:
            hasty = PublishSettings(probe_interval_s=0.05, socket_timeout_s=0.3)
            wanted = quick(settings, exchange, publish=hasty)
            async with listening(wanted) as (listener, first):
                await eventually_async(lambda: streaming(listener) == 2)
                exchange.make_trades(50)
                await eventually_async(lambda: not missing(truth, first))
                await asyncio.sleep(0.2)
            exchange.make_trades(700)
            assert server.pid is not None
            os.kill(server.pid, signal.SIGSTOP)
            try:
                async with listening(wanted) as (listener, second):
                    await eventually_async(lambda: streaming(listener) == 2)
                    exchange.make_trades(50)
                    await eventually_async(lambda: listener.counters().get("trade_rows_spooled", 0) >= 50)
                    await asyncio.sleep(1)
                    assert second.of(Gap) == []
                    os.kill(server.pid, signal.SIGCONT)
                    whole = lambda: not missing(truth, merged(first, second))  # noqa: E731
                    await eventually_async(whole, 15, "all trades")
                    await eventually_async(lambda: second.of(Gap) and not second.open_gaps(), 15)
            finally:
                os.kill(server.pid, signal.SIGCONT)
    assert sum("where the last run ended can't be read" in record.message for record in caplog.records) == 1


def merged(*memories: Memory) -> Memory:
    """Return all rows of several."""
    both = Memory()
    both.rows = [row for memory in memories for row in memory.rows]
    return both


@pytest.mark.parametrize("found", [False, True], ids=["of the run before", "found by a worker"])
async def test_a_gap_that_reaches_the_store_late_is_filled_too(
    settings: Settings,
    redis_url: str,
    tmp_path: Path,
    eventually_async: Eventually,
    monkeypatch: pytest.MonkeyPatch,
    found: bool,
) -> None:
    """It was in a queue or on disk when this run began, or a worker makes a dead letter and opens it."""
    monkeypatch.setattr(stored_gaps, "_LOOK_S", (60, 60) if found else (0.2, 0.2))
    monkeypatch.setattr(stored_gaps, "_FOUND_S", 0.2)
    truth = tmp_path / "truth.jsonl"
    async with Simulator(SimulatorOptions(markets=1, rate=0, truth=truth)) as exchange:
        exchange.make_trades(50)
        async with listening(quick(settings, exchange)) as (listener, memory):
            await eventually_async(lambda: streaming(listener) == 2)
            await eventually_async(
                lambda: memory.of(Gap) and not memory.open_gaps(), 10, "the end of the start's gap"
            )
            now_ms = SystemClock().now_ms()
            late = Gap("KRW-BTC", Channel.TRADE, now_ms - 5_000, now_ms - 4_000, "disconnected")
            with redis.Redis.from_url(redis_url) as client:
                Store(client, settings.store).put_gaps([late], found=found)
            filled = (late.market, late.from_ms, True)
            await eventually_async(
                lambda: filled in {(it.market, it.from_ms, it.recovered) for it in memory.of(Gap)}, 10
            )
            requests = listener._backfill.requests
            await asyncio.sleep(1)
            assert listener._backfill.requests == requests, "it is asked for once"


async def test_one_dead_socket_is_invisible(
    settings: Settings, tmp_path: Path, eventually_async: Eventually
) -> None:
    """One of two cut again and again: every trade arrives, and there is no gap but the start's."""
    truth = tmp_path / "truth.jsonl"
    async with (
        Simulator(SimulatorOptions(markets=KRW5, rate=0, truth=truth)) as exchange,
        listening(quick(settings, exchange)) as (listener, memory),
    ):
        await eventually_async(lambda: streaming(listener) == 2)
        for losses in (1, 2, 3):
            exchange.make_trades(20)
            await asyncio.sleep(0.1)
            exchange.clients[0].cut()
            await eventually_async(lambda n=losses: lost(listener) == n)
            exchange.make_trades(20)
            await eventually_async(lambda: streaming(listener) == 2)
        await eventually_async(lambda: not missing(truth, memory))
        stream = [trade for trade in memory.trades() if trade.source is Source.STREAM]
        assert len(stream) == 120
    assert {gap.reason for gap in memory.of(Gap)} == {"start"}


def lost(listener: Listener) -> int:
    return sum(each.totals.losses for each in listener.connection_group.connections)


async def test_faults_of_every_kind_cost_no_trade(
    settings: Settings, tmp_path: Path, eventually_async: Eventually
) -> None:
    """Junk, copies, shuffled frames and cuts at once."""
    truth = tmp_path / "truth.jsonl"
    faults = "garbage:0.05,duplicate:0.1,shuffle:0.1,cut-every:700"
    options = SimulatorOptions(markets=KRW5, rate=150, truth=truth, faults=faults, stop_trading_after=600)
    async with Simulator(options) as exchange, listening(quick(settings, exchange)) as (listener, memory):
        await eventually_async(lambda: exchange.finished, 15)
        await eventually_async(lambda: not missing(truth, memory), 15, "all trades")
        assert any(name.startswith("rejected:") for name in listener.counters())
    assert all(trade.price > 0 for trade in memory.trades())


async def test_a_listing_and_a_delisting_are_followed(
    settings: Settings, tmp_path: Path, eventually_async: Eventually
) -> None:
    """Without a restart; what the new market traded before its subscription is fetched."""
    truth = tmp_path / "truth.jsonl"
    async with (
        Simulator(SimulatorOptions(markets=3, rate=0, truth=truth)) as exchange,
        listening(quick(settings, exchange)) as (listener, memory),
    ):
        trading = asyncio.create_task(trade_on(exchange))
        await eventually_async(lambda: streaming(listener) == 2, 20)
        exchange.list_market("KRW-NEW")
        await eventually_async(lambda: any(it.market == "KRW-NEW" for it in memory.of(OrderBook)), 20)
        gone = sorted({book.market for book in memory.of(OrderBook)} - {"KRW-NEW"})[0]
        exchange.delist(gone)
        await eventually_async(lambda: gone not in listener._markets(), 20)
        await eventually_async(
            lambda: streaming(listener) == 2 == len(listener.connection_group.connections), 20
        )
        trading.cancel()
        await eventually_async(lambda: not missing_of("KRW-NEW", truth, memory), 20)
    assert {gap.market for gap in memory.of(Gap) if gap.reason == "listed"} == {"KRW-NEW"}


async def trade_on(exchange: Simulator) -> None:
    """Make about sixty trades a second until cancelled."""
    while True:
        exchange.make_trades(6)
        await asyncio.sleep(0.1)


def missing_of(market: str, truth: Path, memory: Memory) -> list[dict[str, Any]]:
    return [it for it in missing(truth, memory) if it["market"] == market]


async def test_a_delisted_plain_name_does_not_freeze_the_list(
    settings: Settings, eventually_async: Eventually
) -> None:
    """A name of the settings goes away while a pattern beside it gets a new market."""
    async with Simulator(SimulatorOptions(markets=3, rate=60)) as exchange:
        markets = sorted(exchange._invented.markets)
        wanted = quick(settings, exchange, markets=(markets[0], "KRW-N*"))
        exchange.list_market("KRW-NA")
        async with listening(wanted) as (listener, _):
            await eventually_async(
                lambda: listener._markets() == ("KRW-NA", markets[0])[:: -1 if markets[0] < "KRW-NA" else 1],
                5,
            )
            exchange.delist(markets[0])
            exchange.list_market("KRW-NB")
            await eventually_async(lambda: listener._markets() == ("KRW-NA", "KRW-NB"), 5)


async def test_a_market_that_the_list_lacks_for_a_moment_loses_nothing(
    settings: Settings, tmp_path: Path, eventually_async: Eventually
) -> None:
    """It stays subscribed, and what it may have traded meanwhile is looked up when it is back."""
    truth = tmp_path / "truth.jsonl"
    faults = "unlist=KRW-ETH@1500ms:2s"
    options = SimulatorOptions(markets=3, rate=60, truth=truth, faults=faults)
    async with (
        Simulator(options) as exchange,
        listening(quick(settings, exchange)) as (listener, memory),
    ):
        await eventually_async(
            lambda: any(gap.reason == "relisted" and gap.recovered for gap in memory.of(Gap)), 20, "recovered"
        )
        assert "KRW-ETH" in listener._markets()
        assert {gap.market for gap in memory.of(Gap) if gap.reason == "relisted"} == {"KRW-ETH"}
        await eventually_async(lambda: not missing_of("KRW-ETH", truth, memory), 20)
        said = listener._redis.hgetall(Keys(settings.store.key_prefix).listings)
        assert said[b"KRW-ETH"].startswith(b"[true,")


async def test_a_market_that_the_list_lacks_at_a_restart_loses_nothing(
    settings: Settings, tmp_path: Path, eventually_async: Eventually
) -> None:
    """The second run listens to it as the first did, and fetches what was traded in between."""
    truth = tmp_path / "truth.jsonl"
    async with Simulator(SimulatorOptions(markets=3, rate=60, truth=truth)) as exchange:
        wanted = quick(settings, exchange)
        async with listening(wanted) as (listener, first):
            await eventually_async(lambda: len(first.trades()) >= 60, 20)
            await eventually_async(lambda: listener._status._markets_written, 20)
        exchange.begin("unlist=KRW-ETH@0s")
        async with listening(wanted) as (listener, second):
            await eventually_async(lambda: "KRW-ETH" in listener._markets(), 20)
            await eventually_async(
                lambda: any(gap.reason == "relisted" and gap.recovered for gap in second.of(Gap)), 20
            )
            exchange.stop_trading()
            second.rows += first.rows
            await eventually_async(lambda: not missing_of("KRW-ETH", truth, second), 20)


@pytest.mark.parametrize("markets", [("KRW-NOPE",), ("USDT-*",)])
async def test_an_unknown_market_ends_the_run_with_one_clear_line(
    markets: tuple[str, ...], settings: Settings
) -> None:
    """Wrong usage: exit code 2, nothing half-done."""
    async with Simulator(SimulatorOptions(markets=2)) as exchange:
        listener = Listener(quick(settings, exchange, markets=markets), sender=Memory())
        with pytest.raises(ConfigurationError, match=markets[0].replace("*", r"\*")) as failure:
            await asyncio.wait_for(listener.run(asyncio.Event()), 5)
    assert failure.value.exit_code == 2
    assert "\n" not in str(failure.value)
    assert exchange.counters["connects"] == 0


async def test_an_unreachable_exchange_is_said_once_and_tried_on(
    settings: Settings, caplog: pytest.LogCaptureFixture, eventually_async: Eventually
) -> None:
    """One line; as soon as the exchange is there, it streams. The health report is there all the time."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = ExchangeSettings(
        websocket_url=f"ws://127.0.0.1:{port}/websocket/v1", rest_url=f"http://127.0.0.1:{port}"
    )
    caplog.set_level(logging.WARNING)
    async with listening(quick(settings, None, exchange=address)) as (listener, _):
        await asyncio.sleep(1)
        lines = [record for record in caplog.records if "can't be reached" in record.message]
        assert len(lines) == 1
        assert health(settings, listener)["state"] in ("starting", "waiting")
        async with Simulator(SimulatorOptions(markets=2, rate=50, port=port)):
            await eventually_async(lambda: streaming(listener) == 2, 10)


async def test_plain_names_do_not_wait_for_the_list(settings: Settings, eventually_async: Eventually) -> None:
    """REST is away, the socket works."""
    options = SimulatorOptions(markets=2, rate=50, faults="rest503@0s:60s")
    async with Simulator(options) as exchange:
        market = sorted(exchange._invented.markets)[0]
        async with listening(quick(settings, exchange, markets=(market,))) as (listener, memory):
            await eventually_async(lambda: streaming(listener) == 2)
            await eventually_async(lambda: memory.of(OrderBook))
            assert {book.market for book in memory.of(OrderBook)} == {market}


async def test_names_of_every_alphabet_are_collected_and_a_delisted_one_costs_only_itself(
    settings: Settings, caplog: pytest.LogCaptureFixture, eventually_async: Eventually
) -> None:
    """Hangul, Han characters and a dot, all three channels; the market that is gone is named once."""
    odd = ("KRW-가나", "KRW-币安人生", "KRW-USDC.E")
    faults = ",".join(f"list={code}@0s" for code in odd)
    async with Simulator(SimulatorOptions(markets=2, rate=400, faults=faults)) as exchange:
        await eventually_async(lambda: set(odd) <= set(exchange._invented.markets))
        wanted = quick(settings, exchange, markets=("krw_usdc.e", "KRW-가나", "币*", "KRW-LUNA"))
        async with listening(wanted) as (listener, memory):
            for kind in (Trade, Ticker, OrderBook):
                await eventually_async(lambda kind=kind: set(odd) == {row.market for row in memory.of(kind)})
            assert not any(name.startswith("rejected") for name in listener.counters())
    said = [record.getMessage() for record in caplog.records if "LUNA" in record.getMessage()]
    assert said == ["COLLECTOR_MARKETS: KRW-LUNA is not a market of the exchange; going on with the others"]


@pytest.mark.parametrize("frame_format", ["DEFAULT", "SIMPLE"])
async def test_what_was_known_before_is_no_lag(
    frame_format: str, settings: Settings, eventually_async: Eventually
) -> None:
    """The SNAPSHOT trade of a quiet market may be hours old; the lag is of what happens."""
    async with Simulator(SimulatorOptions(markets=2, rate=0)) as exchange:
        exchange.make_trades(20)
        await asyncio.sleep(0.6)
        wanted = quick(settings, exchange)
        shaped = wanted.exchange.model_copy(update={"format": frame_format})
        async with listening(wanted.model_copy(update={"exchange": shaped})) as (listener, memory):
            await eventually_async(lambda: streaming(listener) == 2)
            exchange.make_trades(100)
            await eventually_async(lambda: len(memory.trades()) >= 100)
            lags = list(listener._pipeline.lags_ms)
            assert len(lags) >= 100
            assert max(lags) < 500


async def test_it_gives_up_where_a_limit_is_set(settings: Settings) -> None:
    """One clear line, after a flush."""
    async with Simulator(SimulatorOptions(markets=2, faults="reject503@0s:60s")) as exchange:
        wanted = quick(settings, exchange)
        wanted = wanted.model_copy(
            update={"connection": wanted.connection.model_copy(update={"retries_max": 2})}
        )
        listener = Listener(wanted, sender=Memory())
        with pytest.raises(GaveUp, match=r"gave up after 3 failures in a row, last: .* HTTP 503"):
            await asyncio.wait_for(listener.run(asyncio.Event()), 10)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_dead_publisher_ends_the_run(settings: Settings, eventually_async: Eventually) -> None:
    """A listener that can't hand anything on must not go on listening."""

    class Broken(Memory):
        def send(self, *_: Envelope) -> None:
            raise ZeroDivisionError

    async with Simulator(SimulatorOptions(markets=2, rate=50)) as exchange:
        listener = Listener(quick(settings, exchange), sender=Broken())
        with pytest.raises(PipelineError, match="the publisher died: ZeroDivisionError"):
            await asyncio.wait_for(listener.run(asyncio.Event()), 10)


async def test_a_stop_hands_on_what_is_open(settings: Settings, eventually_async: Eventually) -> None:
    """Rows that still wait in a batch are sent on the way out."""
    async with Simulator(SimulatorOptions(markets=2, rate=0)) as exchange:
        exchange.make_trades(50)
        wanted = quick(settings, exchange)
        lazy = wanted.batch.model_copy(update={"max_age_ms": 60_000, "max_rows": 10_000})
        async with listening(wanted.model_copy(update={"batch": lazy})) as (listener, memory):
            await eventually_async(lambda: streaming(listener) == 2)
            recovered = "the start's two gaps, each opened and recovered, which sends the trades before it"
            is_filled = lambda: listener.counters().get("gap_rows", 0) >= 4 and not len(listener._backfill)  # noqa: E731
            await eventually_async(is_filled, 20, recovered)
            before = {trade.id for trade in memory.trades()}
            rows = listener.counters()["trade_rows"]
            exchange.make_trades(50)
            await eventually_async(lambda: listener.counters()["trade_rows"] >= rows + 50)
            assert {trade.id for trade in memory.trades()} == before
        assert len({trade.id for trade in memory.trades()} - before) == 50


async def test_the_legacy_protocol(settings: Settings, eventually_async: Eventually) -> None:
    """All channels of the older socket, whole books from changes among them."""
    async with Simulator(SimulatorOptions(markets=2, rate=0)) as exchange:
        address = ExchangeSettings(
            websocket_url=exchange.legacy_websocket_url, rest_url=exchange.rest_url, protocol="legacy"
        )
        async with listening(quick(settings, exchange, exchange=address)) as (listener, memory):
            await eventually_async(lambda: streaming(listener) == 2)
            for _ in range(4):
                exchange.make_trades(50)
                await asyncio.sleep(0.1)
            stream = lambda: {it.id for it in memory.trades() if it.source is Source.STREAM}  # noqa: E731
            await eventually_async(lambda: len(stream()) >= 150)
            await eventually_async(lambda: memory.of(Ticker) and memory.of(OrderBook))
        assert all(book.bids[0][0] < book.asks[0][0] for book in memory.of(OrderBook))


async def test_health_and_refused_frames_are_told(settings: Settings, eventually_async: Eventually) -> None:
    """The row `show health` promises, a last one on leaving, and a small list of what was refused."""
    options = SimulatorOptions(markets=2, rate=100, faults="garbage:0.2")
    async with Simulator(options) as exchange, listening(quick(settings, exchange)) as (listener, _):
        await eventually_async(lambda: listener.counters().get("trade_rows", 0) > 50)
        client = redis.Redis.from_url(settings.redis_url.get_secret_value())
        key = Keys(settings.store.key_prefix).rejected_frames
        await eventually_async(lambda: client.llen(key) >= 5)
        row = health(settings, listener)
        refused = json.loads(client.lindex(key, 0))
        client.close()
    assert health(settings, listener)["state"] == "stopped"
    assert row.keys() >= {
        "id", "state", "connections", "mode", "frames_per_s", "lag_ms_p50", "lag_ms_p99", "spool_bytes",
        "last_frame_ms", "counters",
    }  # fmt: skip
    assert (row["state"], row["mode"], len(row["connections"])) == ("streaming", "flow", 2)
    assert row["lag_ms_p50"] >= 0
    assert refused.keys() == {"at_ms", "reason", "detail", "raw"}


def health(settings: Settings, listener: Listener) -> dict[str, Any]:
    with redis.Redis.from_url(settings.redis_url.get_secret_value()) as client:
        return dict(json.loads(client.get(Keys(settings.store.key_prefix).listener(listener.id)) or b"{}"))


async def test_a_broker_that_is_away_delays_nothing(settings: Settings, eventually_async: Eventually) -> None:
    """Redis is not there at all: the sockets stream, the trades are on disk."""
    async with Simulator(SimulatorOptions(markets=2, rate=0)) as exchange:
        wanted = quick(settings, exchange, redis_url=SecretStr("redis://127.0.0.1:1/0"))
        async with listening(wanted) as (listener, memory):
            await eventually_async(lambda: streaming(listener) == 2)
            exchange.make_trades(100)
            await eventually_async(lambda: listener.counters().get("trade_rows_spooled", 0) >= 100)
            assert memory.rows == []
    async with (
        Simulator(SimulatorOptions(markets=2, rate=0)) as exchange,
        listening(quick(settings, exchange)) as (_, memory),
    ):
        await eventually_async(lambda: len(memory.trades()) >= 100)


def test_shards_share_the_markets(settings: Settings) -> None:
    """Each market falls to one of two listeners."""
    listed = [f"KRW-{letter * 3}" for letter in "ABCDEFGH"]
    chosen = []
    for shard in ("1/2", "2/2"):
        listener = Listener(quick(settings, None, shard=shard), sender=Memory())
        chosen += listener._market_list.choose(listed)
        listener._publisher._spool.close()
        listener._redis.close()
    assert sorted(chosen) == listed
    assert Kind.TRADE in CLASSES


def test_restored_rate_limits_are_said_again_for_a_minute(settings: Settings) -> None:
    """A worker that could not reach Redis when the pressure ended would else stay slow for good."""
    clock, memory = ManualClock(), Memory()
    pacing = AnalysisPacing(memory, settings.worker.analysis_rate_limit, clock)
    said: list[int] = []
    for factor in (0.25, 1.0):
        for _ in range(200):
            pacing.apply(factor)
            clock.advance(1)
        said.append(len(memory.limits))
        memory.limits.clear()
    assert said == [20, 7]


async def test_an_outage_is_read_as_one_while_it_lasts(
    settings: Settings, eventually_async: Eventually
) -> None:
    """Complete while the sockets stream, not while they are cut, not after the listener has left."""
    options = SimulatorOptions(markets=1, rate=50, faults="cut@3s,reject503@3s:3s")
    keys = Keys(settings.store.key_prefix)
    async with Simulator(options) as exchange, listening(quick(settings, exchange)) as (listener, _):
        reader = Reader(listener._redis, settings)

        def state() -> tuple[bool, list[str]]:
            return reader.candles("KRW-BTC")[-1].complete, [gap.reason for gap in reader.gaps()]

        now_ms = SystemClock().now_ms()
        made = Trade("KRW-BTC", 1, Decimal(1), Decimal(1), Side.BUY, now_ms, now_ms)
        Store(listener._redis, settings.store).put_trades([made])
        await eventually_async(lambda: state() == (True, []), 3, "streaming")
        await eventually_async(lambda: not state()[0], 5, "an outage")
        assert len(state()[1]) == 1
        await eventually_async(lambda: not state()[1], 8, "streaming again")
        assert not state()[0]  # no worker stores what was sent
        assert listener._redis.exists(keys.coverage_alive("1/1"))
    with redis.Redis.from_url(settings.redis_url.get_secret_value()) as client:
        assert not client.exists(keys.coverage_alive("1/1"))
        assert not Reader(client, settings).volume("KRW-BTC")[0].complete
