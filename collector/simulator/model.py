"""The invented market: who trades what and when. Pure: `advance(now_us)` returns what happened since.

One seed gives one sequence of decisions. Believable in what hurts a collector: a few markets carry most of
the activity and some have none at all; orders sweep several levels in one millisecond, twice the same fill
among them; bursts move one market at a time; sizes reach from dust to large; many books repeat the last one.
"""

import itertools
import math
import random
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, replace

from collector.simulator.book import DEPTH, volume_worth
from collector.simulator.events import Event, SimBook, stream_id
from collector.simulator.instruments import KNOWN, Instruments, make_listing, make_listings
from collector.simulator.market import TRADES_KEPT, SimMarket

MEDIAN_ORDER_KRW = 80_000
DUST_ORDERS = 0.03
TWIN_FILLS = 0.03
BURST_SHARE = 0.6
BURSTS_PER_S = 0.1
#: A machine that slept does not get its sleep's worth of trades at once.
MAX_STEP_US = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How much happens: trades per second over all markets, and the rest in proportion."""

    rate: float
    books_per_trade: float = 6
    tickers_per_trade: float = 0.5
    repeated_books: float = 0.45
    stop_after: int | None = None
    trades_kept_per_market: int = TRADES_KEPT
    first_day_markets: int = 0
    totals_lag: bool = False
    totals_are_rounded: bool = False
    volumes_are_rounded: bool = False


class MarketModel:
    """All markets together."""

    def __init__(self, count: int, pace: Pace, seed: int, now_us: int) -> None:
        self._rng = random.Random(seed)
        self._pace = pace
        self.markets: dict[str, SimMarket] = {}
        for place, listing in enumerate(make_listings(count, self._rng, DEPTH)):
            self._open(listing, now_us, is_first_day=0 < place <= pace.first_day_markets)
        self._rank()
        self._us = now_us
        self._trades_due = self._books_due = self._tickers_due = 0.0
        self._number = self._books = self._repeats = 0
        self._stale_books: deque[SimMarket] = deque()
        self._stale_tickers: dict[str, SimMarket] = {}
        #: Markets whose state has changed.
        self._told: list[SimMarket] = []
        self._hot: SimMarket | None = None
        self._hot_until_us = 0
        self._hot_buys = True

    @property
    def trades_made(self) -> int:
        """How many trades there were so far."""
        return self._number

    @property
    def finished(self) -> bool:
        """Whether the number of trades asked for has been made; nothing moves any more."""
        return self._pace.stop_after is not None and self._number >= self._pace.stop_after

    def stop_trading(self) -> None:
        """Make no further trade."""
        self._pace = replace(self._pace, stop_after=self._number)

    def list_market(self, code: str, now_us: int) -> None:
        """Open a market that was not there; it is as busy as the busiest."""
        if code not in self.markets:
            self._open(make_listing(code, max(each.listing.weight for each in self._ranked), DEPTH), now_us)
            self._rank()

    def delist(self, code: str) -> None:
        """Close a market; the last one stays."""
        if code in self.markets and len(self.markets) > 1:
            market = self.markets.pop(code)
            self._stale_tickers.pop(code, None)
            self._stale_books = deque(each for each in self._stale_books if each is not market)
            self._hot = None
            self._rank()

    @property
    def _is_trading(self) -> bool:
        """Whether any market that is not halted has a share of the trades."""
        return bool(self._by_trades and self._by_trades[-1])

    def halt(self, codes: Collection[str]) -> None:
        """Let these markets not trade, and all others; each that changes gets a ticker."""
        for market in self.markets.values():
            if market.is_halted != (market.code in codes):
                market.is_halted = not market.is_halted
                self._hot = None
                self._told.append(market)
                self._rank()

    def _open(self, listing: Instruments, now_us: int, *, is_first_day: bool = False) -> None:
        krw_per_quote = KNOWN[0][3] if listing.code.startswith("BTC-") else 1
        kept = self._pace.trades_kept_per_market
        market = SimMarket(listing, krw_per_quote, now_us, self._rng, kept, is_first_day=is_first_day)
        market.totals_lag = self._pace.totals_lag
        market.totals_are_rounded = self._pace.totals_are_rounded
        market.volumes_are_rounded = self._pace.volumes_are_rounded
        self.markets[listing.code] = market

    def _rank(self) -> None:
        """Prepare the dice: how the activity spreads over the markets."""
        self._ranked = [market for market in self.markets.values() if not market.is_halted]
        self._by_trades = list(itertools.accumulate(each.listing.weight for each in self._ranked))
        self._by_books = list(itertools.accumulate(math.sqrt(each.listing.weight) for each in self._ranked))

    def advance(self, now_us: int) -> list[Event]:
        """Return all that happened until `now_us`, in order. A clock that went back means: nothing did."""
        elapsed_us = min(now_us - self._us, MAX_STEP_US)
        if elapsed_us <= 0 or self.finished:
            return []
        trades = self._pace.rate * elapsed_us / 1e6
        self._trades_due += trades
        self._books_due += trades * self._pace.books_per_trade
        self._tickers_due += trades * self._pace.tickers_per_trade
        self._heat(elapsed_us, now_us)
        return self._between(now_us - elapsed_us, now_us)

    def make(self, trades: int, now_us: int) -> list[Event]:
        """Make exactly `trades` trades at once, with books and tickers in proportion."""
        self._trades_due += trades
        self._books_due += trades * self._pace.books_per_trade
        self._tickers_due += trades * self._pace.tickers_per_trade
        now_us = max(now_us, self._us)
        return self._between(now_us, now_us)

    def _between(self, start_us: int, now_us: int) -> list[Event]:
        """Do what is due, spread evenly over the time."""
        if self._pace.stop_after is not None:
            self._trades_due = min(self._trades_due, self._pace.stop_after - self._number)
        due = self._trades_due + self._books_due
        events: list[Event] = []
        if not self._is_trading:
            self._trades_due = self._books_due = 0
        while self._trades_due >= 1 or self._books_due >= 1:
            left = self._trades_due + self._books_due
            us = start_us + int((now_us - start_us) * (1 - left / due))
            if self._rng.random() * left < self._trades_due:
                self._order(us, events)
            else:
                events.append(self._book(us))
        self._us = now_us
        self._summaries(now_us, events)
        return events

    def _order(self, us: int, events: list[Event]) -> None:
        """Let one taker sweep the book, within the trades that are due."""
        if self._trades_due < 1:
            self._trades_due = 0
            return
        market, buy = self._pick()
        fills = market.book.take(buy, self._volume(market), int(self._trades_due))
        if not fills:
            market.book.stir()
            return
        if len(fills) < int(self._trades_due) and fills[0][1] % 2 == 0 and self._rng.random() < TWIN_FILLS:
            price, volume = fills[0]
            fills[:1] = [(price, volume // 2)] * 2
        for price, volume in fills:
            events.append(market.trade(price, volume, buy, us, stream_id(us // 1000, self._number)))
            self._number += 1
        self._trades_due -= len(fills)
        self._stale_tickers[market.code] = market
        if market not in self._stale_books:
            self._stale_books.append(market)

    def _pick(self) -> tuple[SimMarket, bool]:
        """Choose market and direction; prices are pulled back to where they began."""
        if self._hot is not None and self._rng.random() < BURST_SHARE:
            return self._hot, self._hot_buys
        market = self._rng.choices(self._ranked, cum_weights=self._by_trades)[0]
        book = market.book
        pull = max(-0.4, min(0.4, 10 * (book.anchor - book.mid) / book.anchor))
        buy = self._rng.random() < 0.5 + pull
        return market, buy if book.bids else True

    def _volume(self, market: SimMarket) -> int:
        if self._rng.random() < DUST_ORDERS:
            return self._rng.randint(1, 999)
        krw = MEDIAN_ORDER_KRW * math.exp(self._rng.gauss(0, 2))
        return volume_worth(krw, market.price * market.krw_per_quote)

    def _book(self, us: int) -> SimBook:
        self._books_due -= 1
        self._books += 1
        if self._stale_books:
            return self._stale_books.popleft().show(us)
        market = self._rng.choices(self._ranked, cum_weights=self._by_books)[0]
        if self._repeats < self._pace.repeated_books * self._books:
            self._repeats += 1
            return market.repeat(us)
        market.book.stir()
        return market.show(us)

    def _summaries(self, now_us: int, events: list[Event]) -> None:
        """Add the tickers that are due, the longest waiting first; at the very end all that wait."""
        events += [market.ticker(now_us // 1000) for market in self._told]
        self._told.clear()
        if self.finished:
            events += [market.show(now_us) for market in self._stale_books]
            self._stale_books.clear()
            self._tickers_due = len(self._stale_tickers)
        while self._tickers_due >= 1 and self._stale_tickers:
            code = next(iter(self._stale_tickers))
            events.append(self._stale_tickers.pop(code).ticker(now_us // 1000))
            self._tickers_due -= 1
        self._tickers_due = min(self._tickers_due, 1.0)

    def _heat(self, elapsed_us: int, now_us: int) -> None:
        """Start and end bursts: for a moment most orders hit one market in one direction."""
        if self._hot is not None and now_us >= self._hot_until_us:
            self._hot = None
        elif self._hot is None and self._is_trading and self._rng.random() < BURSTS_PER_S * elapsed_us / 1e6:
            self._hot = self._rng.choices(self._ranked, cum_weights=self._by_trades)[0]
            self._hot_until_us = now_us + self._rng.randint(300_000, 2_000_000)
            self._hot_buys = self._rng.random() < 0.5 or not self._hot.book.bids
