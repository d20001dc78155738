"""Order books over time: the spread, and how much changes from book to book."""

from collections.abc import Sequence
from decimal import Decimal, localcontext
from itertools import pairwise
from statistics import median

from msgspec import Struct

from collector.analytics.depth import BPS, Book
from collector.analytics.exact import EXACT, ZERO, ratio


class BookSample(Struct, frozen=True, array_like=True):
    """What is kept of a book: spread and mid (None where a side is empty), and what changed to it."""

    exchange_ms: int
    spread: Decimal | None
    mid: Decimal | None
    added: int
    removed: int
    resized: int
    best_moved: bool


class SpreadStatistics(Struct, frozen=True):
    """Of the books that have both sides; None where there is none."""

    book_count: int
    min_spread: Decimal | None
    median_spread: Decimal | None
    max_spread: Decimal | None
    mean_spread: Decimal | None
    mean_spread_bps: Decimal | None
    time_weighted_spread_bps: Decimal | None
    newest_spread: Decimal | None


class ChangeStatistics(Struct, frozen=True):
    """Levels that came, went or changed size, and how often a best price moved."""

    book_count: int
    changed_count: int
    added: int
    removed: int
    resized: int
    mean_changed_levels: Decimal | None
    best_moved_count: int
    best_moved_share: Decimal | None


def sample(book: Book) -> BookSample:
    """Return what is kept of `book`."""
    changes = book.changes
    return BookSample(
        book.exchange_ms,
        book.spread,
        book.mid,
        changes.added,
        changes.removed,
        changes.resized,
        changes.best_moved,
    )


def spread(samples: Sequence[BookSample], to_ms: int) -> SpreadStatistics:
    """Return the statistics of the spread, oldest sample first, up to `to_ms`.

    Formula: spread = best ask - best bid, in bps spread / mid * 10000; the mean counts each book once, the
        time-weighted mean by how long it stood until the next sample or the window's end. A book without
        one of its sides is left out.
    Source: the quoted and the proportional quoted spread, T. Chordia, R. Roll and A. Subrahmanyam,
        "Commonality in Liquidity", Journal of Financial Economics 56 (2000) 3-28; weighted by time as in
        T. McInish and R. Wood, Journal of Finance 47 (1992) 753-764.
    """
    ends = [later.exchange_ms for _, later in pairwise(samples)] + [to_ms]
    whole = [
        (row.spread, ratio(EXACT.multiply(row.spread, Decimal(BPS)), row.mid) or ZERO, end - row.exchange_ms)
        for row, end in zip(samples, ends, strict=True)
        if row.spread is not None and row.mid is not None
    ]
    if not whole:
        return SpreadStatistics(0, None, None, None, None, None, None, None)
    spreads = [absolute for absolute, _, _ in whole]
    count = Decimal(len(whole))
    with localcontext(EXACT):
        mean, mean_bps = sum(spreads, ZERO), sum((bps for _, bps, _ in whole), ZERO)
        held = sum((max(0, held_ms) for _, _, held_ms in whole), 0)
        weighted = sum((bps * max(0, held_ms) for _, bps, held_ms in whole), ZERO)
        middle = median(spreads)
    return SpreadStatistics(
        book_count=len(whole),
        min_spread=min(spreads),
        median_spread=middle,
        max_spread=max(spreads),
        mean_spread=ratio(mean, count),
        mean_spread_bps=ratio(mean_bps, count),
        time_weighted_spread_bps=ratio(weighted, Decimal(held)),
        newest_spread=spreads[-1],
    )


def changes(samples: Sequence[BookSample]) -> ChangeStatistics:
    """Return how much changed from book to book.

    Formula: a level was added, removed or resized where only the newer book, only the older one, or both
        with different sizes have its price; best_moved counts books whose best bid or ask has another price
        than before. Means and shares are by book.
    Source: the events of a book of B. Biais, P. Hillion and C. Spatt, "An Empirical Analysis of the Limit
        Order Book and the Order Flow in the Paris Bourse", Journal of Finance 50 (1995) 1655-1689, as far
        as two snapshots show them.
    """
    count = len(samples)
    added = sum(row.added for row in samples)
    removed = sum(row.removed for row in samples)
    resized = sum(row.resized for row in samples)
    moved = sum(row.best_moved for row in samples)
    return ChangeStatistics(
        book_count=count,
        changed_count=sum(bool(row.added or row.removed or row.resized) for row in samples),
        added=added,
        removed=removed,
        resized=resized,
        mean_changed_levels=ratio(Decimal(added + removed + resized), Decimal(count)),
        best_moved_count=moved,
        best_moved_share=ratio(Decimal(moved), Decimal(count)),
    )
