"""The invented market: who trades what and when. Pure: `advance(now_us)` returns what happened since.

One seed gives one sequence of decisions. Believable in what hurts a collector: a few markets carry most of
the activity and some say nothing at all; orders sweep several levels in one millisecond, twice the same fill
among them; bursts move one market at a time; sizes reach from dust to large; many books repeat the last one.
"""

import itertools
import math
import random
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from collector.model import MINUTE_MS
from collector.simulator.book import DEPTH, MakerBook, volume_worth
from collector.simulator.listing import KNOWN, Listing, make_listings

#: 2025-09-16 00:00 KST: `(sequential_id >> 25) + ID_EPOCH_MS` is the trade's millisecond (protocol 1.7).
ID_EPOCH_MS = 1_757_948_400_000
ID_BITS = 25
KST_MS = 9 * 3_600_000
DAY_MS = 86_400_000

MEDIAN_ORDER_KRW = 80_000
DUST_ORDERS = 0.03
TWIN_FILLS = 0.03
BURST_SHARE = 0.6
BURSTS_PER_S = 0.1
MINUTES_KEPT = 2 * 1440
TRADES_KEPT = 100_000
#: A machine that slept does not get its sleep's worth of trades at once.
MAX_STEP_US = 1_000_000


class SimTrade(NamedTuple):
    """One execution; price and volume in atoms. REST numbers it `rest_id`, the socket `id`."""

    market: str
    id: int
    rest_id: int
    price: int
    volume: int
    buy: bool
    us: int
    prev_close: int

    @property
    def ms(self) -> int:
        """Execution time in epoch milliseconds."""
        return self.us // 1000


Side = tuple[tuple[int, int], ...]


class SimBook(NamedTuple):
    """A whole book at `us`, up to 30 levels a side, sizes in atoms; `old_*` is the one published before."""

    market: str
    us: int
    asks: Side
    bids: Side
    old_asks: Side
    old_bids: Side


class SimTicker(NamedTuple):
    """A market's summary at `ms`; prices and volumes in atoms, values in atoms squared."""

    market: str
    ms: int
    open: int
    high: int
    low: int
    price: int
    prev_close: int
    volume: int
    buy: bool
    trade_ms: int
    day_volume: int
    day_value: int
    buy_volume: int
    sell_volume: int
    volume_24h: int
    value_24h: int
    caution: bool


Event = SimTrade | SimBook | SimTicker


@dataclass(slots=True)
class SimCandle:
    """One minute's figures, in atoms."""

    open: int
    high: int
    low: int
    close: int
    volume: int
    value: int
    last_ms: int


def stream_id(ms: int, number: int) -> int:
    """Return the socket's trade id: time-ordered to the millisecond, the rest a running number."""
    return (ms - ID_EPOCH_MS) << ID_BITS | number & (1 << ID_BITS) - 1


class SimMarket:
    """One market: its book, its day, its trades so far."""

    def __init__(
        self, listing: Listing, krw_per_quote: int, now_us: int, rng: random.Random, kept: int = TRADES_KEPT
    ) -> None:
        self._kept = kept
        self.listing = listing
        self.code = listing.code
        quote = self.code.partition("-")[0]
        self.krw_per_quote = krw_per_quote
        self.book = MakerBook(listing.price, quote, krw_per_quote, listing.bid_levels, rng)
        asks, bids = tuple(self.book.asks), tuple(self.book.bids)
        self.view = SimBook(self.code, now_us, asks, bids, asks, bids)
        self.trades: list[SimTrade] = []
        self.minutes: dict[int, SimCandle] = {}
        self._prev_close = listing.price
        self._start_day(listing.price, now_us // 1000)
        self._rest_ms = self._rest_number = 0

    def trade(self, price: int, volume: int, buy: bool, us: int, id: int = 0) -> SimTrade:
        """Execute one fill: number it for REST, keep the books of the day."""
        ms = us // 1000
        if self._day(ms) != self._today:
            self._prev_close = self.price
            self._start_day(price, ms)
        self._rest_number = self._rest_number + 1 if ms == self._rest_ms else 0
        self._rest_ms = ms
        made = SimTrade(
            self.code, id, ms * 10_000 + self._rest_number, price, volume, buy, us, self._prev_close
        )
        self._count(made, ms)
        return made

    def ticker(self, ms: int) -> SimTicker:
        """Summarise the market as of `ms`."""
        return SimTicker(
            self.code,
            ms,
            self.open,
            self.high,
            self.low,
            self.price,
            self._prev_close,
            self._last_volume,
            self._last_buy,
            self._last_ms,
            self._buy_volume + self._sell_volume,
            self._day_value,
            self._buy_volume,
            self._sell_volume,
            self._earlier_volume + self._buy_volume + self._sell_volume,
            self._earlier_value + self._day_value,
            self.listing.caution,
        )

    def show(self, us: int) -> SimBook:
        """Publish the book as it stands."""
        asks, bids = tuple(self.book.asks), tuple(self.book.bids)
        self.view = SimBook(self.code, us, asks, bids, self.view.asks, self.view.bids)
        return self.view

    def repeat(self, us: int) -> SimBook:
        """Publish the last published book again."""
        _, _, asks, bids, _, _ = self.view
        self.view = SimBook(self.code, us, asks, bids, asks, bids)
        return self.view

    def _day(self, ms: int) -> int:
        return (ms + KST_MS) // DAY_MS

    def _start_day(self, price: int, ms: int) -> None:
        self._today = self._day(ms)
        self.price = self.open = self.high = self.low = price
        self._buy_volume = self._sell_volume = self._day_value = 0
        self._last_volume, self._last_buy, self._last_ms = (
            volume_worth(50_000, price * self.krw_per_quote),
            True,
            ms,
        )
        self._earlier_volume = volume_worth(3e9, price * self.krw_per_quote)
        self._earlier_value = self._earlier_volume * price

    def _count(self, made: SimTrade, ms: int) -> None:
        self.price, self._last_volume, self._last_buy, self._last_ms = made.price, made.volume, made.buy, ms
        self.high, self.low = max(self.high, made.price), min(self.low, made.price)
        self._day_value += made.price * made.volume
        if made.buy:
            self._buy_volume += made.volume
        else:
            self._sell_volume += made.volume
        self.trades.append(made)
        if len(self.trades) >= 2 * self._kept:
            del self.trades[: -self._kept]
        self._add_to_minute(made, ms)

    def _add_to_minute(self, made: SimTrade, ms: int) -> None:
        open_ms, price, value = ms - ms % MINUTE_MS, made.price, made.price * made.volume
        candle = self.minutes.get(open_ms)
        if candle is None:
            self.minutes[open_ms] = SimCandle(price, price, price, price, made.volume, value, ms)
            if len(self.minutes) > MINUTES_KEPT:
                del self.minutes[next(iter(self.minutes))]
            return
        candle.high, candle.low, candle.close = max(candle.high, price), min(candle.low, price), price
        candle.volume, candle.value, candle.last_ms = candle.volume + made.volume, candle.value + value, ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How much happens: trades per second over all markets, and the rest in proportion."""

    rate: float
    books_per_trade: float = 6
    tickers_per_trade: float = 0.5
    repeated_books: float = 0.45
    stop_after: int | None = None
    trades_kept_per_market: int = TRADES_KEPT


class MarketModel:
    """All markets together."""

    def __init__(self, count: int, pace: Pace, seed: int, now_us: int) -> None:
        self._rng = random.Random(seed)
        self._pace = pace
        listings = make_listings(count, self._rng, DEPTH)
        krw_per_btc = KNOWN[0][3]
        self.markets = {
            each.code: SimMarket(
                each,
                krw_per_btc if each.code.startswith("BTC-") else 1,
                now_us,
                self._rng,
                pace.trades_kept_per_market,
            )
            for each in listings
        }
        self._ranked = [self.markets[each.code] for each in listings]
        self._by_trades = list(itertools.accumulate(each.weight for each in listings))
        self._by_books = list(itertools.accumulate(math.sqrt(each.weight) for each in listings))
        self._us = now_us
        self._trades_due = self._books_due = self._tickers_due = 0.0
        self._number = self._books = self._repeats = 0
        self._stale_books: deque[SimMarket] = deque()
        self._stale_tickers: dict[str, SimMarket] = {}
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
        elif self._hot is None and self._rng.random() < BURSTS_PER_S * elapsed_us / 1e6:
            self._hot = self._rng.choices(self._ranked, cum_weights=self._by_trades)[0]
            self._hot_until_us = now_us + self._rng.randint(300_000, 2_000_000)
            self._hot_buys = self._rng.random() < 0.5 or not self._hot.book.bids
