"""Our candles beside the exchange's: what differs, and why."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.analytics.reconcile import Figures, Match, Why, compare, differing, match, same
from collector.model import Channel, Gap

M = "KRW-BTC"
T0 = 1_789_997_580_000
MINUTE = 60_000
#: All minutes here are long over.
LONG_AFTER = T0 + 10 * 3_600_000


def figures(price: object = 100, base: object = 1, quote: object = 100, **other: object) -> Figures:
    """Return the figures of a minute that traded at one price."""
    values = dict.fromkeys(("open", "high", "low", "close"), price) | {
        "base_volume": base,
        "quote_volume": quote,
    }
    return Figures(**{name: Decimal(str(value)) for name, value in (values | other).items()})


def gap(reason: str = "stalled", **fields: Any) -> Gap:
    """Return a gap within the minute T0."""
    values: dict[str, Any] = {
        "market": M,
        "channel": Channel.TRADE,
        "from_ms": T0 + 59_999,
        "to_ms": T0 + 59_999,
    }
    return Gap(reason=reason, **(values | fields))


@pytest.mark.parametrize(
    ("why", "ours", "theirs", "gaps", "settled_ms"),
    [
        (Why.GAP, None, figures(), [gap()], LONG_AFTER),
        (Why.GAP, figures(base=1), figures(base=2), [gap()], LONG_AFTER),
        (Why.SEALED, figures(base=1), figures(base=2), [gap(), gap("too_late")], LONG_AFTER),
        (Why.THEIRS, None, figures(), [], LONG_AFTER),
        (Why.THEIRS, None, figures(), [gap(recovered=True)], LONG_AFTER),
        (Why.THEIRS, None, figures(), [gap(channel=Channel.TICKER)], LONG_AFTER),
        (Why.THEIRS, None, figures(), [gap(from_ms=T0 + MINUTE, to_ms=T0 + MINUTE)], LONG_AFTER),
        (Why.THEIRS, figures(quote=99), figures(quote=100), [], LONG_AFTER),
        (Why.OURS, figures(), None, [], LONG_AFTER),
        (Why.OURS, figures(base="1.0001"), figures(), [], LONG_AFTER),
        (Why.PRICES, figures(close=101), figures(), [], LONG_AFTER),
        (Why.LATE, figures(base=1), figures(base=2), [], T0 + MINUTE - 1),
        (Why.THEIRS, figures(base=1), figures(base=2), [], T0 + MINUTE),
    ],
)
def test_each_difference_has_its_reason(
    why: Why, ours: Figures | None, theirs: Figures | None, gaps: list[Gap], settled_ms: int
) -> None:
    """What is known to be missing explains more than who counted more."""
    (found,) = compare(M, {T0: ours} if ours else {}, {T0: theirs} if theirs else {}, gaps, settled_ms)
    assert (why, T0, "2026-09-21T13:33:00Z") == (found.why, found.open_ms, found.open_time)


def test_fields_that_differ_are_named() -> None:
    """Equal figures are not mentioned."""
    (found,) = compare(M, {T0: figures(close=1, base=2)}, {T0: figures()}, [], LONG_AFTER)
    assert found.fields == ("close", "base_volume")


MINUTES = st.dictionaries(
    st.integers(0, 20).map(lambda n: T0 + n * MINUTE),
    st.builds(figures, st.integers(1, 3), st.integers(1, 3), st.integers(1, 3)),
)


@given(MINUTES, MINUTES, st.lists(st.integers(0, 20), max_size=3))
def test_exactly_the_minutes_that_differ_are_found(
    ours: dict[int, Figures], theirs: dict[int, Figures], lost: list[int]
) -> None:
    """Oldest first, each once, whatever the gaps; a side compared with itself differs in nothing."""
    gaps = [gap(from_ms=T0 + n * MINUTE, to_ms=T0 + n * MINUTE + 5) for n in lost]
    expected = sorted(ms for ms in ours.keys() | theirs.keys() if ours.get(ms) != theirs.get(ms))
    found = compare(M, ours, theirs, gaps, LONG_AFTER)
    assert expected == [row.open_ms for row in found]
    assert all((row.why is Why.GAP) is ((row.open_ms - T0) // MINUTE in lost) for row in found)
    assert compare(M, ours, ours, gaps, LONG_AFTER) == []


@pytest.mark.parametrize(
    ("expected", "ours", "theirs"),
    [
        (True, "0.10", "0.1"),
        (True, "14330306973.4101512345", "14330306973.41015"),
        (False, "728107452.06423197609921044", "728107452.06423197609921045"),
        (False, "728107452.064231976099210", "728107452.064231976099211"),
        (False, "14330306973.4101512345", "14330306973.41035"),
        (False, "100.4", "100"),
        (False, "14330306973.4", "14330306973.5"),
    ],
)
def test_numbers_are_equal_or_rounded_by_a_double(expected: bool, ours: str, theirs: str) -> None:
    """Only a number as long as a double's may be off, and only in the digits a double can't hold."""
    assert expected is same(Decimal(ours), Decimal(theirs))


@pytest.mark.parametrize(
    ("expected", "ours", "theirs"),
    [
        (Match.EQUAL, None, None),
        (Match.EQUAL, figures(), figures()),
        (Match.LESS, None, figures()),
        (Match.MORE, figures(), None),
        (Match.LESS, figures(quote=99), figures(quote=100)),
        (Match.MORE, figures(quote=101), figures(quote=100)),
        (Match.PRICES, figures(close=99), figures()),
        (Match.LESS, figures(base="0.9"), figures(base=1)),
        (Match.EQUAL, figures(base="0.12345678"), figures(base="0.1235")),
        (Match.EQUAL, figures(base="0.12345678"), figures(base="0.1234")),
        (Match.MORE, figures(base="0.12345678"), figures(base="0.1233")),
        (Match.LESS, figures(base="0.12345678"), figures(base="0.12345679")),
        (Match.PRICES, figures(base="0.12345678", high=101), figures(base="0.1235")),
        (Match.LESS, figures(base="0.12345678", quote=99), figures(base="0.1235")),
        (Match.LESS, figures(base=2, quote=99), figures(base=1, quote=100)),
    ],
)
def test_the_turnover_decides_who_has_more(
    expected: Match, ours: Figures | None, theirs: Figures | None
) -> None:
    """A volume of four decimals beside an equal turnover is a rounded one; anything else is a difference."""
    assert match(ours, theirs) is expected
    assert (expected is Match.EQUAL) is (not differing(ours, theirs))
