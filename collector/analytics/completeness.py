"""What is complete: whether any trade of a stretch of time may be missing. Decided here alone. Pure.

A stretch of a market's trades is not complete where one of these touches it:

gap        trades that were missed and could not be fetched again
outage     no socket brings data: it counts while it lasts, and becomes a gap when it ends
waiting    trades wait in a listener's memory or on its disk
unwatched  the listener of the market's share is gone: nothing is known of what came after it
before     the stretch begins before our data

Candles of every interval, volumes, changes, windows of analyses, charts, SQL, frames, exports and the archive
ask here. Whether a minute is the exchange's own is another question: `verified` (`all_verified`).
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from msgspec import Struct

from collector.model import MINUTE_MS, Channel, Gap

#: Trades that are younger than this when a listener reports are on their way, as all are for a moment.
IN_FLIGHT_MS = 3_000

#: Later than every time.
NEVER_MS = 2**62

OUTAGE, WAITING, UNWATCHED = "outage", "waiting", "no_listener"


class Status(Struct, frozen=True):
    """What a listener writes about its share of the markets, by the exchange's time in epoch ms.

    Attributes:
        covered_until_ms: all trades up to here were received.
        outage_since_ms: since when no socket brings data, None while one does.
        outage_reason: why, as in a gap.
        pending_from_ms: time of the oldest trade that is not handed to Redis, or was handed to it a while ago
            and is not stored; None where there is none.
        run: name of the run of the listener; marker: grows with every status of a share.
        unsent_from_ms, spooled_from_ms: the same of trades that die with the listener, and of those on disk.
        spool: name of what is on its disk.
        now_ms: when it was written.
    """

    covered_until_ms: int
    outage_since_ms: int | None = None
    outage_reason: str | None = None
    pending_from_ms: int | None = None
    run: str = ""
    marker: int = 0
    unsent_from_ms: int | None = None
    spooled_from_ms: int | None = None
    spool: str = ""
    now_ms: int = 0


@dataclass(frozen=True, slots=True)
class Watch:
    """A share of the markets: what its listener wrote last, and whether that listener is alive."""

    status: Status
    is_alive: bool
    markets: frozenset[str]


class Ongoing(NamedTuple):
    """A loss that lasts: from `from_ms` on, and at `seen_ms` it still did; 0 where that is not known."""

    from_ms: int
    reason: str
    seen_ms: int = 0


def watch_of(market: str, watches: Iterable[Watch]) -> Watch | None:
    """Return the share that `market` belongs to: a live one before those of earlier settings."""
    mine = [watch for watch in watches if market in watch.markets]
    return max(mine, key=lambda watch: (watch.is_alive, watch.status.covered_until_ms), default=None)


def outage_of(watch: Watch | None) -> Ongoing | None:
    """Return the outage that lasts now, None where data flow or nobody watches."""
    if watch is None or not watch.is_alive or watch.status.outage_since_ms is None:
        return None
    status = watch.status
    return Ongoing(watch.status.outage_since_ms, status.outage_reason or OUTAGE, status.now_ms)


def waiting_of(watch: Watch) -> Ongoing | None:
    """Return the loss by trades that wait, where they are held up; those of a dead listener are."""
    status = watch.status
    from_ms = status.pending_from_ms
    if from_ms is None or (watch.is_alive and from_ms >= status.covered_until_ms - IN_FLIGHT_MS):
        return None
    return Ongoing(from_ms, WAITING)


def ongoing(watch: Watch | None) -> Ongoing | None:
    """Return what keeps the newest data of a share from being complete, the earliest of all reasons."""
    if watch is None:
        return None
    found = [loss for loss in (outage_of(watch), waiting_of(watch)) if loss]
    if not watch.is_alive:
        found.append(Ongoing(watch.status.covered_until_ms + 1, UNWATCHED))
    return min(found)._replace(seen_ms=max(loss.seen_ms for loss in found)) if found else None


class Losses:
    """The stretches of one market in which trades may be missing.

    Args:
        gaps: of this market; those of other channels than trades and recovered ones are no losses.
        lasting: a loss that goes on, if there is one.
    """

    def __init__(self, gaps: Iterable[Gap], lasting: Ongoing | None = None) -> None:
        self.lasting = lasting
        self._from_ms: list[int] = []
        self._to_ms: list[int] = []
        for from_ms, to_ms in sorted((gap.from_ms, gap.to_ms) for gap in gaps if is_open(gap)):
            self._from_ms.append(from_ms)
            self._to_ms.append(max(to_ms, self._to_ms[-1] if self._to_ms else to_ms))

    def touch(self, from_ms: int, to_ms: int | None = None) -> bool:
        """Whether any loss shares a millisecond with `from_ms … to_ms`, both included; None is for ever."""
        if self.lasting and (to_ms is None or to_ms >= self.lasting.from_ms):
            return True
        started = len(self._from_ms) if to_ms is None else bisect_right(self._from_ms, to_ms)
        return started > 0 and self._to_ms[started - 1] >= from_ms

    def minutes(self, from_ms: int, to_ms: int) -> Iterator[int]:
        """Yield the opens of the minutes within `from_ms … to_ms` that a loss touches, oldest first."""
        stretches = list(zip(self._from_ms, self._to_ms, strict=True))
        if self.lasting:
            stretches.append((self.lasting.from_ms, to_ms))
        next_ms = from_ms - from_ms % MINUTE_MS
        for first_ms, last_ms in sorted(stretches):
            open_ms = max(next_ms, first_ms - first_ms % MINUTE_MS)
            yield from range(open_ms, min(last_ms, to_ms) + 1, MINUTE_MS)
            next_ms = max(next_ms, min(last_ms, to_ms) // MINUTE_MS * MINUTE_MS + MINUTE_MS)


NO_LOSSES = Losses(())


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one market's trades: from when on, and all but the losses."""

    losses: Losses = NO_LOSSES
    #: Where our data begin, epoch ms; `NEVER_MS` where there are none.
    from_ms: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether we have no data at all."""
        return self.from_ms == NEVER_MS

    def is_complete(self, from_ms: int, to_ms: int | None = None) -> bool:
        """Whether no trade of `from_ms … to_ms` can be missing; without an end, none up to now."""
        return from_ms >= self.from_ms and not self.losses.touch(from_ms, to_ms)

    def since_ms(self, from_ms: int) -> int | None:
        """Return where our data begin if that is after `from_ms`, else None."""
        return self.from_ms if from_ms < self.from_ms < NEVER_MS else None


ALL_KNOWN = Known()


def known_of(opens: Iterable[int], gaps: Iterable[Gap], watch: Watch | None = None) -> Known:
    """Return what is known of a market.

    Our data begin with its oldest minute or an older gap in its trades: what is missing, or was fetched
    again, belongs to the time we collected, and a quiet market may have no trade for long after it. Where
    there is neither nothing is known.

    Args:
        opens: of its stored minutes.
        gaps: all there are of it.
        watch: the share it belongs to.
    """
    gaps = [gap for gap in gaps if gap.channel is Channel.TRADE]
    begin_ms = min((*opens, *(gap.from_ms for gap in gaps)), default=NEVER_MS)
    return Known(Losses(gaps, ongoing(watch)), begin_ms)


def is_open(gap: Gap) -> bool:
    """Whether trades are missing in a gap."""
    return gap.channel is Channel.TRADE and not gap.recovered


def all_verified(verdicts: Iterable[bool | None]) -> bool | None:
    """Return the verdict on several minutes: false if one differs, true if all agree, else None."""
    found = set(verdicts)
    if False in found:
        return False
    return True if found == {True} else None
