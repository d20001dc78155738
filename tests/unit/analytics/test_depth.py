"""Measures of an order book."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.analytics.book_changes import BookChanges, compare
from collector.analytics.depth import derive
from tests.samples.rows import book, levels


def test_measures_of_a_book() -> None:
    """Worked by hand: bid 100 x 3, ask 104 x 1."""
    made = derive(book(((100, 3), (99, 1)), ((104, 1), (105, 2))), None)
    assert (made.spread, made.mid) == (4, 102)
    assert made.microprice == 103
    assert (made.bid_depth, made.ask_depth) == (4, 3)
    assert made.imbalance == Decimal(1) / 7
    assert made.spread_bps == Decimal(40_000) / 102


def test_levels_of_size_zero_are_no_part_of_the_derived_book() -> None:
    """A best price whose size prints as 0 does not make the spread."""
    made = derive(book(((100, 0), (99, 1)), ((101, 0), (103, 1))), None)
    assert made.bids == levels((99, 1))
    assert made.asks == levels((103, 1))
    assert made.spread == 4


@pytest.mark.parametrize(
    ("bids", "asks", "imbalance"), [((), ((1, 1),), -1), (((1, 1),), (), 1), ((), (), None)]
)
def test_an_empty_side_leaves_what_needs_both_unknown(
    bids: tuple[tuple[int, int], ...], asks: tuple[tuple[int, int], ...], imbalance: int | None
) -> None:
    """Spread, mid and microprice are None, the imbalance is full."""
    made = derive(book(bids, asks), None)
    assert (made.spread, made.spread_bps, made.mid, made.microprice) == (None,) * 4
    assert made.imbalance == imbalance


def test_an_identical_book_changes_nothing() -> None:
    """0.10 and 0.1 are one size."""
    first = derive(book(((100, "0.10"),), ((101, 1),)), None)
    assert derive(book(((100, "0.1"),), ((101, 1),)), first).changes == BookChanges()


_SIDES = st.dictionaries(st.integers(1, 8), st.integers(1, 3), max_size=6).map(
    lambda side: levels(*sorted(side.items()))
)


@given(_SIDES, _SIDES, _SIDES, _SIDES)
def test_changes_lead_from_the_old_book_to_the_new(
    old_bids: object, old_asks: object, bids: object, asks: object
) -> None:
    """Levels before + added - removed = levels after, and the rest was resized or is equal."""
    old, new = (old_bids, old_asks), (bids, asks)
    changes = compare(old, new)  # type: ignore[arg-type]
    before, after = (sum(map(len, sides)) for sides in (old, new))  # type: ignore[arg-type]
    assert before + changes.added - changes.removed == after
    same = sum(len(set(a) & set(b)) for a, b in zip(old, new, strict=True))  # type: ignore[call-overload]
    assert same == after - changes.added - changes.resized
    assert (changes.levels == 0) == (old == new)
    mirrored = compare(new, old)  # type: ignore[arg-type]
    assert (changes.added, changes.removed) == (mirrored.removed, mirrored.added)
