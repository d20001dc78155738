"""The older protocol: Korean wall time, strings for everything, made ids, and partial frames."""

import json
import os
import time
from collections.abc import Iterator
from decimal import Decimal as D

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.model import BookChange, Channel, OrderBook, Side, Ticker, Trade
from collector.protocol.codec import Message, Rejected, ServerError, Status, Subscription
from collector.protocol.legacy import LegacyCodec, kst_to_us, to_market, to_symbol
from tests.samples.legacy_frames import (
    ENTRY,
    LEVEL,
    RECEIVED_MS,
    TICKER,
    TRADE_US,
    depth,
    snapshot,
    ticker,
    transaction,
)


def decode(text: str, codec: LegacyCodec | None = None) -> list[Message]:
    return list((codec or LegacyCodec()).decode(text, RECEIVED_MS))


def trades(*frames: str, codec: LegacyCodec | None = None) -> list[Trade]:
    codec = codec or LegacyCodec()
    found = [message for frame in frames for message in decode(frame, codec)]
    assert all(isinstance(trade, Trade) for trade in found), found
    return found  # type: ignore[return-value]


def reasons(text: str) -> list[str]:
    return [message.reason for message in decode(text) if isinstance(message, Rejected)]


@pytest.fixture(params=["UTC", "Asia/Seoul", "America/New_York"])
def host_zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """This process in another time zone."""
    before = os.environ.get("TZ")
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.setenv("TZ", before or "UTC")
    time.tzset()


def test_times_are_korean_whatever_the_zone_of_the_machine(host_zone: str) -> None:
    """20:56:17.158984 in Korea is 11:56:17.158984 UTC, also in Seoul and in New York."""
    (trade,) = trades(transaction())
    assert (trade.exchange_ms, trade.order) == (TRADE_US // 1000, 984_000)
    (message,) = decode(ticker())
    assert isinstance(message, Ticker)
    assert message.exchange_ms == TRADE_US // 1_000_000 * 1000


@given(st.integers(1_300_000_000_000_000, 2_000_000_000_000_000))
def test_every_microsecond_survives_the_way_through_korean_text(us: int) -> None:
    """The text of a time leads back to it."""
    wall = time.gmtime(us // 1_000_000 + 9 * 3600)
    assert us == kst_to_us(f"{time.strftime('%Y-%m-%d %H:%M:%S', wall)}.{us % 1_000_000:06d}")


@pytest.mark.parametrize(
    ("text", "expected_us"),
    [
        ("2026-05-07 20:56:17.158984", TRADE_US),
        ("2026-05-07 20:56:17.158", TRADE_US - 984),
        ("2026-05-07 20:56:17", TRADE_US - 158984),
        ("2026-05-07 0:56:17", TRADE_US - 158984 - 20 * 3_600_000_000),
    ],
)
def test_fractions_and_leading_zeros_may_be_missing(text: str, expected_us: int) -> None:
    """Six, three or no digits of the second; an hour of one digit."""
    assert expected_us == kst_to_us(text)


@pytest.mark.parametrize(
    ("clock", "expected"),
    [("205617", "20:56:17"), ("095617", "09:56:17"), ("95617", "09:56:17"), ("13809", "01:38:09")],
)
def test_a_ticker_hour_without_leading_zero_is_still_that_hour(clock: str, expected: str) -> None:
    """13809 is 01:38:09, not 13:08:09."""
    (message,) = decode(ticker(time=clock))
    assert isinstance(message, Ticker)
    assert kst_to_us(f"2026-05-07 {expected}") // 1000 == message.exchange_ms


def test_a_trade_has_every_field() -> None:
    """Side 2 is a buy, 1 a sell; numbers are exact."""
    (bought,) = trades(transaction())
    (sold,) = trades(transaction(buySellGb="1"))
    assert ("KRW-BTC", D("118919000"), D("0.00841192")) == (bought.market, bought.price, bought.volume)
    assert (bought.side, sold.side) == (Side.BUY, Side.SELL)
    assert bought.received_ms == RECEIVED_MS


def test_made_ids_are_the_same_on_every_socket_and_in_every_process() -> None:
    """The id depends on nothing but the trade; this value must never change, stored trades carry it."""
    assert trades(transaction())[0].id == trades(transaction())[0].id == 7635360369699017687
    assert 0 < trades(transaction())[0].id < 2**63


def test_made_ids_tell_different_trades_apart() -> None:
    """Market, time, price, size and side all count; the spelling of a number does not."""
    others: list[dict[str, object]] = [
        {"symbol": "ETH_KRW"},
        {"contPrice": "118919001"},
        {"contQty": "0.00841193"},
        {"buySellGb": "1"},
        {"contDtm": "2026-05-07 20:56:17.158985"},
    ]
    ids = {trades(transaction(**other))[0].id for other in others} | {trades(transaction())[0].id}
    assert len(others) + 1 == len(ids)
    assert trades(transaction(contQty="0.0084119200"))[0].id == trades(transaction())[0].id


def test_equal_trades_in_one_frame_are_two_trades() -> None:
    """They are numbered; the same frame from another socket gives the same two ids."""
    frame = transaction(ENTRY, ENTRY, {**ENTRY, "symbol": "ETH_KRW"}, ENTRY)
    first, second = trades(frame), trades(frame)
    assert [trade.id for trade in first] == [trade.id for trade in second]
    assert len({trade.id for trade in first}) == 4
    assert [trade.order for trade in first] == [984_000, 984_001, 984_000, 984_002]


def test_equal_trades_in_two_frames_are_one_trade() -> None:
    """A copy can't be told from a twin without an id; a copy is far likelier."""
    first, second = trades(transaction(), transaction())
    assert first.id == second.id


def test_one_bad_entry_costs_only_itself() -> None:
    """The good ones before and after it arrive, and each bad one is refused by name."""
    bad = [{**ENTRY, "contPrice": "-1"}, {**ENTRY, "contDtm": "yesterday"}, 7, {**ENTRY, "contQty": "0"}]
    frame = transaction(ENTRY, *bad, {**ENTRY, "symbol": "ETH_KRW"})
    found = decode(frame)
    assert [trade.market for trade in found if isinstance(trade, Trade)] == ["KRW-BTC", "KRW-ETH"]
    assert reasons(frame) == ["invalid_field", "invalid_time", "invalid_field", "not_positive"]


@pytest.mark.parametrize(
    ("expected", "price"),
    [("1234567.8", "1,234,567.8"), ("0.00000021", "2.1E-7"), ("100", "100"), ("1000", "1000.0")],
)
def test_numbers_with_thousands_commas_and_exponents(expected: str, price: str) -> None:
    """Older replies had commas; a broken grouping is refused below."""
    assert D(expected) == trades(transaction(contPrice=price))[0].price


@pytest.mark.parametrize(
    ("expected", "changes"),
    [
        ("invalid_field", {"contPrice": "1,23"}),
        ("invalid_field", {"contPrice": "NaN"}),
        ("invalid_field", {"contPrice": "1e999999"}),
        ("invalid_field", {"contPrice": ""}),
        ("invalid_field", {"contPrice": None}),
        ("invalid_field", {"buySellGb": "3"}),
        ("invalid_field", {"symbol": 5}),
        ("not_positive", {"contPrice": "0"}),
        ("invalid_market", {"symbol": "BTCKRW"}),
        ("invalid_market", {"symbol": "BTC_KRW_X"}),
        ("invalid_time", {"contDtm": ""}),
        ("invalid_time", {"contDtm": "2026-05-07T20:56:17"}),
        ("invalid_time", {"contDtm": "2026-02-30 00:00:00"}),
        ("implausible_time", {"contDtm": "1999-05-07 20:56:17"}),
        ("implausible_time", {"contDtm": "2036-05-07 20:56:17"}),
        ("implausible_time", {"contDtm": "0001-01-01 00:00:00"}),
    ],
)
def test_nonsense_trades_are_refused(expected: str, changes: dict[str, object]) -> None:
    """Each by a stable name."""
    assert [expected] == reasons(transaction(**changes))


@pytest.mark.parametrize(
    ("expected", "raw"),
    [
        ("not_json", "x"),
        ("not_an_object", "[]"),
        ("unknown_type", "{}"),
        ("unknown_type", '{"type":"trade"}'),
        ("invalid_field", '{"type":"transaction"}'),
        ("invalid_field", '{"type":"transaction","content":{"list":{}}}'),
        ("invalid_field", '{"type":"ticker","content":null}'),
        ("invalid_field", '{"type":"orderbookdepth","content":[]}'),
        ("invalid_field", '{"type":"orderbooksnapshot","content":{"symbol":"BTC_KRW"}}'),
        ("not_positive", snapshot(asks=[["0", "1"]])),
        ("invalid_field", snapshot(bids=[["1", "-1"]])),
        ("invalid_field", snapshot(bids=[["1"]])),
        ("invalid_field", snapshot(datetime="now")),
        ("implausible_time", snapshot(datetime="17901339149659480")),
        ("implausible_time", depth(us="1")),
        ("not_positive", ticker(closePrice="0")),
        ("invalid_time", ticker(date="20261301")),
        ("invalid_time", ticker(time="9")),
    ],
)
def test_nonsense_frames_are_refused_once(expected: str, raw: str) -> None:
    """One frame, one refusal."""
    assert [expected] == reasons(raw)


def test_statuses() -> None:
    """0000 acknowledges; anything else is the exchange's refusal."""
    assert [Status("Connected Successfully")] == decode('{"status":"0000","resmsg":"Connected Successfully"}')
    assert [ServerError("5100", "Invalid Filter Syntax")] == decode(
        '{"status":"5100","resmsg":"Invalid Filter Syntax"}'
    )


def test_a_ticker_joins_two_windows() -> None:
    """24 h figures from `24H`, the day's from `MID`; change is against the previous close, as a ratio."""
    codec = LegacyCodec()
    assert decode(ticker(tickType="MID", volume="100", openPrice="13700000"), codec) == []
    (message,) = decode(ticker(), codec)
    assert isinstance(message, Ticker)
    assert (D("13714000"), "rise", D(113000)) == (message.price, message.change, message.change_price)
    assert D(113000) / D(13601000) == message.change_rate
    assert (D("4647.44384349"), D(100)) == (message.base_volume_24h, message.base_volume_day)
    assert D("13700000") == message.open


@pytest.mark.parametrize("nothing", ["0", None, "", "-"])
def test_the_first_day_of_a_market_has_no_previous_close(nothing: object) -> None:
    """Nor a change; all else is there."""
    codec = LegacyCodec()
    (message,) = decode(ticker(prevClosePrice=nothing), codec)
    assert isinstance(message, Ticker)
    assert (message.prev_closing_price, message.change, message.change_price, message.change_rate) == (
        None,
    ) * 4
    assert message.quote_volume_24h == D("63252021221.2101")
    assert codec.surprises == ({} if nothing == "0" else {"tolerated:prevClosePrice": 1})


def test_a_trade_can_do_without_its_amount() -> None:
    """It is price times size; a broken or missing one is counted."""
    codec = LegacyCodec()
    entry = {name: value for name, value in ENTRY.items() if name != "contAmt"}
    assert len(trades(transaction(entry, {**ENTRY, "contAmt": "Infinity"}), codec=codec)) == 2
    assert codec.surprises["tolerated:contAmt"] == 1


@pytest.mark.parametrize(
    ("raw", "market"),
    [
        (transaction(contPrice=None), "KRW-BTC"),
        (transaction(symbol="?"), None),
        (transaction()[:-3], None),
        ('{"type":"transaction","content":7}', None),
    ],
)
def test_a_refused_trade_tells_whose_it_was(raw: str, market: str | None) -> None:
    """Where that can be read."""
    (message,) = decode(raw)
    assert isinstance(message, Rejected)
    assert (message.channel, message.market) == (Channel.TRADE, market)


def test_other_windows_are_counted_and_left_alone() -> None:
    """A 30 minute window says nothing we keep."""
    codec = LegacyCodec()
    assert decode(ticker(tickType="30M"), codec) == []
    assert codec.surprises == {"tick_type:30M": 1}


def test_tickers_of_one_second_keep_their_order() -> None:
    """Their text has whole seconds: the later of two must not look like a copy of the first."""
    codec = LegacyCodec()
    times = [decode(ticker(closePrice=str(price)), codec)[0].exchange_ms for price in (1, 2, 3)]  # type: ignore[union-attr]
    second_ms = TRADE_US // 1_000_000 * 1000
    assert [second_ms, second_ms + 1, second_ms + 2] == times
    (late,) = decode(ticker(time="205616"), codec)
    (new,) = decode(ticker(time="205618"), codec)
    assert isinstance(late, Ticker)
    assert isinstance(new, Ticker)
    assert (second_ms - 1000, second_ms + 1000) == (late.exchange_ms, new.exchange_ms)


def test_book_changes_are_grouped_by_market_and_side() -> None:
    """A size of 0 is kept: it removes the level."""
    ask = {**LEVEL, "orderType": "ask", "price": "116600000", "quantity": "0"}
    bad = {**LEVEL, "orderType": "mid"}
    messages = decode(depth(LEVEL, bad, {**LEVEL, "symbol": "ETH_KRW"}, ask))
    bid = (D("116500000"), D("0.5"))
    changes = [message for message in messages if isinstance(message, BookChange)]
    assert changes == [
        BookChange("KRW-BTC", TRADE_US, RECEIVED_MS, (bid,), ((D("116600000"), D(0)),)),
        BookChange("KRW-ETH", TRADE_US, RECEIVED_MS, (bid,), ()),
    ]
    assert sum(isinstance(message, Rejected) for message in messages) == 1


def test_a_whole_book_comes_best_level_first() -> None:
    """Whatever the order on the wire."""
    (book,) = decode(snapshot(asks=[["3", "1"], ["2", "1"]], bids=[["1", "1"], ["1.5", "2"]]))
    assert isinstance(book, OrderBook)
    assert ((D("1.5"), D(2)), (D(1), D(1))) == book.bids
    assert [D(2), D(3)] == [price for price, _ in book.asks]


def test_an_amount_that_does_not_fit_is_counted() -> None:
    """The exchange cuts the amount to whole won on some markets; price and size are what counts."""
    codec = LegacyCodec()
    trades(transaction(contAmt="1000336.97848"), transaction(contAmt="1"), codec=codec)
    assert codec.surprises["amount_differs"] >= 1


def test_the_subscription_is_one_request_per_type() -> None:
    """Books need changes and whole books; tickers need two windows."""
    texts = LegacyCodec().subscribe(Subscription(("KRW-BTC", "BTC-ETH"), tuple(Channel)))
    requests = [json.loads(text) for text in texts]
    assert [it["type"] for it in requests] == ["transaction", "orderbookdepth", "orderbooksnapshot", "ticker"]
    assert all(it["symbols"] == ["BTC_KRW", "ETH_BTC"] for it in requests)
    assert requests[-1]["tickTypes"] == ["24H", "MID"]
    (again,) = LegacyCodec().ask_for_books(["KRW-BTC"])
    assert json.loads(again) == {"type": "orderbooksnapshot", "symbols": ["BTC_KRW"]}


@given(st.from_regex(r"\A[A-Z0-9]{1,10}-[A-Z0-9]{1,10}\Z"))
def test_names_of_markets_go_both_ways(market: str) -> None:
    """KRW-BTC is BTC_KRW and back."""
    assert market == to_market(to_symbol(market))


def test_windows_are_bounded() -> None:
    """Ever new symbols do not fill the memory."""
    codec = LegacyCodec()
    for number in range(100):
        decode(ticker(symbol=f"X{number}_KRW"), codec)
    assert len(codec._windows) <= 10_000
    assert TICKER["symbol"] == "BTC_KRW"
