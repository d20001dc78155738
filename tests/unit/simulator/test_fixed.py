"""Fixed-point numbers keep every digit and are spelt as the exchange spells them."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.simulator.fixed import ONE, on_grid, plain, size_text, step_down, step_up, text, tick


@given(st.integers(-(10**30), 10**30), st.sampled_from([2, 4, 8, 16]))
def test_text_is_the_same_number(value: int, places: int) -> None:
    """Whatever the size, the text reads back as the very number."""
    assert Fraction(value, 10**places) == Fraction(text(value, places))


@given(st.integers(0, 10**30), st.sampled_from([2, 8, 16]))
def test_plain_text_has_no_exponent(value: int, places: int) -> None:
    """The plain form is exact too, and free of exponents."""
    assert Fraction(value, 10**places) == Fraction(plain(value, places))
    assert "E" not in plain(value, places)


@pytest.mark.parametrize(
    ("expected", "value"),
    [
        ("1.4E-7", 14),
        ("1E-8", 1),
        ("0.00001646", 1646),
        ("116208000", 116_208_000 * ONE),
        ("0", 0),
        ("-2.7E-7", -27),
    ],
)
def test_small_numbers_are_spelt_with_an_exponent(expected: str, value: int) -> None:
    """Below a millionth the scientific form, as on the wire (protocol 3.3, 3.5)."""
    assert expected == text(value)


@pytest.mark.parametrize(
    ("expected", "atoms"), [("0.0000", 4_999), ("0.0001", 5_000), ("8.4592", 845_920_000)]
)
def test_book_sizes_have_four_decimals(expected: str, atoms: int) -> None:
    """A real order below 0.00005 prints as nothing."""
    assert expected == size_text(atoms)


@pytest.mark.parametrize(
    ("expected", "price"),
    [
        ("0.0001", "0.5"),
        ("0.01", "50"),
        ("1", "1343"),
        ("5", "5000"),
        ("100", "181500"),
        ("1000", "116208000"),
    ],
)
def test_ticks_follow_the_table(expected: str, price: str) -> None:
    """KRW prices move in the steps of section 3.9."""
    assert expected == text(tick(int(Decimal(price) * ONE), "KRW"))


@given(st.integers(2, 10**17), st.sampled_from(["KRW", "BTC"]))
def test_steps_up_and_down_are_inverse(price: int, quote: str) -> None:
    """On the grid, a step up and one down lead back."""
    on = on_grid(price, quote)
    assert on == step_down(step_up(on, quote), quote)
    assert step_down(on, quote) <= on
