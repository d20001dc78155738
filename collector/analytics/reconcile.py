"""Our one-minute candles beside the exchange's: which minutes differ, in what, and why. Pure.

why      means
gap      trades were missed here and could not be fetched again (an unrecovered gap touches the minute)
sealed   trades came after the minute's ids were forgotten, so they were not counted (gap `too_late`)
late     the minute ended moments ago: either side may still change
theirs   the exchange counted more than we did, and nothing here says why
ours     we counted more than the exchange did
prices   the same volume, another open, high, low or close
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from enum import StrEnum

from msgspec import Struct

from collector.analytics.candles import iso
from collector.analytics.completeness import Losses
from collector.model import MINUTE_MS, Channel, Gap

#: Numbers the exchange has put through a double carry this many digits that can be trusted.
DOUBLE_DIGITS = 15
#: The reason of a gap that the store records for trades it may not count any more.
TOO_LATE = "too_late"


class Why(StrEnum):
    """Why a minute differs."""

    GAP = "gap"
    SEALED = "sealed"
    LATE = "late"
    THEIRS = "theirs"
    OURS = "ours"
    PRICES = "prices"


class Figures(Struct, frozen=True):
    """What both sides say of a minute."""

    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    base_volume: Decimal
    quote_volume: Decimal


class Difference(Struct, frozen=True):
    """A minute that differs, in `fields`; `ours` or `theirs` is None where only the other side has it."""

    market: str
    open_ms: int
    open_time: str
    why: Why
    fields: tuple[str, ...]
    ours: Figures | None
    theirs: Figures | None


def compare(
    market: str,
    ours: Mapping[int, Figures],
    theirs: Mapping[int, Figures],
    gaps: Iterable[Gap],
    settled_ms: int,
) -> list[Difference]:
    """Return the minutes that differ, oldest first.

    Args:
        market: whose minutes.
        ours: by open, epoch ms.
        theirs: likewise.
        gaps: of this market, of any channel.
        settled_ms: a minute that ended after this may still change.
    """
    losses = [gap for gap in gaps if gap.channel is Channel.TRADE and not gap.recovered]
    sealed = Losses(gap for gap in losses if gap.reason == TOO_LATE)
    missed = Losses(gap for gap in losses if gap.reason != TOO_LATE)
    found = []
    for open_ms in sorted(ours.keys() | theirs.keys()):
        mine, other = ours.get(open_ms), theirs.get(open_ms)
        fields = differing(mine, other)
        if fields:
            why = _why(open_ms, mine, other, missed, sealed, settled_ms)
            found.append(Difference(market, open_ms, iso(open_ms), why, fields, mine, other))
    return found


def differing(ours: Figures | None, theirs: Figures | None) -> tuple[str, ...]:
    """Return the names of the figures that are not the same."""
    if ours is None or theirs is None:
        return Figures.__struct_fields__
    names = Figures.__struct_fields__
    return tuple(name for name in names if not same(getattr(ours, name), getattr(theirs, name)))


def same(ours: Decimal, theirs: Decimal) -> bool:
    """Whether two numbers are equal; to a double's digits where theirs has as many as a double."""
    if ours == theirs:
        return True
    if len(theirs.as_tuple().digits) < DOUBLE_DIGITS:
        return False
    unit = Decimal(1).scaleb(theirs.adjusted() - DOUBLE_DIGITS + 1)
    return abs(ours - theirs) <= unit


def _why(
    open_ms: int,
    ours: Figures | None,
    theirs: Figures | None,
    missed: Losses,
    sealed: Losses,
    settled_ms: int,
) -> Why:
    last_ms = open_ms + MINUTE_MS - 1
    if sealed.touch(open_ms, last_ms):
        return Why.SEALED
    if missed.touch(open_ms, last_ms):
        return Why.GAP
    if last_ms >= settled_ms:
        return Why.LATE
    return _who_has_more(ours, theirs)


def _who_has_more(ours: Figures | None, theirs: Figures | None) -> Why:
    if ours is None or theirs is None:
        return Why.THEIRS if ours is None else Why.OURS
    if not same(ours.base_volume, theirs.base_volume):
        return Why.THEIRS if theirs.base_volume > ours.base_volume else Why.OURS
    if not same(ours.quote_volume, theirs.quote_volume):
        return Why.THEIRS if theirs.quote_volume > ours.quote_volume else Why.OURS
    return Why.PRICES
