"""The REST calls answer in the exchange's shapes, with its traps (protocol section 3)."""

import asyncio
import contextlib
import json
import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import connect

from collector.errors import ConfigurationError, RestLimited
from collector.model import Side
from collector.protocol import rest as product
from collector.simulator import Simulator, SimulatorOptions, rest
from collector.simulator.fixed import ONE, text
from collector.simulator.model import MarketModel, Pace
from collector.simulator.rules import parse_rules

US = 1_790_133_505_546_000
MS = US // 1000
HOURS_9_MS = 9 * 3_600_000


@pytest.fixture(scope="module")
def model() -> MarketModel:
    """Forty minutes of a market of thirty."""
    model = MarketModel(30, Pace(rate=2), seed=5, now_us=US - 2_400_000_000)
    for second in range(2_400):
        model.advance(US - 2_400_000_000 + (second + 1) * 1_000_000)
    return model


def get(model: MarketModel, target: str) -> Any:
    reply = rest.answer(target, model.markets, MS)
    assert reply.status == 200
    return json.loads(reply.body, parse_float=Decimal)


def test_the_market_list(model: MarketModel) -> None:
    """All markets with their names; the warning only with details."""
    rows = get(model, "/v1/market/all?isDetails=true")
    assert [*model.markets] == [row["market"] for row in rows]
    assert {"market", "korean_name", "english_name", "market_warning"} == set(rows[0])
    assert "market_warning" not in get(model, "/v1/market/all")[0]
    body = rest.answer("/v1/market/all", model.markets, MS).body
    assert tuple(model.markets) == product.parse_markets(body.encode()).markets


def test_ticker_times_run_nine_hours_ahead(model: MarketModel) -> None:
    """`timestamp` and `trade_timestamp` are Korean wall time as if it were UTC; the texts are right."""
    (row,) = get(model, "/v1/ticker?markets=KRW-BTC")
    trade = model.markets["KRW-BTC"].trades[-1]
    assert trade.ms + HOURS_9_MS == row["trade_timestamp"] == row["timestamp"]
    moment = datetime.fromtimestamp(trade.ms // 1000, UTC)
    assert f"{moment:%Y%m%d%H%M%S}" == row["trade_date"] + row["trade_time"]
    assert Decimal(trade.price) / ONE == row["trade_price"]


def test_thirty_levels_for_one_market_fifteen_for_several(model: MarketModel) -> None:
    """The depth depends on how many are asked; times are true Unix milliseconds."""
    (alone,) = get(model, "/v1/orderbook?markets=KRW-BTC")
    both = get(model, "/v1/orderbook?markets=KRW-BTC,krw-eth")
    assert [len(row["orderbook_units"]) for row in (alone, *both)] == [30, 15, 15]
    assert [row["market"] for row in both] == ["KRW-BTC", "KRW-ETH"]
    assert abs(alone["timestamp"] - MS) < 60_000


def test_a_short_side_is_padded(model: MarketModel) -> None:
    """Price 0 and size 0 stand where there is no level."""
    thin = next(market.code for market in model.markets.values() if len(market.view.bids) < 15)
    (book,) = get(model, f"/v1/orderbook?markets={thin}")
    last = book["orderbook_units"][-1]
    assert (last["bid_price"], last["bid_size"]) == (0, 0)
    assert last["ask_price"] > 0


def test_ticks_come_newest_first_and_page_by_cursor(model: MarketModel) -> None:
    """Page by page, the cursor leads through every trade exactly once."""
    made = model.markets["KRW-BTC"].trades
    seen: list[int] = []
    target = "/v1/trades/ticks?market=KRW-BTC&count=70"
    page = get(model, target)
    while page:
        seen += [row["sequential_id"] for row in page]
        page = get(model, f"{target}&cursor={seen[-1]}")
    assert [trade.rest_id for trade in reversed(made)] == seen


def test_the_product_understands_the_ticks(model: MarketModel) -> None:
    """Read by the collector's own parser, every trade keeps its price, volume, side and time."""
    made = model.markets["BTC-ETH"].trades
    body = rest.answer("/v1/trades/ticks?market=BTC-ETH&count=500", model.markets, MS).body
    read = sorted(product.parse_trades(body.encode(), MS).trades, key=lambda trade: trade.id)
    assert len(made) == len(read) > 20
    for ours, theirs in zip(made, read, strict=True):
        assert (ours.rest_id, Decimal(ours.price) / ONE, Decimal(ours.volume) / ONE, ours.ms) == (
            theirs.id,
            theirs.price,
            theirs.volume,
            theirs.exchange_ms,
        )
        assert ours.buy == (theirs.side is Side.BUY)


def test_to_is_a_korean_time_of_day(model: MarketModel) -> None:
    """`to` cuts at a wall-clock second of today, with or without colons; yesterday has nothing."""
    made = model.markets["KRW-BTC"].trades
    middle = datetime.fromtimestamp(made[len(made) // 2].ms // 1000 + 9 * 3600, UTC)
    expected = [trade.rest_id for trade in reversed(made) if trade.ms < _floor(made[len(made) // 2].ms)]
    for written in (f"{middle:%H%M%S}", f"{middle:%H:%M:%S}"):
        rows = get(model, f"/v1/trades/ticks?market=KRW-BTC&count=500&to={written}")
        assert expected[:500] == [row["sequential_id"] for row in rows]
    assert get(model, f"/v1/trades/ticks?market=KRW-BTC&to={middle:%H%M%S}&daysAgo=1") == []


def _floor(ms: int) -> int:
    return ms - ms % 1000


def test_count_defaults_to_one(model: MarketModel) -> None:
    """Without a count, the newest trade alone."""
    assert len(get(model, "/v1/trades/ticks?market=KRW-BTC")) == 1


@pytest.mark.parametrize("unit", [1, 3, 30, 240])
def test_candles_are_sums_of_their_trades(model: MarketModel, unit: int) -> None:
    """Newest first, aligned to Korean midnight, each the exact view of its trades."""
    made = model.markets["KRW-ETH"].trades
    rows = get(model, f"/v1/candles/minutes/{unit}?market=KRW-ETH&count=200")
    starts = sorted({_start(trade.ms, unit * 60_000) for trade in made}, reverse=True)
    assert starts == [_utc_ms(row["candle_date_time_utc"]) for row in rows]
    for row, start in zip(rows, starts, strict=True):
        inside = [trade for trade in made if _start(trade.ms, unit * 60_000) == start]
        prices = [Decimal(text(trade.price)) for trade in inside]
        assert (prices[0], max(prices), min(prices), prices[-1]) == (
            row["opening_price"],
            row["high_price"],
            row["low_price"],
            row["trade_price"],
        )
        assert Decimal(sum(trade.volume for trade in inside)) / ONE == row["candle_acc_trade_volume"]
        assert unit == row["unit"]


def _start(ms: int, length_ms: int) -> int:
    return ms - (ms + HOURS_9_MS) % length_ms


def _utc_ms(written: str) -> int:
    return int(datetime.fromisoformat(written).replace(tzinfo=UTC).timestamp() * 1000)


def test_candle_end_is_exclusive_korean_time(model: MarketModel) -> None:
    """`to` excludes the candle it names; an offset or `Z` is HTTP 400."""
    rows = get(model, "/v1/candles/minutes/1?market=KRW-BTC&count=5")
    end = rows[2]["candle_date_time_kst"]
    assert rows[3:5] == get(model, f"/v1/candles/minutes/1?market=KRW-BTC&count=2&to={end}")
    assert rest.answer(f"/v1/candles/days?market=KRW-BTC&to={end}Z", model.markets, MS).status == 400


@pytest.mark.parametrize(
    ("status", "name", "target"),
    [
        (200, 404, "/v1/orderbook?markets=KRW-BTC,KRW-NOPE"),
        (200, 404, "/v1/ticker?markets=nope"),
        (200, 400, "/v1/ticker"),
        (200, 400, "/v1/trades/ticks?count=5"),
        (400, "400", "/v1/ticker?markets=" + ",".join(["KRW-BTC"] * 201)),
        (400, 400, "/v1/trades/ticks?market=KRW-BTC&count=501"),
        (400, 400, "/v1/trades/ticks?market=KRW-BTC&to=2026-09-23"),
        (400, 400, "/v1/trades/ticks?market=KRW-BTC&daysAgo=8"),
        (400, 400, "/v1/candles/minutes/7?market=KRW-BTC"),
    ],
)
def test_errors_are_as_documented(model: MarketModel, status: int, name: int | str, target: str) -> None:
    """Mostly HTTP 200 with an error object; its name is a number or a string."""
    reply = rest.answer(target, model.markets, MS)
    assert (status, name) == (reply.status, json.loads(reply.body)["error"]["name"])


def test_unknown_paths_and_long_queries(model: MarketModel) -> None:
    """A true 404 for a path, 414 and nothing for too long a query."""
    missing = rest.answer("/v1/nope", model.markets, MS)
    assert missing.status == 404
    assert json.loads(missing.body)["message"] == "No Route matched with those values"
    assert rest.answer("/v1/ticker?markets=" + "x" * 5_000, model.markets, MS).status == 414


@given(st.text(max_size=60), st.text(max_size=20))
@settings(max_examples=200)
def test_no_query_crashes_it(path: str, value: str) -> None:
    """Whatever is asked, there is an answer."""
    small = MarketModel(2, Pace(rate=0), seed=1, now_us=US)
    for target in (
        path,
        "/v1/" + path,
        f"/v1/trades/ticks?market=KRW-BTC&cursor={value}&to={value}&count={value}",
        f"/v1/candles/minutes/1?market=KRW-BTC&to={value}",
    ):
        assert rest.answer(target, small.markets, MS).status in (200, 400, 404, 414)


@pytest.mark.server
async def test_over_http_with_rate_limit_headers() -> None:
    """On the socket's own port, with the headers of every reply; the 151st call of a second gets 429."""
    options = SimulatorOptions(markets=3, rate=100, rest_requests_per_s=5)
    async with Simulator(options) as exchange, httpx.AsyncClient(base_url=exchange.rest_url) as client:
        replies = [await client.get("/v1/market/all") for _ in range(6)]
        assert [reply.status_code for reply in replies] == [200] * 5 + [429]
        assert replies[0].headers["x-ratelimit-remaining"] == "4"
        assert replies[0].headers["x-ratelimit-replenish-rate"] == "5"
        assert (await client.get("/v1/ticker?markets=KRW-BTC")).status_code == 200  # another category
        assert (await client.get("/v1/nope")).status_code == 404


@pytest.mark.server
async def test_a_backfill_finds_every_trade_nobody_heard(tmp_path: Path) -> None:
    """Trades made while nobody was connected are all in REST, under their other number."""
    truth = tmp_path / "truth.jsonl"
    options = SimulatorOptions(markets=5, rate=0, truth=truth)
    async with Simulator(options) as exchange, httpx.AsyncClient(base_url=exchange.rest_url) as client:
        exchange.make_trades(400)
        await asyncio.sleep(0)
        found = []
        for code in ("KRW-BTC", "KRW-ETH", "KRW-XRP", "KRW-SOL", "KRW-DOGE"):
            reply = await client.get("/v1/trades/ticks", params={"market": code, "count": 500})
            found += [(code, row["sequential_id"]) for row in reply.json()]
    rows = [json.loads(line) for line in truth.read_text().splitlines()]
    assert sorted((row["market"], row["rest_id"]) for row in rows) == sorted(found)
    assert not {row["id"] for row in rows} & {row["rest_id"] for row in rows}


# -- what is not known about the exchange


def ticks(model: MarketModel, rules: str, query: str = "") -> list[dict[str, Any]]:
    reply = rest.answer(
        f"/v1/trades/ticks?market=KRW-BTC&count=500{query}", model.markets, MS, parse_rules(rules)
    )
    assert reply.status == 200
    rows: list[dict[str, Any]] = json.loads(reply.body, parse_float=Decimal)
    return rows


def test_rest_may_lag(model: MarketModel) -> None:
    """Trades, candles and tickers are those of a moment ago, each as it stood then."""
    made = model.markets["KRW-BTC"].trades
    shown_ms = made[-40].ms
    rules = parse_rules(f"rest-lag={(MS - shown_ms) / 1000}s")
    kept = [trade for trade in made if trade.ms <= shown_ms]
    (newest, *_), *_ = [json.loads(rest.answer(BTC_TICKS, model.markets, MS, rules).body)]
    assert newest["timestamp"] == shown_ms
    candles = json.loads(
        rest.answer("/v1/candles/minutes/1?market=KRW-BTC&count=3", model.markets, MS, rules).body,
        parse_float=Decimal,
    )
    start = _start(shown_ms, 60_000)
    volume = sum(trade.volume for trade in kept if trade.ms >= start)
    assert (_utc_ms(candles[0]["candle_date_time_utc"]), candles[0]["candle_acc_trade_volume"]) == (
        start,
        Decimal(volume) / ONE,
    )
    (now,) = get(model, "/v1/ticker?markets=KRW-BTC")
    (then,) = json.loads(
        rest.answer("/v1/ticker?markets=KRW-BTC", model.markets, MS, rules).body, parse_float=Decimal
    )
    later = sum(trade.volume for trade in made if trade.ms > shown_ms)
    assert now["acc_trade_volume"] - then["acc_trade_volume"] == Decimal(later) / ONE
    assert then["trade_timestamp"] == shown_ms + HOURS_9_MS


BTC_TICKS = "/v1/trades/ticks?market=KRW-BTC&count=500"


def test_ids_may_be_anything(model: MarketModel) -> None:
    """Of their own, the socket's, one for all of a millisecond, none."""
    made = model.markets["KRW-BTC"].trades[::-1][:500]
    expected = {
        "own": [trade.rest_id for trade in made],
        "stream": [trade.id for trade in made],
        "shared": [trade.ms * 10_000 for trade in made],
        "none": [None] * len(made),
    }
    for ids, numbers in expected.items():
        assert [row.get("sequential_id") for row in ticks(model, f"rest-ids={ids}")] == numbers
    assert len(set(expected["shared"])) < len(made)


def test_a_cursor_may_mean_anything(model: MarketModel) -> None:
    """Its own row left out or shown, with ids of their own and shared; refused; not heeded."""
    for ids in ("own", "shared"):
        first = ticks(model, f"rest-ids={ids}")
        cursor = first[10]["sequential_id"]
        after = [row for row in ticks(model, f"rest-ids={ids}") if row["sequential_id"] < cursor]
        own = [row for row in first if row["sequential_id"] == cursor]
        exclusive = ticks(model, f"rest-ids={ids}", f"&cursor={cursor}")
        inclusive = ticks(model, f"rest-ids={ids},cursor=inclusive", f"&cursor={cursor}")
        assert exclusive[: len(after)] == after
        assert inclusive[: len(own) + 5] == own + after[:5]
        assert ticks(model, f"rest-ids={ids},cursor=ignored", f"&cursor={cursor}") == first
    refused = rest.answer(f"{BTC_TICKS}&cursor=5", model.markets, MS, parse_rules("cursor=refused"))
    assert refused.status == 400


def test_pages_may_end_at_midnight() -> None:
    """Then `to` 00:00:00 is the end of the day before, or an empty page."""
    midnight_ms = MS - (MS + HOURS_9_MS) % 86_400_000
    model = MarketModel(1, Pace(rate=2), seed=5, now_us=(midnight_ms - 60_000) * 1000)
    for second in range(-59, 60):
        model.advance((midnight_ms + second * 1000) * 1000)

    def sides(rules: str, query: str) -> tuple[bool, bool]:
        """Whether there are trades from before and from after midnight."""
        target = f"{BTC_TICKS}{query}"
        body = rest.answer(target, model.markets, midnight_ms + 60_000, parse_rules(rules)).body
        times = [row["timestamp"] for row in json.loads(body)]
        return any(ms < midnight_ms for ms in times), any(ms >= midnight_ms for ms in times)

    yesterday = "&to=23:59:59&daysAgo=1"
    expected = {
        "crosses": [(True, True), (True, False), (True, False)],
        "ends": [(False, True), (True, False), (True, False)],
        "strict": [(False, True), (False, False), (True, False)],
    }
    for rule, found in expected.items():
        assert [sides(f"midnight={rule}", query) for query in ("", "&to=00:00:00", yesterday)] == found


def test_volumes_of_candles_may_have_four_decimals(model: MarketModel) -> None:
    """The turnover stays exact."""
    rules = parse_rules("candle-volumes=rounded")
    rounded = json.loads(rest.answer(BTC_CANDLES, model.markets, MS, rules).body, parse_float=Decimal)
    exact = get(model, BTC_CANDLES)
    assert rounded != exact
    for theirs, ours in zip(rounded, exact, strict=True):
        assert abs(theirs["candle_acc_trade_volume"] - ours["candle_acc_trade_volume"]) <= Decimal("0.00005")
        assert theirs["candle_acc_trade_volume"].as_tuple().exponent == -4
        assert theirs["candle_acc_trade_price"] == ours["candle_acc_trade_price"]


BTC_CANDLES = "/v1/candles/minutes/1?market=KRW-BTC&count=200"


@pytest.mark.server
@pytest.mark.parametrize(("rule", "status"), [("429", 429), ("error", 200), ("error-text", 200)])
async def test_too_many_calls_are_refused_in_several_forms(rule: str, status: int) -> None:
    """By the limit itself, and by the fault `rest-limit`."""
    for faults, calls in (("", 3), ("rest-limit@0s:60s", 1)):
        options = SimulatorOptions(
            markets=1, rate=0, rest_requests_per_s=2, rules=f"limit={rule}", faults=faults
        )
        async with Simulator(options) as exchange, httpx.AsyncClient(base_url=exchange.rest_url) as client:
            replies = [await client.get("/v1/market/all") for _ in range(calls)]
        assert replies[-1].status_code == status
        if status == 200:
            with pytest.raises(RestLimited):
                product.parse_markets(replies[-1].content)


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ("rest-lagg=3", "did you mean rest-lag?"),
        ("nonsense=3", "Known: rest-lag,"),
        ("cursor=both", "one of exclusive, inclusive, refused, ignored"),
        ("rest-lag=soon", "a number of seconds"),
    ],
)
def test_a_rule_that_is_none_is_named(rules: str, said: str) -> None:
    """Before anything starts."""
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        Simulator(SimulatorOptions(rules=rules))


@pytest.mark.server
@pytest.mark.parametrize(("fault", "listed"), [("leave-out", True), ("vanish", False)])
async def test_a_trade_may_reach_no_socket(fault: str, listed: bool, tmp_path: Path) -> None:
    """Totals and candles count it; REST lists it, or does not. The truth has it."""
    truth = tmp_path / "truth.jsonl"
    options = SimulatorOptions(markets=1, rate=0, truth=truth, faults=f"{fault}:0.3")
    async with (
        Simulator(options) as exchange,
        httpx.AsyncClient(base_url=exchange.rest_url) as client,
        connect(exchange.websocket_url, compression=None) as socket,
    ):
        await socket.send('[{"ticket":"x"},{"type":"trade","codes":["KRW-BTC"],"isOnlyRealtime":true}]')
        await asyncio.sleep(0.4)
        exchange.make_trades(200)
        came = set()
        with contextlib.suppress(TimeoutError):
            while True:
                came.add(json.loads(await asyncio.wait_for(socket.recv(), 0.5))["sequential_id"])
        rows = (await client.get(BTC_TICKS)).json()
        (candle, *_) = (await client.get(BTC_CANDLES)).json()
    made = [json.loads(line) for line in truth.read_text().splitlines()]
    left_out = {row["rest_id"] for row in made if row["id"] not in came}
    assert len(made) == 200
    assert 20 < len(left_out) == exchange.counters[f"fault_{fault}"] < 120
    assert bool(left_out & {row["sequential_id"] for row in rows}) is listed
    assert len(rows) == (200 if listed else 200 - len(left_out))
    assert Decimal(str(candle["candle_acc_trade_volume"])) == sum(Decimal(row["volume"]) for row in made)
