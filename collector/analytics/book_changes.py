"""What changed between two order books of one market."""

from collections.abc import Sequence
from decimal import Decimal

from msgspec import Struct

from collector.model import Level


class BookChanges(Struct, frozen=True):
    """Levels of both sides that came, went or changed size, and whether a best price moved."""

    added: int = 0
    removed: int = 0
    resized: int = 0
    best_moved: bool = False

    @property
    def levels(self) -> int:
        """All levels touched."""
        return self.added + self.removed + self.resized


Sides = tuple[Sequence[Level], Sequence[Level]]


def compare(before: Sides, after: Sides) -> BookChanges:
    """Compare two books given as (bids, asks), best level first."""
    if before == after:
        return BookChanges()
    added = removed = resized = 0
    for old_side, new_side in zip(before, after, strict=True):
        gone = dict(old_side)
        for price, size in dict(new_side).items():
            size_before = gone.pop(price, None)
            if size_before is None:
                added += 1
            elif size_before != size:
                resized += 1
        removed += len(gone)
    best_moved = any(_best(old) != _best(new) for old, new in zip(before, after, strict=True))
    return BookChanges(added, removed, resized, best_moved)


def _best(side: Sequence[Level]) -> Decimal | None:
    return side[0][0] if side else None
