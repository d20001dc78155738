"""The current protocol: every field of every frame, to the last digit, and nothing unsound."""

import json
from collections.abc import Sequence
from decimal import Decimal as D
from operator import eq

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from collector import batch
from collector.batch import Kind, TickerBatch, TradeBatch
from collector.model import Channel, OrderBook, Side, Source, Ticker, Trade
from collector.protocol.codec import Message, Rejected, ServerError, Status, Subscription
from collector.protocol.current import CurrentCodec
from collector.protocol.wire_types import LONG_NAMES
from tests.samples.frames import BOOK, RECEIVED_MS, SHORT_NAMES, TICKER, TRADE, Fields, read, simple, wire


def decode(text: str | bytes, received_ms: int = RECEIVED_MS) -> Message:
    (message,) = CurrentCodec().decode(text, received_ms)
    return read(message)


def reason(text: str | bytes) -> str:
    """Decode what must be refused; return why it was."""
    message = decode(text)
    assert isinstance(message, Rejected), message
    return message.reason


THE_TICKER = Ticker(
    market="KRW-BTC",
    exchange_ms=1790133514039,
    received_ms=RECEIVED_MS,
    price=D("95299000"),
    change="rise",
    change_price=D("1098000"),
    change_rate=D("0.01165593"),
    prev_closing_price=D("94201000"),
    open=D("94223000"),
    high=D("95465000"),
    low=D("93601000"),
    base_volume_24h=D("310.44065227"),
    quote_volume_24h=D("728107452.06423197609921044"),
    base_volume_day=D("151.44914647"),
    quote_volume_day=D("14330306973.41015"),
    buy_volume_day=D("99.14500719"),
    sell_volume_day=D("52.30413928"),
    trade_volume=D("0.0094"),
    trade_side=Side.BUY,
    trade_ms=1790133513739,
    high_52w=D("179734000"),
    high_52w_date="2025-10-09",
    low_52w=D("81110000"),
    low_52w_date="2026-02-06",
    market_state="ACTIVE",
    trading_suspended=False,
    delisting_date=None,
    market_warning="NONE",
)
THE_TRADE = Trade(
    "KRW-BTC",
    1079953210371761700,
    D("116208000"),
    D("0.0009"),
    Side.BUY,
    1790133513739,
    RECEIVED_MS,
    0,
    Source.STREAM,
)
THE_BOOK = OrderBook(
    "KRW-BTC",
    1790133514064033,
    RECEIVED_MS,
    bids=((D("116204000"), D("0.0037")), (D("116203000"), D("0"))),
    asks=((D("116208000"), D("0.3313")), (D("116209000"), D("0.0001"))),
)


@pytest.mark.parametrize("form", [dict, simple], ids=["DEFAULT", "SIMPLE"])
@pytest.mark.parametrize("opcode", [str, str.encode], ids=["text", "binary"])
@pytest.mark.parametrize(
    ("expected", "fields"), [(THE_TICKER, TICKER), (THE_TRADE, TRADE), (THE_BOOK, BOOK)], ids=list(Channel)
)
def test_every_field_arrives_in_both_forms_and_both_opcodes(
    expected: Message, fields: Fields, opcode, form
) -> None:
    """Nothing is lost or changed, and no field is unknown."""
    codec = CurrentCodec()
    assert [expected] == list(map(read, codec.decode(opcode(wire(form(fields))), RECEIVED_MS)))
    assert not codec.surprises


def test_every_documented_name_has_its_short_twin() -> None:
    """The table of SIMPLE names is one to one and covers every field of every frame."""
    assert len(LONG_NAMES) == len(SHORT_NAMES)
    assert set(SHORT_NAMES) >= {*TICKER, *TRADE, *BOOK}


@pytest.mark.parametrize("raw", ["null", '""', '"2026-12-31"'])
def test_delisting_date_has_three_forms(raw: str) -> None:
    """Null and the empty text mean none."""
    expected = None if raw in ("null", '""') else "2026-12-31"
    message = decode(wire(TICKER, delisting_date=raw))
    assert isinstance(message, Ticker)
    assert expected == message.delisting_date


ESSENTIAL = {
    "trade": {"type", "code", "trade_price", "trade_volume", "ask_bid", "trade_timestamp"},
    "ticker": {"type", "code", "trade_price", "timestamp"},
    "orderbook": {"type", "code", "orderbook_units", "timestamp"},
}
#: What may stand where something else is expected: null, of another type, a new word, out of all bounds.
ODD = ["null", "[]", "{}", "true", '"NEW"', '"\ud55c\uae00"', "-1e5", "1e999999", json.dumps("A" * 1000)]


@pytest.mark.parametrize("form", [dict, simple], ids=["DEFAULT", "SIMPLE"])
@pytest.mark.parametrize("fields", [TICKER, TRADE, BOOK], ids=list(Channel))
@pytest.mark.parametrize("odd", [None, *ODD])
def test_what_a_message_can_do_without_may_be_anything(odd: str | None, fields: Fields, form) -> None:
    """Null, missing, another type, a new word: the rest is there, and the oddity is counted."""
    kind = json.loads(fields["type"])
    good = decode(wire(fields))
    for name in fields.keys() - ESSENTIAL[kind]:
        codec = CurrentCodec()
        changed = (
            {**fields, name: odd} if odd else {other: fields[other] for other in fields if other != name}
        )
        (message,) = map(read, codec.decode(wire(form(changed)).encode(), RECEIVED_MS))
        if codec.surprises:
            assert codec.surprises == {f"tolerated:{kind}.{name}": 1}
        assert isinstance(message, Trade | Ticker | OrderBook)
        assert isinstance(good, Trade | Ticker | OrderBook)
        assert (message.market, message.exchange_ms) == (good.market, good.exchange_ms)
        same = sum(map(eq, structs.astuple(message), structs.astuple(good)))
        assert same >= len(structs.astuple(good)) - 1, "one field differs at the most"
        if odd is None:
            assert codec.surprises


@pytest.mark.parametrize("kind", list(ESSENTIAL))
def test_what_a_message_can_not_do_without_is_asked_for(kind: str) -> None:
    """Each of them missing or null costs the message, and the refusal names the channel and the market."""
    fields = {"trade": TRADE, "ticker": TICKER, "orderbook": BOOK}[kind]
    for name in ESSENTIAL[kind] - {"type", "code"}:
        for text in (None, "null"):
            message = decode(wire(fields, **{name: text}))
            assert isinstance(message, Rejected)
            assert (message.reason, message.channel, message.market) == ("invalid_field", kind, "KRW-BTC")


@pytest.mark.parametrize(
    ("raw", "market"),
    [
        (wire(TRADE)[:-1], "KRW-BTC"),
        (wire(simple(TRADE)).replace("}", ""), "KRW-BTC"),
        (wire(TRADE, trade_price="NaN"), "KRW-BTC"),
        (wire(TRADE, code='"KRWBTC"'), None),
        (wire(TRADE, code="null"), None),
        ('{"type" : "trade"', None),
        (f"[{wire(TRADE)}]", "KRW-BTC"),
    ],
)
def test_a_trade_that_is_refused_tells_whose_it_was(raw: str, market: str | None) -> None:
    """Also where nothing of it can be parsed: then the text shows it, or it may be any market's."""
    for frame in (raw, raw.encode()):
        message = decode(frame)
        assert isinstance(message, Rejected)
        assert (message.channel, message.market) == (Channel.TRADE, market)


def test_levels_that_are_not_there_are_padding() -> None:
    """Null or missing prices and sizes of a book."""
    codec = CurrentCodec()
    units = '[{"ask_price":2,"bid_price":1,"ask_size":null,"bid_size":4},{"ask_price":3,"ask_size":5}]'
    (book,) = map(read, codec.decode(wire(BOOK, orderbook_units=units), RECEIVED_MS))
    assert isinstance(book, OrderBook)
    assert (book.asks, book.bids) == (((D(2), D(0)), (D(3), D(5))), ((D(1), D(4)),))
    names = ("ask_size", "bid_price", "bid_size")
    assert codec.surprises == {f"tolerated:orderbook.{name}": 1 for name in names}


def test_the_first_day_of_a_market() -> None:
    """No previous close, and nothing that follows from one: prices and volumes are there."""
    nulls = dict.fromkeys(
        ("prev_closing_price", "change", "change_price", "signed_change_price", "signed_change_rate"), "null"
    )
    ticker = decode(wire(TICKER, **nulls))
    assert isinstance(ticker, Ticker)
    assert (ticker.prev_closing_price, ticker.change, ticker.change_price, ticker.change_rate) == (None,) * 4
    assert ticker.quote_volume_day == THE_TICKER.quote_volume_day
    text = batch.encode(batch.make(Kind.TICKER, [ticker], listener="t", now_ms=RECEIVED_MS))
    assert batch.decode(text, TickerBatch).rows == [ticker]
    trade = decode(wire(TRADE, prev_closing_price="null", change="null", change_price="null"))
    assert trade == THE_TRADE


def test_optional_fields_may_be_missing() -> None:
    """A ticker without its optional fields and a trade without its decorations are good."""
    needless = ("ask_bid", "trade_volume", "delisting_date", "market_state", "highest_52_week_date")
    ticker = decode(wire(TICKER, **dict.fromkeys(needless)))
    assert isinstance(ticker, Ticker)
    assert ticker.trade_side is None
    assert decode(wire(TRADE, timestamp=None, change=None, stream_type=None)) == THE_TRADE


@pytest.mark.parametrize("time", ["1790133514064", "1790133514064033"])
def test_a_book_time_is_milliseconds_or_microseconds_by_its_magnitude(time: str) -> None:
    """13 digits are milliseconds, 16 are microseconds; both are the same millisecond."""
    book = decode(wire(BOOK, timestamp=time))
    assert isinstance(book, OrderBook)
    assert book.exchange_ms == 1790133514064
    assert len(str(book.exchange_us)) == 16


def test_padding_goes_and_zero_sizes_stay() -> None:
    """Price 0 fills a side up; size 0 at a live price is a real order, even at the best price."""
    units = (
        '[{"ask_price":101,"bid_price":100,"ask_size":0,"bid_size":2},'
        '{"ask_price":0,"bid_price":99,"ask_size":0,"bid_size":0}]'
    )
    book = decode(wire(BOOK, orderbook_units=units))
    assert isinstance(book, OrderBook)
    assert book.asks == ((D(101), D(0)),)
    assert book.bids == ((D(100), D(2)), (D(99), D(0)))


def test_an_unsorted_and_a_crossed_book_are_counted_and_sorted() -> None:
    """The levels come best first whatever the exchange did."""
    units = (
        '[{"ask_price":103,"bid_price":99,"ask_size":1,"bid_size":1},'
        '{"ask_price":100,"bid_price":101,"ask_size":1,"bid_size":1}]'
    )
    codec = CurrentCodec()
    (book,) = codec.decode(wire(BOOK, orderbook_units=units), RECEIVED_MS)
    assert isinstance(book, OrderBook)
    assert [D(100), D(103)] == [price for price, _ in book.asks]
    assert [D(101), D(99)] == [price for price, _ in book.bids]
    assert codec.surprises == {"unsorted_book": 2, "crossed_book": 1}


def test_an_empty_book_is_a_book() -> None:
    """A market nobody quotes has two empty sides."""
    book = decode(wire(BOOK, orderbook_units="[]"))
    assert isinstance(book, OrderBook)
    assert (book.bids, book.asks) == ((), ())


@pytest.mark.parametrize("number", [0, 1, 2**53 + 1, 862683813820523888, 2**63 - 1])
def test_ids_are_exact_to_63_bits(number: int) -> None:
    """No id passes through a float, bare or quoted."""
    for text in (str(number), f'"{number}"'):
        message = decode(wire(TRADE, sequential_id=text))
        assert isinstance(message, Trade)
        assert number == message.id


@pytest.mark.parametrize(
    "text", [None, "null", "-1", str(2**63), "1.5", "true", "1e400", '""', "[]", "{}", '"a"']
)
def test_a_trade_whose_id_is_missing_or_broken_gets_one(text: str | None) -> None:
    """Losing it would be worse; whatever socket brings it, it gets the same id, and another trade another."""
    codec = CurrentCodec()
    frames = [wire(TRADE, sequential_id=text, timestamp=late) for late in ("1790133514039", "1790133514040")]
    first, copy = (read(codec.decode(frame, RECEIVED_MS)[0]) for frame in frames)
    other = decode(wire(TRADE, sequential_id=text, trade_volume="0.00091"))
    assert isinstance(first, Trade)
    assert isinstance(other, Trade)
    assert first == copy
    assert structs.replace(first, id=THE_TRADE.id) == THE_TRADE
    assert 0 <= first.id < 2**63
    assert codec.surprises == {"tolerated:trade.sequential_id": 2}
    assert (first.id == other.id) is (text == '"a"'), "a text that is an id tells trades apart"


numbers = st.builds(
    "{}{}{}".format,
    st.integers(1, 10**20).map(str),
    st.one_of(st.just(""), st.text("0123456789", min_size=1, max_size=25).map(".{}".format)),
    st.one_of(st.just(""), st.integers(-12, 9).map("e{}".format), st.integers(-12, 9).map("E{:+d}".format)),
)


@given(price=numbers, volume=numbers)
def test_numbers_are_exact_from_the_wire_to_the_batch(price: str, volume: str) -> None:
    """Whatever decimal text the exchange writes, the worker reads exactly that number."""
    frame = wire(TRADE, trade_price=price, trade_volume=volume)
    trade = decode(frame.encode())
    assert isinstance(trade, Trade)
    assert trade == decode(frame)
    assert (D(price), D(volume)) == (trade.price, trade.volume)
    text = batch.encode(batch.make(Kind.TRADE, [trade], listener="t", now_ms=RECEIVED_MS))
    (row,) = batch.decode(text, TradeBatch).rows
    assert (D(price), D(volume)) == (row.price, row.volume)


@pytest.mark.parametrize("number", ["2.1E-7", "1.4e-7", "728107452.06423197609921044", "1E+3", "0.00000001"])
def test_numbers_people_have_seen(number: str) -> None:
    """Twenty-six digits and exponents, as published captures have them."""
    ticker = decode(wire(TICKER, trade_price=number))
    assert isinstance(ticker, Ticker)
    assert D(number) == ticker.price
    assert D(number).as_tuple() == ticker.price.as_tuple()


def test_unknown_fields_are_counted_and_tolerated() -> None:
    """A field nobody knows costs nothing; their names are bounded."""
    codec = CurrentCodec()
    assert list(codec.decode(wire(TRADE, best_ask_price="1", x="{}"), RECEIVED_MS)) == [THE_TRADE]
    assert codec.surprises == {"unknown_field:trade.best_ask_price": 1, "unknown_field:trade.x": 1}
    for number in range(1000):
        codec.decode(wire(TRADE, **{f"new{number}": "1"}), RECEIVED_MS)
    assert len(codec.surprises) <= 200


def test_status_and_error_frames() -> None:
    """A keepalive carries nothing; an error announces the server's close, by number or by name."""
    assert Status("UP") == decode('{"status":"UP"}')
    expected = ServerError("WRONG_FORMAT", "Format 이 맞지 않습니다.")
    assert expected == decode('{"error":{"name":"WRONG_FORMAT","message":"Format 이 맞지 않습니다."}}')
    assert ServerError("400", "") == decode('{"error":{"name":400}}')


def test_the_subscription_is_one_request() -> None:
    """A second request would replace the first, so all types and codes go into one."""
    subscription = Subscription(("KRW-BTC", "KRW-ETH"), (Channel.TICKER, Channel.TRADE))
    (text,) = CurrentCodec("SIMPLE").subscribe(subscription)
    ticket, *types, options = json.loads(text)
    assert len(ticket["ticket"]) == 36
    codes = ["KRW-BTC", "KRW-ETH"]
    assert types == [{"type": "ticker", "codes": codes}, {"type": "trade", "codes": codes}]
    assert options == {"format": "SIMPLE"}
    assert CurrentCodec().ask_for_books(codes) == []


YEAR_MS = 366 * 86_400_000

MALFORMED: Sequence[tuple[str, str | bytes]] = [
    ("not_json", b""),
    ("not_json", b"\xff\xfe"),
    ("not_json", "nonsense"),
    ("not_json", wire(TRADE)[:-1]),
    ("not_json", wire(TRADE) + "x"),
    ("not_json", '"\ud800"'),
    ("not_json", '{"type":"\\ud800"}'),
    ("not_json", "[" * 100_000),
    ("not_json", '{"a":' * 100_000),
    ("not_json", wire(TRADE, trade_price="NaN")),
    ("not_json", wire(TRADE, trade_price="Infinity")),
    ("not_json", wire(TRADE, trade_price="-Infinity")),
    ("not_json", wire(TRADE, trade_price="1" * 5000)),
    ("not_json", wire(TRADE, trade_price="01")),
    ("not_an_object", "[]"),
    ("not_an_object", "null"),
    ("not_an_object", "17"),
    ("not_an_object", '"PING"'),
    ("unknown_type", "{}"),
    ("unknown_type", '{"type":null}'),
    ("unknown_type", '{"type":["trade"]}'),
    ("unknown_type", '{"type":"candle","code":"KRW-BTC"}'),
    ("unknown_type", '{"error":"broken"}'),
    ("unknown_type", '{"status":7}'),
    ("implausible_number", wire(TRADE, trade_price="1e999999")),
    ("implausible_number", wire(TRADE, trade_volume="1e-999999")),
    ("implausible_number", wire(TRADE, trade_timestamp="1e999999")),
    ("implausible_number", wire(TRADE, trade_price="1e99999999999999999999")),
    ("implausible_number", wire(TRADE, trade_price="1." + "1" * 100)),
    ("invalid_field", wire(TRADE, trade_price="1" * 40)),
    ("invalid_field", wire(TRADE, trade_price='"1e999999"')),
    ("invalid_field", wire(TRADE, trade_price='"NaN"')),
    ("invalid_field", wire(TRADE, trade_price='"Infinity"')),
    ("invalid_field", wire(TRADE, trade_price='"1_000"')),
    ("invalid_field", wire(TRADE, trade_price='"１２"')),
    ("invalid_field", wire(TRADE, trade_price='""')),
    ("invalid_field", wire(TRADE, trade_price="null")),
    ("invalid_field", wire(TRADE, trade_price="true")),
    ("invalid_field", wire(TRADE, trade_price="[1]")),
    ("invalid_field", wire(TRADE, trade_price="{}")),
    ("invalid_field", wire(TRADE, trade_price="-1")),
    ("invalid_field", wire(TRADE, trade_price=None)),
    ("invalid_field", wire(TRADE, code=None)),
    ("invalid_field", wire(TRADE, code="7")),
    ("invalid_field", wire(TRADE, ask_bid='"BUY"')),
    ("invalid_field", wire(TRADE, trade_timestamp="1790133513739.5")),
    ("invalid_field", wire(TRADE, trade_timestamp=str(10**30))),
    ("invalid_field", wire(TRADE, trade_timestamp="false")),
    ("not_positive", wire(TRADE, trade_price="0")),
    ("not_positive", wire(TRADE, trade_price="-0.0")),
    ("not_positive", wire(TRADE, trade_volume="0.0000")),
    ("not_positive", wire(TICKER, trade_price="0")),
    ("implausible_time", wire(TRADE, trade_timestamp="0")),
    ("implausible_time", wire(TRADE, trade_timestamp="-1790133513739")),
    ("implausible_time", wire(TRADE, trade_timestamp=str(RECEIVED_MS + YEAR_MS))),
    ("implausible_time", wire(TRADE, trade_timestamp=str(RECEIVED_MS - 20 * YEAR_MS))),
    ("implausible_time", wire(TICKER, timestamp=str(RECEIVED_MS + YEAR_MS))),
    ("implausible_time", wire(BOOK, timestamp=str((RECEIVED_MS + YEAR_MS) * 1000))),
    ("implausible_time", wire(BOOK, timestamp="9223372036854775807")),
    ("invalid_market", wire(TRADE, code='"KRWBTC"')),
    ("invalid_market", wire(TRADE, code='"KRW-"')),
    ("invalid_market", wire(TRADE, code='"KRW-BTC:x"')),
    ("invalid_market", wire(TRADE, code='"KRW-BT\\u202eC"')),
    ("invalid_market", wire(TRADE, code=json.dumps("KRW-" + "A" * 50))),
    ("invalid_field", wire(BOOK, orderbook_units="null")),
    ("invalid_field", wire(BOOK, orderbook_units="{}")),
    ("invalid_field", wire(BOOK, orderbook_units="[7]")),
    (
        "invalid_field",
        wire(BOOK, orderbook_units='[{"ask_price":-1,"bid_price":1,"ask_size":1,"bid_size":1}]'),
    ),
    (
        "invalid_field",
        wire(BOOK, orderbook_units='[{"ask_price":2,"bid_price":1,"ask_size":-1,"bid_size":1}]'),
    ),
]


@pytest.mark.parametrize(("expected", "raw"), MALFORMED, ids=range(len(MALFORMED)))
def test_what_is_malformed_is_one_refusal_with_a_stable_reason(expected: str, raw: str | bytes) -> None:
    """No exception, no half-understood event, and a bounded sample of the frame; text and binary alike."""
    binary = raw.encode(errors="surrogatepass") if isinstance(raw, str) else raw
    assert (reason(raw), reason(binary)) == (expected, expected)
    (refusal,) = CurrentCodec().decode(raw, RECEIVED_MS)
    assert isinstance(refusal, Rejected)
    assert len(refusal.raw) <= 500
    assert len(refusal.detail) < 500


def test_of_doubled_keys_the_last_counts() -> None:
    """As everywhere in JSON; the frame is one event all the same."""
    message = decode(wire(TRADE)[:-1] + ',"trade_price":7}')
    assert isinstance(message, Trade)
    assert D(7) == message.price
