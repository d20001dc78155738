"""Whether an outage is the exchange's maintenance, look by look."""

from decimal import Decimal

import pytest

from collector.listener.maintenance import RestQuiet

BEGAN_S = 100.0


def told(*looks: str | int) -> str:
    """Return the reason after looks 30 s apart, the first a minute before the outage.

    A number is the turnover of a market, `refused` and `unreachable` are no answers.
    """
    quiet = RestQuiet()
    for number, look in enumerate(looks):
        now_s = BEGAN_S - 60 + 30 * number
        if look == "refused":
            quiet.on_refused(now_s)
        elif look == "unreachable":
            quiet.on_unreachable()
        else:
            quiet.on_totals({"KRW-BTC": Decimal(look), f"KRW-{number}": Decimal(number)}, now_s)
    return quiet.explain("stalled", BEGAN_S)


@pytest.mark.parametrize(
    ("looks", "reason"),
    [
        ((1, 2, 3, 3, 3, 3), "maintenance"),
        ((1, 2, 3, "refused", "refused", "refused"), "maintenance"),
        ((1, 2, 3, "refused", 3, "refused"), "maintenance"),
        ((1, 2, 3, 4, 5, 5, 5, 5), "maintenance"),  # REST lagged
        ((1, 2, 3, 3, 3), "stalled"),  # not for long enough
        ((1, 2, 3, 4, 5, 6), "stalled"),  # the sockets alone
        ((1, 2, 3, 3, 3, 3, 4), "stalled"),
        ((1, 2, 3, "unreachable", "unreachable", "unreachable"), "stalled"),  # our network
        ((1, 2, 3, 3, 3, "unreachable"), "stalled"),
        ((3, 3, 3, 3, 3, 3), "stalled"),  # a market that is always so quiet
        ((), "stalled"),
    ],
)
def test_sockets_and_rest_are_quiet_together(looks: tuple[str | int, ...], reason: str) -> None:
    """For long enough, and where totals have moved before."""
    assert told(*looks) == reason


def test_a_new_day_moves_the_totals() -> None:
    """They begin again at midnight in Korea: one look longer, and the outage has its reason."""
    assert told(1, 2, 3, 3, 0, 0, 0, 0) == "maintenance"
