"""The older socket as it was recorded: statuses, filters that add up, strings in Korean time (section 2)."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

from collector.model import Side, Trade
from collector.protocol.codec import Rejected
from collector.protocol.legacy import LegacyCodec
from collector.simulator import Simulator, SimulatorOptions

Listen = Callable[..., Any]
SYMBOLS = ["BTC_KRW", "ETH_KRW", "XRP_KRW"]
KST = timezone(timedelta(hours=9))


def fast(**options: Any) -> SimulatorOptions:
    return SimulatorOptions(**{"markets": 6, "rate": 300, "snapshot_delay_s": 0.0, "tick_s": 0.01, **options})


def request(channel: str, **more: Any) -> str:
    return json.dumps({"type": channel, "symbols": SYMBOLS, **more})


def leaves(value: Any) -> list[Any]:
    """Every scalar inside a frame."""
    if isinstance(value, dict):
        return [leaf for each in value.values() for leaf in leaves(each)]
    return [leaf for each in value for leaf in leaves(each)] if isinstance(value, list) else [value]


async def test_statuses_after_connect_and_filter(listen: Listen) -> None:
    """A greeting, one acknowledgement for each filter, `5100` for a bad one; the socket stays open."""
    async with Simulator(fast(rate=0)) as exchange, listen(exchange.legacy_websocket_url) as listener:
        assert (await listener.next())["resmsg"] == "Connected Successfully"
        await listener.socket.send(request("transaction"))
        assert (await listener.next())["resmsg"] == "Filter Registered Successfully"
        for bad in ("nonsense", request("nope"), request("ticker"), '{"type":"transaction"}', "[]"):
            await listener.socket.send(bad)
            assert (await listener.next())["status"] == "5100"
        await listener.socket.send(request("orderbookdepth"))
        assert (await listener.next())["status"] == "0000"


async def test_filters_add_up(listen: Listen) -> None:
    """One request per type: all types flow, in text frames, and every value is a string."""
    async with Simulator(fast()) as exchange, listen(exchange.legacy_websocket_url) as listener:
        for channel in ("transaction", "orderbookdepth", "orderbooksnapshot"):
            await listener.socket.send(request(channel))
        await listener.socket.send(request("ticker", tickTypes=["24H", "MID"]))
        raws = await listener.during(1)
    assert {str} == {type(raw) for raw in raws}
    frames = [frame for frame in map(json.loads, raws) if "type" in frame]
    kinds = {"transaction", "orderbookdepth", "orderbooksnapshot", "ticker"}
    assert kinds == {frame["type"] for frame in frames}
    assert {str} == {type(leaf) for frame in frames for leaf in leaves(frame)}
    assert {"24H", "MID"} == {frame["content"]["tickType"] for frame in frames if frame["type"] == "ticker"}


async def test_the_truth_arrives_in_korean_words(listen: Listen, tmp_path: Path) -> None:
    """Read by the collector's own codec, trades equal the truth: price, volume, side, millisecond, order."""
    path = tmp_path / "truth.jsonl"
    codec = LegacyCodec()
    options = fast(rate=0, markets=3, truth=path)
    async with Simulator(options) as exchange, listen(exchange.legacy_websocket_url) as listener:
        await listener.socket.send(request("transaction"))
        await listener.during(0.1)
        exchange.make_trades(300)
        exchange.make_trades(300)
        raws = await listener.during(0.5)
        now_ms = exchange._now_us() // 1000
    messages = [message for raw in raws for message in codec.decode(raw, now_ms)]
    assert not [message for message in messages if isinstance(message, Rejected)]
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for code in ("KRW-BTC", "KRW-ETH", "KRW-XRP"):
        told = [trade for trade in messages if isinstance(trade, Trade) and trade.market == code]
        made = [row for row in rows if row["market"] == code]
        assert [
            (Decimal(row["price"]), Decimal(row["volume"]), Side(row["side"]), row["exchange_ms"])
            for row in made
        ] == [(trade.price, trade.volume, trade.side, trade.exchange_ms) for trade in told]


async def test_changes_lead_from_one_book_to_the_next(listen: Listen) -> None:
    """Applied to a whole book, the changes give the next whole book, level by level."""
    async with Simulator(fast(rate=200)) as exchange, listen(exchange.legacy_websocket_url) as listener:
        await listener.socket.send(request("orderbookdepth"))
        await listener.socket.send(request("orderbooksnapshot"))
        frames = [json.loads(raw) for raw in await listener.during(1.5)]
    books: dict[str, dict[str, dict[str, str]]] = {}
    compared = 0
    for frame in frames:
        content = frame.get("content")
        if frame.get("type") == "orderbooksnapshot":
            whole = {side: dict(content[f"{side}s"]) for side in ("ask", "bid")}
            if content["symbol"] in books:
                assert whole == books[content["symbol"]]
                compared += 1
            books[content["symbol"]] = whole
        elif frame.get("type") == "orderbookdepth":
            _apply(books, content["list"])
    assert compared > 100


def _apply(books: dict[str, dict[str, dict[str, str]]], changes: list[dict[str, str]]) -> None:
    for change in changes:
        if change["symbol"] in books:
            side = books[change["symbol"]][change["orderType"]]
            if change["quantity"] == "0":
                side.pop(change["price"])
            else:
                side[change["price"]] = change["quantity"]


async def test_nothing_anchors_the_changes(listen: Listen) -> None:
    """`orderbookdepth` alone brings no whole book; `orderbooksnapshot` has thirty levels a side."""
    async with Simulator(fast(rate=0)) as exchange, listen(exchange.legacy_websocket_url) as listener:
        await listener.socket.send(request("orderbookdepth"))
        frames = [json.loads(raw) for raw in await listener.during(0.3)]
        assert not [frame for frame in frames if "type" in frame]
        await listener.socket.send(request("orderbooksnapshot"))
        frames = [json.loads(raw) for raw in await listener.during(0.3)]
        content = next(frame["content"] for frame in frames if "type" in frame)
        assert (len(content["asks"]), len(content["bids"])) == (30, 30)


async def test_several_trades_share_a_frame(listen: Listen) -> None:
    """One frame never mixes symbols, and its trades are the oldest first."""
    async with Simulator(fast(rate=0)) as exchange, listen(exchange.legacy_websocket_url) as listener:
        await listener.socket.send(request("transaction"))
        await listener.during(0.1)
        exchange.make_trades(100)
        frames = [json.loads(raw) for raw in await listener.during(0.4)]
    lists = [frame["content"]["list"] for frame in frames if frame.get("type") == "transaction"]
    assert max(map(len, lists)) > 5
    for trades in lists:
        assert len({trade["symbol"] for trade in trades}) == 1
        times = [datetime.fromisoformat(trade["contDtm"]).replace(tzinfo=KST) for trade in trades]
        assert times == sorted(times)
