"""Arithmetic that never rounds, and the one that may.

Python's default decimal context rounds to 28 digits without a word. Sums and products of prices and volumes
run in `EXACT`, which raises instead; ratios, which have no exact decimal, are divided in `RATIO`.
"""

from decimal import Context, Decimal, DivisionByZero, FloatOperation, Inexact, InvalidOperation, Overflow

#: Room for products of two 40-digit numbers summed a billion times; beyond it `decimal.Inexact` is raised.
EXACT_DIGITS = 100

EXACT = Context(
    prec=EXACT_DIGITS, traps=[Inexact, InvalidOperation, Overflow, DivisionByZero, FloatOperation]
)
RATIO = Context(prec=28, traps=[InvalidOperation, Overflow, DivisionByZero, FloatOperation])

ZERO = Decimal(0)


def ratio(numerator: Decimal, denominator: Decimal) -> Decimal | None:
    """Divide to 28 digits; None where the denominator is zero."""
    return RATIO.divide(numerator, denominator) if denominator else None
