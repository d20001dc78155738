"""What is read fast says the same as what is read with care, and what is unusual is left to care."""

from decimal import Decimal as D

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.model import EncodedBook, OrderBook, Trade
from collector.protocol.codec import Rejected
from collector.protocol.current import CurrentCodec
from collector.protocol.fast_path import take_apart
from tests.samples.frames import BOOK, RECEIVED_MS, TICKER, TRADE, Fields, read, simple, wire

FORMS = pytest.mark.parametrize("form", [dict, simple], ids=["DEFAULT", "SIMPLE"])


def both_ways(raw: bytes) -> tuple[object, object]:
    """Decode a binary frame and its text, which is always read with care; refusals by their reason."""
    found = []
    for frame in (raw, raw.decode()):
        (message,) = CurrentCodec().decode(frame, RECEIVED_MS)
        found.append(message.reason if isinstance(message, Rejected) else read(message))
    return found[0], found[1]


@FORMS
def test_books_as_the_exchange_writes_them_are_read_fast(form) -> None:
    """In both spellings; were it otherwise nobody would notice but for the load."""
    (message,) = CurrentCodec().decode(wire(form(BOOK)).encode(), RECEIVED_MS)
    assert isinstance(message, EncodedBook)
    assert bytes(message.levels) == b"[116208000,116204000,0.3313,0.0037,116209000,116203000,0.0001,0]"


@FORMS
@pytest.mark.parametrize("text", ["0e-5", "1E-400", "2e-41"])
def test_a_tiny_number_anywhere_is_read_with_care(text: str, form) -> None:
    """A double does not show whether it is within bounds."""
    raw = wire(form({**BOOK, "total_ask_size": text})).encode()
    (message,) = CurrentCodec().decode(raw, RECEIVED_MS)
    assert isinstance(message, OrderBook)
    fast, careful = both_ways(raw)
    assert fast == careful


@pytest.mark.parametrize(
    "units",
    [
        '{"ask_price":2,"bid_price":1,"ask_size":1,"bid_size":1,"ask_price":3}',
        '{"note":{"ask_price":2,"bid_price":1,"ask_size":1,"bid_size":1},"ask_price":9,"bid_price":8,"ask_size":7,"bid_size":6}',
        '{"bid_price":1,"ask_price":2,"ask_size":3,"bid_size":4}',
        '{"ask_price":2, "bid_price":1,"ask_size":3,"bid_size":4}',
        '{"ask_price":2,"bid_price":0,"ask_size":3,"bid_size":0}',
        '{"ask_price":1,"bid_price":2,"ask_size":3,"bid_size":4}',
        '{"ask_price":2,"bid_price":1,"ask_size":3,"bid_size":1e-9}',
    ],
)
def test_unusual_levels_are_read_with_care(units: str) -> None:
    """Doubled or foreign keys, another order, padding, a crossed book, exponents."""
    raw = wire(BOOK, orderbook_units=f"[{units}]").encode()
    (message,) = CurrentCodec().decode(raw, RECEIVED_MS)
    assert not isinstance(message, EncodedBook)
    fast, careful = both_ways(raw)
    assert fast == careful


@FORMS
def test_fields_nobody_knows_and_missing_ones_are_counted_in_the_fast_way_too(form) -> None:
    """They cost nothing, and their names are kept; a new one with an odd value is read with care."""
    fields = {name: text for name, text in BOOK.items() if name != "level"}
    for new, fast in (('"x"', EncodedBook), ("[1]", OrderBook), ("1e999", OrderBook)):
        codec = CurrentCodec()
        kind, code, *rest = form(fields).items()
        (message,) = codec.decode(wire(dict((kind, code, ("new", new), *rest))).encode(), RECEIVED_MS)
        assert isinstance(message, fast)
        assert codec.surprises == {"unknown_field:orderbook.new": 1, "tolerated:orderbook.level": 1}


def test_of_doubled_keys_the_last_counts_in_both_ways() -> None:
    """The digits that are handed on must be of the number that was validated."""
    for fields, more in ((TRADE, b',"trade_price":7}'), (BOOK, b',"total_ask_size":7}')):
        fast, careful = both_ways(wire(fields)[:-1].encode() + more)
        assert fast == careful
        assert isinstance(fast, Trade | OrderBook)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_both_ways_say_the_same(data: st.DataObject) -> None:
    """Whatever is replaced, inserted or taken out of a good frame, events and refusals are the same."""
    fields: Fields = data.draw(st.sampled_from([TRADE, BOOK, TICKER]))
    form = data.draw(st.sampled_from([dict, simple]))
    text = wire(form(fields))
    for _ in range(data.draw(st.integers(0, 3))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.integers(0, 4)))
        piece = st.sampled_from(
            ["0", "9", ".", "-", "e", "E5", '"', ",", "}", "[", ":", "null", "1e400", "\\u0061"]
        )
        text = text[:start] + data.draw(piece) + text[end:]
    fast, careful = both_ways(text.encode())
    assert fast == careful


prices = st.integers(1, 10**9).map(str)
sizes = st.decimals(0, 10**6, places=8).map(lambda size: f"{size:f}")


@given(
    st.lists(st.tuples(sizes, sizes), min_size=1, max_size=15), st.integers(1000, 10**9), st.integers(0, 8)
)
def test_levels_are_exact_from_text_to_text(sizes: list[tuple[str, str]], best: int, places: int) -> None:
    """Every digit of every level is the exchange's."""
    scale = D(10) ** -places
    asks = [(D(best + number + 1) * scale, ask) for number, (ask, _) in enumerate(sizes)]
    bids = [(D(best - number) * scale, bid) for number, (_, bid) in enumerate(sizes)]
    units = ",".join(
        f'{{"ask_price":{ask[0]:f},"bid_price":{bid[0]:f},"ask_size":{ask[1]},"bid_size":{bid[1]}}}'
        for ask, bid in zip(asks, bids, strict=True)
    )
    raw = wire(BOOK, orderbook_units=f"[{units}]").encode()
    assert take_apart(raw) is not None
    (message,) = CurrentCodec().decode(raw, RECEIVED_MS)
    assert isinstance(message, EncodedBook)
    levels = (f"{ask[0]:f},{bid[0]:f},{ask[1]},{bid[1]}" for ask, bid in zip(asks, bids, strict=True))
    assert bytes(message.levels).decode() == f"[{','.join(levels)}]"
    book = read(message)
    assert isinstance(book, OrderBook)
    assert book.bids == tuple((price, D(size)) for price, size in bids)
    assert book.asks == tuple((price, D(size)) for price, size in asks)
