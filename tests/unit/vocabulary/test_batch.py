"""The batch envelope: exact both ways, and nothing but `InvalidBatch` for anything that is not one."""

import json
import typing
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector import batch as batches
from collector.batch import BookBatch, GapBatch, Kind, TickerBatch, TradeBatch, WrittenBookBatch
from collector.errors import InvalidBatch
from collector.model import Channel, EncodedBook, Gap, OrderBook, Side, Source, Ticker, Trade

T0 = 1_790_000_000_000
LONG = Decimal("728107452.06423197609921044")  # 26 digits: a double keeps 17
TINY = Decimal("1.4E-7")

TRADE = Trade("KRW-BTC", 17, Decimal("95000000"), Decimal("0.0001"), Side.BUY, T0, T0 + 3)
TICKER = Ticker(
    market="KRW-BTC",
    exchange_ms=T0,
    received_ms=T0 + 2,
    price=LONG,
    change="fall",
    change_price=Decimal("-1000"),
    change_rate=Decimal("-0.0117"),
    prev_closing_price=Decimal(1),
    open=Decimal(1),
    high=Decimal(1),
    low=Decimal(0),
    base_volume_24h=TINY,
    quote_volume_24h=LONG,
)
BOOK = OrderBook("KRW-BTC", T0 * 1000, T0, ((LONG, TINY), (Decimal(1), Decimal(0))), ((Decimal(2), LONG),))
GAP = Gap("KRW-BTC", Channel.TRADE, T0, T0 + 60_000, "disconnected")

#: Every figure of a ticker, from the struct, so that a new one is tried too; two of them have a sign.
FIGURES = {
    name for name, of in typing.get_type_hints(Ticker).items() if Decimal in (of, *typing.get_args(of))
}
SIGNED = {"change_price", "change_rate"}

ROWS = {Kind.TRADE: TRADE, Kind.TICKER: TICKER, Kind.ORDERBOOK: BOOK, Kind.GAP: GAP}


#: Usual numbers twice, so that whole levels of them are common.
LEVEL_NUMBERS = [
    *["1", "95000000", "0.5", "0.00000001", "12.50"] * 2,
    *["0", "0.0", "-1", "1e-8", "1E31", "1e-31", "0.0000000000000000000000000000000001", "007", "1.", '"1"'],
    *["9" * 20, "9" * 31, "9" * 32, "null", " 1"],
]


def wire(kind: Kind, *rows: msgspec.Struct) -> str:
    return batches.encode(batches.make(kind, rows, listener="listener-1", now_ms=T0))


def decoded(kind: Kind, *rows: msgspec.Struct) -> list:
    return batches.decode(wire(kind, *rows), batches.CLASSES[kind]).rows


def changed(row: msgspec.Struct, **changes) -> msgspec.Struct:
    return msgspec.structs.replace(row, **changes)


def decimals(**bounds) -> st.SearchStrategy[Decimal]:
    return st.decimals(allow_nan=False, allow_infinity=False, places=12, **bounds)


def digits(numbers: list[Decimal]) -> list[tuple]:
    """Return what makes numbers equal to the last digit: 0.10 is not 0.1 here."""
    return [number.as_tuple() for number in numbers]


class TestRoundTrip:
    def test_a_trade_of_an_older_listener_has_no_number(self):
        """Rows grow at their end: the older form is read, and an older worker ignores what is new."""
        text = wire(Kind.TRADE, changed(TRADE, source=Source.REST, nth=2))
        older = text.replace(',"rest",2]', ',"rest"]')
        assert older != text
        (row,) = batches.decode(older, TradeBatch).rows
        assert row == changed(TRADE, source=Source.REST)
        newer = text.replace(',"rest",2]', ',"rest",2,"of tomorrow"]')
        assert batches.decode(newer, TradeBatch).rows[0].nth == 2

    @pytest.mark.parametrize("kind", Kind)
    def test_every_kind(self, kind):
        """What is encoded is decoded as the same rows, for all four kinds."""
        assert decoded(kind, ROWS[kind], ROWS[kind]) == [ROWS[kind]] * 2

    @pytest.mark.parametrize(
        "text", ["728107452.06423197609921044", "1.4E-7", "0.10", "1E+3", "12345678901234567890"]
    )
    def test_no_digit_is_lost(self, text):
        """26 digits, an exponent and trailing zeros come back exactly as they went."""
        trade = changed(TRADE, price=Decimal(text), volume=Decimal(text))
        (back,) = decoded(Kind.TRADE, trade)
        assert digits([back.price, back.volume]) == digits([Decimal(text)] * 2)

    @given(decimals(min_value="1e-12", max_value=10**15), decimals(min_value="1e-12", max_value=10**15))
    @settings(max_examples=100, deadline=None)
    def test_any_price_and_volume(self, price, volume):
        """Any price and volume survive, digit by digit."""
        (back,) = decoded(Kind.TRADE, changed(TRADE, price=price, volume=volume))
        assert digits([back.price, back.volume]) == digits([price, volume])

    def test_numbers_of_the_text_are_exact_too(self):
        """A sender that writes decimals as JSON numbers is understood without a detour through doubles."""
        text = wire(Kind.TRADE, TRADE).replace('"95000000"', str(LONG))
        assert batches.decode(text, TradeBatch).rows[0].price == LONG

    def test_envelope(self):
        """The text is JSON as promised: version, id, channel, listener, time, rows as arrays of strings."""
        envelope = json.loads(wire(Kind.TRADE, TRADE))
        assert list(envelope) == ["v", "id", "channel", "listener", "created_ms", "rows"]
        assert (envelope["v"], envelope["channel"], envelope["created_ms"]) == (1, "trade", T0)
        assert envelope["rows"] == [
            ["KRW-BTC", 17, "95000000", "0.0001", "buy", T0, T0 + 3, 0, "stream", 0],
        ]

    def test_ids_differ(self):
        """Two batches of the same rows are two batches."""
        first, second = (batches.make(Kind.TRADE, [TRADE], listener="l", now_ms=T0) for _ in range(2))
        assert first.id != second.id

    def test_empty_batch(self):
        """A batch without rows is sound."""
        assert decoded(Kind.TRADE) == []

    def test_older_row_has_defaults(self):
        """A row written before a field was added still decodes, with the default."""
        text = wire(Kind.TRADE, TRADE).replace(',0,"stream"]', "]")
        assert batches.decode(text, TradeBatch).rows[0].source is Source.STREAM

    def test_newer_row_is_understood(self):
        """A row with a field that only a newer listener knows still decodes: workers may lag behind."""
        text = wire(Kind.TRADE, TRADE).replace('"stream"]', '"stream","new field"]')
        assert batches.decode(text, TradeBatch).rows == [TRADE]


BAD_NUMBERS = [
    Decimal(text) for text in ("NaN", "sNaN", "Infinity", "-Infinity", "-1", "1e31", "1e-31", "-0.5")
]
BAD_NUMBERS += [Decimal(text) for text in ("1e999999", "1E-999999999", "0E-999999999")]
BAD_TIMES = [0, -1, T0 // 1000, T0 * 1000, 1_262_304_000_000, 4_102_444_800_000, 2**62]


class TestNonsense:
    @pytest.mark.parametrize("field", ["price", "volume"])
    @pytest.mark.parametrize("number", [*BAD_NUMBERS, Decimal(0), Decimal("-0")])
    def test_trade_number(self, field, number):
        """A trade's price and volume are positive, finite, and of a size that can be."""
        with pytest.raises(InvalidBatch, match=r"row 1 of batch .* cannot be true"):
            decoded(Kind.TRADE, TRADE, changed(TRADE, **{field: number}))

    @pytest.mark.parametrize("time_ms", BAD_TIMES)
    def test_times_years_away(self, time_ms):
        """Seconds, microseconds and other times outside 2010 to 2100 are no exchange time in any kind."""
        gap = changed(GAP, from_ms=time_ms, to_ms=max(time_ms, T0))
        book = changed(BOOK, exchange_us=time_ms * 1000)
        rows = {
            Kind.TRADE: changed(TRADE, exchange_ms=time_ms),
            Kind.TICKER: changed(TICKER, exchange_ms=time_ms),
        }
        for kind, row in (rows | {Kind.ORDERBOOK: book, Kind.GAP: gap}).items():
            with pytest.raises(InvalidBatch):
                decoded(kind, row)

    @pytest.mark.parametrize("trade_id", [-1, 2**63, 2**64, 10**30])
    def test_trade_id(self, trade_id):
        """An id is a signed 64-bit integer and not negative."""
        text = wire(Kind.TRADE, TRADE).replace(",17,", f",{trade_id},")
        with pytest.raises(InvalidBatch):
            batches.decode(text, TradeBatch)

    @pytest.mark.parametrize("market", ["", "x" * 65, "KRW-BTC\n", "KRW\0BTC"])
    def test_market(self, market):
        """A market's name becomes part of a key: it is short and printable."""
        for kind, row in ROWS.items():
            with pytest.raises(InvalidBatch):
                decoded(kind, changed(row, market=market))

    @pytest.mark.parametrize("field", sorted(FIGURES - SIGNED))
    @pytest.mark.parametrize("number", BAD_NUMBERS)
    def test_ticker_number(self, field, number):
        """No figure of a ticker is negative, not a number, or beyond reason."""
        with pytest.raises(InvalidBatch):
            decoded(Kind.TICKER, changed(TICKER, **{field: number}))

    @pytest.mark.parametrize("field", sorted(SIGNED))
    @pytest.mark.parametrize(
        "number", [n for n in BAD_NUMBERS if not n.is_finite() or abs(n.adjusted()) > 30]
    )
    def test_ticker_change(self, field, number):
        """The changes of a ticker may be negative but not nonsense."""
        with pytest.raises(InvalidBatch):
            decoded(Kind.TICKER, changed(TICKER, **{field: number}))

    @pytest.mark.parametrize("side", ["bids", "asks"])
    @pytest.mark.parametrize("number", BAD_NUMBERS)
    def test_book_level(self, side, number):
        """A level's price is positive and its size not negative; a size of zero is a real order."""
        for level in ((number, Decimal(1)), (Decimal(1), number)):
            with pytest.raises(InvalidBatch):
                decoded(Kind.ORDERBOOK, changed(BOOK, **{side: (level,)}))
            with pytest.raises(InvalidBatch):
                batches.decode(wire(Kind.ORDERBOOK, changed(BOOK, **{side: (level,)})), WrittenBookBatch)

    @given(st.lists(st.sampled_from(LEVEL_NUMBERS), max_size=9))
    @settings(max_examples=400, deadline=None)
    def test_levels_as_written(self, numbers):
        """Levels that nobody reads are refused exactly where reading them would refuse them."""
        text = wire(Kind.ORDERBOOK, EncodedBook("KRW-BTC", T0 * 1000, T0, msgspec.Raw(b"[]")))
        text = text.replace("[]", f"[{','.join(numbers)}]")
        try:
            (book,) = batches.decode(text, BookBatch).rows
        except InvalidBatch:
            with pytest.raises(InvalidBatch):
                batches.decode(text, WrittenBookBatch)
        else:
            (written,) = batches.decode(text, WrittenBookBatch).rows
            assert batches.read_levels(written.levels) == (book.bids, book.asks)

    def test_gap_ends_after_it_begins(self):
        """A gap that ends before it begins is refused; one of no length is not."""
        with pytest.raises(InvalidBatch):
            decoded(Kind.GAP, changed(GAP, to_ms=T0 - 1))
        assert decoded(Kind.GAP, changed(GAP, to_ms=T0))

    def test_error_is_short(self):
        """The reason stays a line that can be kept with the dead letter, however large the row."""
        book = changed(BOOK, bids=((Decimal("NaN"), TINY),) * 5000)
        with pytest.raises(InvalidBatch) as caught:
            decoded(Kind.ORDERBOOK, book)
        assert len(str(caught.value)) < 500


class TestNotABatch:
    @pytest.mark.parametrize("kind", Kind)
    def test_wrong_task(self, kind):
        """A batch of one kind is refused by the tasks of the others."""
        for cls in set(batches.CLASSES.values()) - {batches.CLASSES[kind]}:
            with pytest.raises(InvalidBatch):
                batches.decode(wire(kind), cls)

    def test_other_version(self):
        """A batch of another version says what to do."""
        with pytest.raises(InvalidBatch, match="version 2 is not 1: update listener and workers together"):
            batches.decode(wire(Kind.TRADE).replace('"v":1', '"v":2'), TradeBatch)

    def test_books_of_version_1(self):
        """Books had a list for each side once; the version is looked at before the rows are read."""
        rows = '[["KRW-BTC",1,1,[["99","1"]],[["100","1"]]]]'
        text = wire(Kind.ORDERBOOK).replace('"v":2', '"v":1').replace('"rows":[]', f'"rows":{rows}')
        with pytest.raises(InvalidBatch, match="version 1 is not 2: update listener and workers together"):
            batches.decode(text, BookBatch)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "null",
            "[]",
            "{}",
            "[" * 100_000,
            '{"v":' * 50_000,
            "\ud800",
            b"\xff\xfe",
            b"\0",
            "1e999999999",
            '"',
        ],
        ids=range(11),
    )
    @pytest.mark.parametrize("cls", [TradeBatch, TickerBatch, BookBatch, WrittenBookBatch, GapBatch])
    def test_not_json_of_ours(self, text, cls):
        """Anything else, nested however deep, is an InvalidBatch."""
        with pytest.raises(InvalidBatch):
            batches.decode(text, cls)

    @given(st.binary(max_size=200) | st.text(max_size=200), st.sampled_from(list(batches.CLASSES.values())))
    @settings(max_examples=300, deadline=None)
    def test_arbitrary_input(self, text, cls):
        """No bytes and no text raise anything else."""
        with pytest.raises(InvalidBatch):
            batches.decode(text, cls)

    @given(st.data())
    @settings(max_examples=400, deadline=None)
    def test_mutilated_batch(self, data):
        """A batch with values replaced, stretches cut or bytes flipped is read soundly or is invalid."""
        kind = data.draw(st.sampled_from(Kind))
        text = data.draw(mutilated(wire(kind, ROWS[kind], ROWS[kind])))
        try:
            rows = batches.decode(text, batches.CLASSES[kind]).rows
        except InvalidBatch:
            return
        assert rows == decoded(kind, *rows)  # which refuses what is not sound


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
nonsense = st.recursive(
    scalars
    | st.decimals().map(str)
    | st.sampled_from(["NaN", "-1", "0", "1e999", "Infinity", T0, -T0, 10**40]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)


@st.composite
def mutilated(draw, text: str) -> str | bytes:
    """Draw what a bug, a disk or an enemy makes of a batch."""
    if draw(st.booleans()):
        envelope = json.loads(text)
        place: list | dict = envelope
        while True:
            key = draw(st.sampled_from(list(place) if isinstance(place, dict) else list(range(len(place)))))
            inner = place[key]
            if not (isinstance(inner, list | dict) and inner and draw(st.booleans())):
                break
            place = inner
        place[key] = draw(nonsense)
        return json.dumps(envelope)
    content = bytearray(text.encode())
    for position in draw(st.lists(st.integers(0, len(content) - 1), max_size=3)):
        content[position] = draw(st.integers(0, 255))
    start, end = sorted(draw(st.tuples(*[st.integers(0, len(content))] * 2)))
    if draw(st.booleans()):
        del content[start:end]
    return bytes(content)


def test_the_times_of_a_batch() -> None:
    """From when to when its facts are; and the oldest that is lost for good with it."""
    rest = msgspec.structs.replace(TRADE, exchange_ms=T0 - 9_000, source=Source.REST)
    later = msgspec.structs.replace(TRADE, exchange_ms=T0 + 9)
    recovered = msgspec.structs.replace(GAP, from_ms=T0 - 50, recovered=True)
    cases: list[tuple[Kind, list[typing.Any], tuple[int, int], int]] = [
        (Kind.TRADE, [later, TRADE, rest], (T0 - 9_000, T0 + 9), T0),
        (Kind.TRADE, [rest], (T0 - 9_000, T0 - 9_000), 0),
        (Kind.GAP, [GAP, recovered], (T0 - 50, T0 + 60_000), T0),
        (Kind.GAP, [recovered], (T0 - 50, T0 + 60_000), 0),
        (Kind.TICKER, [TICKER], (0, 0), 0),
        (Kind.ORDERBOOK, [BOOK], (0, 0), 0),
    ]
    for kind, rows, span, mark in cases:
        batch = batches.make(kind, rows, listener="t", now_ms=T0)
        assert (batches.span_of(batch), batches.mark_of(batch)) == (span, mark)


def test_what_stretches_a_batch_of_any_version_covers() -> None:
    """Markets and times are found in rows of any shape, or none at all are."""
    eth = msgspec.structs.replace(TRADE, market="KRW-ETH", exchange_ms=T0 + 70, received_ms=T0 + 80)
    written = json.loads(batches.encode(batches.make(Kind.TRADE, [TRADE, eth], listener="t", now_ms=T0)))
    written["v"] = 9
    assert batches.stretches(json.dumps(written)) == {"KRW-BTC": (T0, T0 + 3), "KRW-ETH": (T0 + 70, T0 + 80)}
    written["rows"] = [
        {"time": T0, "market": "BTC-비트", "more": None},
        {"time": T0 - 5, "market": "BTC-비트"},
    ]
    assert batches.stretches(json.dumps(written)) == {"BTC-비트": (T0 - 5, T0)}


@pytest.mark.parametrize(
    "text",
    [
        *("", "nonsense", "[]", "{}", "null", '{"rows":7}', '{"rows":[]}', '{"rows":[7]}', "[" * 100_000),
        '{"rows":[["KRW-BTC","1790000000000"]]}',
        '{"rows":[["KRW-BTC",1790000000000],["KRW-BTC",7]]}',
        '{"rows":[[1790000000000]]}',
    ],
)
def test_what_shows_no_stretch_shows_none_at_all(text: str) -> None:
    """Half of the truth would pass for the whole."""
    assert batches.stretches(text) == {}
