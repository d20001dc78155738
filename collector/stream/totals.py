"""The exchange's own day totals beside the exact sum of what we have: what is missing shows. Pure.

Each ticker carries the turnover of its market since 00:00 KST. While nothing is lost, the turnover minus the
running sum of our trades is one constant, the *start*; a shift that stays is a loss of that size.

How the exchange counts is not assumed. A ticker agrees if its turnover is the start plus the sum up to *some*
recent trade, so it may include the trade it names, lag by one or by seconds, or come before its trades.
The start is learned: every recent sum gives a candidate, and the next tickers leave one. When the totals
begin anew it follows from our own sums. A source of tickers is trusted once it has agreed, before it is only
counted.

state                     what a ticker that does not agree means
start unknown             one more to learn from
source not trusted        counted as `totals_disagree`, learned anew
trusted                   after `GRACE_S` without any that agrees: a `Missing`, to be fetched again
a loss is being fetched   nothing, until `settle` compares again
"""

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Context, Decimal

from collector.model import Source, Trade
from collector.util.korean_time import day_start_ms

#: Trades may come later than the ticker that counts them: so long nothing is concluded.
GRACE_S = 3.0
#: A fetch that takes longer is not waited for: what is missing by now is a loss of its own, from the same
#: moment on. Doubled each time: a REST that is away for hours is not asked for more and more.
PATIENCE_S = 60.0
#: Trades are remembered for so long, or since shortly before the last ticker that agreed, within bounds.
_KEPT_MS, _MARGIN_MS, _KEPT_LONGEST_MS = 90_000, 6_000, 300_000
_KEPT_LEAST, _KEPT_MOST = 16, 5_000
#: Sums on either side of a ticker's arrival that may be the one it counts.
_NEAR = 256
_WAITING_MAX = 8
_STARTS_MAX = 64
#: The totals begin anew within this time of midnight in Korea, and never twice within that.
_RESET_MS, _RESET_AGAIN_MS = 10_000, 3_600_000
#: A source is trusted after so many tickers that agreed, and after so many more for each that never did.
_AGREED_LEAST, _AGREED_SHARE = 5, 3
#: After so many losses that nothing explained a market is let alone, until so many tickers agreed for each.
_UNEXPLAINED_MAX, _AGREED_AGAIN = 3, 100
#: Sizes are printed with at most so many places, the exchange may count finer ones: known after some times.
_FINEST, _ROUNDED_OFTEN = Decimal("1e-8"), 3
#: Wide enough that no sum of turnovers is ever rounded.
_EXACT = Context(prec=200)
_add, _subtract, _multiply = _EXACT.add, _EXACT.subtract, _EXACT.multiply
_ZERO = Decimal(0)

_Key = tuple[int, Decimal, Decimal, str]


@dataclass(frozen=True, slots=True)
class Missing:
    """Trades that the exchange has counted and we have not.

    Attributes:
        from_ms, to_ms: exchange time of the last trade that both have, and of the ticker that shows the loss.
        turnover: of what is missing, in the quote currency; None where tickers leave more than one answer.
    """

    market: str
    from_ms: int
    to_ms: int
    turnover: Decimal | None


@dataclass(frozen=True, slots=True)
class _Seen:
    """A ticker's turnover as it came.

    Attributes:
        place: how many trades the market had had by then.
    """

    turnover: Decimal
    exchange_ms: int
    trade_ms: int
    source: Source
    at_s: float
    place: int


class _Market:
    """One market's sums and what its tickers showed."""

    def __init__(self, now_ms: int) -> None:
        #: The recent trades, when they were, and the sum of all turnover up to each.
        self.trades: list[Trade] = []
        self.order: list[int] = []
        self.sums: list[Decimal] = []
        #: Those that REST brought and no socket so far.
        self.fetched: Counter[_Key] = Counter()
        #: The sum up to the first of them, and how many there were before it.
        self.before = _ZERO
        self.dropped = 0
        self.trim_at = 2 * _KEPT_LEAST
        self.began_ms = now_ms
        #: What the exchange had counted before our first trade: one candidate or some, None while unknown.
        self.starts: tuple[Decimal, ...] | None = None
        #: Whatever is older than this and not in the sums is part of the start.
        self.origin_ms: int | None = None
        #: When the totals began anew.
        self.reset_ms: int | None = None
        #: Time of the newest trade of the last sum that agreed.
        self.agreed_ms: int | None = None
        #: The newest ticker that proves that nothing is missing.
        self.whole: _Seen | None = None
        self.agreed: Decimal | None = None
        #: The newest turnover of each source that agreed.
        self.newest: dict[Source, Decimal] = {}
        self.agreements = 0
        #: Whether a ticker has shown no turnover at all since one that agreed.
        self.was_zero = False
        #: Tickers that do not agree so far, oldest first.
        self.waiting: list[_Seen] = []
        #: How many trades the market had had when these were compared last, all together.
        self.looked_at = -1
        #: Starts, `agreed_ms` and waiting tickers from before the totals began anew.
        self.day_before: tuple[tuple[Decimal, ...], int, list[_Seen]] | None = None
        #: The ticker that showed the loss that is being fetched.
        self.claim: _Seen | None = None
        #: Time of the newest such ticker that has agreed since.
        self.explained_ms: int | None = None
        self.paused_until_s: float | None = None
        self.patience_s = PATIENCE_S
        self.unexplained = 0
        #: Decimals of the longest turnover printed so far.
        self.places = 0

    @property
    def total(self) -> Decimal:
        return self.sums[-1] if self.sums else self.before

    def is_fetched(self, trade: Trade) -> bool:
        """Return whether a trade of a socket is among the sums already, because REST was faster."""
        key = _key(trade)
        if self.fetched[key] <= 0:
            return False
        self.fetched[key] -= 1
        return True

    def sum_before(self, index: int) -> Decimal:
        """Return the sum up to but not including the trade at `index`."""
        return self.sums[index - 1] if index else self.before


class Totals:
    """The ledger of all markets. Times are the exchange's, epoch ms; `now_s` is monotonic."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._markets: dict[str, _Market] = {}
        #: Per source: tickers that agreed, and those that never did and that nothing explained.
        self._agreed: Counter[Source] = Counter()
        self._failed: Counter[Source] = Counter()
        self._rounded = 0
        #: Markets that `tick` has to look at.
        self._open: set[str] = set()

    # What comes in

    def trade(self, trade: Trade, now_ms: int) -> None:
        """Add a trade that has just come from a socket for the first time."""
        market = self._market(trade.market, now_ms)
        if market.fetched and market.is_fetched(trade):
            return
        # A stamp from the future proves nothing about the order in which the exchange counted.
        order_ms = trade.exchange_ms if trade.exchange_ms <= now_ms + _RESET_MS else now_ms
        order = market.order
        if order_ms < (order[-1] if order else market.began_ms):
            self._insert(market, {order_ms: ([trade], [trade])})
            return
        market.sums.append(_add(market.total, _multiply(trade.price, trade.volume)))
        order.append(order_ms)
        market.trades.append(trade)
        if len(order) >= market.trim_at:
            _trim(market)

    def recovered(self, trades: Iterable[Trade], now_ms: int) -> int:
        """Add the trades of a backfill that no socket brought; return how many those are."""
        by_market: dict[str, list[Trade]] = defaultdict(list)
        for trade in trades:
            by_market[trade.market].append(trade)
        count = 0
        for name, rows in by_market.items():
            market = self._market(name, now_ms)
            new = _unknown(market, rows)
            count += len(new)
            if new:
                self._insert(market, _grouped(rows, new))
                market.fetched.update(map(_key, new))
                if market.waiting:
                    self._look_again(market)
        return count

    def is_fetched(self, trade: Trade, at_ms: int, within_ms: int) -> bool:
        """Return whether REST has brought a trade that equals this one but for its time, and no socket has.

        That one counts as brought by a socket from now on.

        Args:
            at_ms, within_ms: about when it was, and how far from that it may be.
        """
        market = self._markets.get(trade.market)
        if market is None:
            return False
        for key, count in market.fetched.items():
            ms, *fields = key
            if (
                count > 0
                and fields == [trade.price, trade.volume, trade.side]
                and abs(ms - at_ms) <= within_ms
            ):
                market.fetched[key] -= 1
                return True
        return False

    def put_right(self, ahead: Trade, true: Trade) -> None:
        """Let a trade that is among the sums with a stamp from the future stand where REST has it."""
        market = self._markets[ahead.market]
        place = next((place for place, trade in enumerate(market.trades) if trade == ahead), None)
        if place is None:
            return  # forgotten by now
        del market.trades[place], market.order[place]
        _sum_from(market, place)
        self._insert(market, {true.exchange_ms: ([true], [true])})
        if market.waiting:
            self._look_again(market)

    def knows(self, trade: Trade) -> bool:
        """Return whether a trade that equals this one in time, price, volume and side is among the sums."""
        market = self._markets.get(trade.market)
        return market is not None and not _unknown(market, [trade])

    def ticker(
        self,
        name: str,
        turnover: Decimal,
        exchange_ms: int,
        trade_ms: int | None,
        source: Source,
        now_s: float,
    ) -> None:
        """Compare the turnover since 00:00 KST that a ticker names.

        Args:
            exchange_ms: when the ticker was made.
            trade_ms: when its newest trade was.
        """
        market = self._market(name, exchange_ms)
        if not turnover and market.agreed:
            market.was_zero = True  # a new day without trades proves no more than that
            return
        places = -int(turnover.as_tuple().exponent)
        if places > market.places:
            market.places = places
        if trade_ms is None or trade_ms > exchange_ms:
            trade_ms = exchange_ms
        place = market.dropped + len(market.order)
        seen = _Seen(turnover, exchange_ms, trade_ms, source, now_s, place)
        if not self._agrees(market, seen):
            if _is_stale(market, seen):
                return
            if len(market.waiting) >= _WAITING_MAX:
                middle = _WAITING_MAX // 2
                del market.waiting[middle + (market.waiting[middle] is market.claim)]
            market.waiting.append(seen)
            self._open.add(name)

    def pause(self, name: str, now_s: float) -> None:
        """Conclude nothing while a known gap of a market is being fetched."""
        market = self._markets.get(name)
        if market is None:
            return
        if market.starts is None:
            market.waiting = []  # what is learned from comes after the gap, so that is part of the start
        else:
            market.paused_until_s = now_s + market.patience_s
            self._open.add(name)

    # What is concluded

    def tick(self, now_s: float) -> list[Missing]:
        """Return the losses that are proven by now; call it a few times a second."""
        losses = []
        for name in [*self._open]:
            market = self._markets[name]
            place = market.dropped + len(market.order)
            if place != market.looked_at:
                market.looked_at = place
                self._look_again(market)
            if market.day_before is not None:
                losses += self._conclude_day_before(name, market, now_s)
            if market.paused_until_s is not None:
                if now_s < market.paused_until_s:
                    continue
                market.paused_until_s = None
                market.patience_s *= 2
            if not market.waiting:
                if market.day_before is None:
                    self._open.discard(name)
            elif now_s - market.waiting[0].at_s >= GRACE_S:
                loss = self._conclude(name, market, now_s)
                if loss is not None:
                    losses.append(loss)
        return losses

    def settle(
        self, name: str, until_ms: int, *, is_last: bool = False, is_complete: bool = True
    ) -> bool | None:
        """Compare again after a gap of a market was fetched; then go on.

        Args:
            until_ms: end of the gap.
            is_last: whether it will not be fetched again, so that what is still missing has to be accepted.
            is_complete: whether everything that the exchange has of the gap was fetched.

        Returns:
            Whether nothing is missing any more; None if the totals can't decide.
        """
        market = self._markets.get(name)
        if market is None or market.paused_until_s is None:
            return None
        self._look_again(market)
        verdict = self._verdict(market, until_ms)
        if verdict is False and is_complete and is_last and self._is_rounding(market):
            verdict = True
        if verdict and market.claim is not None:
            return True  # of an earlier gap; the one that the totals showed is on its way
        if not verdict and not is_last and not (verdict is None and is_complete):
            return verdict
        market.paused_until_s, market.patience_s = None, PATIENCE_S
        claim, market.claim, market.explained_ms = market.claim, None, None
        if verdict is False:
            self._failed[(claim or market.waiting[-1]).source] += 1
            market.unexplained += 1
            self.counts["totals_unexplained"] += 1
            self._learn_anew(market)
        return verdict

    def whole_until_ms(self, name: str) -> int | None:
        """Return the time of the newest ticker of a market that proves that nothing is missing; or None."""
        market = self._markets.get(name)
        return None if market is None or market.whole is None else market.whole.exchange_ms

    def is_whole_since(self, name: str, until_ms: int, since_s: float) -> bool:
        """Return whether a ticker came since then that proves that all trades until `until_ms` are there."""
        market = self._markets.get(name)
        return (
            market is not None
            and self._is_proven(market, until_ms)
            and not market.waiting
            and market.whole is not None
            and market.whole.at_s >= since_s
        )

    def _verdict(self, market: _Market, until_ms: int) -> bool | None:
        if market.starts is None:
            return None
        if market.explained_ms is not None and until_ms <= market.explained_ms:
            return True  # whatever later tickers show was lost after that
        if self._is_proven(market, until_ms):
            return True
        if market.claim is not None or (market.waiting and self._is_trusted(market, market.waiting)):
            return False
        return None

    def _is_proven(self, market: _Market, until_ms: int) -> bool:
        """Return whether a ticker of a source that is trusted proves that nothing was missing by then."""
        whole = market.whole
        return whole is not None and whole.exchange_ms >= until_ms and self._is_trusted(market, [whole])

    def _conclude(self, name: str, market: _Market, now_s: float) -> Missing | None:
        """Tickers have waited for longer than the grace."""
        if market.starts is None:
            self._learn(market)
            return None
        if self._rounded >= _ROUNDED_OFTEN and self._is_rounding(market):
            return None
        waited = [seen for seen in market.waiting if now_s - seen.at_s >= GRACE_S]
        if not self._is_trusted(market, waited):
            self._doubt(market)
            return None
        missing = self._missing(market)
        has_fallen = market.agreed is not None and market.waiting[-1].turnover < market.agreed
        if not has_fallen and all(turnover < 0 for turnover in missing):
            self.counts["totals_counted_twice"] += 1
            self._learn_anew(market)
            return None
        self.counts["totals_lost"] += 1
        market.claim, market.explained_ms = market.waiting[-1], None
        newest = market.claim
        market.paused_until_s = now_s + market.patience_s
        to_ms = newest.exchange_ms
        from_ms = market.agreed_ms if market.agreed_ms is not None else market.began_ms
        return Missing(name, min(from_ms, to_ms), to_ms, missing.pop() if len(missing) == 1 else None)

    def _conclude_day_before(self, name: str, market: _Market, now_s: float) -> list[Missing]:
        assert market.day_before is not None  # noqa: S101 - the caller looked
        starts, from_ms, waiting = market.day_before
        newest = waiting[-1]
        if not _find(market, starts, newest.turnover):
            if now_s - waiting[0].at_s < GRACE_S:
                return []
            if self._is_trusted(market, waiting):
                market.day_before = None
                self.counts["totals_lost"] += 1
                return [Missing(name, min(from_ms, newest.exchange_ms), newest.exchange_ms, None)]
        market.day_before = None
        return []

    def _doubt(self, market: _Market) -> None:
        """A ticker of a source, or of a market, that is not trusted did not agree in time."""
        first = market.waiting[0]
        self.counts["totals_disagree"] += 1
        if market.unexplained < _UNEXPLAINED_MAX:
            self._failed[first.source] += 1
        if first.source in market.newest or not market.newest:
            self._learn_anew(market)
        else:
            market.waiting.pop(0)

    def _is_trusted(self, market: _Market, waiting: Iterable[_Seen]) -> bool:
        if market.unexplained >= _UNEXPLAINED_MAX and market.agreements < _AGREED_AGAIN * market.unexplained:
            return False
        return any(
            self._agreed[seen.source] >= max(_AGREED_LEAST, _AGREED_SHARE * self._failed[seen.source])
            for seen in waiting
        )

    def _look_again(self, market: _Market) -> None:
        """Compare what waits once more, the newest first: one that agrees clears those before it."""
        any(self._agrees(market, seen) for seen in reversed(market.waiting))

    # Comparing

    def _agrees(self, market: _Market, seen: _Seen) -> bool:
        """Return whether a ticker agrees, and take note of it if so."""
        found = _find(market, market.starts or (), seen.turnover)
        has_fallen = market.agreed is not None and seen.turnover < market.agreed
        is_reset = False
        if not found:
            found, since_ms = _resets(market, seen, has_fallen=has_fallen or market.was_zero)
            if not found:
                return False
            is_reset = True
            _begin_anew(market, since_ms)
        elif seen.turnover != market.newest.get(seen.source) and len(market.starts or ()) <= 2:
            self._agreed[seen.source] += 1
            self.counts["totals_agree"] += 1
            market.agreements += 1
        market.starts, market.looked_at = tuple({start for start, _ in found}), -1
        market.newest[seen.source] = seen.turnover
        if has_fallen and not is_reset:
            return True  # older than what agreed before
        market.agreed, market.was_zero = seen.turnover, False
        index = min(index for _, index in found)
        if index >= 0:
            market.agreed_ms = max(market.order[index], market.agreed_ms or 0)
        is_newer = market.whole is None or seen.exchange_ms >= market.whole.exchange_ms
        if is_newer and _names_what_we_have(market, seen, index):
            market.whole = seen
        market.waiting = [other for other in market.waiting if other.turnover > seen.turnover]
        if market.claim is not None and market.claim.turnover <= seen.turnover:
            market.explained_ms, market.claim = market.claim.exchange_ms, None
            self.counts["totals_recovered"] += 1
        return True

    def _missing(self, market: _Market) -> set[Decimal]:
        """Return by how much the waiting tickers may be ahead of our sums: what fits all of them."""
        shifts: set[Decimal] = set()
        for seen in market.waiting:
            here = {
                _subtract(_subtract(seen.turnover, start), each)
                for start in market.starts or ()
                for each in _sums_near(market, seen.place, _NEAR // 4)
            }
            shifts = shifts & here or here
        return shifts

    # Learning

    def _learn(self, market: _Market) -> None:
        """Make a candidate of each sum near the first ticker, and let the others choose."""
        first, *others = market.waiting
        market.waiting = []
        sums = _sums_near(market, first.place, _NEAR)
        market.starts = tuple({_subtract(first.turnover, each) for each in sums})
        market.origin_ms = first.trade_ms
        market.agreed, market.agreed_ms = first.turnover, first.trade_ms
        market.newest = {first.source: first.turnover}
        for seen in others:
            if not self._agrees(market, seen):
                market.waiting.append(seen)

    def _learn_anew(self, market: _Market) -> None:
        """Forget the start, and keep the newest ticker to learn it from."""
        market.starts = market.claim = market.paused_until_s = market.origin_ms = None
        market.waiting = market.waiting[-1:]

    def _is_rounding(self, market: _Market) -> bool:
        """Accept a difference so small that sizes finer than they are printed explain it."""
        if not market.trades or not market.waiting:
            return False
        shift = min(self._missing(market), key=abs)
        count = len(market.order) - bisect_right(market.order, market.agreed_ms or 0) + 1
        if abs(shift) > market.trades[-1].price * _FINEST * count:
            return False
        market.starts = tuple(_add(start, shift) for start in market.starts or ())
        if not any(self._agrees(market, seen) for seen in reversed(market.waiting)):
            return False
        self._rounded += 1
        self.counts["totals_rounded"] += 1
        return True

    # The sums

    def _market(self, name: str, now_ms: int) -> _Market:
        market = self._markets.get(name)
        if market is None:
            market = self._markets[name] = _Market(now_ms)
        return market

    def _insert(self, market: _Market, groups: Mapping[int, tuple[list[Trade], list[Trade]]]) -> None:
        """Put trades where they belong in time, but none that is in the start or older than our memory.

        Args:
            groups: by millisecond, oldest first: trades in the order of the exchange, and those that are new.
        """
        least_ms = market.origin_ms
        if market.starts is None:
            least_ms = market.waiting[0].trade_ms if market.waiting else market.began_ms - _RESET_MS
        least_ms = max(least_ms or 0, market.order[0] if market.dropped else 0)
        changed_ms = None
        for order_ms, (together, new) in groups.items():
            if order_ms >= least_ms:
                self._allow_for_origin(market, order_ms, new)
                _put(market, order_ms, together, new)
                changed_ms = order_ms if changed_ms is None else changed_ms
        if changed_ms is None:
            return
        _sum_from(market, bisect_left(market.order, changed_ms))
        if len(market.order) >= market.trim_at:
            _trim(market)

    def _allow_for_origin(self, market: _Market, order_ms: int, new: list[Trade]) -> None:
        """A trade of the very millisecond in which the start was taken may be part of it, or not."""
        if market.starts is None or order_ms != market.origin_ms:
            return
        for trade in new:
            if len(market.starts) < _STARTS_MAX:
                turnover = _multiply(trade.price, trade.volume)
                market.starts = (*market.starts, *(_subtract(start, turnover) for start in market.starts))


def _grouped(rows: list[Trade], new: list[Trade]) -> dict[int, tuple[list[Trade], list[Trade]]]:
    """Return the rows of the milliseconds that have new ones, oldest first, beside those."""
    new_at: dict[int, list[Trade]] = defaultdict(list)
    for row in new:
        new_at[row.exchange_ms].append(row)
    together: dict[int, list[Trade]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (row.exchange_ms, row.order)):
        if row.exchange_ms in new_at:
            together[row.exchange_ms].append(row)
    return {ms: (group, new_at[ms]) for ms, group in together.items()}


def _sum_from(market: _Market, first: int) -> None:
    """Work the sums out anew from the trade at `first` on."""
    total = market.sum_before(first)
    del market.sums[first:]
    for trade in market.trades[first:]:
        total = _add(total, _multiply(trade.price, trade.volume))
        market.sums.append(total)


def _put(market: _Market, order_ms: int, together: list[Trade], new: list[Trade]) -> None:
    """Put new trades among those of their millisecond, in the order in which they come together."""
    low, high = bisect_left(market.order, order_ms), bisect_right(market.order, order_ms)
    known = [*market.trades[low:high], *new]
    in_order = []
    for row in together:
        place = next((place for place, trade in enumerate(known) if _key(trade) == _key(row)), None)
        if place is not None:
            in_order.append(known.pop(place))
    market.trades[low:high] = [*known, *in_order] if len(together) == 1 else [*in_order, *known]
    market.order[low:high] = [order_ms] * (high - low + len(new))


def _trim(market: _Market) -> None:
    """Forget what no ticker and no backfill will ask about."""
    order = market.order
    oldest_ms = order[-1] - _KEPT_MS
    if market.agreed_ms is not None:
        oldest_ms = max(min(oldest_ms, market.agreed_ms - _MARGIN_MS), order[-1] - _KEPT_LONGEST_MS)
    cut = min(bisect_left(order, oldest_ms), len(order) - _KEPT_LEAST)
    cut = max(cut, len(order) - _KEPT_MOST)
    if cut > 0:
        market.before = market.sums[cut - 1]
        market.dropped += cut
        del order[:cut], market.sums[:cut], market.trades[:cut]
        if market.fetched:
            market.fetched = Counter(
                {key: count for key, count in market.fetched.items() if key[0] >= order[0]}
            )
    market.trim_at = 2 * max(len(order), _KEPT_LEAST)


def _index_of(market: _Market, target: Decimal) -> int | None:
    """Return the place of a sum that is `target`, or within one unit of the last digit that is printed."""
    sums = market.sums
    index = bisect_left(sums, target)
    if index < len(sums) and sums[index] == target:
        return index
    if target == market.before:
        return -1
    unit = Decimal(1).scaleb(-market.places, _EXACT)
    if index < len(sums) and _subtract(sums[index], target) <= unit:
        return index
    return index - 1 if abs(_subtract(target, market.sum_before(index))) <= unit else None


def _find(market: _Market, starts: Iterable[Decimal], turnover: Decimal) -> list[tuple[Decimal, int]]:
    """Return the starts with which a turnover is one of our sums, and the place of its last trade."""
    sums, found = market.sums, []
    for start in starts:
        target = _subtract(turnover, start)
        if sums and target == sums[-1]:
            found.append((start, len(sums) - 1))
            continue
        index = _index_of(market, target)
        if index is not None:
            found.append((start, index))
    return found


def _sums_near(market: _Market, place: int, count: int) -> list[Decimal]:
    """Return the sums around the one that was the newest when so many trades had come."""
    index = place - market.dropped
    low, high = max(index - count, 0), max(index + count, 0)
    sums = market.sums[low:high]
    return [market.before, *sums] if low == 0 else sums


def _resets(market: _Market, seen: _Seen, *, has_fallen: bool) -> tuple[list[tuple[Decimal, int]], int]:
    """Return the starts with which the totals may have begun anew since a ticker agreed, and when.

    That is at 00:00 KST, about; where the turnover has fallen, at whatever time.
    """
    order = market.order
    if market.reset_ms is not None and seen.exchange_ms - market.reset_ms < _RESET_AGAIN_MS:
        return [], 0
    if has_fallen and market.starts is not None:
        low, high = bisect_left(order, market.agreed_ms or 0), len(order)
    else:
        midnight_ms = day_start_ms(seen.exchange_ms)
        known_ms = market.agreed_ms or market.began_ms
        if known_ms > midnight_ms + _RESET_MS or market.began_ms > midnight_ms - _RESET_MS:
            return [], 0
        low = bisect_left(order, midnight_ms - _RESET_MS)
        high = bisect_right(order, midnight_ms + _RESET_MS)
    found, since_ms = [], seen.exchange_ms
    for split in range(max(low, high - _NEAR, 1 if market.dropped else 0), high + 1):
        start = market.sum_before(split)
        index = _index_of(market, _add(seen.turnover, start))
        if index is not None and index >= split:
            found.append((-start, index))
            since_ms = min(since_ms, order[split]) if split < len(order) else since_ms
    return found, since_ms


def _names_what_we_have(market: _Market, seen: _Seen, index: int) -> bool:
    """Return whether the newest trade that a ticker names is ours: its totals may leave that one out."""
    order = market.order
    known_ms = order[index] if index >= 0 else market.origin_ms or 0
    return seen.trade_ms <= known_ms or seen.trade_ms in order[index + 1 : index + 2]


def _begin_anew(market: _Market, since_ms: int) -> None:
    """The totals began anew: what waits since before and is larger was counted the day before."""
    agreed = market.agreed or _ZERO
    waiting: list[_Seen] = []
    day_before: list[_Seen] = []
    for seen in market.waiting:
        is_older = seen.turnover >= agreed and seen.trade_ms < since_ms
        (day_before if is_older else waiting).append(seen)
    if day_before and market.starts is not None and market.paused_until_s is None:
        market.day_before = market.starts, market.agreed_ms or market.began_ms, day_before
    market.waiting, market.claim, market.origin_ms, market.reset_ms = waiting, None, since_ms, since_ms


def _is_stale(market: _Market, seen: _Seen) -> bool:
    """Return whether a ticker is from before all that is remembered: a reply out of a cache."""
    return market.dropped > 0 and seen.trade_ms < market.order[0]


def _unknown(market: _Market, rows: list[Trade]) -> list[Trade]:
    """Return the rows that are more than what is in the sums, as multisets: rows may equal each other."""
    times = [row.exchange_ms for row in rows]
    low, high = bisect_left(market.order, min(times)), bisect_right(market.order, max(times))
    if high == len(market.order):
        low = 0  # one that is stamped ahead stands where it came
    known = Counter(map(_key, market.trades[low:high]))
    new = []
    for row in rows:
        key = _key(row)
        if known[key] > 0:
            known[key] -= 1
        else:
            new.append(row)
    return new


def _key(trade: Trade) -> _Key:
    return trade.exchange_ms, trade.price, trade.volume, trade.side
