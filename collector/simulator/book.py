"""One market's resting orders: consumed by takers, stirred by makers. Pure, given its dice."""

import math
import random

from collector.simulator.fixed import ONE, SIZE_UNIT, step_down, step_up

#: (price, size) in atoms, best first.
Levels = list[tuple[int, int]]

#: REST shows 30 levels a side, the socket the first 15 of them.
DEPTH = 30
#: A level holds about this much money, in KRW.
MEDIAN_LEVEL_KRW = 2_000_000
#: Above this price a size below 0.00005 is money to somebody: it prints as 0.0000 at a live price.
DUST_PRICE = 100_000 * ONE
DUST_SHARE = 0.03
#: A taker beyond this many fills gives up the rest.
MAX_FILLS = 8


class MakerBook:
    """Sorted sides that never cross; a side can run short, at the price floor or in a thin market."""

    def __init__(
        self, price: int, quote: str, krw_per_quote: int, bid_depth: int, rng: random.Random
    ) -> None:
        self.quote = quote
        self.anchor = price
        self.asks: Levels = []
        self.bids: Levels = []
        self._krw_per_quote = krw_per_quote
        self._depths = (DEPTH, bid_depth)
        self._rng = rng
        self._fill(self.asks, first=price)
        self._fill(self.bids, first=step_down(price, quote) if step_down(price, quote) < price else None)

    @property
    def mid(self) -> int:
        """The middle of the best prices, or the one there is."""
        best = [side[0][0] for side in (self.asks, self.bids) if side]
        return sum(best) // len(best)

    def take(self, buy: bool, volume: int, max_fills: int) -> list[tuple[int, int]]:
        """Match a taker's `volume` against the best levels; return the fills as (price, volume)."""
        levels = self.asks if buy else self.bids
        fills: list[tuple[int, int]] = []
        while volume and levels and len(fills) < min(max_fills, MAX_FILLS):
            price, size = levels[0]
            filled = min(volume, self._maker_order(size))
            fills.append((price, filled))
            volume -= filled
            self._reduce(levels, size - filled)
        return fills

    def stir(self) -> None:
        """Let the makers do something: close the spread, leave the best price, resize some orders."""
        roll = self._rng.random()
        if roll < 0.5 and self._narrow():
            return
        if roll < 0.03:
            self._cancel_best()
        else:
            self._resize(self._rng.randint(1, 3))

    def _maker_order(self, size: int) -> int:
        """Several makers stand behind a level: how much the first of them offers."""
        return (
            size if size < SIZE_UNIT or self._rng.random() < 0.5 else max(1, int(size * self._rng.random()))
        )

    def _reduce(self, levels: Levels, left: int) -> None:
        if left:
            levels[0] = (levels[0][0], left)
        else:
            levels.pop(0)
            self._fill(levels)

    def _fill(self, levels: Levels, first: int | None = None) -> None:
        """Add outer levels until the side is as deep as it should be, or the floor is reached."""
        is_ask = levels is self.asks
        if not levels and first is None:
            return
        if not levels and first is not None:
            levels.append((first, self._size(first)))
        while len(levels) < self._depths[0 if is_ask else 1]:
            price = levels[-1][0]
            for _ in range(1 + (self._rng.random() < 0.3) * self._rng.randint(1, 5)):
                price = step_up(price, self.quote) if is_ask else step_down(price, self.quote)
            if price == levels[-1][0] or (not is_ask and price >= levels[-1][0]):
                return
            levels.append((price, self._size(price)))

    def _narrow(self) -> bool:
        """Put a level inside a spread wider than one tick, on the side that pulls towards the anchor."""
        if not self.asks:
            self.asks.append((step_up(self.bids[0][0], self.quote), self._size(self.bids[0][0])))
            return True
        bid = self.bids[0][0] if self.bids else 0
        ask, is_ask = self.asks[0][0], self.mid > self.anchor
        if self._rng.random() < 0.2:
            is_ask = not is_ask
        price = step_down(ask, self.quote) if is_ask or not self.bids else step_up(bid, self.quote)
        if not bid < price < ask:
            return False
        side, depth = (self.asks, DEPTH) if is_ask and self.bids else (self.bids, self._depths[1])
        side.insert(0, (price, self._size(price)))
        del side[depth:]
        return True

    def _cancel_best(self) -> None:
        side = self._rng.choice((self.asks, self.bids))
        if len(side) > 1:
            self._reduce(side, 0)

    def _resize(self, count: int) -> None:
        for _ in range(count):
            side = self.asks if self._rng.random() < 0.5 or not self.bids else self.bids
            if side:
                place = int(len(side) * self._rng.random() ** 2)
                side[place] = (side[place][0], self._size(side[place][0]))

    def _size(self, price: int) -> int:
        if price * self._krw_per_quote >= DUST_PRICE and self._rng.random() < DUST_SHARE:
            return self._rng.randint(1, SIZE_UNIT // 2 - 1)
        return volume_worth(MEDIAN_LEVEL_KRW * math.exp(self._rng.gauss(0, 1.6)), price * self._krw_per_quote)


def volume_worth(krw: float, price_krw: int) -> int:
    """Return the volume, in atoms, that costs about `krw` at `price_krw` atoms of KRW; at least one atom."""
    return max(1, int(krw * ONE * ONE / price_krw))
