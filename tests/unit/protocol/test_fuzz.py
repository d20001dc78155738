"""Whatever arrives, decoding returns values: no exception, nothing unsound, no unbounded work."""

import json
from collections.abc import Callable, Sequence
from decimal import Decimal
from random import Random

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from collector import batch
from collector.batch import Kind
from collector.model import BookChange, OrderBook, Ticker, Trade
from collector.protocol.codec import Codec, Message, Rejected
from collector.protocol.current import CurrentCodec
from collector.protocol.legacy import LegacyCodec
from tests.doubles.mischief import damaged
from tests.samples import legacy_frames
from tests.samples.frames import BOOK, RECEIVED_MS, TICKER, TRADE, read, simple, wire

CODECS = {"current": CurrentCodec, "legacy": LegacyCodec}
GOOD = [wire(form(fields)) for fields in (TICKER, TRADE, BOOK) for form in (dict, simple)] + legacy_frames.ALL
KINDS = {Trade: Kind.TRADE, Ticker: Kind.TICKER, OrderBook: Kind.ORDERBOOK}

numbers = st.one_of(
    st.integers(),
    st.integers(-(2**70), 2**70),
    st.decimals(allow_nan=False, allow_infinity=False).map(str),
    st.sampled_from(
        ["1e999999", "-1e999999", "1e-999999", "1e400", "NaN", "Infinity", "-Infinity", "sNaN", "0", "-0.0"]
    ),
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, st.floats(allow_nan=False), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)


def check(codec: Codec, raw: bytes | str) -> None:
    """Decode; every event must be one that a worker accepts."""
    for message in codec.decode(raw, RECEIVED_MS):
        if isinstance(message, Rejected):
            assert len(message.raw) <= 500
            assert message.reason.replace("_", "").isalpha()
        elif isinstance(message, BookChange):
            assert all(price > 0 and size >= 0 for price, size in message.bids + message.asks)
        else:
            accepted(message)


def accepted(message: Message) -> None:
    message = read(message)
    kind = KINDS.get(type(message))
    if kind is None:
        return
    text = batch.encode(batch.make(kind, [message], listener="fuzz", now_ms=RECEIVED_MS))
    assert [message] == batch.decode(text, batch.CLASSES[kind]).rows


@pytest.fixture(params=CODECS)
def new_codec(request: pytest.FixtureRequest) -> Callable[[], Codec]:
    return CODECS[request.param]


fuzzed = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@fuzzed
@given(st.one_of(st.binary(max_size=200), st.text(max_size=200)))
@example("\ud800")
@example(b'{"type":"trade","type":"\xed\xa0\x80"}')
def test_any_bytes_and_any_text(new_codec: Callable[[], Codec], raw: bytes | str) -> None:
    """Random input is refused."""
    check(new_codec(), raw)


@fuzzed
@given(st.sampled_from(GOOD), st.data())
def test_good_frames_cut_and_damaged(new_codec: Callable[[], Codec], good: str, data: st.DataObject) -> None:
    """A frame cut anywhere, or with a few bytes changed, is one refusal or a sound event."""
    raw = bytearray(good.encode())
    del raw[data.draw(st.integers(0, len(raw))) :]
    check(new_codec(), bytes(raw))
    raw = bytearray(good.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(raw) - 1))
        raw[place : place + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    check(new_codec(), bytes(raw))


@fuzzed
@given(st.sampled_from(GOOD), st.data())
def test_good_frames_with_any_value_anywhere(
    new_codec: Callable[[], Codec], good: str, data: st.DataObject
) -> None:
    """Wrong types, huge numbers and nesting in any field."""
    frame = json.loads(good)
    holder, key = data.draw(st.sampled_from(list(places(frame))))
    holder[key] = data.draw(values)
    separators = data.draw(st.sampled_from([(",", ":"), (", ", ": ")]))
    check(new_codec(), json.dumps(frame, separators=separators).encode())


def places(node: object) -> Sequence[tuple[dict | list, str | int]]:
    """Return (container, key) of every value in a JSON tree."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    found: list[tuple[dict | list, str | int]] = []
    for key, value in items:
        found.append((node, key))  # type: ignore[arg-type]
        found += places(value)
    return found


@fuzzed
@given(values)
def test_any_json(new_codec: Callable[[], Codec], value: object) -> None:
    """JSON of every shape is refused or a status."""
    check(new_codec(), json.dumps(value).encode())


def test_no_event_holds_a_number_that_cannot_be_written_out() -> None:
    """The largest and smallest accepted numbers stay short in plain digits."""
    for text in ("9" * 30, "1e-40", "1e30"):
        for message in CurrentCodec().decode(wire(TRADE, trade_price=text), RECEIVED_MS):
            assert isinstance(message, Trade)
            assert len(format(Decimal(message.price), "f")) < 50


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(4))
def test_a_hundred_thousand_damaged_frames(seed: int) -> None:
    """Thirty thousand for each seed and both protocols: bytes changed, cut, doubled and moved at random."""
    dice, pool = Random(seed), [frame.encode() for frame in GOOD]
    for name, new in CODECS.items():
        codec = new()
        for number in range(30_000):
            raw = damaged(dice.choice(pool), dice)
            try:
                check(codec, raw)
            except Exception as error:
                raise AssertionError(f"{name}, seed {seed}, input {number}: {raw!r}") from error
