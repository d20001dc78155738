"""From a hole in the stream to a recorded `Gap`, a backfill, and a recovered gap."""

import logging
from collections.abc import Iterable, Mapping

from msgspec import structs

from collector.analytics.auditing import AUDIT
from collector.analytics.watermark import Start
from collector.feed.backfill import Backfill
from collector.feed.backfill import MissingStretch as MarketHole
from collector.listener.pipeline import EventPipeline
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
#: The minute of these trades is sealed: fetched again, they could not be told from those that are counted.
NOT_FOR_BACKFILL = frozenset({"too_late"})


#: Reason of a gap that is on the disk of another listener, whose name follows.
HELD = "held"

GapName = tuple[str, Channel, int, str]


class GapTracker:
    """Records holes for every market and sends the backfill after the trades in them."""

    def __init__(self, pipeline: EventPipeline, channels: Iterable[Channel]) -> None:
        self.markets: tuple[str, ...] = ()
        #: Where the markets begin that an earlier run knew; None while that can't be read.
        self._starts: Mapping[str, Start] | None = None
        #: Until when nothing was covered at the start, until the starts are known; and if they are.
        self._start_hole_ms: int | None = None
        self.has_begun = False
        self.backfill: Backfill | None = None
        self._pipeline = pipeline
        self._channels = tuple(channels)
        #: Names of the gaps this run has taken up: before the last look at the store, and since.
        self._taken: set[GapName] = set()
        self._taken_since: set[GapName] = set()
        #: Until when those of them were recovered that are, likewise.
        self._closed: dict[GapName, int] = {}
        self._closed_since: dict[GapName, int] = {}
        #: What got lost on our side, by what makes it one gap, until it can be told and fetched again.
        self._lost: dict[GapName | tuple[str, Channel, str], Gap] = {}
        #: Gaps whose trades no socket brought: the exchange's totals have to agree once they are fetched.
        self._judged: set[GapName] = set()

    def on_hole(self, hole: EndedOutage) -> None:
        """Take a stretch that no socket covered."""
        log.debug("no data from %s to %s (%s)", hole.from_ms, hole.to_ms, hole.reason)
        if hole.from_ms is None:
            self._start_hole_ms = hole.to_ms
            self._begin_if_known()
            return
        for market in self.markets:
            self._on_outage(market, hole, hole.from_ms)

    def begin(self, starts: Mapping[str, Start]) -> None:
        """Begin where the last run ended: markets that are not in `starts` are new."""
        self._starts = starts
        self._begin_if_known()

    def _on_outage(self, market: str, hole: EndedOutage, from_ms: int) -> None:
        """Record what is missing of a market; the snapshot of its ticker may prove that no trade is."""
        if not self._pipeline.totals.is_whole_since(market, hole.to_ms - LAG_MS, hole.ended_s):
            self._judge(MarketHole(market, from_ms, hole.to_ms, hole.reason))
        if not hole.is_unsure:
            self._record_lost_states(market, from_ms, hole.to_ms, hole.reason)

    def on_missing(self, it: Missing) -> None:
        """Take trades that the exchange's totals prove to be missing."""
        size = "" if it.turnover is None else f", turnover {it.turnover:f}"
        log.debug("trades of %s are missing from %d to %d%s", it.market, it.from_ms, it.to_ms, size)
        self._judge(MarketHole(it.market, it.from_ms, it.to_ms, "totals"), is_paused=True)

    def on_ahead(self, trade: Trade, came_ms: int) -> None:
        """Take a trade that is stamped ahead of the exchange's time: REST may have its true time."""
        log.warning(
            "a trade of %s is stamped %.0f s ahead", trade.market, (trade.exchange_ms - came_ms) / 1000
        )
        self._judge(MarketHole(trade.market, came_ms - AHEAD_MS, came_ms, STAMPED_AHEAD))

    def _judge(self, hole: MarketHole, *, is_paused: bool = False) -> None:
        """Record a hole that is closed only if the exchange's totals, where trusted, agree afterwards."""
        if not is_paused:
            self._pipeline.totals.pause(hole.market, self._pipeline.now_s())
        self._judged.add((hole.market, Channel.TRADE, hole.from_ms, hole.reason))
        self.record(hole)

    def totals_agree(self, hole: MarketHole, is_complete: bool, is_last: bool) -> bool | None:
        """Tell whether the exchange's totals prove that nothing of a hole is missing; None if they can't say.

        Args:
            is_complete: whether everything that REST has of the hole was fetched.
            is_last: whether the hole is given up if not.
        """
        if (hole.market, Channel.TRADE, hole.from_ms, hole.reason) not in self._judged:
            return None
        is_alone = sum(name[0] == hole.market for name in self._judged) == 1
        verdict = self._pipeline.totals.settle(
            hole.market, hole.to_ms, is_complete=is_complete and is_alone, is_last=is_last and is_alone
        )
        return verdict if is_alone or verdict else None  # what is missing may be in the others

    def on_early_trade(self, market: str, exchange_ms: int) -> None:
        """Take a trade from before our start, which a snapshot brought: its minute is known in part only."""
        minute_ms = exchange_ms - exchange_ms % MINUTE_MS
        self.record(MarketHole(market, minute_ms, exchange_ms, "start"))

    def open(self, market: str | None, from_ms: int, to_ms: int, reason: str) -> None:
        """Record a gap in trades and send the backfill after it; call it in the event loop.

        Args:
            market: whose trades are missing; None means every market that is collected.
            from_ms: start of the gap, epoch ms by the exchange's time.
            to_ms: its end, likewise; a gap that would end before it starts is one moment.
            reason: a stable word, part of the gap's identity.
        """
        for each in self.markets if market is None else (market,):
            hole = MarketHole(each, from_ms, max(from_ms, to_ms), reason)
            (self._judge if reason in NEVER_CAME else self.record)(hole)

    def on_loss(self, loss: Loss) -> None:
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

    def on_lost(self, gap: Gap) -> None:
        """Take what is missing because it could be neither sent nor kept: trades, or a gap itself.

        Neither could be told about now, so it waits; a listener that dies meanwhile starts again from the
        last trade stored. Bounded: stretches of one market are joined.
        """
        if gap.reason not in LOST_HERE or gap.recovered:
            self._lost[gap.name] = gap
            return
        known = self._lost.get((gap.market, gap.channel, gap.reason), gap)
        self._lost[gap.market, gap.channel, gap.reason] = Gap(
            gap.market, gap.channel, min(gap.from_ms, known.from_ms), max(gap.to_ms, known.to_ms), gap.reason
        )

    def tell_lost(self) -> None:
        """Record what was lost, and send the backfill after the trades: now there is room again."""
        lost, self._lost = self._lost, {}
        for gap in lost.values():
            self._pipeline.add(gap)
            if gap.reason in LOST_HERE and not gap.recovered:
                self.resume(gap)

    def take_up(self, open_gaps: Iterable[Gap]) -> None:
        """Send the backfill after what the store says is missing, unless this run has done so before.

        A gap of an earlier run may still be on its way when this one starts: in a queue, or on disk.
        """
        found = {gap.name: gap for gap in open_gaps}
        known = self._taken | self._taken_since
        self._taken, self._taken_since = (self._taken & found.keys()) | self._taken_since, set()
        for key in found.keys() - known:
            self.resume(found[key])
        self._close_again(found)

    def _close_again(self, found: Mapping[GapName, Gap]) -> None:
        """Repeat what the store should have heard before its last look: that batch became a dead letter.

        One that is wider than what was recovered has grown since, and is fetched again.
        """
        closed, self._closed, self._closed_since = self._closed, self._closed_since, {}
        for key in found.keys() & closed.keys() - self._closed.keys():
            if found[key].to_ms <= closed[key]:
                self.close(found[key])
            else:
                self.resume(found[key])

    @property
    def unsaid_from_ms(self) -> int | None:
        """Time of the oldest loss, epoch ms, that is not recorded yet."""
        return min((gap.from_ms for gap in self._lost.values() if not gap.recovered), default=None)

    def forget(self) -> None:
        """Take up again what the store says is missing: it may be from before it forgot that it was not."""
        self._taken, self._taken_since = set(), set()
        self._closed, self._closed_since = {}, {}

    def resume(self, gap: Gap) -> None:
        """Send the backfill after a gap that is recorded already."""
        self._taken_since.add(gap.name)
        if self.backfill is not None and gap.reason not in NOT_FOR_BACKFILL:
            is_known_before = gap.reason != "start"
            self.backfill.add(
                MarketHole(gap.market, gap.from_ms, gap.to_ms, gap.reason, is_known_before=is_known_before)
            )

    def on_listed(self, market: str, since_ms: int) -> None:
        """Take a market that was listed after `since_ms`."""
        from_ms, to_ms = since_ms - since_ms % MINUTE_MS, self._pipeline.exchange_ms()
        self.record(MarketHole(market, from_ms, max(from_ms, to_ms), "listed", is_known_before=False))

    def on_filled(self, hole: MarketHole, recovered: bool) -> None:
        """Take the end of a backfill."""
        if not recovered:  # whatever the totals still miss has to be accepted
            self.totals_agree(hole, False, True)
        if hole.reason == STAMPED_AHEAD:
            self._pipeline.pass_ahead(hole.market, hole.to_ms)
        self._judged.discard((hole.market, Channel.TRADE, hole.from_ms, hole.reason))
        if recovered and hole.reason not in PROVEN_OTHERWISE:
            self.close(Gap(hole.market, Channel.TRADE, hole.from_ms, hole.to_ms, hole.reason))

    def close(self, gap: Gap) -> None:
        """Record that everything missing in a gap is there; call it in the event loop."""
        self._closed_since[gap.name] = gap.to_ms
        self._pipeline.add(structs.replace(gap, recovered=True))

    def record(self, hole: MarketHole) -> None:
        """Record a hole in a market's trades and queue its backfill."""
        if Channel.TRADE in self._channels:
            gap = Gap(hole.market, Channel.TRADE, hole.from_ms, hole.to_ms, hole.reason)
            self._taken_since.add(gap.name)
            self._pipeline.add(gap)
            if self.backfill is not None:
                self.backfill.add(hole)

    def _begin_if_known(self) -> None:
        to_ms = self._start_hole_ms
        if self._starts is None or to_ms is None or self.has_begun:
            return
        self.has_begun = True
        new_from_ms = to_ms - to_ms % MINUTE_MS
        for market in self.markets:
            start = self._starts.get(market)
            if start is not None:
                self._on_start(market, start, to_ms)
            else:
                self.record(MarketHole(market, new_from_ms, to_ms, "start", is_known_before=False))
        self._pipeline.begin({market: new_from_ms for market in self.markets if market not in self._starts})

    def _on_start(self, market: str, start: Start, to_ms: int) -> None:
        """Fetch what may be missing since the last run, and what another listener has on its disk."""
        self.record(MarketHole(market, min(start.from_ms, to_ms), to_ms, "start"))
        if start.held_from_ms is not None:
            self.open(market, start.held_from_ms, start.held_until_ms, f"{HELD}:{start.holder}")

    def _record_lost_states(self, market: str, from_ms: int, to_ms: int, reason: str) -> None:
        for channel in self._channels:
            if channel is not Channel.TRADE:
                self._pipeline.add(Gap(market, channel, from_ms, to_ms, reason))
