"""The analyses computed another way: fractions, regular expressions and numpy, no arithmetic of ours.

What ends in a quotient is rounded once, to 28 digits, so it must be equal to the last digit. What needs a
root or a logarithm is a float and compared within `REL`.
"""

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from itertools import accumulate, pairwise
from statistics import median
from typing import Any

import numpy as np

from collector.model import Level, Side, Trade
from tests.acceptance.recorded.plain import PlainBook, exact, rounded

#: Floats have 15 to 16 digits; a correlation loses some of them.
REL = 1e-9

Trades = Sequence[Trade]


def volume(trades: Trades, side: Side | None = None) -> Fraction:
    """Add up volumes, of one side or of both."""
    return sum((Fraction(t.volume) for t in trades if side in (None, t.side)), Fraction(0))


def value(trades: Trades) -> Fraction:
    """Add up price times volume."""
    return sum((Fraction(t.price) * Fraction(t.volume) for t in trades), Fraction(0))


def bursts(trades: Trades, gap_ms: int, min_trades: int) -> list[dict[str, Any]]:
    """Number the groups by counting the long pauses before each trade."""
    times = np.array([t.exchange_ms for t in trades])
    numbers = np.concatenate([[0], np.cumsum(np.diff(times) > gap_ms)])
    groups = [
        [t for t, n in zip(trades, numbers, strict=True) if n == number] for number in np.unique(numbers)
    ]
    rate = Fraction(len(trades), int(times[-1] - times[0]) + 1)
    return [
        {
            "from_ms": group[0].exchange_ms,
            "to_ms": group[-1].exchange_ms,
            "trade_count": len(group),
            "relative_rate": rounded(
                Fraction(len(group), group[-1].exchange_ms - group[0].exchange_ms + 1) / rate
            ),
            "buy_volume": volume(group, Side.BUY),
            "sell_volume": volume(group, Side.SELL),
            "quote_volume": value(group),
            "from_price": group[0].price,
            "to_price": group[-1].price,
        }
        for group in groups
        if len(group) >= min_trades
    ]


def sweeps(trades: Trades, within_ms: int, min_levels: int) -> list[tuple[Any, ...]]:
    """Take the longest stretch of one side that qualifies as a whole, then go on behind it."""
    found = []
    for side in Side:
        sign = 1 if side is Side.BUY else -1
        mine = sorted((t for t in trades if t.side is side), key=lambda t: (t.exchange_ms, sign * t.price))
        start = 0
        while start < len(mine):
            end = start + 1
            while end < len(mine) and _is_sweep(mine[start : end + 1], within_ms, sign):
                end += 1
            group, start = mine[start:end], end
            levels = len({t.price for t in group})
            if levels >= min_levels:
                first, last = Fraction(group[0].price), Fraction(group[-1].price)
                cost = rounded(abs(last - first) / first * 10_000)
                times = (group[0].exchange_ms, group[-1].exchange_ms)
                found.append(
                    (side, *times, levels, len(group), volume(group), value(group), first, last, cost)
                )
    return sorted(found, key=lambda row: row[1])


def _is_sweep(group: Trades, within_ms: int, sign: int) -> bool:
    ordered = all(sign * a.price <= sign * b.price for a, b in pairwise(group))
    return ordered and group[-1].exchange_ms - group[0].exchange_ms <= within_ms


def runs(trades: Trades) -> dict[str, Any]:
    """Write the sides as a word and look for repeated letters."""
    word = "".join(t.side.value[0] for t in trades)
    found = [match.span() for match in re.finditer("b+|s+", word)]
    buys, sells, count = word.count("b"), word.count("s"), len(word)
    z = None
    if buys and sells and count > 2:
        mean = Fraction(2 * buys * sells, count) + 1
        variance = (mean - 1) * (mean - 2) / (count - 1)
        z = float(len(found) - mean) / float(variance) ** 0.5 if variance else None
    return {
        "spans": found,
        "buys": buys,
        "sells": sells,
        "z": z,
        "expected": Fraction(2 * buys * sells, count) + 1,
    }


def vpin(trades: Trades, buckets: int) -> Decimal:
    """Read the signed volume off at every n-th of the volume, between trades by interpolation."""
    total = [Fraction(0), *accumulate(Fraction(t.volume) for t in trades)]
    signs = [1 if t.side is Side.BUY else -1 for t in trades]
    net = [Fraction(0), *accumulate(s * Fraction(t.volume) for s, t in zip(signs, trades, strict=True))]

    def net_at(at: Fraction) -> Fraction:
        behind = bisect_left(total, at)
        return net[behind] - signs[behind - 1] * (total[behind] - at) if behind else Fraction(0)

    edges = [net_at(total[-1] * n / buckets) for n in range(buckets + 1)]
    return rounded(sum(abs(b - a) for a, b in pairwise(edges)) / total[-1])


def profile(trades: Trades, rows: int, share: Fraction) -> dict[str, Any]:
    """Try every round step from tiny to large, then count volumes by row number.

    A lone price has a row of its last digit: of the largest power of ten that divides it.
    """
    prices = [Fraction(t.price) for t in trades]
    low, high = min(prices), max(prices)
    steps = (Fraction(digit) * Fraction(10) ** power for power in range(-40, 40) for digit in (1, 2, 5))
    if low == high:
        step = next(Fraction(10) ** power for power in range(40, -40, -1) if low % Fraction(10) ** power == 0)
    else:
        step = next(s for s in steps if high // s - low // s + 1 <= rows)
    by_row: dict[int, Fraction] = defaultdict(Fraction)
    for trade, price in zip(trades, prices, strict=True):
        by_row[int(price // step)] += Fraction(trade.volume)
    first, last = int(low // step), int(high // step)
    most = max(by_row.values())
    control = min(
        (row for row in by_row if by_row[row] == most), key=lambda row: (abs(2 * row - first - last), row)
    )
    area = [control]
    while sum(by_row[row] for row in area) < share * volume(trades):
        above = [row for row in (area[-1] + 1, area[-1] + 2) if row <= last]
        below = [row for row in (area[0] - 2, area[0] - 1) if row >= first]
        up, down = (sum(by_row[row] for row in side) for side in (above, below))
        area = area + above if above and (not below or up >= down) else below + area
    return {
        "step": step, "control": control * step, "from": area[0] * step, "to": (area[-1] + 1) * step,
        "rows": [by_row[row] for row in range(first, last + 1)],
    }  # fmt: skip


def volatility(prices: Sequence[Decimal]) -> tuple[float, float, float]:
    """Return variance, volatility, and volatility by the year, by numpy."""
    returns = np.diff(np.log(np.array(prices, dtype=float)))
    variance = float(np.sum(returns**2))
    return variance, variance**0.5, float((variance / len(returns) * 365 * 24 * 60) ** 0.5)


def correlation(a: Sequence[Decimal], b: Sequence[Decimal]) -> float:
    """Return Pearson's r of the log returns, by numpy."""
    returns = [np.diff(np.log(np.array(prices, dtype=float))) for prices in (a, b)]
    return float(np.corrcoef(*returns)[0, 1])


def fill(levels: Sequence[Level], size: Decimal) -> tuple[Fraction, Fraction]:
    """Return what a market order gets and pays: by the integral of the price over the size."""
    ends = [Fraction(0), *accumulate(Fraction(s) for _, s in levels)]
    got = min(Fraction(size), ends[-1])
    paid = sum(
        Fraction(price) * (min(end, got) - min(start, got))
        for (price, _), (start, end) in zip(levels, pairwise(ends), strict=True)
    )
    return got, Fraction(paid)


def walls(levels: Sequence[Level], times: Decimal) -> list[Decimal]:
    """Return the prices of the levels of at least `times` the median size."""
    usual = median(Fraction(size) for _, size in levels) if len(levels) > 2 else None
    return [price for price, size in levels if usual and Fraction(size) >= Fraction(times) * usual]


def spread(books: Sequence[PlainBook], to_ms: int) -> dict[str, Any]:
    """Spread statistics of books, none of which lacks a side, straight from their best levels."""
    bests = [(max(p for p, size in b.bids if size), min(p for p, size in b.asks if size)) for b in books]
    spreads = [Fraction(ask) - Fraction(bid) for bid, ask in bests]
    bps = [
        Fraction(rounded((Fraction(ask) - Fraction(bid)) * 20_000 / (Fraction(ask) + Fraction(bid))))
        for bid, ask in bests
    ]
    times = [b.us // 1000 for b in books] + [to_ms]
    held = [later - earlier for earlier, later in pairwise(times)]
    in_order = sorted(spreads)
    middle = (in_order[(len(books) - 1) // 2] + in_order[len(books) // 2]) / 2
    return {
        "book_count": len(books),
        "min_spread": exact(in_order[0]),
        "median_spread": exact(middle),
        "max_spread": exact(in_order[-1]),
        "mean_spread": rounded(sum(spreads) / len(books)),
        "mean_spread_bps": rounded(sum(bps) / len(books)),
        "time_weighted_spread_bps": rounded(
            sum((b * h for b, h in zip(bps, held, strict=True)), Fraction(0)) / sum(held)
        ),
        "newest_spread": exact(spreads[-1]),
    }


def book_changes(books: Sequence[PlainBook]) -> dict[str, Any]:
    """Changes from each book to the next, the first against an empty one, by sets of prices."""
    counts, moved, changed = dict.fromkeys(("added", "removed", "resized"), 0), 0, 0
    for before, book in pairwise([None, *books]):
        total, best_moved = 0, False
        for side, best in (("bids", max), ("asks", min)):
            new = {price: size for price, size in getattr(book, side) if size}
            old = {price: size for price, size in getattr(before, side) if size} if before else {}
            found = {
                "added": len(set(new) - set(old)),
                "removed": len(set(old) - set(new)),
                "resized": len({price for price in set(new) & set(old) if new[price] != old[price]}),
            }
            counts = {name: counts[name] + found[name] for name in counts}
            total += sum(found.values())
            best_moved |= best(new, default=None) != best(old, default=None)
        moved, changed = moved + best_moved, changed + bool(total)
    return {
        "book_count": len(books),
        "changed_count": changed,
        **counts,
        "mean_changed_levels": rounded(Fraction(sum(counts.values()), len(books))),
        "best_moved_count": moved,
        "best_moved_share": rounded(Fraction(moved, len(books))),
    }
