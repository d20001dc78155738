"""Walk back over a market's past trades, page by page, trusting no undocumented rule of the exchange. Pure.

Pages of `/v1/trades/ticks` come newest first. What is open (bithumb-protocol.md 3.5) is found out from the
replies, never assumed: whether `cursor` is inclusive, whether trades of one millisecond share an id or have
none, whether pages cross midnight in Korea, whether a cursor is refused or ignored.

- The trades of a page's oldest millisecond may be cut off, so they are left to the next page. The next cursor
  is the id of the oldest row that is newer: an inclusive cursor repeats rows, an exclusive one does not, and
  ids shared within a millisecond are not split either way.
- The next page has to bring the rows left once more. Where it does not, or repeats newer ones, or no id is
  there to go on from, the walk goes on by time (`to`), to the second.
- A millisecond with more trades than a page holds is paged by ids, if each row of it has one of its own and
  ids have been seen to fall from row to row: a cursor among ids without order leaves out rows.
- Where nothing older comes, the exchange has no more trades of that day, and the day before is asked for.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import Enum

from collector.model import Trade
from collector.protocol.rest import TradePage, numbered
from collector.stream.exchange_time import AHEAD_MS
from collector.util.korean_time import KST, date_of

#: The exchange gives back trades of so many days before today.
DAYS_MAX = 7
#: Nearer than this to now, pages start at the newest trade, without `to`.
RECENT_MS = 120_000
#: Ids are known to be in the order of the rows after so many pairs of neighbours, if none speaks against it.
_ORDERED_PAIRS = 8
_SECOND_MS = 1_000
_LAST_SECOND = "23:59:59"

Query = dict[str, str | int]
#: The key of a row among those of its market, as in `collector.analytics.dedup`.
Name = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Seen:
    """What a walk has seen.

    Attributes:
        is_covered: whether every trade that the exchange shows of the stretch was on a page.
        newest_ms: the newest trade of the market on pages that start at now; None where there is none.
        rejected: rows that could not be understood, or are of another market.
        reason: why the stretch is not covered.
    """

    is_covered: bool
    newest_ms: int | None
    rejected: int
    reason: str = ""


class Proof(Enum):
    """The result of a REST request about an interval in which trades may be missing."""

    RECOVERED = "every trade that was made in it is there"
    STALE = "REST did not come to its end"
    UNPROVEN = "the exchange's totals do not agree"
    LOST = "the exchange does not give back all of it any more"

    def beside(self, totals: bool | None) -> "Proof":
        """Return what the pages prove together with the exchange's totals of the day.

        Args:
            totals: whether they agree with what we have; None where they are not trusted, or are missing
                about this time yet.
        """
        if totals:
            return Proof.RECOVERED
        return Proof.UNPROVEN if self is Proof.RECOVERED and totals is False else self


def judge(
    seen: Seen,
    to_ms: int,
    *,
    is_too_old: bool,
    newest_ms: int | None,
    fresh_ms: int | None,
    streamed_ms: int | None,
    asked_ms: int,
    lag_max_ms: int,
) -> Proof:
    """Decide what a walk over the pages proves of a stretch that ends at `to_ms`.

    Args:
        seen: what the pages showed.
        to_ms: end of the stretch.
        is_too_old: whether the exchange does not keep all of the stretch any more.
        newest_ms: the newest trade of this market that REST has; None where it was not asked, or has none.
        fresh_ms: the newest trade of any market that REST had shown before it was asked for this one.
        streamed_ms: the newest trade of this market that a socket brought; None if unknown.
        asked_ms: when REST was asked, by the exchange's time.
        lag_max_ms: REST is taken to be no further behind, where nothing shows how far it is.
    """
    if seen.rejected or not seen.is_covered:
        if not seen.rejected and newest_ms is None and asked_ms - to_ms < lag_max_ms:
            return Proof.STALE  # REST may not have come to the first trade of this market yet
        return Proof.LOST if is_too_old else Proof.UNPROVEN
    is_behind = newest_ms is not None and streamed_ms is not None and newest_ms < streamed_ms <= asked_ms
    shown = (
        (newest_ms is not None and newest_ms >= to_ms)
        or (not is_behind and fresh_ms is not None and fresh_ms >= to_ms)
        or (not is_behind and asked_ms - to_ms >= lag_max_ms)
    )
    return Proof.RECOVERED if shown else Proof.STALE


class Walk:
    """The pages of one market from just after `latest_ms` back to before `earliest_ms`.

    Ask for `query` until it is None, and hand each reply to `take`; call `refuse` where the exchange refuses
    the query.

    Args:
        market: whose trades; rows of others count as rejected.
        earliest_ms, latest_ms: nothing older and nothing newer is handed on.
        from_ms: from here to `latest_ms` every trade has to be seen; not before `earliest_ms`.
        now_ms: the exchange's time.
        rows_max: rows that are asked for; a page with fewer may be the last.
        given: what was handed on before, by an earlier walk over the same stretch; it grows.
    """

    def __init__(
        self,
        market: str,
        earliest_ms: int,
        latest_ms: int,
        from_ms: int,
        now_ms: int,
        rows_max: int,
        given: set[Name] | None = None,
    ) -> None:
        self._market = market
        self._earliest_ms, self._latest_ms, self._from_ms = earliest_ms, latest_ms, from_ms
        self._now_ms = now_ms
        self._today = date_of(now_ms)
        self._rows_max = rows_max
        self._given = set() if given is None else given
        #: Every trade newer than this has been seen; None before the first row.
        self._reached_ms: int | None = None
        self._newest_ms: int | None = None
        self._rejected = 0
        self._reason = ""
        #: Start of a second that could not be asked for.
        self._blind_ms: int | None = None
        self._has_cursors = True
        #: Pairs of neighbours on a page whose ids fall; None once a pair's do not.
        self._falling: int | None = 0
        starts_now = now_ms - latest_ms < RECENT_MS
        before_ms = None if starts_now else (latest_ms // _SECOND_MS + 1) * _SECOND_MS
        self._begin(before_ms, {} if before_ms is None else before(before_ms, self._today))

    def _begin(
        self, before_ms: int | None, query: Query, left: Sequence[Trade] = (), *, is_second_way: bool = False
    ) -> None:
        """Start to page by `query`: from `before_ms`, which no row may reach, or from now."""
        self.query: Query | None = query
        self._is_second_way = is_second_way
        self._base, self._before_ms = query, before_ms
        self._day = self._today if before_ms is None else date_of(before_ms - 1)
        #: The oldest millisecond of the last page, which may be cut off.
        self._left = left
        self._cursor_ms: int | None = None
        #: Rows of a millisecond that fills more than a page, so far.
        self._crowd: list[Trade] = []

    def seen(self) -> Seen:
        """Return what came of it."""
        covered = self._reached_ms is not None and self._reached_ms < self._from_ms
        reason = self._reason if self._reached_ms is not None else "the exchange shows no trade at all"
        if covered and self._blind_ms is not None:
            covered = self._blind_ms + _SECOND_MS <= self._from_ms or self._latest_ms < self._blind_ms
            reason = "the last second of a day can't be asked for"
        return Seen(covered, self._newest_ms, self._rejected, "" if covered else reason)

    def take(self, page: TradePage) -> list[Trade]:
        """Take the reply to `query`; return the trades of the stretch in it that no page has brought yet."""
        ours = [trade for trade in page.trades if trade.market == self._market]
        self._rejected += len(page) - len(ours)
        rows = [trade for trade in ours if trade.exchange_ms <= self._now_ms + AHEAD_MS]
        if len(rows) < len(ours):
            # What is stamped ahead of all others may have been traded at any time: it is handed on, no more.
            ahead = [trade for trade in ours if trade.exchange_ms > self._now_ms + AHEAD_MS]
            return [*self._new(ahead, is_ahead=True), *self._take(rows, len(page))]
        return self._take(rows, len(page))

    def _take(self, rows: list[Trade], count: int) -> list[Trade]:
        self._look_at_ids(rows)
        if self._crowd:
            return self._take_of_crowd(rows, count)
        if fault := self._fault(rows):
            self._go_round(fault)
            return []
        if self._before_ms is None and rows:
            self._newest_ms = max(self._newest_ms or 0, *(trade.exchange_ms for trade in rows))
        oldest_ms = min((trade.exchange_ms for trade in rows), default=None)
        if oldest_ms is not None and (not self._left or oldest_ms < self._left[0].exchange_ms):
            return self._further_back(rows, oldest_ms)
        if self._left and count >= self._rows_max:
            self._page_crowd([trade for trade in rows if trade.exchange_ms == self._left[0].exchange_ms])
            return []
        return self._day_is_over(rows)

    def refuse(self) -> bool:
        """Record that the exchange refuses `query`; return whether there is another one."""
        self._go_round("the exchange refuses")
        return self.query is not None

    def _fault(self, rows: Sequence[Trade]) -> str:
        """Say why a page can't be the one that was asked for."""
        if self._before_ms is not None and any(trade.exchange_ms >= self._before_ms for trade in rows):
            return "the exchange does not heed `to`"
        if self._cursor_ms is not None and any(trade.exchange_ms > self._cursor_ms for trade in rows):
            return "the exchange does not heed `cursor`"
        if self._left:
            left_ms = self._left[0].exchange_ms
            again = _kinds(trade for trade in rows if trade.exchange_ms == left_ms)
            if _kinds(self._left) - again:
                return "pages do not connect"
        return ""

    def _go_round(self, fault: str) -> None:
        """Go on by time where a cursor did not do; give up where time did not either."""
        if self._cursor_ms is None:
            self._reason, self.query = fault, None
            return
        self._has_cursors = False
        self._go_by_time()

    def _look_at_ids(self, rows: Sequence[Trade]) -> None:
        pairs = [newer.id > older.id for newer, older in itertools.pairwise(rows)]
        self._falling = self._falling + len(pairs) if self._falling is not None and all(pairs) else None

    def _further_back(self, rows: Sequence[Trade], oldest_ms: int) -> list[Trade]:
        if self._is_second_way:
            self._blind_ms = start_of(self._day + timedelta(days=1)) - _SECOND_MS
        self._reached_ms = oldest_ms
        self._left = [trade for trade in rows if trade.exchange_ms == oldest_ms]
        newer = [trade for trade in rows if trade.exchange_ms > oldest_ms]
        if oldest_ms < self._earliest_ms:
            self.query = None
        elif self._has_cursors and newer and newer[-1].id:
            self._cursor_ms = newer[-1].exchange_ms
            self.query = {**self._base, "cursor": newer[-1].id}
        else:
            self._go_by_time()
        return self._new(newer)

    def _page_crowd(self, rows: list[Trade]) -> None:
        """Go on within a millisecond that fills a page: possible if ids distinguish its rows."""
        ids = {trade.id for trade in rows}
        is_ordered = self._falling is not None and self._falling >= _ORDERED_PAIRS
        if len(ids) < len(rows) or 0 in ids or not is_ordered:
            self._go_round("more trades in a millisecond than a page holds")
            return
        self._crowd = rows
        self.query = {**self._base, "cursor": rows[-1].id}

    def _take_of_crowd(self, rows: list[Trade], count: int) -> list[Trade]:
        ms, known = self._crowd[0].exchange_ms, {trade.id for trade in self._crowd}
        at_once = [trade for trade in rows if trade.exchange_ms == ms]
        if len({trade.id for trade in at_once}) < len(at_once):
            return self._take_shared(rows, at_once, count)
        fresh = [trade for trade in rows if trade.exchange_ms == ms and trade.id not in known]
        older = [trade for trade in rows if trade.exchange_ms < ms]
        if any(trade.exchange_ms > ms for trade in rows) or (count >= self._rows_max and not fresh + older):
            self._reason, self.query = "more trades in a millisecond than a page holds", None
            return []
        self._crowd += fresh
        if not older and count >= self._rows_max:
            self.query = {**self._base, "cursor": fresh[-1].id}
            return []
        whole, self._crowd, self._left = list(numbered(self._crowd)), [], []
        if not older:
            self._left = whole
            return self._day_is_over(whole)
        return self._further_back([*whole, *older], min(trade.exchange_ms for trade in older))

    def _take_shared(self, rows: list[Trade], at_once: list[Trade], count: int) -> list[Trade]:
        """Take the rows of a crowded millisecond that share an id: nothing can page them."""
        older = [trade for trade in rows if trade.exchange_ms < at_once[0].exchange_ms]
        if len(rows) > len(at_once) + len(older) or (count >= self._rows_max and not older):
            self._reason, self.query = "more trades in a millisecond than a page holds", None
            return []
        self._crowd, self._left = [], list(numbered(at_once))
        if not older:
            return self._day_is_over(self._left)
        return self._further_back([*self._left, *older], min(trade.exchange_ms for trade in older))

    def _go_by_time(self) -> None:
        """Ask for what is older than the second after the rows left, those among it."""
        left_ms = self._left[0].exchange_ms
        before_ms = (left_ms // _SECOND_MS + 1) * _SECOND_MS
        if date_of(before_ms) > self._today:
            self._begin(None, {}, self._left)
        else:
            self._begin(before_ms, before(before_ms, self._today), self._left)

    def _day_is_over(self, rows: Sequence[Trade]) -> list[Trade]:
        """Take a page that has nothing older: all of its day is seen, if the day has any trade."""
        found: list[Trade] = []
        was_empty = not self._left
        if self._left:
            left_ms = self._left[0].exchange_ms
            found = self._new(trade for trade in rows if trade.exchange_ms == left_ms)
            self._day = date_of(left_ms)
            self._reached_ms = start_of(self._day) - 1
        if self._reached_ms is not None and self._reached_ms < self._earliest_ms:
            self.query = None
        else:
            self._go_back_a_day(was_empty)
        return found

    def _go_back_a_day(self, was_empty: bool) -> None:
        """Ask for what is older than the day, in a second way where the first brought nothing.

        Where pages end at midnight, `to` 00:00:00 may be the end of an empty page, or of the day before.
        """
        midnight_ms, next_midnight_ms = start_of(self._day), start_of(self._day + timedelta(days=1))
        days = (self._today - self._day).days
        if days > DAYS_MAX:
            self._reason, self.query = f"trades are kept for {DAYS_MAX} days", None
        elif was_empty and self._before_ms == next_midnight_ms and days and not self._is_second_way:
            self._begin(next_midnight_ms, {"to": _LAST_SECOND, "daysAgo": days}, is_second_way=True)
        else:
            self._begin(midnight_ms, before(midnight_ms, self._today))

    def _new(self, trades: Iterable[Trade], *, is_ahead: bool = False) -> list[Trade]:
        found = []
        for trade in trades:
            name = (trade.exchange_ms, trade.price, trade.volume, trade.side, trade.nth)
            is_wanted = is_ahead or self._earliest_ms <= trade.exchange_ms <= self._latest_ms
            if is_wanted and name not in self._given:
                self._given.add(name)
                found.append(trade)
        return found


def _kinds(trades: Iterable[Trade]) -> Counter[Name]:
    return Counter((trade.price, trade.volume, trade.side) for trade in trades)


def start_of(day: date) -> int:
    """Return the first millisecond of a Korean calendar day, epoch."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=KST)
    return int(midnight.timestamp()) * 1000


def before(time_ms: int, today: date) -> Query:
    """Return the parameters for trades before a whole second, not later than the end of today."""
    wall = datetime.fromtimestamp(time_ms / 1000, KST)
    days = (today - wall.date()).days
    query: Query = {"to": wall.strftime("%H:%M:%S")}
    return {**query, "daysAgo": days} if days else query
