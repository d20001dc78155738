"""Faults are data: parsed from one string, refused when unknown, done when due."""

import asyncio
import contextlib
import itertools
import json
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.exceptions import InvalidStatus

from collector.errors import ConfigurationError
from collector.protocol.codec import Rejected
from collector.protocol.current import CurrentCodec
from collector.simulator import Simulator, SimulatorOptions
from collector.simulator.events import SimTicker, SimTrade
from collector.simulator.fault_injector import GARBAGE, FaultInjector
from collector.simulator.faults import KINDS, Fault, parse_faults
from collector.simulator.model import MarketModel, Pace

Listen = Callable[..., Any]


def fast(faults: str, **options: Any) -> SimulatorOptions:
    chosen = {"markets": 3, "rate": 500, "snapshot_delay_s": 0.0, "tick_s": 0.01, **options}
    return SimulatorOptions(faults=faults, connects_per_s=1_000, **chosen)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("cut@10s/5s", Fault("cut", start_s=10, period_s=5)),
        ("stall@20s:40s", Fault("stall", start_s=20, duration_s=40)),
        ("stall@20s:40s!one", Fault("stall", start_s=20, duration_s=40, target="one")),
        ("stall@1m/2m:500ms", Fault("stall", start_s=60, period_s=120, duration_s=0.5)),
        ("garbage:0.01", Fault("garbage", amount=0.01)),
        ("duplicate:0.05@3:4", Fault("duplicate", amount=0.05, start_s=3, duration_s=4)),
        ("cut-every:3000", Fault("cut-every", amount=3000)),
        ("silent-channel=trade@20s:30s", Fault("silent-channel", "trade", start_s=20, duration_s=30)),
        ("reject503@0s", Fault("reject503")),
        ("error", Fault("error")),
    ],
)
def test_the_grammar(written: str, expected: Fault) -> None:
    """Each part of a fault lands in its field."""
    assert parse_faults(written) == (expected,)


def test_several_faults_and_none() -> None:
    """Commas separate; blanks do not matter; nothing is nothing."""
    assert [fault.name for fault in parse_faults(" cut@1s , garbage:0.5,")] == ["cut", "garbage"]
    assert parse_faults("") == ()


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("Known: cut", "explode"),
        ("did you mean garbage", "garbag:0.1"),
        ("needs `:amount`", "garbage"),
        ("takes no amount", "cut:5"),
        ("at most 1", "duplicate:2"),
        ("above 0", "lose:0"),
        ("whole", "cut-every:1.5"),
        ("needs `=channel`", "silent-channel@1s"),
        ("takes no argument", "cut=trade"),
        ("is not written like", "cut@soon"),
        ("is not written like", "cut@1s!some"),
        ("means nothing", "cut@1s/0s"),
    ],
)
def test_a_bad_fault_is_refused_with_a_hint(said: str, written: str) -> None:
    """One line that says what is wrong."""
    with pytest.raises(ConfigurationError) as refused:
        parse_faults(written)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@given(st.text(max_size=40))
@settings(max_examples=300)
def test_no_text_crashes_the_parser(written: str) -> None:
    """Faults or our error, never anything else."""
    with contextlib.suppress(ConfigurationError):
        parse_faults(written)


def test_spans_and_periods() -> None:
    """A span is on from its start for its duration, again every period."""
    (once,), (again,) = parse_faults("stall@2s:1s"), parse_faults("stall@2s/10s:1s")
    assert [once.is_on(now) for now in (1.9, 2, 3, 12.5)] == [False, True, False, False]
    assert [again.is_on(now) for now in (1.9, 2, 3, 12.5)] == [False, True, False, True]


def test_moments_come_once_each() -> None:
    """A moment is handed out when it has come, a repeated one every period."""
    injector = FaultInjector(parse_faults("cut@1s,error@2s/2s"), seed=1)
    told = [[fault.name for fault in injector.moments(now)] for now in (0.5, 1, 1.5, 2, 3, 4, 4.1)]
    assert told == [[], ["cut"], [], ["error"], [], ["error"], []]


frames = st.lists(st.binary(min_size=1, max_size=8).map(lambda raw: b"good" + raw), max_size=30)


@given(st.lists(frames, max_size=8), st.integers(0, 1000))
def test_garbage_duplicates_and_shuffles_lose_no_good_frame(batches: list[list[bytes]], seed: int) -> None:
    """Once what is held back has come, every good frame was sent at least once, and none was invented."""
    injector = FaultInjector(parse_faults("garbage:0.3,duplicate:0.3,shuffle:0.3"), seed)
    sent: list[Any] = []
    for batch in [*batches, *[[]] * 40]:
        sent += injector.distort(1, batch, 1.0, is_oldest=True)
    good = Counter(payload for payload in sent if payload not in GARBAGE)
    wanted = Counter(payload for batch in batches for payload in batch)
    assert wanted.keys() == good.keys()
    assert all(good[payload] >= count for payload, count in wanted.items())


def test_without_faults_the_frames_are_untouched() -> None:
    """The same object comes back: nothing is copied where nothing is wrong."""
    batch = [b"a", b"b"]
    assert FaultInjector((), 1).distort(1, batch, 1.0, is_oldest=True) is batch


def test_all_garbage_is_rejected_by_the_product_without_a_crash() -> None:
    """Every kind of junk is a counted fact for the collector's codec."""
    for junk in GARBAGE:
        messages = CurrentCodec().decode(junk, 1_790_000_000_000)
        assert all(isinstance(message, Rejected) for message in messages), junk
        assert messages


def test_every_fault_is_described() -> None:
    """The table explains each name."""
    assert all(meaning for _, meaning in KINDS.values())


async def test_cut_drops_everybody_without_a_close_frame(listen: Listen) -> None:
    """At its moment, and again every period."""
    async with Simulator(fast("cut@300ms/300ms")) as exchange:
        for _ in range(2):
            async with listen(exchange.websocket_url) as one, listen(exchange.websocket_url) as two:
                assert await asyncio.gather(one.close_code(), two.close_code()) == [1006, 1006]
        assert exchange.counters["fault_cut"] == 4


async def test_one_means_the_oldest_socket(listen: Listen) -> None:
    """The other goes on."""
    async with (
        Simulator(fast("cut@400ms!one")) as exchange,
        listen(exchange.websocket_url) as old,
        listen(exchange.websocket_url) as young,
    ):
        await young.ask("trade")
        assert await old.close_code() == 1006
        assert await young.during(0.2)
        assert len(exchange.clients) == 1


@pytest.mark.parametrize(("fault", "code"), [("error", 1000), ("close", 1001)])
async def test_error_and_close_shake_hands(listen: Listen, fault: str, code: int) -> None:
    """An error frame comes before code 1000; maintenance closes with 1001."""
    async with (
        Simulator(fast(f"{fault}@200ms", rate=0)) as exchange,
        listen(exchange.websocket_url) as listener,
    ):
        if fault == "error":
            assert "error" in await listener.next()
        assert code == await listener.close_code()


async def test_a_stall_is_silence_on_an_open_socket(listen: Listen) -> None:
    """Nothing comes for its duration, pings are answered, then data flows again on the same socket."""
    async with Simulator(fast("stall@1s:1s")) as exchange, listen(exchange.websocket_url) as listener:
        await listener.ask("trade", "orderbook")
        heard = []
        async with asyncio.timeout(10):
            while not heard or heard[-1] - heard[0] < 1.2:
                await listener.socket.recv()
                heard.append(time.monotonic())
                if len(heard) == 10:
                    await listener.socket.ping()
        longest = max(after - before for before, after in itertools.pairwise(heard))
        assert 0.8 < longest < 3
        assert exchange.counters["connects"] == 1


async def test_a_channel_can_fall_silent_alone(listen: Listen) -> None:
    """Trades stop, books go on."""
    async with (
        Simulator(fast("silent-channel=trade@0s")) as exchange,
        listen(exchange.websocket_url) as listener,
    ):
        await listener.ask("trade", "orderbook")
        frames = [json.loads(raw) for raw in await listener.during(0.5)]
        assert {"orderbook"} == {frame["type"] for frame in frames}


@pytest.mark.parametrize("status", [429, 503])
async def test_handshakes_can_be_refused(listen: Listen, status: int) -> None:
    """With the status, for the time given."""
    async with Simulator(fast(f"reject{status}@0s:1500ms")) as exchange:
        with pytest.raises(InvalidStatus) as refused:
            await listen(exchange.websocket_url).__aenter__()
        assert status == refused.value.response.status_code
        await asyncio.sleep(max(0, 1.6 - exchange._now_s()))
        async with listen(exchange.websocket_url) as listener:
            await listener.ask("orderbook")
            await listener.next()


async def test_accept_then_close(listen: Listen) -> None:
    """The handshake succeeds and the connection is gone."""
    async with Simulator(fast("accept-close")) as exchange:
        async with listen(exchange.websocket_url) as listener:
            assert await listener.close_code() == 1006
        assert exchange.counters["fault_accept-close"] == 1


async def test_cut_every_so_many_frames(listen: Listen) -> None:
    """Each socket gets about that many frames, then it is cut."""
    async with Simulator(fast("cut-every:200", rate=1_000)) as exchange:
        for _ in range(2):
            async with listen(exchange.websocket_url) as listener:
                await listener.ask("orderbook")
                await listener.close_code()
        assert exchange.counters["fault_cut-every"] == 2
        assert exchange.counters["frames"] >= 400


@pytest.mark.server
async def test_rest_can_fail_too() -> None:
    """REST calls get the status, sockets are untouched."""
    async with (
        Simulator(fast("rest503@0s")) as exchange,
        httpx.AsyncClient(base_url=exchange.rest_url) as client,
    ):
        assert (await client.get("/v1/market/all")).status_code == 503


async def test_frames_can_be_lost_and_garbage_sent(listen: Listen) -> None:
    """Shares are of frames: with all of them hit, nothing good is left; junk comes in between."""
    async with Simulator(fast("lose:1")) as exchange, listen(exchange.websocket_url) as listener:
        await listener.ask("trade", "orderbook")
        assert await listener.during(0.3) == []
    async with Simulator(fast("garbage:1")) as exchange, listen(exchange.websocket_url) as listener:
        await listener.ask("orderbook")
        raws = await listener.during(0.5)
        assert any(raw in GARBAGE for raw in raws)
        assert any(raw not in GARBAGE for raw in raws)


async def test_markets_can_be_listed_and_delisted(listen: Listen) -> None:
    """On schedule: the market list changes, and frames of the new market come when it is asked for."""
    faults = "list=KRW-NEW@100ms,delist=KRW-ETH@100ms"
    async with Simulator(fast(faults)) as exchange, httpx.AsyncClient(base_url=exchange.rest_url) as client:
        await asyncio.sleep(0.3)
        listed = {row["market"] for row in (await client.get("/v1/market/all")).json()}
        assert "KRW-NEW" in listed
        assert "KRW-ETH" not in listed
        async with listen(exchange.websocket_url) as listener:
            await listener.ask("orderbook", codes=["KRW-NEW", "KRW-ETH"])
            frames = await listener.until(lambda got: len(got) >= 10)
            assert {"KRW-NEW"} == {frame["code"] for frame in frames}


async def test_a_list_can_lack_a_market_that_trades_on(listen: Listen) -> None:
    """A hole in the list is no delisting."""
    faults = "unlist=KRW-ETH@0s:2s"
    async with Simulator(fast(faults)) as exchange, httpx.AsyncClient(base_url=exchange.rest_url) as client:

        async def listed() -> set[str]:
            return {row["market"] for row in (await client.get("/v1/market/all")).json()}

        assert await listed() == {"KRW-BTC", "KRW-XRP"}
        async with listen(exchange.websocket_url) as listener:
            await listener.ask("trade", codes=["KRW-ETH"])
            await listener.until(lambda got: len(got) >= 3)
        await asyncio.sleep(max(0, 2.1 - exchange._now_s()))
        assert "KRW-ETH" in await listed()


def test_a_halted_market_does_not_trade_and_says_so() -> None:
    """The others go on; all of them may be halted."""
    model = MarketModel(3, Pace(rate=0), 1, 0)
    for codes in ({"KRW-BTC"}, set(), {"KRW-BTC", "KRW-ETH", "KRW-XRP"}):
        model.halt(codes)
        events = model.make(300, 1_000_000)
        traded = {event.market for event in events if type(event) is SimTrade}
        assert traded == {"KRW-BTC", "KRW-ETH", "KRW-XRP"} - codes
        told = {event.market: event.suspended for event in events if type(event) is SimTicker}
        assert all(told[code] for code in codes)
    assert not model.make(300, 2_000_000)


async def test_maintenance_is_quiet_on_sockets_and_in_rest(listen: Listen) -> None:
    """The sockets stay open and REST answers, but nothing moves; then all goes on."""
    async with (
        Simulator(fast("maintenance@500ms:3s")) as exchange,
        httpx.AsyncClient(base_url=exchange.rest_url) as client,
        listen(exchange.websocket_url) as listener,
    ):

        async def totals() -> list[object]:
            rows = (await client.get("/v1/ticker", params={"markets": "KRW-BTC,KRW-ETH,KRW-XRP"})).json()
            return [row["acc_trade_price"] for row in rows]

        await listener.ask("trade")
        await asyncio.sleep(max(0, 0.6 - exchange._now_s()))
        await listener.during(0.1)
        before = await totals()
        assert await listener.during(0.3) == []
        assert await totals() == before
        await listener.until(lambda got: len(got) >= 3)
        assert await totals() != before


def test_a_listing_that_can_not_be_is_refused_at_the_start() -> None:
    """Not in the middle of a run."""
    with pytest.raises(ConfigurationError, match="can't be listed"):
        Simulator(fast("list=USDT-BTC@5s"))
