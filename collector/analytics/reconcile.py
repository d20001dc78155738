"""Comparison of our one-minute candles with the exchange's: differing minutes and reasons. Pure.

why      means
gap      trades were missed here and could not be fetched again (an unrecovered gap touches the minute)
sealed   trades came after the minute's ids were forgotten, so they were not counted (gap `too_late`)
before   our data begin later
late     the minute ended moments ago: either side may still change
theirs   the exchange counted more than we did, for an unknown reason
ours     we counted more than the exchange did
prices   the same volume, another open, high, low or close

The turnover decides. A base volume beside an equal turnover may be rounded to four decimals, as tickers of
the exchange have been.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from enum import StrEnum

from msgspec import Struct

from collector.analytics.candles import Minute, iso
from collector.analytics.completeness import Losses
from collector.analytics.exact import EXACT
from collector.model import MINUTE_MS, Channel, Gap

#: Numbers the exchange has put through a double have so many digits that can be trusted, and at most so many.
DOUBLE_DIGITS, DOUBLE_DIGITS_MAX = 15, 17
#: Places of a volume that may be rounded.
ROUNDED_PLACES = 4
#: The reason of a gap that the store records for trades it may not count any more.
TOO_LATE = "too_late"


class Why(StrEnum):
    """Why a minute differs."""

    GAP = "gap"
    SEALED = "sealed"
    BEFORE = "before"
    LATE = "late"
    THEIRS = "theirs"
    OURS = "ours"
    PRICES = "prices"


class Figures(Struct, frozen=True):
    """The figures of both sides for a minute."""

    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    base_volume: Decimal
    quote_volume: Decimal


def figures_of(minute: Minute) -> Figures:
    """Return what is compared of a stored minute."""
    return Figures(
        open=minute.first.price,
        high=minute.high,
        low=minute.low,
        close=minute.last.price,
        base_volume=EXACT.add(minute.buy_volume, minute.sell_volume),
        quote_volume=minute.quote_volume,
    )


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
    begins_ms: int = 0,
) -> list[Difference]:
    """Return the minutes that differ, oldest first.

    Args:
        market: whose minutes.
        ours: by open, epoch ms.
        theirs: likewise.
        gaps: of this market, of any channel.
        settled_ms: a minute that ended after this may still change.
        begins_ms: where our data begin.
    """
    losses = [gap for gap in gaps if gap.channel is Channel.TRADE and not gap.recovered]
    sealed = Losses(gap for gap in losses if gap.reason == TOO_LATE)
    missed = Losses(gap for gap in losses if gap.reason != TOO_LATE)
    found = []
    for open_ms in sorted(ours.keys() | theirs.keys()):
        mine, other = ours.get(open_ms), theirs.get(open_ms)
        fields = differing(mine, other)
        if fields:
            why = Why.BEFORE if mine is None and open_ms + MINUTE_MS <= begins_ms else None
            why = why or _why(open_ms, mine, other, missed, sealed, settled_ms)
            found.append(Difference(market, open_ms, iso(open_ms), why, fields, mine, other))
    return found


def differing(ours: Figures | None, theirs: Figures | None) -> tuple[str, ...]:
    """Return the names of the figures that are not the same."""
    if ours is None and theirs is None:
        return ()
    if ours is None or theirs is None:
        return Figures.__struct_fields__
    names = Figures.__struct_fields__
    found = tuple(name for name in names if not same(getattr(ours, name), getattr(theirs, name)))
    return () if found == ("base_volume",) and is_rounded(ours.base_volume, theirs.base_volume) else found


def same(ours: Decimal, theirs: Decimal) -> bool:
    """Whether two numbers are equal; to a double's digits where theirs has as many as a double."""
    if ours == theirs:
        return True
    if not DOUBLE_DIGITS <= len(theirs.as_tuple().digits) <= DOUBLE_DIGITS_MAX:
        return False
    unit = Decimal(1).scaleb(theirs.adjusted() - DOUBLE_DIGITS + 1)
    return abs(ours - theirs) <= unit


def is_rounded(ours: Decimal, theirs: Decimal) -> bool:
    """Whether theirs may be our volume with four decimals, rounded or cut."""
    exponent = theirs.as_tuple().exponent
    return (
        isinstance(exponent, int)
        and exponent >= -ROUNDED_PLACES
        and abs(ours - theirs) < Decimal(1).scaleb(-ROUNDED_PLACES)
    )


class Match(StrEnum):
    """How a minute of ours compares with the exchange's."""

    EQUAL = "equal"
    LESS = "less"  # the exchange has counted more: trades are missing here
    MORE = "more"  # we have counted more: REST lags, or something was counted twice
    PRICES = "prices"  # the same turnover and volume, other prices


def match(ours: Figures | None, theirs: Figures | None) -> Match:
    """Compare a minute; None stands for a minute without a trade."""
    if not differing(ours, theirs):
        return Match.EQUAL
    if ours is None or theirs is None:
        return Match.LESS if ours is None else Match.MORE
    if not same(ours.quote_volume, theirs.quote_volume):
        return Match.LESS if theirs.quote_volume > ours.quote_volume else Match.MORE
    if same(ours.base_volume, theirs.base_volume) or is_rounded(ours.base_volume, theirs.base_volume):
        return Match.PRICES
    return Match.LESS if theirs.base_volume > ours.base_volume else Match.MORE


#: What each kind of difference is called where nothing here explains it.
_UNEXPLAINED = {Match.LESS: Why.THEIRS, Match.MORE: Why.OURS, Match.PRICES: Why.PRICES}


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
    return _UNEXPLAINED[match(ours, theirs)]
