"""One simulated market: its book, its day's figures, its trades and minutes for REST."""

import random
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from collector.model import MINUTE_MS
from collector.simulator.book import MakerBook, volume_worth
from collector.simulator.events import SimBook, SimTicker, SimTrade
from collector.simulator.fixed import PLACES
from collector.simulator.instruments import Instruments
from collector.util.korean_time import day_number

MINUTES_KEPT = 2 * 1440
TRADES_KEPT = 100_000


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


class SimMarket:
    """One market: its book, its day, its trades so far."""

    def __init__(
        self,
        listing: Instruments,
        krw_per_quote: int,
        now_us: int,
        rng: random.Random,
        kept: int = TRADES_KEPT,
        *,
        is_first_day: bool = False,
    ) -> None:
        self._kept = kept
        self.listing = listing
        self.code = listing.code
        quote = self.code.partition("-")[0]
        self.krw_per_quote = krw_per_quote
        self.book = MakerBook(listing.price, quote, krw_per_quote, listing.bid_levels, rng)
        asks, bids = tuple(self.book.asks), tuple(self.book.bids)
        self.view = SimBook(self.code, now_us, asks, bids, asks, bids)
        self.is_halted = False
        #: Whether tickers leave the trade they name out of the totals of the day.
        self.totals_lag = False
        #: Whether turnover and volumes of the day are rounded.
        self.totals_are_rounded = self.volumes_are_rounded = False
        self.trades: list[SimTrade] = []
        self.minutes: dict[int, SimCandle] = {}
        #: 0 where there is none: in a market's first day.
        self._prev_close = 0 if is_first_day else listing.price
        self._start_day(listing.price, now_us // 1000)
        self._rest_ms = self._rest_number = 0
        #: Ids of trades that no socket brought, and of those that REST does not list either.
        self._left_out: set[int] = set()
        self._vanished: set[int] = set()

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
        return self._as_shown(self._summary(ms), self.trades[-1:])

    def _as_shown(self, ticker: SimTicker, last: list[SimTrade]) -> SimTicker:
        """Return a summary with the totals of the day as this exchange shows them."""
        if self.totals_lag and last and self._day(last[0].ms) == self._day(ticker.ms):
            made = last[0]
            ticker = ticker._replace(
                day_volume=ticker.day_volume - made.volume,
                day_value=ticker.day_value - made.price * made.volume,
                buy_volume=ticker.buy_volume - made.volume * made.buy,
                sell_volume=ticker.sell_volume - made.volume * (not made.buy),
            )
        if self.totals_are_rounded:
            ticker = ticker._replace(day_value=_to_four_decimals(ticker.day_value, 2 * PLACES))
        if self.totals_are_rounded or self.volumes_are_rounded:
            ticker = ticker._replace(
                day_volume=_to_four_decimals(ticker.day_volume, PLACES),
                buy_volume=_to_four_decimals(ticker.buy_volume, PLACES),
                sell_volume=_to_four_decimals(ticker.sell_volume, PLACES),
            )
        return ticker

    def _summary(self, ms: int) -> SimTicker:
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
            self.is_halted,
        )

    def hide(self, made: SimTrade, *, from_rest: bool) -> None:
        """Remember that a trade was sent to no socket, and whether REST lists it."""
        self._left_out.add(made.id)
        if from_rest:
            self._vanished.add(made.id)

    def last_shown(self, count: int) -> list[SimTrade]:
        """Return the newest trades that sockets may know, oldest first."""
        if not self._left_out:
            return self.trades[-count:] if count else []
        shown = (made for made in reversed(self.trades) if made.id not in self._left_out)
        return list(islice(shown, count))[::-1]

    def listed(self, from_ms: int, before_ms: int) -> list[SimTrade]:
        """Return the trades that REST lists of a stretch, oldest first."""
        found = self._made(from_ms, before_ms)
        return [made for made in found if made.id not in self._vanished] if self._vanished else found

    def minutes_as_of(self, ms: int) -> dict[int, SimCandle]:
        """Return the minutes by open as they stood at `ms`."""
        found = {open_ms: candle for open_ms, candle in self.minutes.items() if open_ms <= ms}
        for open_ms, candle in found.items():
            if candle.last_ms > ms:
                found[open_ms] = _candle_of(self._made(open_ms, ms + 1))
        return {open_ms: candle for open_ms, candle in found.items() if candle.volume}

    def ticker_as_of(self, ms: int) -> SimTicker:
        """Summarise the market as it stood at `ms`, as far as its trades are kept."""
        now = self._summary(ms)
        later = self._made(ms + 1, self._last_ms + 1)
        if not later:
            return self._as_shown(now, self.trades[-1:])
        today = [made for made in later if self._day(made.ms) == self._day(ms)]
        last = (self._made(0, ms + 1)[-1:] or later[:1])[0]
        buys = sum(made.volume for made in today if made.buy)
        sells = sum(made.volume for made in today if not made.buy)
        value = sum(made.price * made.volume for made in today)
        then = now._replace(
            price=last.price,
            volume=last.volume,
            buy=last.buy,
            trade_ms=last.ms,
            day_volume=now.day_volume - buys - sells,
            day_value=now.day_value - value,
            buy_volume=now.buy_volume - buys,
            sell_volume=now.sell_volume - sells,
            volume_24h=now.volume_24h - buys - sells,
            value_24h=now.value_24h - value,
        )
        return self._as_shown(then, self._made(0, ms + 1)[-1:])

    def _made(self, from_ms: int, before_ms: int) -> list[SimTrade]:
        start = bisect_left(self.trades, from_ms, key=lambda made: made.ms)
        return self.trades[start : bisect_left(self.trades, before_ms, key=lambda made: made.ms)]

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
        return day_number(ms)

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


def _to_four_decimals(value: int, places: int) -> int:
    unit: int = 10 ** (places - 4)
    return (value + unit // 2) // unit * unit


def _candle_of(trades: Sequence[SimTrade]) -> SimCandle:
    """Return the candle of some trades, oldest first; without any its volume is 0."""
    prices = [made.price for made in trades] or [0]
    volume, value = sum(made.volume for made in trades), sum(made.price * made.volume for made in trades)
    last_ms = trades[-1].ms if trades else 0
    return SimCandle(prices[0], max(prices), min(prices), prices[-1], volume, value, last_ms)
