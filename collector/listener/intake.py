"""What happens to an event between a socket and the outbox; synchronous.

events of a frame -> coverage (holes) -> sequencer (first copy wins) -> batcher -> outbox
"""

import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence

from collector.batch import Batch
from collector.clock import Clock
from collector.feed.session import MarketEvent
from collector.model import Channel, Gap, OrderBook, Ticker, Trade, WrittenBook
from collector.publish.outbox import Outbox
from collector.stream.batcher import KINDS, Batcher
from collector.stream.coverage import Coverage, ExchangeTime, Hole, Leaps, TradeSilence
from collector.stream.pressure import Decision
from collector.stream.sequencer import Sequencer

#: Latencies remembered for the percentiles in `health`.
_LAGS_KEPT = 2_000
#: No silence of all trades shorter than this is a hole after a socket was given up for its trades.
_SHORT_S = 3.0

_BOOKS = (OrderBook, WrittenBook)
#: What rows are counted under.
COUNTED_AS = {row: f"{kind}_rows" for row, kind in KINDS.items()}


def _ignore(*_: object) -> None:
    """Nobody listens yet."""


class Intake:
    """The synchronous middle of a listener.

    Args:
        stall_min_s: as in `Coverage`.
    """

    def __init__(self, batcher: Batcher, outbox: Outbox, clock: Clock, stall_min_s: float = math.inf) -> None:
        self.counts: Counter[str] = Counter()
        self.sequencer = Sequencer()
        self.exchange_time = ExchangeTime(clock.now_ms(), clock.monotonic())
        self.coverage = Coverage(clock.monotonic(), stall_min_s)
        #: Start of what we know of each market that is new to us, until its first trade has come.
        self.covered_from_ms: dict[str, int] = {}
        #: Time of each market's first trade until it is known which are new.
        self._first_ms: dict[str, int] | None = {}
        #: Milliseconds from the exchange's time to ours, of the newest events.
        self.lags_ms: deque[int] = deque(maxlen=_LAGS_KEPT)
        self._batcher = batcher
        self._outbox = outbox
        self._clock = clock
        self._on_hole: Callable[[Hole], None] = _ignore
        self._on_early_trade: Callable[[str, int], None] = _ignore
        self._on_lost: Callable[[Gap], None] = _ignore
        self._on_market_hole: Callable[[str, Hole], None] = _ignore
        self._last_trade_s = clock.monotonic()
        self._streamed_ms: dict[str, int] = {}
        #: Since when trades may be missing although other data flowed.
        self._untraded_since_s: float | None = None
        self._trade_silence = TradeSilence()
        self._leaps = Leaps()
        #: The last hole that was told of.
        self._told: Hole | None = None

    def listen(
        self,
        on_hole: Callable[[Hole], None],
        on_early_trade: Callable[[str, int], None],
        on_lost: Callable[[Gap], None],
        on_market_hole: Callable[[str, Hole], None] = _ignore,
    ) -> None:
        """Name who is told of losses.

        Args:
            on_hole: called with each stretch that no socket covered.
            on_early_trade: called with (market, exchange_ms) if a market's first trade is older than our
                start, `covered_from_ms`.
            on_lost: called with what a batch that is lost leaves missing, and with each gap that was in it.
            on_market_hole: called with each stretch in which one market's trades were suspiciously silent.
        """
        self._on_hole, self._on_early_trade, self._on_lost = on_hole, on_early_trade, on_lost
        self._on_market_hole = on_market_hole

    def on_events(
        self, connection: int, events: Sequence[MarketEvent], *, has_snapshots: bool = False
    ) -> None:
        """Take the events of the data frames that a socket brought together.

        Args:
            has_snapshots: some are what was last known when the socket subscribed; in a quiet market that is
                hours old, and no lag.
        """
        now_s, now_ms = self._clock.monotonic(), self._clock.now_ms()
        since_s = self.coverage.covered_until_s
        may_leap = self._leaps.heard(now_s)
        hole = self.coverage.on_data(connection, now_s)
        if may_leap and hole is None and self._is_leap(since_s, events):
            hole = Hole(since_s, now_s, "stalled")
        if hole is not None:
            self._tell(hole)
        for event in events:
            if self.sequencer.accept(event):
                exchange_ms = event.exchange_ms
                if not isinstance(event, _BOOKS):
                    self.exchange_time.saw(exchange_ms, now_s)
                if not has_snapshots:
                    self.lags_ms.append(event.received_ms - exchange_ms)
                self._add(event, now_s, now_ms)
                if isinstance(event, Trade):
                    self._on_trade(event, now_s)
        self._put_due(now_s, now_ms)

    def _is_leap(self, since_s: float, events: Sequence[MarketEvent]) -> bool:
        """Tell whether the exchange's time leaps over a silence; tickers may have been made long before."""
        times_ms = (event.exchange_ms for event in events if not isinstance(event, Ticker))
        return self._leaps.is_leap(self.exchange_time.at(since_s), times_ms)

    def begin(self, new_from_ms: Mapping[str, int]) -> None:
        """Begin with these markets, of which nothing is known before these times."""
        first_ms, self._first_ms = self._first_ms or {}, None
        self.covered_from_ms = dict(new_from_ms)
        for market, exchange_ms in first_ms.items():
            self._check_start(market, exchange_ms)

    def on_trade_stall(self) -> None:
        """Take note that a socket brought no trades while its other data may have flowed.

        Coverage is judged on all data, so it can't see this. The hole ends with the next trade.
        """
        if self._untraded_since_s is None and self._clock.monotonic() - self._last_trade_s > _SHORT_S:
            self._untraded_since_s = self._last_trade_s

    def exchange_ms(self) -> int:
        """Return the exchange's time, about."""
        return self.exchange_time.at(self._clock.monotonic())

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
        for trade in trades:
            self.counts["trades_backfilled"] += 1
            self.add(trade)

    def add(self, row: MarketEvent | Gap) -> None:
        """Put one row into its batch."""
        self._add(row, self._clock.monotonic(), self._clock.now_ms())

    def tick(self, decision: Decision) -> None:
        """Close what has waited long enough, and follow the pressure policy."""
        batcher = self._batcher
        batcher.merging = decision.merge_states
        batcher.trade_factor = decision.trade_batch_factor
        batcher.state_factor = decision.state_batch_factor
        self._put_due(self._clock.monotonic(), self._clock.now_ms())

    def flush(self) -> None:
        """Close everything."""
        for batch in self._batcher.flush(self._clock.now_ms()):
            self._put(batch)

    def lose(self, batch: Batch, reason: str) -> None:
        """Take note of facts that could be neither sent nor kept."""
        self.sequencer.forget(row for row in batch.rows if isinstance(row, Trade))
        for gap in gaps_of(batch, reason):
            self._on_lost(gap)
        self._outbox.done(batch)

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

    def _put_due(self, now_s: float, now_ms: int) -> None:
        for batch in self._batcher.due(now_s, now_ms):
            self._put(batch)

    def _on_trade(self, trade: Trade, now_s: float) -> None:
        if self._untraded_since_s is not None:
            since_s, self._untraded_since_s = self._untraded_since_s, None
            self._tell(Hole(since_s, now_s, "stalled"))
        silent = self._trade_silence.on_trade(trade.market, now_s, self._told)
        if silent is not None:
            market, hole = silent
            if market is None:
                self._tell(hole)
            else:
                self._on_market_hole(market, hole)
        self._last_trade_s = now_s
        self._streamed_ms[trade.market] = trade.exchange_ms
        if self._first_ms is not None:
            self._first_ms.setdefault(trade.market, trade.exchange_ms)
        elif self.covered_from_ms:
            self._check_start(trade.market, trade.exchange_ms)

    def _tell(self, hole: Hole) -> None:
        self._told = hole
        self._on_hole(hole)

    def _check_start(self, market: str, exchange_ms: int) -> None:
        covered_from_ms = self.covered_from_ms.pop(market, None)
        if covered_from_ms is not None and exchange_ms < covered_from_ms:
            self._on_early_trade(market, exchange_ms)

    def _put(self, batch: Batch) -> None:
        if not self._outbox.put(batch):
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
