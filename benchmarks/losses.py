"""How soon the totals find what no socket brought: `python -m benchmarks.losses`, a minute, no server.

The simulated market trades over 493 markets for some minutes of its own time. One trade in a hundred is left
out; tickers and all other trades reach the ledger as a socket would bring them. A loss counts as found at the
moment at which the ledger names it; then it is fetched as REST would bring it, and compared again. What no
ticker can show is counted apart: trades of a market whose totals were not learned by then, or with no ticker
after them.
"""

import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from benchmarks.machine import describe
from collector.listener.health import percentile
from collector.model import Source, Ticker, Trade
from collector.protocol.current import CurrentCodec
from collector.simulator.current import CurrentDialect
from collector.simulator.model import MarketModel, Pace
from collector.simulator.requests import Stream, Subscription
from collector.stream.totals import Missing, Totals

MARKETS, RATE, SHARE = 493, 300, 0.01
SECONDS, STEP_S, TICK_S = 300, 0.05, 0.25
#: From a gap to its trades: it rests, REST answers; and the delays between tries that did not settle it.
FETCH_S, AGAIN_S = 2.5, (4.0, 8.0, 16.0)
#: Rows of each market that REST is asked for.
ROWS = 5_000
T0_MS = 1_790_000_000_000


@dataclass(slots=True)
class Fetch:
    """A gap on its way."""

    due_s: float
    gap: Missing
    tries: int = 0


@dataclass
class Found:
    """Seconds from each lost trade, and from the first ticker after it, to its finding."""

    lost: int = 0
    before_learned: int = 0
    since_trade_s: list[float] = field(default_factory=list)
    since_ticker_s: list[float] = field(default_factory=list)
    without_ticker: int = 0
    not_found: int = 0
    without_loss: int = 0


class Listener:
    """The ledger, and what a listener does with what it names."""

    def __init__(self, *, totals_lag: bool) -> None:
        self.totals = Totals()
        self._totals_lag = totals_lag
        self.found = Found()
        #: What is lost and not found yet, by market: the trade and when a ticker came after it.
        self._lost: dict[str, list[tuple[Trade, float | None]]] = {}
        #: What REST has, whether a socket brought it or not.
        self._rest: dict[str, deque[Trade]] = {}
        self._fetches: list[Fetch] = []

    def lose(self, trade: Trade) -> None:
        """Take a trade that no socket brings."""
        if self.totals.whole_until_ms(trade.market) is None:
            self.found.before_learned += 1
        else:
            self._lost.setdefault(trade.market, []).append((trade, None))
        self._rest.setdefault(trade.market, deque(maxlen=ROWS)).append(trade)

    def take(self, event: Trade | Ticker, now_s: float) -> None:
        """Take what a socket brings."""
        now_ms = T0_MS + round(now_s * 1000)
        if isinstance(event, Trade):
            self._rest.setdefault(event.market, deque(maxlen=ROWS)).append(event)
            self.totals.trade(event, now_ms)
        elif event.quote_volume_day is not None:
            self._note_ticker(event, now_s)
            self.totals.ticker(
                event.market,
                event.quote_volume_day,
                event.exchange_ms,
                event.trade_ms,
                Source.STREAM,
                now_s,
            )

    def _note_ticker(self, ticker: Ticker, now_s: float) -> None:
        """Note that a ticker counts what is lost; where totals lag, the trade it names is not counted yet."""
        lost = self._lost.get(ticker.market, [])
        for place, (trade, at_s) in enumerate(lost):
            is_counted = not self._totals_lag or (ticker.trade_ms or 0) > trade.exchange_ms
            if at_s is None and is_counted:
                lost[place] = trade, now_s

    def tick(self, now_s: float) -> None:
        """Look, and fetch what is due."""
        for gap in self.totals.tick(now_s):
            self._on_missing(gap, now_s)
            self._fetches.append(Fetch(now_s + FETCH_S, gap))
        for fetch in [fetch for fetch in self._fetches if fetch.due_s <= now_s]:
            self._fetch(fetch, now_s)

    def end(self) -> Found:
        """Return what came of it."""
        for lost in self._lost.values():
            for _, at_s in lost:
                self.found.lost += 1
                self.found.without_ticker += at_s is None
                self.found.not_found += at_s is not None
        return self.found

    def _on_missing(self, gap: Missing, now_s: float) -> None:
        lost = self._lost.get(gap.market, [])
        here = [each for each in lost if each[0].exchange_ms <= gap.to_ms]
        self.found.without_loss += not here
        self._lost[gap.market] = [each for each in lost if each not in here]
        for trade, at_s in here:
            self.found.lost += 1
            self.found.since_trade_s.append(now_s - (trade.exchange_ms - T0_MS) / 1000)
            self.found.since_ticker_s.append(now_s - (now_s if at_s is None else at_s))

    def _fetch(self, fetch: Fetch, now_s: float) -> None:
        gap = fetch.gap
        rows = [
            row
            for row in self._rest.get(gap.market, ())
            if gap.from_ms - 5_000 <= row.exchange_ms <= gap.to_ms + 5_000
        ]
        self.totals.recovered(rows, T0_MS + round(now_s * 1000))
        known = {id(row) for row in rows}
        self._lost[gap.market] = [it for it in self._lost.get(gap.market, []) if id(it[0]) not in known]
        is_last = fetch.tries == len(AGAIN_S)
        if self.totals.settle(gap.market, gap.to_ms, is_last=is_last) is False and not is_last:
            fetch.due_s, fetch.tries = now_s + AGAIN_S[fetch.tries], fetch.tries + 1
        else:
            self._fetches.remove(fetch)


def _events(pace: Pace) -> Iterator[tuple[float, list[Trade | Ticker]]]:
    """Yield the time of each step in seconds, and what was made in it."""
    model = MarketModel(MARKETS, pace, 1, T0_MS * 1000)
    wanted = Subscription(tuple(Stream(channel, tuple(model.markets)) for channel in ("trade", "ticker")))
    dialect, codec = CurrentDialect(), CurrentCodec()
    for number in range(1, round(SECONDS / STEP_S) + 1):
        now_us = T0_MS * 1000 + round(number * STEP_S * 1e6)
        frames = dialect.live(model.advance(now_us), wanted, now_us // 1000)
        events = [event for raw in frames for event in codec.decode(raw, now_us // 1000)]
        yield number * STEP_S, [event for event in events if isinstance(event, Trade | Ticker)]


def measure(*, totals_lag: bool = False, totals_are_rounded: bool = False) -> Found:
    """Return how soon losses are found where totals behave like this."""
    pace = Pace(rate=RATE, books_per_trade=0, totals_lag=totals_lag, totals_are_rounded=totals_are_rounded)
    dice, listener, ticked_s = random.Random(1), Listener(totals_lag=totals_lag), 0.0
    for now_s, events in _events(pace):
        for event in events:
            if isinstance(event, Trade) and dice.random() < SHARE:
                listener.lose(event)
            else:
                listener.take(event, now_s)
        if now_s - ticked_s >= TICK_S:
            ticked_s = now_s
            listener.tick(now_s)
    return listener.end()


def main() -> None:
    """Print the bar, by how the exchange may count."""
    print(describe())
    ways = {
        "totals have the trade they name": measure(),
        "totals lag by that one": measure(totals_lag=True),
        "totals of four decimals": measure(totals_are_rounded=True),
    }
    for way, found in ways.items():
        after_ticker = percentile(found.since_ticker_s, 0.99) or 0.0
        print(
            f"{way}: {len(found.since_trade_s):,} of {found.lost:,} lost trades found, "
            f"p50 {percentile(found.since_trade_s, 0.5) or 0:.1f} s, "
            f"p99 {percentile(found.since_trade_s, 0.99) or 0:.1f} s, "
            f"the last {max(found.since_trade_s, default=0):.1f} s after the trade; "
            f"p99 {after_ticker:.1f} s after the first ticker that counts it   bar <= 10 s; "
            f"{found.before_learned} more before the totals of their market were learned, "
            f"{found.without_ticker} were counted by no ticker, {found.not_found} were not found, "
            f"{found.without_loss} gaps without a loss"
        )


if __name__ == "__main__":
    main()
