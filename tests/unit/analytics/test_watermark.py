"""Where a run begins, and from when on Redis may have lost something: from what was written into it."""

from typing import Any

import pytest

from collector.analytics.completeness import Status, Watch
from collector.analytics.watermark import (
    AHEAD_MS,
    LAG_MS,
    REACH_MS,
    Start,
    lost_from_ms,
    starts,
    trusted_from_ms,
)
from tests.samples.rows import BTC, T0

ETH, XRP, NEW = "KRW-ETH", "KRW-XRP", "KRW-NEW"
DAY_MS = 86_400_000


def status(covered_until_ms: int = T0, **fields: Any) -> Status:
    return Status(covered_until_ms, **{"run": "r1", "marker": 7, **fields})


def watch(*markets: str, **fields: Any) -> Watch:
    return Watch(status(**fields), False, frozenset(markets))


@pytest.mark.parametrize(
    ("fields", "from_ms"),
    [
        ({}, T0 - LAG_MS),
        ({"unsent_from_ms": T0 - 9_000}, T0 - 9_000),
        ({"unsent_from_ms": T0 - 5}, T0 - LAG_MS),
        # What was handed to Redis and is not stored yet is in Redis all the same.
        ({"pending_from_ms": T0 - 99_000}, T0 - LAG_MS),
        # What is on our own disk is sent from there.
        ({"spooled_from_ms": T0 - 99_000, "spool": "mine"}, T0 - LAG_MS),
    ],
)
def test_a_run_begins_where_the_last_one_had_brought_all(fields: dict[str, Any], from_ms: int) -> None:
    """Into Redis, or onto this disk; not at the newest trade, which may be stamped a day ahead."""
    known = starts([BTC, NEW], [watch(BTC, **fields)], {BTC: T0 + DAY_MS}, T0, spool="mine")
    assert known == {BTC: Start(from_ms)}


def test_trades_on_the_disk_of_another_listener_are_a_stretch_of_their_own() -> None:
    """Until what that one had covered."""
    known = starts([BTC], [watch(BTC, spooled_from_ms=T0 - 99_000, spool="its")], {}, T0 + 5, spool="mine")
    assert known == {BTC: Start(T0 - LAG_MS, T0 - 99_000, T0, "its")}


def test_each_market_goes_on_from_the_share_it_was_in() -> None:
    """Shares may be cut differently now; the one that covered a market last counts."""
    watches = [watch(BTC, XRP, covered_until_ms=T0), watch(ETH, XRP, covered_until_ms=T0 - 60_000)]
    known = starts([BTC, ETH, XRP], watches, {}, T0)
    assert {market: start.from_ms + LAG_MS - T0 for market, start in known.items()} == {
        BTC: 0, ETH: -60_000, XRP: 0,
    }  # fmt: skip


def test_without_a_status_the_last_trades_are_the_best_there_is() -> None:
    """An earlier version wrote none; a stamp ahead of the exchange's time is not believed."""
    last = {BTC: T0 - 5_000, ETH: T0 - 90_000, XRP: T0 + DAY_MS}
    known = starts([BTC, ETH, XRP, NEW], [], last, T0)
    assert known == {BTC: Start(T0 - 5_000), ETH: Start(T0 - 90_000), XRP: Start(T0 - 90_000)}
    assert starts([XRP], [], {XRP: T0 + AHEAD_MS + 1}, T0) == {}


def test_what_redis_holds_of_a_status_says_from_when_on_it_may_lack() -> None:
    """Everything that was not in Redis then, wherever it was."""
    assert trusted_from_ms(status()) == T0 - LAG_MS
    assert trusted_from_ms(status(unsent_from_ms=T0 - 3_000)) == T0 - 3_000
    assert trusted_from_ms(status(spooled_from_ms=T0 - 9_000, unsent_from_ms=T0)) == T0 - 9_000


@pytest.mark.parametrize(
    ("found", "from_ms"),
    [
        (status(T0 - 60_000, marker=3), T0 - 60_000 - LAG_MS),
        (status(T0 - DAY_MS, run="r0", marker=1), T0 - DAY_MS - LAG_MS),
        (None, T0 - 3_600_000),
        # Another listener has taken over: what it found was all that we had written.
        (status(run="r2", marker=8), None),
    ],
)
def test_what_redis_may_have_lost(found: Status | None, from_ms: int | None) -> None:
    """From the status that is left; without any from where the run began."""
    assert lost_from_ms(found, status(), T0 - 3_600_000, T0) == from_ms


def test_no_further_back_than_the_exchange_gives_trades() -> None:
    """A run of months whose Redis is flushed."""
    assert lost_from_ms(None, status(), T0 - 90 * DAY_MS, T0) == T0 - REACH_MS
