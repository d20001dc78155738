"""From what is missing to a recorded `Gap`, a backfill, and a recovered gap.

Everything here runs in the event loop; other threads come in through `LoopCalls`.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from msgspec import structs

from collector.analytics.auditing import AUDIT
from collector.analytics.watermark import Start
from collector.feed.backfill import UNPROVEN_MAX, Backfill, MissingStretch
from collector.listener.pipeline import EventPipeline, LossObserver
from collector.model import MINUTE_MS, Channel, Gap, Trade
from collector.publish.publisher import Loss
from collector.stream.coverage import LAG_MS, EndedOutage
from collector.stream.exchange_time import AHEAD_MS
from collector.stream.totals import Missing

log = logging.getLogger(__name__)

#: Reasons of losses on our side of the socket.
LOST_HERE = frozenset({"overflow", "spool_full"})
#: What a backfill brings proves nothing here: the exchange's own figures have shown that trades are missing.
PROVEN_OTHERWISE = frozenset({AUDIT})
#: Reasons of gaps whose trades were never counted here.
NEVER_CAME = frozenset({"refused", "relisted"})
#: Reason of a gap around a trade whose stamp can't be true; the trade waits until it is fetched.
STAMPED_AHEAD = "stamped_ahead"
#: The minute of these trades is sealed: a backfill could not distinguish them from counted ones.
NOT_FOR_BACKFILL = frozenset({"too_late"})


#: Reason of a gap that is on the disk of another listener, whose name follows.
HELD = "held"

GapName = tuple[str, Channel, int, str]


class GapTracker(LossObserver):
    """Records what is missing of every market and sends the backfill after the trades.

    Args:
        markets: returns the markets that are collected now.
    """

    def __init__(
        self,
        pipeline: EventPipeline,
        channels: Iterable[Channel],
        markets: Callable[[], tuple[str, ...]],
    ) -> None:
        #: Where the markets of an earlier run begin; None while that can't be read.
        self._starts: Mapping[str, Start] | None = None
        #: Until when nothing was covered at the start, until the starts are known; and if they are.
        self._streaming_from_ms: int | None = None
        self.has_begun = False
        self.backfill: Backfill | None = None
        self._pipeline = pipeline
        self._channels = tuple(channels)
        self._markets = markets
        #: Names of the gaps this run has taken up: before the last look at the store, and since.
        self._taken: set[GapName] = set()
        self._taken_since: set[GapName] = set()
        #: Until when those of them were recovered that are, likewise.
        self._closed: dict[GapName, int] = {}
        self._closed_since: dict[GapName, int] = {}
        #: What got lost on our side, by what makes it one gap, until it can be recorded and fetched again.
        self._unsent: dict[GapName | tuple[str, Channel, str], Gap] = {}
        #: Gaps whose trades no socket brought: the totals have to agree once they are fetched. Each with
        #: whether everything that REST has of it was fetched.
        self._judged: dict[GapName, bool] = {}
        #: How often the totals of a market disagreed with gaps that were fetched, one after the other.
        self._disagreed: Counter[str] = Counter()

    def on_outage(self, outage: EndedOutage) -> None:
        """Take a stretch that no socket covered."""
        log.debug("no data from %s to %s (%s)", outage.from_ms, outage.to_ms, outage.reason)
        if outage.from_ms is None:
            self._streaming_from_ms = outage.to_ms
            self._begin_if_known()
            return
        for market in self._markets():
            self._record_outage(market, outage, outage.from_ms)

    def begin(self, starts: Mapping[str, Start]) -> None:
        """Begin where the last run ended: markets that are not in `starts` are new."""
        self._starts = starts
        self._begin_if_known()

    def _record_outage(self, market: str, outage: EndedOutage, from_ms: int) -> None:
        """Record what is missing of a market; the snapshot of its ticker may prove that no trade is."""
        if not self._pipeline.totals.is_whole_since(market, outage.to_ms - LAG_MS, outage.ended_s):
            self._judge(MissingStretch(market, from_ms, outage.to_ms, outage.reason))
        if not outage.is_unsure:
            self._record_lost_states(market, from_ms, outage.to_ms, outage.reason)

    def on_missing(self, it: Missing) -> None:
        """Take trades that the exchange's totals prove to be missing."""
        size = "" if it.turnover is None else f", turnover {it.turnover:f}"
        log.debug("trades of %s are missing from %d to %d%s", it.market, it.from_ms, it.to_ms, size)
        self._judge(MissingStretch(it.market, it.from_ms, it.to_ms, "totals"), is_paused=True)

    def on_ahead(self, trade: Trade, came_ms: int) -> None:
        """Take a trade that is stamped ahead of the exchange's time: REST may have its true time."""
        log.warning(
            "a trade of %s is stamped %.0f s ahead", trade.market, (trade.exchange_ms - came_ms) / 1000
        )
        self._judge(MissingStretch(trade.market, came_ms - AHEAD_MS, came_ms, STAMPED_AHEAD))

    def _judge(self, stretch: MissingStretch, *, is_paused: bool = False) -> None:
        """Record a stretch that is closed only if the exchange's totals, where trusted, agree afterwards."""
        if not is_paused:
            self._pipeline.totals.pause(stretch.market, self._pipeline.now_s())
        self._judged[_name_of(stretch)] = False
        self.record(stretch)

    def totals_agree(self, stretch: MissingStretch, is_complete: bool, is_last: bool) -> bool | None:
        """Return whether the exchange's totals prove that nothing of a stretch is missing; None if unknown.

        Args:
            is_complete: whether everything that REST has of the stretch was fetched.
            is_last: whether the stretch is given up if not.
        """
        name, judged = _name_of(stretch), self._judged
        if name not in judged:
            return None
        judged[name] = judged[name] or is_complete
        others = (done for other, done in judged.items() if other[0] == stretch.market and other != name)
        is_alone = all(others)  # else what is missing may be in the others
        # While sockets are given up again and again, no gap is looked at often enough by itself.
        is_last = is_last or (is_complete and self._disagreed[stretch.market] >= UNPROVEN_MAX)
        verdict = self._pipeline.totals.settle(
            stretch.market, stretch.to_ms, is_complete=is_complete and is_alone, is_last=is_last and is_alone
        )
        if verdict is False and is_complete and is_alone and not is_last:
            self._disagreed[stretch.market] += 1
        elif verdict or (is_last and is_alone):
            del self._disagreed[stretch.market]
        if verdict and stretch.reason == STAMPED_AHEAD and not is_complete:
            return None  # our trade is among the sums, but REST has not shown its true time yet
        return verdict if is_alone or verdict else None

    def on_early_trade(self, market: str, exchange_ms: int) -> None:
        """Take a trade from before our start, which a snapshot brought: its minute is known in part only."""
        minute_ms = exchange_ms - exchange_ms % MINUTE_MS
        self.record(MissingStretch(market, minute_ms, exchange_ms, "start"))

    def open(self, market: str | None, from_ms: int, to_ms: int, reason: str) -> None:
        """Record a gap in trades and send the backfill after it; call it in the event loop.

        Args:
            market: whose trades are missing; None means every market that is collected.
            from_ms: start of the gap, epoch ms by the exchange's time.
            to_ms: its end, likewise; a gap that would end before it starts is one moment.
            reason: a stable word, part of the gap's identity.
        """
        for each in self._markets() if market is None else (market,):
            stretch = MissingStretch(each, from_ms, max(from_ms, to_ms), reason)
            (self._judge if reason in NEVER_CAME else self.record)(stretch)

    def open_until_now(self, from_ms: int, reason: str) -> None:
        """Record a gap of every market from `from_ms`, epoch ms, until now."""
        self.open(None, from_ms, self._pipeline.exchange_ms(), reason)

    def on_spool_damage(self, loss: Loss) -> None:
        """Take trades that were on disk and can't be read any more: they have to be fetched again."""
        log.error(
            "the spool is damaged: trades of %s, %.1f s, are fetched again",
            loss.market or "all markets",
            (loss.to_ms - loss.from_ms) / 1000,
        )
        if loss.reason and loss.market is not None:
            self.resume(Gap(loss.market, Channel.TRADE, loss.from_ms, loss.to_ms, loss.reason))
        else:
            self.open(loss.market, loss.from_ms - LAG_MS, loss.to_ms, "spool_damaged")

    def on_unsent(self, gap: Gap) -> None:
        """Take what is missing because it could be neither sent nor kept: trades, or a gap itself.

        Neither can be recorded now, so it waits; a listener that dies meanwhile starts again from the
        last trade stored. Bounded: stretches of one market are joined.
        """
        if gap.reason not in LOST_HERE or gap.recovered:
            self._unsent[gap.name] = gap
            return
        known = self._unsent.get((gap.market, gap.channel, gap.reason), gap)
        self._unsent[gap.market, gap.channel, gap.reason] = Gap(
            gap.market, gap.channel, min(gap.from_ms, known.from_ms), max(gap.to_ms, known.to_ms), gap.reason
        )

    def record_unsent(self) -> None:
        """Record what was lost, and send the backfill after the trades: now there is room again."""
        lost, self._unsent = self._unsent, {}
        for gap in lost.values():
            self._pipeline.add(gap)
            if gap.reason in LOST_HERE and not gap.recovered:
                self.resume(gap)

    def take_up(self, open_gaps: Iterable[Gap]) -> None:
        """Backfill the gaps that are open in the store, unless this run has done so before.

        A gap of an earlier run may still be on its way when this one starts: in a queue, or on disk.
        """
        found = {gap.name: gap for gap in open_gaps}
        known = self._taken | self._taken_since
        self._taken, self._taken_since = (self._taken & found.keys()) | self._taken_since, set()
        for key in found.keys() - known:
            self.resume(found[key])
        self._close_again(found)

    def _close_again(self, found: Mapping[GapName, Gap]) -> None:
        """Repeat what the store should have got before its last look: that batch became a dead letter.

        One that is wider than what was recovered has grown since, and is fetched again.
        """
        closed, self._closed, self._closed_since = self._closed, self._closed_since, {}
        for key in found.keys() & closed.keys() - self._closed.keys():
            if found[key].to_ms <= closed[key]:
                self.close(found[key])
            else:
                self.resume(found[key])

    @property
    def unrecorded_from_ms(self) -> int | None:
        """Time of the oldest loss, epoch ms, that is not recorded yet."""
        return min((gap.from_ms for gap in self._unsent.values() if not gap.recovered), default=None)

    def forget(self) -> None:
        """Take up the open gaps of the store again: it may have lost that they were recovered."""
        self._taken, self._taken_since = set(), set()
        self._closed, self._closed_since = {}, {}

    def resume(self, gap: Gap) -> None:
        """Send the backfill after a gap that is recorded already."""
        self._taken_since.add(gap.name)
        if self.backfill is not None and gap.reason not in NOT_FOR_BACKFILL:
            is_known_before = gap.reason != "start"
            self.backfill.add(
                MissingStretch(
                    gap.market, gap.from_ms, gap.to_ms, gap.reason, is_known_before=is_known_before
                )
            )

    def on_listed(self, market: str, since_ms: int) -> None:
        """Take a market that was listed after `since_ms`."""
        from_ms, to_ms = since_ms - since_ms % MINUTE_MS, self._pipeline.exchange_ms()
        self.record(MissingStretch(market, from_ms, max(from_ms, to_ms), "listed", is_known_before=False))

    def on_filled(self, stretch: MissingStretch, recovered: bool) -> None:
        """Take the end of a backfill."""
        if not recovered:  # whatever the totals still miss has to be accepted
            self.totals_agree(stretch, False, True)
        if stretch.reason == STAMPED_AHEAD:
            self._pipeline.pass_ahead(stretch.market, stretch.to_ms)
        self._judged.pop(_name_of(stretch), None)
        if recovered and stretch.reason not in PROVEN_OTHERWISE:
            self.close(Gap(stretch.market, Channel.TRADE, stretch.from_ms, stretch.to_ms, stretch.reason))

    def close(self, gap: Gap) -> None:
        """Record that everything missing in a gap is there; call it in the event loop."""
        self._closed_since[gap.name] = gap.to_ms
        self._pipeline.add(structs.replace(gap, recovered=True))

    def record(self, stretch: MissingStretch) -> None:
        """Record a stretch in a market's trades and queue its backfill."""
        if Channel.TRADE in self._channels:
            gap = Gap(stretch.market, Channel.TRADE, stretch.from_ms, stretch.to_ms, stretch.reason)
            self._taken_since.add(gap.name)
            self._pipeline.add(gap)
            if self.backfill is not None:
                self.backfill.add(stretch)

    def _begin_if_known(self) -> None:
        to_ms = self._streaming_from_ms
        if self._starts is None or to_ms is None or self.has_begun:
            return
        self.has_begun = True
        new = Start(to_ms - to_ms % MINUTE_MS, is_known_before=False)
        starts = {market: self._starts.get(market, new) for market in self._markets()}
        for market, start in starts.items():
            self._on_start(market, start, to_ms)
        self._pipeline.begin(
            {market: start.from_ms for market, start in starts.items() if not start.is_known_before}
        )

    def _on_start(self, market: str, start: Start, to_ms: int) -> None:
        """Fetch what may be missing since the last run, and what another listener has on its disk."""
        from_ms = min(start.from_ms, to_ms)
        self.record(MissingStretch(market, from_ms, to_ms, "start", is_known_before=start.is_known_before))
        if start.held_from_ms is not None:
            self.open(market, start.held_from_ms, start.held_until_ms, f"{HELD}:{start.holder}")

    def _record_lost_states(self, market: str, from_ms: int, to_ms: int, reason: str) -> None:
        for channel in self._channels:
            if channel is not Channel.TRADE:
                self._pipeline.add(Gap(market, channel, from_ms, to_ms, reason))


def _name_of(stretch: MissingStretch) -> GapName:
    """Return the name of the gap that a stretch is recorded as."""
    return stretch.market, Channel.TRADE, stretch.from_ms, stretch.reason
