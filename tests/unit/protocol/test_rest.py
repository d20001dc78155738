"""REST replies: errors that come with HTTP 200, clocks nine hours ahead, odd rows."""

import contextlib
import json
from decimal import Decimal as D

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.errors import RestError, RestLimited, RestRefused
from collector.model import Side, Source, Trade
from collector.protocol import rest

#: 2026-07-02 08:41:10.705 UTC.
TRADE_MS = 1_782_981_670_705
RECEIVED_MS = TRADE_MS + 60_000
ROW = {
    "market": "KRW-BTC",
    "trade_date_utc": "2026-07-02",
    "trade_time_utc": "08:41:10",
    "timestamp": TRADE_MS,
    "trade_price": 95299000,
    "trade_volume": 42.5,
    "prev_closing_price": 95000000,
    "change_price": -299000,
    "ask_bid": "ASK",
    "sequential_id": 17829816707050000,
}


def page(*rows: object) -> rest.TradePage:
    return rest.parse_trades(json.dumps(list(rows)).encode(), RECEIVED_MS)


def test_a_trade_has_every_field_and_says_where_it_came_from() -> None:
    """REST may number trades otherwise than the socket, so its trades carry their source."""
    expected = Trade(
        "KRW-BTC",
        17829816707050000,
        D(95299000),
        D("42.5"),
        Side.SELL,
        TRADE_MS,
        RECEIVED_MS,
        source=Source.REST,
        nth=1,
    )
    assert page(ROW) == rest.TradePage((expected,), 0)


def test_rows_of_a_millisecond_are_numbered_from_the_oldest() -> None:
    """Their place among all, and among those that are equal; neither depends on what is newer."""
    other, earlier = {**ROW, "trade_price": 7}, {**ROW, "timestamp": TRADE_MS - 1}
    rows = [ROW, other, ROW, ROW, earlier]
    for shown in (rows, rows[1:], rows[2:]):
        numbers = [(trade.order, trade.nth) for trade in page(*shown).trades]
        assert numbers == [(3, 3), (2, 1), (1, 2), (0, 1), (0, 1)][-len(shown) :]


@pytest.mark.parametrize("changes", [{"sequential_id": None}, {}])
def test_a_row_without_an_id_is_a_trade(changes: dict[str, object]) -> None:
    """The documented example has none."""
    row = {name: value for name, value in ROW.items() if name != "sequential_id"}
    (trade,) = page({**row, **changes}).trades
    assert (trade.id, trade.exchange_ms) == (0, TRADE_MS)


def test_numbers_are_exact() -> None:
    """Exponents and twenty digits, as seen in published replies."""
    body = (
        b'[{"market":"BTC-USDC","timestamp":1782981670705,"trade_price":2.1E-7,'
        b'"trade_volume":1.76373410121466379999997512,"ask_bid":"BID","sequential_id":1}]'
    )
    (trade,) = rest.parse_trades(body, RECEIVED_MS).trades
    assert (D("2.1E-7"), D("1.76373410121466379999997512")) == (trade.price, trade.volume)


def test_nine_hours_ahead_are_taken_off_where_the_text_shows_them() -> None:
    """Some REST times are Korean wall time taken for UTC; the UTC text beside tells."""
    skewed = {**ROW, "timestamp": TRADE_MS + 9 * 3_600_000}
    assert [trade.exchange_ms for trade in page(skewed, ROW).trades] == [TRADE_MS, TRADE_MS]


@pytest.mark.parametrize(
    "changes",
    [
        {"trade_date_utc": None},
        {"trade_time_utc": "8 o'clock"},
        {"trade_date_utc": "20260702", "trade_time_utc": "084110"},
    ],
)
def test_without_a_usable_text_the_time_stays(changes: dict[str, object]) -> None:
    """Nothing is guessed; a null text costs the row."""
    trades = page({**ROW, **changes}).trades
    assert all(trade.exchange_ms == TRADE_MS for trade in trades)


def test_odd_rows_cost_only_themselves_and_are_counted() -> None:
    """A hole with a rejected row in it does not count as recovered, so the count matters."""
    odd = [
        7,
        {},
        {**ROW, "trade_price": -1},
        {**ROW, "trade_volume": 0},
        {**ROW, "sequential_id": -4},
        {**ROW, "timestamp": 5},
        {**ROW, "ask_bid": "BUY"},
        {**ROW, "market": "nonsense"},
    ]
    read = page(ROW, *odd, {**ROW, "sequential_id": 3})
    assert (2, len(odd), len(odd) + 2) == (len(read.trades), read.rejected, len(read))


def test_an_empty_page() -> None:
    """A market without trades has an empty list."""
    assert rest.TradePage((), 0) == page()


ERRORS = [
    b'{"error":{"name":404,"message":"Code not found"}}',
    b'{"error":{"name":"400","message":"Missing request parameter error."}}',
    b"<html>maintenance</html>",
    b"",
    b"{}",
    b"null",
    b"[" * 50_000,
    b"\xff",
]


@pytest.mark.parametrize("body", ERRORS, ids=range(len(ERRORS)))
def test_errors_arrive_with_http_200(body: bytes) -> None:
    """Each is one short line, for trades and for the market list."""
    for parse in (lambda: rest.parse_trades(body, RECEIVED_MS), lambda: rest.parse_markets(body)):
        with pytest.raises(RestError) as failure:
            parse()
        assert len(str(failure.value)) < 400
        assert "\n" not in str(failure.value)


@pytest.mark.parametrize(
    ("limits", "body"),
    [
        (True, {"error": {"name": 429, "message": "Too Many Requests"}}),
        (True, {"error": {"name": "429", "message": ""}}),
        (True, {"error": {"name": "too_many_requests", "message": "요청 수 제한을 초과했습니다."}}),
        (True, {"error": {"name": "x", "message": "API rate limit exceeded"}}),
        (True, {"error": {"name": 400, "message": "초당 요청 횟수를 초과하였습니다."}}),
        (True, {"name": "too_many_requests", "message": "slow down"}),
        (True, {"error": "Rate limit"}),
        (True, {"status": "5600", "message": "요청 수가 제한을 초과"}),
        (False, {"error": {"name": 404, "message": "Code not found"}}),
        (False, {"error": {"name": "400", "message": "Parameter 'markets' must be at most 200 items."}}),
        (False, {"error": {"name": 500, "message": "order 1429 failed"}}),
        (False, {"error": {}}),
        (False, {"error": None}),
        (False, {}),
    ],
)
def test_an_error_about_limits_is_told_from_others(limits: bool, body: object) -> None:
    """Number or text, in English or Korean, with or without the usual object around it."""
    with pytest.raises(RestLimited if limits else RestRefused) as failure:
        rest.parse_trades(json.dumps(body).encode(), RECEIVED_MS)
    assert isinstance(failure.value, RestError)


def test_the_error_name_is_in_the_message() -> None:
    """Number or text."""
    with pytest.raises(RestError, match="404 Code not found"):
        rest.parse_trades(ERRORS[0], RECEIVED_MS)


def test_the_market_list() -> None:
    """An odd row costs only itself."""
    rows = [{"market": "KRW-BTC", "korean_name": "비트코인"}, {"market": "BTC-ETH"}, {"market": "x"}, {}, 7]
    found = rest.parse_markets(json.dumps(rows).encode())
    assert found.markets == ("KRW-BTC", "BTC-ETH")
    assert found.refused == ("'x'", "None", "7")


def test_markets_of_every_alphabet_are_taken() -> None:
    """Names in Hangul, in Han characters, and with a dot."""
    codes = ("KRW-가나", "KRW-币安人生", "KRW-USDC.E", "KRW-1INCH")
    assert rest.parse_markets(json.dumps([{"market": code} for code in codes]).encode()).markets == codes


@pytest.mark.parametrize("body", [b"[]", b'[{"market":"x"}]'])
def test_a_market_list_without_markets_is_an_error(body: bytes) -> None:
    """It must not look like the delisting of everything."""
    with pytest.raises(RestError, match="no market"):
        rest.parse_markets(body)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_read(body: bytes) -> None:
    """Nothing but `RestError` comes out."""
    for parse in (lambda: rest.parse_trades(body, RECEIVED_MS), lambda: rest.parse_markets(body)):
        with contextlib.suppress(RestError):
            parse()


@given(
    st.dictionaries(
        st.sampled_from(list(ROW)),
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers())),
    )
)
def test_any_value_in_any_field(changes: dict[str, object]) -> None:
    """A row is sound or counted as rejected."""
    body = json.dumps([{**ROW, **changes}]).encode()
    try:
        read = rest.parse_trades(body, RECEIVED_MS)
    except RestError:
        return  # NaN and Infinity are not JSON
    assert len(read.trades) + read.rejected == 1
    assert all(trade.price > 0 and trade.volume > 0 and trade.id >= 0 for trade in read.trades)
