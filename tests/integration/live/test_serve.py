"""`collector serve`: the API's answers, live events over SSE and WebSocket, and who is refused."""

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from pydantic import BaseModel, SecretStr, TypeAdapter
from websockets.asyncio.client import connect as connect_ws
from websockets.exceptions import ConnectionClosed, InvalidStatus

import bithumb_collector as bc
from collector.analytics.depth import Book
from collector.cli import serve as serving
from collector.errors import ConfigurationError
from collector.live.events import Selection
from collector.live.remote import RemoteFollower
from collector.model import Channel, Gap, Source
from collector.serve.models import model_of
from collector.settings import ServeSettings, Settings
from collector.store.keys import Keys
from collector.store.read import (
    Candle,
    Change,
    Completeness,
    GapRow,
    Health,
    MarketRow,
    Reader,
    TickerRow,
    TradeRow,
    Volume,
    to_json,
)
from collector.store.store import Store
from tests.samples.rows import BTC, T0, book, ticker, trade

pytestmark = pytest.mark.timeout(60)

Serve = Callable[[Settings], str]
ETH = "KRW-ETH"


def fill(store: Store) -> None:
    """Trades of two markets, a ticker, a book and a gap."""
    store.put_trades([trade(number, 100 + number, exchange_ms=T0 + number) for number in range(5)])
    store.put_trades([trade(9, 7, market=ETH)])
    store.put_tickers([ticker()])
    store.put_books([book()])
    store.put_gaps([Gap(BTC, Channel.TRADE, T0, T0 + 5, "stalled")])


@pytest.mark.parametrize(
    ("path", "row", "read"),
    [
        ("markets", list[model_of(MarketRow)], lambda it: it.market_rows()),
        ("tickers", list[model_of(TickerRow)], lambda it: it.tickers()),
        ("ticker/btc", model_of(TickerRow), lambda it: it.ticker("btc")),
        ("orderbook/btc", model_of(Book), lambda it: it.book("btc")),
        ("candles/btc?interval=5m", list[model_of(Candle)], lambda it: it.candles("btc", "5m")),
        ("candles/btc?from=2020-01-01T00:00 09:00", list[model_of(Candle)], lambda it: it.candles("btc")),
        ("trades/btc?limit=2", list[model_of(TradeRow)], lambda it: it.trades("btc", limit=2)),
        (f"trades/btc?from={T0 + 1}&to={T0 + 2}", list[model_of(TradeRow)], lambda it: it.trades("btc")[1:3]),
        ("volume/btc", list[model_of(Volume)], lambda it: it.volume("btc")),
        ("changes/btc", list[model_of(Change)], lambda it: it.changes("btc")),
        ("gaps", list[model_of(GapRow)], lambda it: it.gaps()),
        ("completeness", list[model_of(Completeness)], lambda it: it.completeness()),
        ("health", model_of(Health), lambda it: it.health()),
    ],
)  # fmt: skip
def test_an_answer_is_what_show_prints_and_as_described(
    serve: Serve,
    settings: Settings,
    store: Store,
    client: redis.Redis,
    path: str,
    row: Any,
    read: Callable[[Reader], Any],
) -> None:
    fill(store)
    answer = httpx.get(f"{serve(settings)}/v1/{path}")
    assert answer.status_code == 200
    TypeAdapter(row).validate_python(answer.json(), strict=True)
    if path != "health":
        assert answer.text == to_json(read(Reader(client, settings)))


@pytest.mark.parametrize(
    ("path", "status", "code", "why"),
    [
        ("/v1/ticker/xyz", 404, "no_data", "xyz is not a market"),
        ("/v1/orderbook/eth", 404, "no_data", "no order book"),
        ("/v1/candles/btc?interval=7m", 400, "invalid_argument", "7m"),
        ("/v1/candles/btc?from=soon", 400, "invalid_argument", "soon"),
        ("/v1/candles/btc?limit=0", 422, "invalid_request", "limit"),
        ("/v1/nothing", 404, "not_found", ""),
        ("/v1/stream?channels=trades", 400, "invalid_argument", "no channel 'trades'"),
        ("/v1/stream?channels=trade&markets=xyz", 404, "no_data", "xyz is not a market"),
        ("/v1/stream?channels=trade&start=0x1-2", 400, "invalid_argument", "neither now, earliest"),
        ("/v1/stream", 422, "invalid_request", "channels"),
    ],
)
def test_bad_input_is_one_clear_answer(
    url: str, store: Store, path: str, status: int, code: str, why: str
) -> None:
    fill(store)
    answer = httpx.get(url + path)
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == code
    assert why in answer.json()["error"]["message"]


def test_who_may_ask(serve: Serve, settings: Settings) -> None:
    """The right name of the host, the right origin, and the token, as a header or a cookie."""
    url = serve(settings.model_copy(update={"serve": ServeSettings(token=SecretStr("a token"))}))
    statuses = [
        httpx.get(f"{url}/v1/info", headers=headers).status_code
        for headers in (
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": "Bearer a token"},
            {"Authorization": "Bearer a token", "Host": "elsewhere.example"},
        )
    ]
    assert statuses == [401, 401, 200, 403]
    assert httpx.post(f"{url}/v1/session", json={"token": "wrong"}).status_code == 401
    with httpx.Client(base_url=url) as page:
        refused = page.post(
            "/v1/session", json={"token": "a token"}, headers={"Origin": "http://elsewhere.example"}
        )
        assert refused.json()["error"]["code"] == "wrong_origin"
        assert page.post("/v1/session", json={"token": "a token"}).status_code == 204
        assert page.get("/v1/info").status_code == 200


def test_the_documentation_needs_no_other_host(url: str) -> None:
    page = httpx.get(f"{url}/docs")
    assert page.status_code == 200
    assert "http" not in page.text.replace("http-equiv", "").replace("http://www.w3.org", "")


def follow(url: str, start: str, channels: str = "trade", markets: str = BTC) -> RemoteFollower:
    return RemoteFollower(url, Selection.of(channels, markets), start)


def take(events: RemoteFollower, count: int) -> list[Any]:
    found = []
    for event in events:
        found.append(event)
        if len(found) == count:
            return found
    raise AssertionError(f"only {len(found)} of {count} events came")


def test_each_trade_comes_once_and_is_resumed_by_its_id(url: str, store: Store) -> None:
    """What was counted before, while one listens, and after a break; no copies, and a backfill is late."""
    fill(store)
    with follow(url, "earliest") as events:
        first = take(events, 5)
        store.put_trades([trade(4, 104, exchange_ms=T0 + 4), trade(5, 105, exchange_ms=T0 + 5)])
        first += take(events, 1)
    assert [event.row.exchange_ms - T0 for event in first] == [0, 1, 2, 3, 4, 5]
    store.put_trades([trade(1, 106, exchange_ms=T0 + 6, source=Source.REST, nth=1)])
    with follow(url, first[2].id) as events:
        rest = take(events, 4)
    assert [event.row.exchange_ms - T0 for event in rest] == [3, 4, 5, 6]
    assert [event.more["late"] for event in rest] == [False, False, False, True]
    assert [event.id for event in rest[:3]] == [event.id for event in first[3:]]


def test_a_plain_generator_gives_the_same(url: str, store: Store) -> None:
    """Each event tells when its trade was counted."""
    fill(store)
    events = bc.stream_blocking("trade", [BTC], "earliest", url=url)
    found = [next(events) for _ in range(5)]
    events.close()
    assert [event.row.exchange_ms - T0 for event in found] == [*range(5)]
    assert [f"{event.ms}" for event in found] == [event.id.split("-")[0] for event in found]
    assert [*found[0].body] == ["id", "channel", "market", "ms", "data"]


def test_states_come_at_once_and_when_they_change(url: str, store: Store) -> None:
    fill(store)
    with follow(url, "now", "ticker,orderbook,candle.1m,candle.1h") as events:
        found = {event.channel: event.row for event in take(events, 4)}
        assert (found["candle.1m"].trade_count, found["ticker"].price) == (5, 100)
        store.put_trades([trade(7, 200, exchange_ms=T0 + 7)])
        store.put_tickers([ticker(300, exchange_ms=T0 + 7)])
        changed = {event.channel: event.row for event in take(events, 3)}
    assert changed["ticker"].price == 300
    assert {changed[f"candle.{interval}"].trade_count for interval in ("1m", "1h")} == {6}
    assert changed["candle.1h"].close == 200


def test_what_is_not_kept_is_announced(url: str, store: Store, client: redis.Redis, keys: Keys) -> None:
    for number in range(4):
        store.put_trades([trade(number, 100 + number, exchange_ms=T0 + number)])
    with follow(url, "earliest") as events:
        ids = [event.id for event in take(events, 4)]
    client.xtrim(keys.events, maxlen=2, approximate=False)
    with follow(url, ids[0]) as events:
        lost, *rest = take(events, 3)
    assert (lost.channel, lost.row["from_id"], lost.row["to_id"]) == ("notice", ids[0], ids[2])
    assert [event.id for event in rest] == ids[2:]


def test_a_stream_without_trades_is_resumed_as_well(serve: Serve, settings: Settings, store: Store) -> None:
    """A ticker before the first trade has an id too, and one that comes later is after it."""
    url = serve(settings)
    store.put_tickers([ticker()])
    with follow(url, "now", "trade,ticker") as events:
        newest = take(events, 1)[0].id
    store.put_trades([trade(1, 101, exchange_ms=T0 + 1)])
    with follow(url, newest, "trade") as events:
        assert [event.row.price for event in take(events, 1)] == [101]


def test_a_quiet_subscriber_has_where_to_resume_before_its_first_event(url: str, store: Store) -> None:
    fill(store)
    with httpx.stream("GET", f"{url}/v1/stream?channels=trade&markets={BTC}", timeout=10) as answer:
        lines = answer.iter_lines()
        newest = next(line.removeprefix("id: ") for line in lines if line.startswith("id: "))
    store.put_trades([trade(6, 106, exchange_ms=T0 + 6)])
    with follow(url, newest) as events:
        assert [event.row.price for event in take(events, 1)] == [106]


def test_more_trades_than_may_wait_come_all_to_one_that_catches_up(
    serve: Serve, settings: Settings, store: Store
) -> None:
    """It is not slow because one batch has more trades than its queue."""
    store.put_trades([trade(number, 100, exchange_ms=T0 + number) for number in range(250)])
    address = serve(settings.model_copy(update={"serve": ServeSettings(queue_max=100)}))
    with follow(address, "earliest") as events:
        assert [event.row.exchange_ms - T0 for event in take(events, 250)] == [*range(250)]


async def test_a_websocket_subscribes_pings_and_is_told_its_mistakes(url: str, store: Store) -> None:
    """Nobody else notices."""
    await asyncio.to_thread(fill, store)
    address = url.replace("http", "ws") + "/v1/ws"
    async with connect_ws(address) as clumsy, connect_ws(address) as other:
        await say(other, op="subscribe", channels=["trade"], markets=["KRW-*"], start="earliest")
        assert (await said(other))["op"] == "subscribed"
        for message, code in (
            ("{", "invalid_message"),
            ("[]", "invalid_message"),
            ('{"op":"sing"}', "invalid_message"),
            ('{"op":"subscribe","channels":["x"]}', "invalid_argument"),
            ('{"op":"subscribe","channels":{"a":1}}', "invalid_argument"),
            ('{"op":"subscribe","channels":["trade"],"markets":["xyz"]}', "no_data"),
            ('{"op":"subscribe","channels":["trade"],"start":7}', "invalid_argument"),
        ):
            await clumsy.send(message)
            answer = await said(clumsy)
            assert (answer["op"], answer["code"]) == ("error", code)
        await say(clumsy, op="ping")
        assert (await said(clumsy))["op"] == "pong"
        assert [(await said(other))["data"]["market"] for _ in range(6)] == [BTC] * 5 + [ETH]
        await say(other, op="unsubscribe", channels=["trade"], markets=["KRW-*"])
        assert (await said(other))["op"] == "unsubscribed"


async def test_each_trade_after_the_answer_that_one_is_subscribed_comes(url: str, store: Store) -> None:
    """Also where many subscribe at the same moment."""
    await asyncio.to_thread(fill, store)

    storing = asyncio.Lock()

    async def own_price(number: int) -> int:
        async with connect_ws(url.replace("http", "ws") + "/v1/ws") as socket:
            await say(socket, op="subscribe", channels=["trade"], markets=["KRW-BTC"])
            assert (await said(socket))["op"] == "subscribed"
            async with storing:
                await asyncio.to_thread(store.put_trades, [trade(1_000 + number, number)])
            while True:
                event = await said(socket)
                if event["data"]["price"] == str(number):
                    return number

    numbers = range(1, 41)
    assert await asyncio.gather(*map(own_price, numbers)) == [*numbers]


async def test_subscriptions_that_overlap_give_each_trade_once(url: str, store: Store) -> None:
    """Whatever a later one asks for of the past: older trades are added, none comes again."""
    await asyncio.to_thread(fill, store)
    async with connect_ws(url.replace("http", "ws") + "/v1/ws") as socket:
        for markets, start in (
            (["KRW-ETH"], "now"), (["KRW-B*"], "earliest"), (["KRW-*"], "earliest"), (["KRW-*"], "earliest"),
        ):  # fmt: skip
            await say(socket, op="subscribe", channels=["trade"], markets=markets, start=start)
        await asyncio.sleep(0.5)
        await asyncio.to_thread(store.put_trades, [trade(20, 5), trade(21, 6, market=ETH)])
        found: list[dict[str, Any]] = []
        while len(found) < 8:
            event = await said(socket)
            found += [event] if event.get("channel") == "trade" else []
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await socket.recv()
    assert sorted(event["data"]["price"] for event in found) == sorted(map(str, [*range(100, 105), 7, 5, 6]))
    assert len({event["id"] for event in found}) == 8


async def test_a_websocket_that_talks_too_much_or_comes_from_elsewhere_is_refused(
    serve: Serve, settings: Settings
) -> None:
    url = serve(settings.model_copy(update={"serve": ServeSettings(messages_per_s=1)})).replace("http", "ws")
    with pytest.raises(InvalidStatus, match="403"):
        await connect_ws(f"{url}/v1/ws", origin="http://elsewhere.example")  # type: ignore[arg-type]
    async with connect_ws(f"{url}/v1/ws") as socket:
        with pytest.raises(ConnectionClosed) as closed:
            await chatter(socket)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008


@pytest.mark.server
def test_a_port_that_is_taken_means_the_next_free_one() -> None:
    with serving.listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with serving.listen_near("127.0.0.1", port) as other:
            assert port < other.getsockname()[1] <= port + 20
    with pytest.raises(ConfigurationError, match="can't be used"):
        serving.listen_near("192.0.2.1", 8000)


def test_no_more_clients_than_allowed(serve: Serve, settings: Settings, store: Store) -> None:
    fill(store)
    url = serve(settings.model_copy(update={"serve": ServeSettings(clients_max=1)}))
    with follow(url, "earliest") as events:
        take(events, 1)
        answer = httpx.get(f"{url}/v1/stream?channels=trade")
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "too_many_clients")


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="only Linux drops those who never read")
def test_a_client_that_never_reads_loses_its_place(
    serve: Serve,
    settings: Settings,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    eventually: Callable[..., None],
) -> None:
    """Its place is free again though its connection was never closed."""
    monkeypatch.setattr(serving, "_UNREAD_S", 1)
    store.put_trades([trade(number, 100, exchange_ms=T0 + number) for number in range(5_000)])
    url = serve(settings.model_copy(update={"serve": ServeSettings(clients_max=1)}))
    with socket.socket() as silent:
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        silent.connect(("127.0.0.1", int(url.rpartition(":")[2])))
        silent.sendall(b"GET /v1/stream?channels=trade&start=earliest HTTP/1.1\r\nHost: localhost\r\n\r\n")
        eventually(lambda: status_of_another(url) == 429)
        eventually(lambda: status_of_another(url) == 200)


def status_of_another(url: str) -> int:
    with httpx.stream("GET", f"{url}/v1/stream?channels=trade") as answer:
        return answer.status_code


def test_a_request_that_is_too_large_is_refused(url: str) -> None:
    """By its length, and without one."""
    for content in (b"{" + b" " * 70_000 + b"}", iter([b"{}"])):
        answer = httpx.post(f"{url}/v1/analyses/vwap", content=content)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")


async def chatter(socket: Any) -> None:
    for _ in range(20):
        await say(socket, op="ping")
        await said(socket)


async def say(socket: Any, **message: object) -> None:
    await socket.send(json.dumps(message))


async def said(socket: Any) -> dict[str, Any]:
    async with asyncio.timeout(10):
        found: dict[str, Any] = json.loads(await socket.recv())
    return found


def test_models_describe_structs() -> None:
    """Decimals are text; a tuple of pairs is a list."""
    model = model_of(TradeRow)
    assert issubclass(model, BaseModel)
    assert model.model_json_schema()["properties"]["price"]["type"] == "string"
    assert model.model_json_schema()["properties"]["side"]["enum"] == ["buy", "sell"]


def test_what_changed_while_redis_was_away_comes_when_it_is_back(
    url: str, store: Store, client: redis.Redis
) -> None:
    """Whatever was published then: the newest states are sent once more, and no trade is lost."""
    fill(store)
    with follow(url, "earliest", "trade,ticker,candle.1m") as events:
        take(events, 7)
        for name in ("normal", "pubsub"):
            client.client_kill_filter(_type=name, skipme=True)
        store.put_tickers([ticker(500, exchange_ms=T0 + 9)])
        store.put_trades([trade(8, 400, exchange_ms=T0 + 8)])
        newest: dict[str, Any] = {}
        wanted = {"trade": 400, "ticker": 500, "candle.1m": 400}
        for event in events:  # a state that is read at the subscription may come before the trade
            newest[event.channel] = event.row.close if event.channel == "candle.1m" else event.row.price
            if newest == wanted:
                break


def test_the_description_has_one_type_for_each_answer(url: str) -> None:
    """Text and an object at once is what no answer is."""
    paths = httpx.get(f"{url}/openapi.json").json()["paths"]
    schemas = [
        content.get("schema", {})
        for path in paths.values()
        for operation in path.values()
        for answer in operation["responses"].values()
        for content in answer.get("content", {}).values()
    ]
    assert len(schemas) > len(paths)
    assert [schema for schema in schemas if "$ref" in schema and "type" in schema] == []


def test_a_wrong_method_is_told_the_right_ones(url: str) -> None:
    answer = httpx.delete(f"{url}/v1/tickers")
    assert (answer.status_code, "GET" in answer.headers["allow"]) == (405, True)


@pytest.mark.timeout(120)
def test_whatever_the_description_allows_is_answered_as_described(
    url: str, store: Store, client: redis.Redis, tmp_path: Path
) -> None:
    """Invented requests, sound and not: no other status, body or header than described, and no failure.

    Left out: the stream, which does not end, analyses, which need a worker, and that every text is taken, for
    most texts are no time and no market.
    """
    fill(store)
    program = Path(sys.executable).with_name("schemathesis")
    examined = subprocess.run(
        [
            program, "run", f"{url}/openapi.json", "--exclude-path", "/v1/stream",
            "--exclude-path-regex", "^/v1/analyses/", "--exclude-checks", "positive_data_acceptance",
            "--max-examples", "25", "--seed", "1", "--no-color",
            "--generation-database", "none",
        ],
        cwd=tmp_path, capture_output=True, text=True, timeout=110,
    )  # fmt: skip
    assert examined.returncode == 0, examined.stdout[-5_000:]
