"""Fixed-point numbers: integers in units of 10^-8, written as the exchange writes them.

Prices and volumes of the simulator are integers ("atoms"): exact, and faster than `Decimal`.
"""

from bisect import bisect_right
from functools import lru_cache

PLACES = 8
ONE = 10**PLACES
#: Sizes in a book are printed with four decimals; a real order below half of that prints as 0.0000.
SIZE_UNIT = 10**4

_E = ONE // 10_000
#: (first price of the band, tick) in atoms: the KRW tick table, bithumb-protocol.md 3.9.
KRW_TICKS = (
    (0, _E),
    (1 * ONE, 10 * _E),
    (10 * ONE, 100 * _E),
    (100 * ONE, ONE),
    (5_000 * ONE, 5 * ONE),
    (10_000 * ONE, 10 * ONE),
    (50_000 * ONE, 50 * ONE),
    (100_000 * ONE, 100 * ONE),
    (500_000 * ONE, 500 * ONE),
    (1_000_000 * ONE, 1_000 * ONE),
)
_BANDS = [start for start, _ in KRW_TICKS]


def tick(price: int, quote: str) -> int:
    """Return the price step in force at `price` atoms; BTC markets step by one atom."""
    return KRW_TICKS[bisect_right(_BANDS, price) - 1][1] if quote == "KRW" else 1


def step_up(price: int, quote: str) -> int:
    """Return the next price above."""
    return price + tick(price, quote)


def step_down(price: int, quote: str) -> int:
    """Return the next price below; one tick is the floor."""
    return max(price - tick(price - 1, quote), tick(0, quote))


def on_grid(price: int, quote: str) -> int:
    """Return `price` rounded down to the grid, at least one tick."""
    return max(price - price % tick(price, quote), tick(0, quote))


@lru_cache(maxsize=1 << 16)
def text(value: int, places: int = PLACES) -> str:
    """Write `value` x 10^-places exactly, as a JSON number.

    Below 10^-6 in scientific form (`1.4E-7`), as the exchange's Java does.
    """
    if value < 0:
        return "-" + text(-value, places)
    whole, part = divmod(value, 10**places)
    if not part:
        return str(whole)
    digits = str(value).rstrip("0")
    exponent = len(str(value)) - places - 1
    if exponent < -6:
        return f"{digits[0]}{'.' + digits[1:] if digits[1:] else ''}E{exponent}"
    return f"{whole}.{part:0{places}d}".rstrip("0")


def plain(value: int, places: int = PLACES) -> str:
    """Write `value` x 10^-places exactly, never with an exponent."""
    whole, part = divmod(value, 10**places)
    return f"{whole}.{part:0{places}d}".rstrip("0") if part else str(whole)


@lru_cache(maxsize=1 << 16)
def size_text(atoms: int) -> str:
    """Write a book size with the four decimals the exchange prints."""
    return four_decimals(printed_size(atoms))


def printed_size(atoms: int) -> int:
    """Round a size to the printed precision, in units of 10^-4."""
    return (atoms + SIZE_UNIT // 2) // SIZE_UNIT


def four_decimals(units: int) -> str:
    """Write units of 10^-4 with all four decimals."""
    return f"{units // 10_000}.{units % 10_000:04d}"
