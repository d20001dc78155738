"""Where a run begins, and what Redis lost: decided from the coverage that was written into it. Pure.

A listener writes its `Status` again and again, each time with a higher `marker`. What it handed to Redis
before a status is in whatever state of Redis holds that status: a Redis that loses its last writes loses a
tail of them. So the stored status determines from when on trades may be missing, both after a restart of the
listener and after a restart, a flush, a failover or an old copy of Redis.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from collector.analytics.completeness import Status, Watch, watch_of
from collector.util.korean_time import DAY_MS

#: Events arrive after their time, some later than others: what is covered until a moment may lack so much.
LAG_MS = 2_000
#: The exchange gives trades of so long ago, not of before.
REACH_MS = 7 * DAY_MS
#: A stored time further ahead of the exchange's is no time to begin at.
AHEAD_MS = 60_000


@dataclass(frozen=True, slots=True)
class Start:
    """Where a market's trades have to be fetched from, epoch ms.

    Attributes:
        from_ms: all before it is stored, or on its way in Redis, or in the disk of this listener.
        is_known_before: whether what was before that is stored.
        held_from_ms: from here to `held_until_ms` some trades are on the disk of another listener, `holder`;
            None where there are none.
    """

    from_ms: int
    held_from_ms: int | None = None
    held_until_ms: int = 0
    holder: str = ""
    is_known_before: bool = True


def starts(
    markets: Iterable[str],
    watches: Iterable[Watch],
    last_trade_ms: Mapping[str, int],
    now_ms: int,
    spool: str = "",
) -> dict[str, Start]:
    """Return where each market of an earlier run begins; others are new.

    Args:
        watches: of all shares, also of settings that are no more.
        last_trade_ms: the newest stored trade of each market: where the last run wrote no status, the best
            there is. For one stamped ahead of the exchange's time the oldest of the others stands in.
        now_ms: the exchange's time.
        spool: name of what waits on our own disk.
    """
    watches = list(watches)
    sane = [ms for ms in last_trade_ms.values() if ms <= now_ms + AHEAD_MS]
    found = {}
    for market in markets:
        watch = watch_of(market, watches)
        if watch is not None:
            found[market] = _start_of(watch.status, spool)
        elif market in last_trade_ms and sane:
            ms = last_trade_ms[market]
            found[market] = Start(ms if ms <= now_ms + AHEAD_MS else min(sane))
    return found


def _start_of(status: Status, spool: str) -> Start:
    known = (status.covered_until_ms - LAG_MS, status.unsent_from_ms)
    from_ms = min(ms for ms in known if ms is not None)
    held_from_ms = status.spooled_from_ms
    if held_from_ms is None or status.spool == spool:
        return Start(from_ms)
    return Start(from_ms, held_from_ms, status.covered_until_ms, status.spool)


def trusted_from_ms(status: Status) -> int:
    """Return from when on trades may be missing in a Redis that holds `status` and nothing newer."""
    return min(ms for ms in _all_of(status) if ms is not None)


def _all_of(status: Status) -> tuple[int | None, ...]:
    return status.covered_until_ms - LAG_MS, status.unsent_from_ms, status.spooled_from_ms


def lost_from_ms(found: Status | None, written: Status, began_ms: int, now_ms: int) -> int | None:
    """Return from when on Redis may have lost what a listener handed to it.

    Args:
        found: the status in Redis, None for none.
        written: the one this run wrote last.
        began_ms: where this run began.
        now_ms: the exchange's time.

    Returns:
        None where another listener has taken the share over, so that nothing is known to be lost.
    """
    if found is None:
        return max(began_ms, now_ms - REACH_MS)
    if found.run != written.run and found.marker > written.marker:
        return None
    return trusted_from_ms(found)
