"""What happens to an event between a socket and the handoff queue; synchronous.

events of a frame -> doubts (stamps) -> deduplicator (first copy wins) -> batcher -> handoff queue
sockets lost -> coverage (outages); trades beside tickers -> totals (losses)
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

from collector.batch import Batch
from collector.clock import Clock
from collector.feed.session import MarketEvent
from collector.listener.maintenance import MAINTENANCE
from collector.model import Channel, Gap, Source, Ticker, Trade
from collector.publish.handoff import HandoffQueue
from collector.stream.batcher import KINDS, Batcher
from collector.stream.coverage import LAG_MS, Coverage, EndedOutage, Outage
from collector.stream.deduplicator import Deduplicator
from collector.stream.doubts import Doubts
from collector.stream.exchange_time import AHEAD_MS, ExchangeTime
from collector.stream.histogram import Histogram
from collector.stream.pressure import Decision
from collector.stream.totals import Missing, Totals

#: Latencies remembered for the percentiles in `health`.
_LAGS_KEPT = 2_000
_LAG_BOUNDS_MS = (5, 10, 25, 50, 75, 100, 150, 250, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000)
#: So many trades that are stamped ahead wait for REST's word at the most.
_AHEAD_MAX = 100
#: How often the totals are looked at.
_TOTALS_S = 0.25

#: What rows are counted under.
COUNTED_AS = {row: f"{kind}_rows" for row, kind in KINDS.items()}


class LossObserver:
    """Receives what is missing, in the event loop; this one ignores it. `GapTracker` in a listener."""

    def on_outage(self, outage: EndedOutage) -> None:
        """Take a stretch that no socket covered, a moment after its end."""

    def on_early_trade(self, market: str, exchange_ms: int) -> None:
        """Take a market whose first trade is older than our start, `covered_from_ms`."""

    def on_unsent(self, gap: Gap) -> None:
        """Take what is missing because its batch could be neither sent nor kept, or a gap of that batch."""

    def on_missing(self, it: Missing) -> None:
        """Take trades of a market that the exchange's totals prove to be missing."""

    def on_ahead(self, trade: Trade, came_ms: int) -> None:
        """Take a trade that is stamped ahead of all others, and when it came; it waits for `pass_ahead`."""


def _as_it_is(reason: str, _began_s: float) -> str:
    """Nobody can explain an outage."""
    return reason


class EventPipeline:
    """The synchronous middle of a listener.

    Args:
        time: the exchange's time; `clock` may be wrong.
    """

    def __init__(
        self, batcher: Batcher, handoff: HandoffQueue, clock: Clock, time: ExchangeTime | None = None
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.deduplicator = Deduplicator()
        self.exchange_time = time or ExchangeTime(clock.now_ms(), clock.monotonic())
        self.doubts = Doubts(self.exchange_time, self.counts)
        self.coverage = Coverage(self.exchange_time)
        self.totals = Totals()
        #: Start of what we know of each market that is new to us, until its first trade has come.
        self.covered_from_ms: dict[str, int] = {}
        #: Time of each market's first trade until it is known which are new.
        self._first_ms: dict[str, int] | None = {}
        #: Milliseconds from the exchange's time to ours, of the newest events.
        self.lags_ms: deque[int] = deque(maxlen=_LAGS_KEPT)
        #: The same, of all events so far.
        self.lags = Histogram(_LAG_BOUNDS_MS)
        self._batcher = batcher
        self._handoff = handoff
        self._clock = clock
        self._began_s = clock.monotonic()
        self._observer = LossObserver()
        self._explain: Callable[[str, float], str] = _as_it_is
        #: The outage that turned out to be maintenance.
        self._maintenance: Outage | None = None
        #: Trades stamped ahead of the exchange's time, each with the time at which it came.
        self._ahead: list[tuple[Trade, int]] = []
        self._streamed_ms: dict[str, int] = {}
        self._totals_s = 0.0

    def listen(self, observer: LossObserver, explain: Callable[[str, float], str] = _as_it_is) -> None:
        """Set who receives what is missing.

        Args:
            explain: called with the reason of an outage that lasts and the monotonic moment it began at;
                returns that reason, or `MAINTENANCE`.
        """
        self._observer, self._explain = observer, explain

    def process(self, connection: int, events: Sequence[MarketEvent], *, has_snapshots: bool = False) -> None:
        """Take the events of the data frames that a socket brought together.

        Args:
            has_snapshots: some are what was last known when the socket subscribed; in a quiet market that is
                hours old, and no lag.
        """
        now_s, now_ms = self._clock.monotonic(), self._clock.now_ms()
        if not self.coverage.is_usual(connection):
            self.coverage.on_data(connection, now_s)
        if events:
            self._take(events, now_s, now_ms, has_snapshots=has_snapshots)
        self._put_due(now_s, now_ms)

    def _take(self, events: Sequence[MarketEvent], now_s: float, now_ms: int, *, has_snapshots: bool) -> None:
        doubts = self.doubts
        latest_ms = self.exchange_time.at(now_s) + AHEAD_MS
        times_ms = [event.exchange_ms for event in events]
        newest_ms = max(times_ms)
        if newest_ms > latest_ms or doubts.in_kst:
            events = self._believable(events, now_s, latest_ms)
            if not events:
                return
            latest_ms = self.exchange_time.at(now_s) + AHEAD_MS
            times_ms = [event.exchange_ms for event in events]
            newest_ms = max(times_ms)
        self._saw(newest_ms, now_s)
        accept, lags_ms = self.deduplicator.accept, None if has_snapshots else self.lags_ms
        for event, exchange_ms in zip(events, times_ms, strict=True):
            if accept(event, latest_ms):
                if lags_ms is not None:
                    lags_ms.append(event.received_ms - exchange_ms)
                    self.lags.observe(lags_ms[-1])
                self._add(event, now_s, now_ms)
                if isinstance(event, Trade):
                    self._on_trade(event, latest_ms - AHEAD_MS)
                elif isinstance(event, Ticker) and event.quote_volume_day is not None:
                    self._on_ticker(event, event.quote_volume_day, now_s)
        if len(doubts) and (events := doubts.believable(now_s)):
            self._take(events, now_s, now_ms, has_snapshots=True)

    def _believable(self, events: Sequence[MarketEvent], now_s: float, latest_ms: int) -> list[MarketEvent]:
        """Hold back what is stamped ahead of the exchange's time, and put right what is stamped wrongly."""
        doubts, believable = self.doubts, list[MarketEvent]()
        for event in events:
            if event.exchange_ms > latest_ms or type(event) in doubts.in_kst:
                believable += doubts.take(event, now_s)
                latest_ms = self.exchange_time.at(now_s) + AHEAD_MS
            else:
                believable.append(event)
        return believable

    def _saw(self, newest_ms: int, now_s: float) -> None:
        """Learn the time; that of the newest data is where all that came before is covered."""
        time, coverage = self.exchange_time, self.coverage
        if time.saw(newest_ms, now_s):
            known_ms = coverage.newest_ms
            if known_ms is None or newest_ms > known_ms or known_ms > time.at(now_s) + AHEAD_MS:
                coverage.newest_ms = newest_ms

    # What is known of time

    def now_s(self) -> float:
        """Return the monotonic time."""
        return self._clock.monotonic()

    def exchange_ms(self) -> int:
        """Return the exchange's time, about."""
        return self.exchange_time.at(self._clock.monotonic())

    def covered_until_ms(self) -> int:
        """Return until when all data have come, by the exchange's time; any thread may ask."""
        covered_ms = self.coverage.covered_until_ms(self._clock.monotonic())
        return self._start_ms() if covered_ms is None else covered_ms

    def outage(self) -> tuple[int, str] | None:
        """Return since when no socket brings data, and why; None while one does. Any thread may ask."""
        outage = self.coverage.outage()
        if outage is None:
            return None
        reason = MAINTENANCE if outage == self._maintenance else outage.reason
        return self._start_ms() if outage.since_ms is None else outage.since_ms, reason

    @property
    def held_from_ms(self) -> int | None:
        """When the oldest event came that is held for its stamp, by the exchange's time; None for none."""
        oldest_s = self.doubts.oldest_s
        return None if oldest_s is None else self.exchange_time.at(oldest_s) - LAG_MS

    def _start_ms(self) -> int:
        return self.exchange_time.at(self._began_s)

    def begin(self, new_from_ms: Mapping[str, int]) -> None:
        """Begin with these markets, of which nothing is known before these times."""
        first_ms, self._first_ms = self._first_ms or {}, None
        self.covered_from_ms = dict(new_from_ms)
        for market, exchange_ms in first_ms.items():
            self._check_start(market, exchange_ms)

    # What comes in

    def streamed_ms(self, market: str) -> int | None:
        """Return the exchange's time of the last trade of `market` that a socket brought, None for none."""
        return self._streamed_ms.get(market)

    def newest_streamed_ms(self) -> int | None:
        """Return the newest of these times, of any market, without stamps ahead of the exchange's time."""
        now_ms = self.exchange_ms()
        return max((ms for ms in self._streamed_ms.values() if ms <= now_ms), default=None)

    def add_recovered(self, trades: Iterable[Trade]) -> None:
        """Take trades of a backfill, all of them: the store decides which are copies.

        An id that the sockets brought does not prove that the trade was stored: it may have been lost since.
        """
        trades = list(trades)
        self.totals.recovered(self._without_ahead(trades) if self._ahead else trades, self.exchange_ms())
        for trade in trades:
            self.counts["trades_backfilled"] += 1
            self.add(trade)

    def add(self, row: MarketEvent | Gap) -> None:
        """Put one row into its batch."""
        self._add(row, self._clock.monotonic(), self._clock.now_ms())

    def tick(self, decision: Decision) -> None:
        """Close what has waited long enough, and follow the pressure policy."""
        batcher = self._batcher
        batcher.conflating = decision.conflate_states
        batcher.trade_factor = decision.trade_batch_factor
        batcher.state_factor = decision.state_batch_factor
        now_s, now_ms = self._clock.monotonic(), self._clock.now_ms()
        if len(self.doubts) and (trades := self.doubts.due(now_s)):
            self._on_ahead_trades(trades, now_s)
        self._look_for_maintenance(now_s)
        for outage in self.coverage.ended(now_s):
            is_maintenance = Outage(outage.from_ms, outage.reason) == self._maintenance
            self._observer.on_outage(replace(outage, reason=MAINTENANCE) if is_maintenance else outage)
        if now_s - self._totals_s >= _TOTALS_S:
            self._totals_s = now_s
            for missing in self.totals.tick(now_s):
                self._observer.on_missing(missing)
        self._put_due(now_s, now_ms)

    def _look_for_maintenance(self, now_s: float) -> None:
        """Take note that the outage that lasts is maintenance; what was once found stays."""
        outage = self.coverage.outage()
        if outage is None or outage.since_ms is None or outage == self._maintenance:
            return
        began_s = now_s - (self.exchange_time.at(now_s) - outage.since_ms) / 1000
        if self._explain(outage.reason, began_s) == MAINTENANCE:
            self._maintenance = outage

    def _on_ahead_trades(self, trades: Iterable[Trade], now_s: float) -> None:
        """Keep trades that nothing agrees with until REST was asked when they were."""
        exchange_ms = self.exchange_time.at(now_s)
        for trade in trades:
            if not self.deduplicator.accept(trade):
                continue
            if self.totals.is_fetched(trade, exchange_ms, AHEAD_MS):
                continue  # a backfill has brought it meanwhile, with its true stamp
            self._on_trade(trade, exchange_ms)
            if len(self._ahead) < _AHEAD_MAX:
                self._ahead.append((trade, exchange_ms))
                self._observer.on_ahead(trade, exchange_ms)
            else:
                self.add(trade)

    def pass_ahead(self, market: str, until_ms: int) -> None:
        """Pass on the trades of a market that came until then, stamped ahead: REST has no other stamp."""
        passed = [held for held in self._ahead if held[0].market == market and held[1] <= until_ms]
        self._ahead = [held for held in self._ahead if held not in passed]
        for trade, _ in passed:
            self.add(trade)

    def _without_ahead(self, trades: Iterable[Trade]) -> list[Trade]:
        """Return those of REST's trades that are none of ours with its true stamp; drop ours for the rest."""
        others = []
        for trade in trades:
            same = [
                held
                for held in self._ahead
                if (held[0].market, held[0].price, held[0].volume, held[0].side)
                == (trade.market, trade.price, trade.volume, trade.side)
                and abs(trade.exchange_ms - held[1]) <= AHEAD_MS
            ]
            if same and not self.totals.knows(trade):
                self._ahead.remove(same[0])
                self.totals.put_right(same[0][0], trade)
            else:
                others.append(trade)
        return others

    def flush(self) -> None:
        """Close everything."""
        for batch in self._batcher.flush(self._clock.now_ms()):
            self._put(batch)

    def lose(self, batch: Batch, reason: str) -> None:
        """Take note of facts that could be neither sent nor kept."""
        self.deduplicator.forget(row for row in batch.rows if isinstance(row, Trade))
        for gap in gaps_of(batch, reason):
            self._observer.on_unsent(gap)
        self._handoff.done(batch)

    def _add(self, row: MarketEvent | Gap, now_s: float, now_ms: int) -> None:
        self.counts[COUNTED_AS[type(row)]] += 1
        if isinstance(row, Gap) and row.recovered:
            # Sent before the trades that recovered it, it would be believed if these were lost.
            trades = self._batcher.close_trades(row.market, now_ms)
            if trades is not None:
                self._put(trades)
        filled = self._batcher.add(row, now_s, now_ms)
        if filled is not None:
            self._put(filled)

    def before_rest(self, rest_s: float) -> None:
        """Close what will have waited too long when the sockets are looked at again, `rest_s` from now."""
        self._put_due(self._clock.monotonic(), self._clock.now_ms(), rest_s)

    def _put_due(self, now_s: float, now_ms: int, within_s: float = 0) -> None:
        for batch in self._batcher.due(now_s, now_ms, within_s):
            self._put(batch)

    def _on_trade(self, trade: Trade, exchange_ms: int) -> None:
        market = trade.market
        self.totals.trade(trade, exchange_ms)
        self._streamed_ms[market] = trade.exchange_ms
        if self._first_ms is not None:
            self._first_ms.setdefault(market, trade.exchange_ms)
        elif self.covered_from_ms:
            self._check_start(market, trade.exchange_ms)

    def _check_start(self, market: str, exchange_ms: int) -> None:
        covered_from_ms = self.covered_from_ms.pop(market, None)
        if covered_from_ms is not None and exchange_ms < covered_from_ms:
            self._observer.on_early_trade(market, exchange_ms)

    def _on_ticker(self, ticker: Ticker, turnover: Decimal, now_s: float) -> None:
        self.totals.ticker(ticker.market, turnover, ticker.exchange_ms, ticker.trade_ms, Source.STREAM, now_s)

    def _put(self, batch: Batch) -> None:
        if not self._handoff.put(batch):
            self.counts[f"{batch.channel}_rows_lost"] += len(batch.rows)
            self.lose(batch, "overflow")


def gaps_of(batch: Batch, reason: str) -> list[Gap]:
    """Return one gap per market for trades that are lost with `batch`; gaps in it stay gaps."""
    gaps: dict[object, Gap] = {}
    for row in batch.rows:
        if isinstance(row, Gap):
            gaps[row.name] = row
        elif isinstance(row, Trade):
            known = gaps.get(row.market)
            from_ms = min(row.exchange_ms, known.from_ms) if known else row.exchange_ms
            to_ms = max(row.exchange_ms, known.to_ms) if known else row.exchange_ms
            gaps[row.market] = Gap(row.market, Channel.TRADE, from_ms, to_ms, reason)
    return list(gaps.values())
