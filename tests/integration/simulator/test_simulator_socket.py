"""The current protocol's socket behaves as the exchange's was observed to (protocol sections 1.2 to 1.9)."""

import asyncio
import contextlib
import json
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from collector.errors import ConfigurationError
from collector.model import OrderBook, Ticker, Trade
from collector.protocol.codec import Rejected
from collector.protocol.current import CurrentCodec
from collector.simulator import Simulator, SimulatorOptions, serve
from collector.simulator.current import SHORT

pytestmark = pytest.mark.server

CODES = ("KRW-BTC", "KRW-ETH", "KRW-XRP")
TYPES = ("ticker", "trade", "orderbook")
Listen = Callable[..., Any]
Waiter = Callable[..., Awaitable[None]]


def fast(**options: Any) -> SimulatorOptions:
    """Options without the waits of the real exchange."""
    return SimulatorOptions(**{"markets": 6, "rate": 300, "snapshot_delay_s": 0.0, "tick_s": 0.01, **options})


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def has_requests(exchange: Simulator, sockets: int = 1) -> Callable[[], bool]:
    """Tell whether the requests of so many sockets are in force: what is made before does not reach them."""
    return lambda: exchange._audience.subscribed == sockets


def truth_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def counts(frame: dict[str, Any]) -> tuple[str, str]:
    return frame["type"], frame["code"]


async def test_snapshots_come_first_without_an_acknowledgement(listen: Listen) -> None:
    """One SNAPSHOT per type and code with something to say, then REALTIME; nothing confirms."""
    async with Simulator(fast()) as exchange, listen(exchange.websocket_url) as listener:
        exchange.make_trades(200)
        await listener.ask(*TYPES)
        frames = await listener.until(lambda got: len(got) >= 60)
        snapshots = [frame for frame in frames if frame["stream_type"] == "SNAPSHOT"]
        assert Counter((kind, code) for kind in TYPES for code in CODES) == Counter(map(counts, snapshots))
        assert {"REALTIME"} == {frame["stream_type"] for frame in frames[len(snapshots) :]}


async def test_a_subscription_may_open_with_several_trades(listen: Listen) -> None:
    """The last of each market, oldest first."""
    async with Simulator(fast(rate=0, rules="snapshot-trades=3")) as exchange:
        exchange.make_trades(200)
        async with listen(exchange.websocket_url) as listener:
            await listener.ask("trade")
            frames = await listener.until(lambda got: len(got) >= 9)
    made = {code: [each.id for each in exchange._invented.markets[code].trades[-3:]] for code in CODES}
    assert {"SNAPSHOT"} == {frame["stream_type"] for frame in frames}
    assert made == {c: [frame["sequential_id"] for frame in frames if frame["code"] == c] for c in CODES}


@pytest.mark.parametrize("form", ["DEFAULT", "SIMPLE"])
async def test_a_market_in_its_first_day(form: str, listen: Listen) -> None:
    """No previous close and nothing that follows from one, on the socket and from REST."""
    nulls = {
        "trade": {"prev_closing_price", "change", "change_price"},
        "ticker": {"prev_closing_price", "change", "change_price", "signed_change_price"}
        | {"change_rate", "signed_change_rate"},
        "orderbook": set(),
    }
    async with (
        Simulator(fast(rules="first-day=1")) as exchange,
        listen(exchange.websocket_url) as listener,
        httpx.AsyncClient(base_url=exchange.rest_url) as client,
    ):
        exchange.make_trades(300)
        await listener.ask(*TYPES, form=form)
        frames = await listener.until(lambda got: len(got) >= 60)
        (ticker,) = (await client.get("/v1/ticker?markets=KRW-ETH")).json()
        ticks = (await client.get("/v1/trades/ticks?market=KRW-ETH&count=5")).json()
    long = {SHORT.get(name, name): name for name in SHORT} | {name: name for name in SHORT}
    for frame in ({long[name]: value for name, value in frame.items()} for frame in frames):
        expected = nulls[frame["type"]] if frame["code"] == "KRW-ETH" else set()
        assert expected == {name for name, value in frame.items() if value is None}
    assert nulls["ticker"] == {name for name, value in ticker.items() if value is None}
    assert {"prev_closing_price", "change_price"} == {
        name for name, value in ticks[0].items() if value is None
    }


async def test_first_frames_take_their_time(listen: Listen) -> None:
    """The first frame comes after the delay that was measured."""
    async with Simulator(fast(snapshot_delay_s=0.15)) as exchange, listen(exchange.websocket_url) as listener:
        begun = time.monotonic()
        await listener.ask("orderbook")
        await listener.next()
        assert time.monotonic() - begun > 0.14


async def test_a_request_replaces_the_one_before(listen: Listen) -> None:
    """After the second request nothing of the first comes any more, but a frame or two under way."""
    async with Simulator(fast()) as exchange, listen(exchange.websocket_url) as listener:
        await listener.ask("orderbook", codes=["KRW-BTC"])
        await listener.next()
        await listener.ask("ticker", codes=["KRW-ETH"])
        frames = await listener.until(lambda got: sum(frame["type"] == "ticker" for frame in got) >= 5)
        first = next(i for i, frame in enumerate(frames) if frame["type"] == "ticker")
        assert {("ticker", "KRW-ETH")} == {counts(frame) for frame in frames[first:]}


@pytest.mark.parametrize(
    ("name", "request_text"),
    [
        ("WRONG_FORMAT", "nonsense"),
        ("WRONG_FORMAT", '{"ticket":"x"}'),
        ("WRONG_FORMAT", '["x"]'),
        ("WRONG_FORMAT", '[{"ticket":"x"}]'),
        ("WRONG_FORMAT", '[{"ticket":"x"},{"codes":["KRW-BTC"]}]'),
        ("WRONG_FORMAT", '[{"ticket":"x"},{"type":"orderbook","codes":["KRW-BTC"],"level":7}]'),
        ("NO_TICKET", '[{"type":"trade","codes":["KRW-BTC"]}]'),
        ("NO_TICKET", '[{"ticket":""},{"type":"trade","codes":["KRW-BTC"]}]'),
        ("NO_CODES", '[{"ticket":"x"},{"type":"trade"}]'),
        ("INVALID_PARAM", '[{"ticket":"x"},{"type":"trade","codes":[]}]'),
        ("INVALID_PARAM", '[{"ticket":"x"},{"type":"nope","codes":["KRW-BTC"]}]'),
    ],
)
async def test_errors_are_told_and_close_with_1000(listen: Listen, name: str, request_text: str) -> None:
    """Each documented error: one frame that names it, then a normal close."""
    async with Simulator(fast()) as exchange, listen(exchange.websocket_url) as listener:
        await listener.socket.send(request_text)
        assert name == (await listener.next())["error"]["name"]
        assert await listener.close_code() == 1000


async def test_an_unknown_format_means_default(listen: Listen) -> None:
    """No error for a format that does not exist; neither for snake-case options, which are ignored."""
    async with Simulator(fast()) as exchange, listen(exchange.websocket_url) as listener:
        await listener.ask("orderbook", form="JSON_LIST", is_only_snapshot=True)
        frames = await listener.until(lambda got: len(got) >= 8)
        assert all("type" in frame for frame in frames)
        assert "REALTIME" in {frame["stream_type"] for frame in frames}


async def test_unknown_and_lower_case_codes_are_ignored_in_silence(listen: Listen) -> None:
    """Bad codes cost nothing and give nothing; the good ones are served."""
    async with Simulator(fast()) as exchange, listen(exchange.websocket_url) as listener:
        await listener.ask("orderbook", codes=["KRW-NOPE", "krw-btc", "BTC-KRW", "BTC_KRW", "KRW-ETH"])
        frames = await listener.until(lambda got: len(got) >= 5)
        assert {"KRW-ETH"} == {frame["code"] for frame in frames}


async def test_only_bad_codes_leave_the_socket_open_and_silent(listen: Listen) -> None:
    """No frame, no error, no close."""
    async with Simulator(fast()) as exchange, listen(exchange.websocket_url) as listener:
        await listener.ask("trade", codes=["KRW-NOPE"])
        assert await listener.during(0.3) == []
        await listener.ping()


async def test_only_snapshot_and_only_realtime(listen: Listen) -> None:
    """The two options in their camel-case spelling."""
    async with Simulator(fast()) as exchange:
        async with listen(exchange.websocket_url) as listener:
            await listener.ask("orderbook", isOnlySnapshot=True)
            frames = [json.loads(raw) for raw in await listener.during(0.4)]
            assert ["SNAPSHOT"] * len(CODES) == [frame["stream_type"] for frame in frames]
        async with listen(exchange.websocket_url) as listener:
            await listener.ask("orderbook", isOnlyRealtime=True)
            frames = await listener.until(lambda got: len(got) >= 5)
            assert {"REALTIME"} == {frame["stream_type"] for frame in frames}


async def test_simple_frames_say_the_same_as_default_ones(listen: Listen, eventually_async: Waiter) -> None:
    """Field by field and digit by digit, under the short names."""
    async with (
        Simulator(fast(rate=0)) as exchange,
        listen(exchange.websocket_url) as long,
        listen(exchange.websocket_url) as short,
    ):
        await long.ask(*TYPES, isOnlyRealtime=True)
        await short.ask(*TYPES, isOnlyRealtime=True, form="SIMPLE")
        await eventually_async(has_requests(exchange, 2), 10)
        exchange.make_trades(200)
        longs, shorts = await asyncio.gather(long.during(1), short.during(1))
        same = {_shortened(json.loads(raw, parse_float=Decimal)) for raw in longs}
        assert len({_text(json.loads(raw, parse_float=Decimal)) for raw in shorts} & same) > 100


def _shortened(frame: dict[str, Any]) -> str:
    units = frame.get("orderbook_units")
    short = {SHORT[key]: value for key, value in frame.items()}
    if units is not None:
        short["obu"] = [{SHORT[key]: value for key, value in unit.items()} for unit in units]
    return _text(short)


def _text(frame: dict[str, Any]) -> str:
    return json.dumps(frame, default=str)


@pytest.mark.parametrize("form", ["DEFAULT", "SIMPLE"])
async def test_the_product_understands_every_frame(listen: Listen, form: str) -> None:
    """Decoded by the collector's own codec: nothing rejected, nothing surprising, all three kinds."""
    codec = CurrentCodec()
    async with Simulator(fast(markets=30)) as exchange, listen(exchange.websocket_url) as listener:
        await listener.ask(*TYPES, codes=[*_codes(exchange)], form=form)
        messages = [message for raw in await listener.during(1) for message in codec.decode(raw, now_ms())]
    assert not [message for message in messages if isinstance(message, Rejected)]
    assert not codec.surprises
    assert {Trade, Ticker, OrderBook} <= {type(message) for message in messages}


def _codes(exchange: Simulator) -> list[str]:
    return list(exchange._source.markets)


async def test_what_is_sent_is_the_truth(listen: Listen, tmp_path: Path, eventually_async: Waiter) -> None:
    """Every trade of the truth file arrives once, with id, price, volume, side and time to the last digit."""
    path = tmp_path / "truth.jsonl"
    codec, received = CurrentCodec(), []
    options = fast(markets=30, rate=0, truth=path)
    async with Simulator(options) as exchange, listen(exchange.websocket_url) as listener:
        await listener.ask("trade", codes=_codes(exchange), isOnlyRealtime=True)
        await eventually_async(has_requests(exchange), 10)
        async with asyncio.timeout(60):
            for _ in range(15):
                exchange.make_trades(100)
                received += [m for raw in await listener.during(0.03) for m in codec.decode(raw, now_ms())]
            while len(received) < 1_500:
                received += [m for raw in await listener.during(0.1) for m in codec.decode(raw, now_ms())]
        assert await listener.during(0.2) == []
    told = {trade.id: trade for trade in received if isinstance(trade, Trade)}
    truth = truth_rows(path)
    assert len(truth) == len(received) == len(told) == 1_500
    for row in truth:
        trade = told[row["id"]]
        assert (row["market"], Decimal(row["price"]), Decimal(row["volume"]), row["side"]) == (
            trade.market,
            trade.price,
            trade.volume,
            trade.side.value,
        )
        assert row["exchange_ms"] == trade.exchange_ms


async def test_after_the_last_trade_it_is_quiet_but_connected(listen: Listen) -> None:
    """Nothing more comes, and the socket still answers."""
    options = fast(stop_trading_after=20, rate=500)
    async with Simulator(options) as exchange, listen(exchange.websocket_url) as listener:
        await listener.ask(*TYPES)
        await asyncio.sleep(0.3)
        assert exchange.finished
        assert exchange.trades_made == 20
        await listener.during(0.2)
        assert await listener.during(0.3) == []
        await listener.ping()


async def test_frames_are_binary_and_books_are_in_microseconds(listen: Listen) -> None:
    """Binary frames of UTF-8 JSON; trades in milliseconds, books in microseconds."""
    async with Simulator(fast()) as exchange, listen(exchange.websocket_url) as listener:
        await listener.ask("orderbook", "trade")
        raws = await listener.during(0.5)
    assert {bytes} == {type(raw) for raw in raws}
    digits = {(frame["type"], len(str(frame["timestamp"]))) for frame in map(json.loads, raws)}
    assert {("orderbook", 16), ("trade", 13)} == digits


async def test_text_frames_on_request_of_the_options(listen: Listen) -> None:
    """For clients that must understand both."""
    async with Simulator(fast(binary=False)) as exchange, listen(exchange.websocket_url) as listener:
        await listener.ask("orderbook")
        assert isinstance(await listener.next_raw(), str)


async def test_compression_is_negotiated_when_both_want_it(listen: Listen) -> None:
    """`permessage-deflate` works; by default it is declined."""
    for offered in (True, False):
        async with (
            Simulator(fast(compression=offered)) as exchange,
            listen(exchange.websocket_url, compression="deflate") as listener,
        ):
            await listener.ask("orderbook")
            assert (await listener.next())["type"] == "orderbook"
            assert offered == bool(listener.socket.protocol.extensions)


async def test_all_sockets_get_the_same_bytes(listen: Listen) -> None:
    """Two sockets with one subscription: whatever both hear is byte for byte the same."""
    async with (
        Simulator(fast()) as exchange,
        listen(exchange.websocket_url) as one,
        listen(exchange.websocket_url) as two,
    ):
        await one.ask(*TYPES, isOnlyRealtime=True)
        await two.ask(*TYPES, isOnlyRealtime=True)
        await asyncio.sleep(0.1)
        first, second = await asyncio.gather(one.during(0.7), two.during(0.7))
    start = first.index(second[0]) if second[0] in first else -second.index(first[0])
    length = min(len(first) - max(start, 0), len(second) - max(-start, 0))
    assert length > 100
    assert first[max(start, 0) :][:length] == second[max(-start, 0) :][:length]


async def test_one_ping_text_starts_a_series(listen: Listen) -> None:
    """One `PING` is answered again and again; a second one starts no second series."""
    options = fast(rate=0, up_first_s=0.1, up_interval_s=0.3)
    begun = time.monotonic()
    async with Simulator(options) as exchange, listen(exchange.websocket_url) as listener:
        await listener.socket.send("PING")
        await listener.socket.send("PING")
        assert [await listener.next_raw() for _ in range(3)] == [b'{"status":"UP"}'] * 3
        assert time.monotonic() - begun > 0.1 + 2 * 0.3 - 0.05


async def test_an_idle_socket_is_cut_without_a_close_frame(listen: Listen) -> None:
    """Nothing sent, nothing received: 1006 after the idle time."""
    async with Simulator(fast(rate=0, idle_timeout_s=0.3)) as exchange:
        async with listen(exchange.websocket_url) as listener:
            begun = time.monotonic()
            assert await listener.close_code() == 1006
            assert time.monotonic() - begun > 0.25
        assert exchange.counters["idle_cuts"] == 1


async def test_a_protocol_ping_keeps_a_socket(listen: Listen) -> None:
    """Pings count as life."""
    async with (
        Simulator(fast(rate=0, idle_timeout_s=0.5)) as exchange,
        listen(exchange.websocket_url) as listener,
    ):
        for _ in range(8):
            await listener.ping()
            await asyncio.sleep(0.15)
        assert exchange.counters["idle_cuts"] == 0


async def test_the_eleventh_connection_of_a_second_gets_429(listen: Listen) -> None:
    """Ten a second and address; a second later the next gets in."""
    async with Simulator(fast(connects_per_s=3)) as exchange:
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(3):
                await stack.enter_async_context(listen(exchange.websocket_url))
            with pytest.raises(InvalidStatus) as refused:
                await stack.enter_async_context(listen(exchange.websocket_url))
            assert refused.value.response.status_code == 429
            await asyncio.sleep(1.05)
            await stack.enter_async_context(listen(exchange.websocket_url))
        assert exchange.counters["refused_429"] == 1


async def test_who_goes_on_knocking_is_blocked(listen: Listen) -> None:
    """After many refusals the address stays blocked, though a second has passed."""
    options = fast(connects_per_s=1, block_after_refusals=3, block_s=60)
    async with Simulator(options) as exchange:
        statuses = []
        for wait_s in (0, 0, 0, 0, 1.1):
            await asyncio.sleep(wait_s)
            try:
                async with listen(exchange.websocket_url):
                    statuses.append(101)
            except InvalidStatus as refused:
                statuses.append(refused.response.status_code)
        assert statuses == [101, 429, 429, 429, 429]


async def test_a_slow_reader_is_dropped_and_delays_nobody(listen: Listen) -> None:
    """Who does not read loses the socket when its buffer is full; the other goes on hearing."""
    async with (
        Simulator(fast(client_buffer_bytes=50_000)) as exchange,
        listen(exchange.websocket_url, max_queue=1, sock=_narrow(exchange.port)) as slow,
        listen(exchange.websocket_url) as quick,
    ):
        await slow.ask("orderbook")
        await quick.ask("trade")
        async with asyncio.timeout(20):
            while not exchange.counters["slow_cuts"]:
                await quick.socket.recv()
        assert [client.number for client in exchange.clients] == [2]
        assert len(await quick.until(lambda got: len(got) >= 50)) == 50


def _narrow(port: int) -> socket.socket:
    """A connected socket with hardly any buffer."""
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    narrow.connect(("127.0.0.1", port))
    narrow.setblocking(False)
    return narrow


async def test_trades_are_made_though_nobody_listens(tmp_path: Path) -> None:
    """The truth grows without a single client."""
    path = tmp_path / "truth.jsonl"
    async with Simulator(fast(truth=path, rate=1_000)) as exchange:
        await asyncio.sleep(0.3)
        assert exchange.trades_made > 50
        assert exchange.trades_made == len(truth_rows(path))


async def test_rate_zero_is_silence_until_told(listen: Listen, eventually_async: Waiter) -> None:
    """Without a rate only what is asked for by `make_trades` happens."""
    async with Simulator(fast(rate=0)) as exchange, listen(exchange.websocket_url) as listener:
        await listener.ask("trade", codes=_codes(exchange))
        await eventually_async(has_requests(exchange), 10)
        assert await listener.during(0.2) == []
        exchange.make_trades(7)
        assert len(await listener.until(lambda got: len(got) == 7)) == 7
        assert await listener.during(0.1) == []


async def test_bad_places_are_named(tmp_path: Path) -> None:
    """A taken port, a truth file that can't be written: one line, and nothing is left running."""
    async with Simulator(fast()) as exchange:
        with pytest.raises(ConfigurationError, match=f"Port {exchange.port}"):
            await Simulator(fast(port=exchange.port)).__aenter__()
    with pytest.raises(ConfigurationError, match="truth"):
        await Simulator(fast(truth=tmp_path / "no" / "truth")).__aenter__()


async def test_serve_runs_until_told_to_stop(listen: Listen) -> None:
    """`serve` tells its addresses, serves, and leaves when asked."""
    stop, started = asyncio.Event(), asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve(fast(), stop, started.set_result))
    exchange = await asyncio.wait_for(started, 5)
    async with listen(exchange.websocket_url) as listener:
        await listener.ask("orderbook")
        await listener.next()
    stop.set()
    await asyncio.wait_for(task, 5)


async def test_many_connections_leave_nothing_behind(listen: Listen) -> None:
    """After a hundred sockets come and gone, none is remembered and no task is left."""
    async with Simulator(fast(connects_per_s=1_000)) as exchange:
        before = len(asyncio.all_tasks())
        for _ in range(100):
            async with listen(exchange.websocket_url) as listener:
                await listener.ask("orderbook")
        await asyncio.sleep(0.2)
        assert exchange.clients == ()
        assert abs(len(asyncio.all_tasks()) - before) <= 2
