"""Order books built from changes: in step or not published."""

from decimal import Decimal as D

from hypothesis import given
from hypothesis import strategies as st

from collector.model import Level
from collector.stream.book import BookBuilder
from tests.samples.events import T0, book, change, levels

US = T0 * 1000


def test_a_book_starts_from_a_whole_one_and_takes_changes() -> None:
    """New size, new level, removed level; both sides sorted, best first."""
    it = BookBuilder()
    it.replace(book(US, bids=levels(("99", "1"), ("98", "2")), asks=levels(("101", "1"))))
    result = it.change(
        change(US + 1, bids=levels(("99", "3"), ("98", "0"), ("97", "5")), asks=levels(("100", "4")))
    )
    assert result is not None
    assert result.bids == levels(("99", "3"), ("97", "5"))
    assert result.asks == levels(("100", "4"), ("101", "1"))
    assert (result.exchange_us, result.received_ms) == (US + 1, US // 1000 + 100)
    assert (it.missing, it.surprises) == (set(), {})


def test_a_change_that_comes_first_asks_for_the_book() -> None:
    """Nothing is published until the whole one has come."""
    it = BookBuilder()
    assert it.change(change(US, bids=levels(("99", "1")))) is None
    assert it.missing == {"KRW-BTC"}
    assert it.replace(book(US + 5)) is not None
    assert it.missing == set()
    assert it.change(change(US + 6, bids=levels(("98", "1")))) is not None
    assert it.surprises == {"change_before_book": 1}


def test_a_crossing_change_drops_the_book_and_asks_again() -> None:
    """A book whose sides meet has missed something."""
    it = BookBuilder()
    it.replace(book(US))
    assert it.change(change(US + 1, bids=levels(("101", "1")))) is None
    assert (it.missing, it.surprises) == ({"KRW-BTC"}, {"crossed_book": 1})
    assert it.change(change(US + 2, asks=levels(("102", "1")))) is None
    assert it.replace(book(US + 3)) is not None


def test_a_crossed_whole_book_is_not_published() -> None:
    """It is not in step with itself."""
    it = BookBuilder()
    assert it.replace(book(US, bids=levels(("102", "1")))) is None
    assert it.missing == {"KRW-BTC"}


def test_what_is_older_than_the_book_changes_nothing() -> None:
    """Changes and whole books that were on their way while a newer one came; equal times count."""
    it = BookBuilder()
    it.replace(book(US + 10))
    assert it.change(change(US + 9, bids=levels(("98", "1")))) is None
    assert it.replace(book(US + 9)) is None
    assert it.surprises == {"change_went_back": 1, "book_went_back": 1}
    same = it.change(change(US + 10, bids=levels(("98", "1"))))
    assert same is not None
    assert same.bids == levels(("99", "1"), ("98", "1"))


def test_markets_do_not_mix() -> None:
    """Each has its own book and its own trouble."""
    it = BookBuilder()
    it.replace(book(US, "KRW-ETH"))
    it.change(change(US, "KRW-BTC", bids=levels(("1", "1"))))
    assert it.missing == {"KRW-BTC"}
    assert it.change(change(US + 1, "KRW-ETH", bids=levels(("98", "1")))) is not None


def test_at_most_thirty_levels_are_published() -> None:
    """As many as the exchange's whole books have; the rest is kept."""
    it = BookBuilder()
    it.replace(book(US))
    far = levels(*((str(200 + number), "1") for number in range(60)))
    result = it.change(change(US + 1, asks=far))
    assert result is not None
    assert len(result.asks) == 30
    closer = it.change(change(US + 2, asks=levels(*((str(200 + number), "0") for number in range(40)))))
    assert closer is not None
    assert [price for price, _ in closer.asks] == [D(101), *(D(240 + number) for number in range(20))]


def test_a_removal_of_an_unknown_level_is_nothing() -> None:
    """Below the depth of the whole book there are levels we never saw."""
    it = BookBuilder()
    it.replace(book(US))
    result = it.change(change(US + 1, asks=levels(("500", "0"))))
    assert result is not None
    assert result.asks == levels(("101", "1"))


prices = st.integers(90, 110)
sides = st.lists(st.tuples(prices, st.integers(0, 3)), max_size=4)


@given(st.lists(st.tuples(st.booleans(), sides, sides), max_size=25))
def test_a_published_book_equals_a_plain_dictionary(script: list[tuple[bool, list, list]]) -> None:
    """Whole books and changes in any order: what is published is right, sorted and not crossed."""
    it, plain_bids, plain_asks, known = BookBuilder(), {}, {}, False
    for number, (is_whole, bids, asks) in enumerate(script):
        if is_whole:
            plain_bids, plain_asks = dict(bids), dict(asks)
            result = it.replace(book(US + number, bids=side(plain_bids, True), asks=side(plain_asks, False)))
            known = True
        else:
            result = it.change(change(US + number, bids=raw(bids), asks=raw(asks)))
            apply(plain_bids, bids)
            apply(plain_asks, asks)
        if plain_bids and plain_asks and max(plain_bids) >= min(plain_asks):
            known = False
        assert (result is not None) == known
        assert ("KRW-BTC" in it.missing) == (not known)
        if result is not None:
            assert result.bids == side(plain_bids, True)
            assert result.asks == side(plain_asks, False)


def apply(side_: dict[int, int], entries: list[tuple[int, int]]) -> None:
    for price, size in entries:
        if size:
            side_[price] = size
        else:
            side_.pop(price, None)


def raw(entries: list[tuple[int, int]]) -> tuple[Level, ...]:
    return tuple((D(price), D(size)) for price, size in entries)


def side(entries: dict[int, int], is_bid: bool) -> tuple[Level, ...]:
    return raw(sorted(entries.items(), reverse=is_bid))
