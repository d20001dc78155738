"""Repeated order books are noticed before they are parsed, and nothing else is ever called a repeat."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from collector.model import OrderBook
from collector.protocol.codec import Rejected, Repeat
from collector.protocol.current import CurrentCodec
from collector.protocol.repeats import RepeatedBooks
from tests.samples.frames import BOOK, RECEIVED_MS, read, simple, wire

T0_US = 1790133514064033
FULL = BOOK["orderbook_units"]
OTHER = '[{"ask_price":116208000,"bid_price":116204000,"ask_size":9,"bid_size":9}]'


def book(us: int = T0_US, units: str = FULL, form=dict, **changes: str | None) -> bytes:
    return wire(form({**BOOK, "timestamp": str(us), "orderbook_units": units, **changes})).encode()


def kinds(codec: CurrentCodec, *frames: bytes | str) -> list[type]:
    return [type(read(message)) for raw in frames for message in codec.decode(raw, RECEIVED_MS)]


def test_a_repeat_is_noticed_in_both_forms() -> None:
    """Equal content at a later time; a SNAPSHOT may repeat a REALTIME book."""
    for form in (dict, simple):
        frames = [book(form=form), book(T0_US + 80_000, form=form)]
        frames.append(book(T0_US + 90_000, form=form).replace(b"REALTIME", b"SNAPSHOT"))
        assert [OrderBook, Repeat, Repeat] == kinds(CurrentCodec(), *frames)


def test_each_market_has_its_own_last_book() -> None:
    """Books of two markets in turn do not hide each other's repeats."""
    eth = {"code": '"KRW-ETH"'}
    frames = [book(), book(T0_US + 1, **eth), book(T0_US + 2), book(T0_US + 3, **eth)]
    assert [OrderBook, OrderBook, Repeat, Repeat] == kinds(CurrentCodec(), *frames)


def test_a_return_to_an_earlier_content_is_no_repeat() -> None:
    """X, Y, X are three books."""
    frames = [book(T0_US), book(T0_US + 1, OTHER), book(T0_US + 2)]
    assert [OrderBook] * 3 == kinds(CurrentCodec(), *frames)


def test_a_refused_book_is_not_remembered() -> None:
    """Garbage stays garbage the second time; as a repeat it would count as data."""
    bad = '[{"ask_price":-5,"bid_price":1,"ask_size":1,"bid_size":1}]'
    assert [Rejected, Rejected] == kinds(CurrentCodec(), book(T0_US, bad), book(T0_US + 1, bad))


def test_a_repeat_at_an_impossible_time_is_refused() -> None:
    """The time of a repeat is looked at too."""
    frames = [book(), book(T0_US + 400 * 86_400_000_000)]
    assert [OrderBook, Rejected] == kinds(CurrentCodec(), *frames)


def test_sockets_that_share_their_memory_do_not_hide_a_change() -> None:
    """What another socket brought counts: after its Y, an X is news."""
    shared = RepeatedBooks()
    one, two = CurrentCodec(repeats=shared), CurrentCodec(repeats=shared)
    assert [OrderBook] == kinds(one, book(T0_US))
    assert [OrderBook] == kinds(two, book(T0_US + 1, OTHER))
    assert [OrderBook] == kinds(one, book(T0_US + 2))


def test_a_late_copy_does_not_count_as_the_newest_book() -> None:
    """A slow socket brings X again after Y: the next Y is the repeat, the next X is not."""
    codec = CurrentCodec()
    assert [OrderBook, OrderBook] == kinds(codec, book(T0_US), book(T0_US + 10, OTHER))
    assert [OrderBook] == kinds(codec, book(T0_US))
    assert [Repeat, OrderBook] == kinds(codec, book(T0_US + 20, OTHER), book(T0_US + 30))


def test_of_two_books_of_one_microsecond_none_is_the_known_one() -> None:
    """Whoever keeps the first of them must get the second again."""
    frames = [book(T0_US), book(T0_US, OTHER), book(T0_US + 1, OTHER)]
    assert [OrderBook] * 3 == kinds(CurrentCodec(), *frames)


def test_a_book_laid_out_otherwise_ends_the_run() -> None:
    """A text frame or another field order is parsed, and what came before it is no longer the newest."""
    text = book(T0_US + 1, OTHER).decode()
    turned = json.dumps(dict(reversed(json.loads(book(T0_US + 3, OTHER)).items()))).encode()
    frames = [book(T0_US), text, book(T0_US + 2), turned, book(T0_US + 4)]
    assert [OrderBook] * 5 == kinds(CurrentCodec(), *frames)


def test_memory_is_bounded() -> None:
    """Ever new market names do not fill it."""
    codec = CurrentCodec()
    for number in range(5_000):
        codec.decode(book(code=f'"KRW-X{number}"'), RECEIVED_MS)
    assert len(codec._repeats._newest) <= 4_096


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    """A valid book frame with some bytes replaced, inserted or taken out, anywhere."""
    raw = bytearray(book(T0_US + draw(st.integers(0, 3)), draw(st.sampled_from([FULL, OTHER]))))
    for _ in range(draw(st.integers(0, 2))):
        start = draw(st.integers(0, len(raw)))
        end = min(len(raw), start + draw(st.integers(0, 3)))
        raw[start:end] = draw(
            st.one_of(st.binary(max_size=3), st.sampled_from([b"0", b'"', b",", b"}", b"9"]))
        )
    return bytes(raw)


@settings(max_examples=150, deadline=None)
@given(st.lists(mutations(), min_size=2, max_size=5))
def test_a_repeat_says_what_the_newest_accepted_book_says(frames: list[bytes]) -> None:
    """Whatever is called a repeat, a codec without memory reads as the same levels, not older."""
    codec = CurrentCodec()
    newest: dict[str, OrderBook] = {}
    for raw in frames:
        message, plain = (read(one.decode(raw, RECEIVED_MS)[0]) for one in (codec, CurrentCodec()))
        if isinstance(message, Repeat):
            assert isinstance(plain, OrderBook)
            last = newest[plain.market]
            assert (last.bids, last.asks) == (plain.bids, plain.asks)
            assert plain.exchange_us >= last.exchange_us
        else:
            assert message == plain
        if isinstance(plain, OrderBook):
            known = newest.get(plain.market)
            if known is None or plain.exchange_us > known.exchange_us:
                newest[plain.market] = plain
