"""How far a market is proven: small cases by hand."""

import pytest

from collector.analytics.candles import Minute, merge
from collector.analytics.completeness import NEVER_MS, Known, Losses
from collector.analytics.proof import REACH_MS, Completeness, completeness, opens_between
from collector.model import MINUTE_MS, Channel, Gap
from tests.samples.rows import BTC, T0, trade


def minute() -> Minute:
    one = [trade(1)]
    return merge(None, one, one)


def judged(text: str, gaps: tuple[tuple[int, int], ...] = ()) -> Completeness:
    """Return what is answered of minutes from `T0` on, one letter each.

    `y` compared and equal, `n` differs, `?` traded and not compared, `q` quiet on both sides, `-` quiet here
    and not compared.
    """
    opens = {number: T0 + number * MINUTE_MS for number in range(len(text))}
    minutes = {opens[number]: minute() for number, letter in enumerate(text) if letter in "yn?"}
    found = {
        opens[number]: {"y": True, "q": True, "n": False}.get(letter) for number, letter in enumerate(text)
    }
    lost = [Gap(BTC, Channel.TRADE, opens[first], opens[last] + 5, "stalled") for first, last in gaps]
    known = Known(Losses(lost), T0)
    last_ms = T0 + len(text) * MINUTE_MS - 1
    return completeness(
        BTC,
        minutes,
        lambda open_ms, _: found[open_ms],
        known,
        open_gaps=len(lost),
        recovered_trades=7,
        opens=opens_between(known, last_ms),
    )


@pytest.mark.parametrize(
    ("text", "gaps", "until", "unproven", "verified"),
    [
        ("yyyy", (), 4, 0, True),
        ("yyqy?", (), 4, 0, True),
        ("yyq-", (), 3, 0, True),
        ("y?yy??", (), 4, 1, None),
        ("y-yy", (), 4, 1, True),
        ("ynyy", (), 4, 1, False),
        ("yyyn", (), 3, 0, False),
        ("????", (), None, 0, None),
        ("----", (), None, 0, None),
        ("yyyy", ((1, 1),), 4, 1, True),
        ("y--yy", ((1, 2),), 5, 2, True),
        ("yyyy", ((3, 3),), 3, 0, True),
        ("", (), None, 0, None),
    ],
)
def test_the_newest_proven_minute_and_what_is_not_proven_before_it(
    text: str, gaps: tuple[tuple[int, int], ...], until: int | None, unproven: int, verified: bool | None
) -> None:
    """A gap unproves what was compared: the comparison may have been before it."""
    expected_ms = None if until is None else T0 + until * MINUTE_MS
    assert judged(text, gaps) == Completeness(BTC, expected_ms, unproven, len(gaps), 7, verified)


def test_only_whole_minutes_of_our_data_are_looked_at() -> None:
    """Of a day at most; where there are no data, none."""
    assert opens_between(Known(from_ms=T0 + 1), T0 + 3 * MINUTE_MS)[0] == T0 + MINUTE_MS
    assert opens_between(Known(from_ms=T0), T0)[0] == T0
    assert len(opens_between(Known(), T0)) == REACH_MS // MINUTE_MS + 1
    assert not opens_between(Known(from_ms=NEVER_MS), T0)
