"""First copy wins, newest wins: the same event may come from several sockets and from a backfill. Pure.

Trades pass once per id; tickers and books pass if they are newer than the last that passed. What is held back
is counted by name. The workers would not be fooled by a second copy either; this keeps it off the wire.
"""

from collections import Counter
from collections.abc import Iterable

from collector.model import EncodedBook, OrderBook, Ticker, Trade

#: Trades remembered per generation, of all markets; two generations are kept. At the busiest rate known it is
#: a minute and more, in a burst of 20,000 a second still longer than one socket is behind another.
_TRADES_KEPT = 25_000
#: Of each market, however long ago.
_ALWAYS_KEPT = 16
#: Several times what any exchange lists: invented names beyond it must not fill the memory.
_MARKETS_MAX = 4_096
_NEVER_MS = 1 << 62


class _RecentTrades:
    """A bounded memory of trades: the last `_TRADES_KEPT` to twice as many, whatever market they are of.

    The last `_ALWAYS_KEPT` of each market stay whatever others do: a socket that subscribes anew brings each
    market's last trade once more, which may be hours old.
    """

    def __init__(self) -> None:
        #: Market -> ids, oldest first.
        self._new: dict[str, dict[int, None]] = {}
        self._old: dict[str, dict[int, None]] = {}
        self._count = 0

    def __len__(self) -> int:
        return sum(len(ids) for kept in (self._new, self._old) for ids in kept.values())

    def discard(self, market: str, number: int) -> None:
        """Forget a trade."""
        for kept in (self._new, self._old):
            kept.get(market, {}).pop(number, None)

    def add(self, market: str, number: int) -> bool:
        """Remember a trade; return whether it is new."""
        new, old = self._new.get(market), self._old.get(market)
        if old is not None and number in old:
            return False
        if new is None:
            self._new[market] = {number: None}
        elif number in new:
            return False
        else:
            new[number] = None
        self._count += 1
        if self._count >= _TRADES_KEPT:
            self._forget_the_oldest()
        return True

    def _forget_the_oldest(self) -> None:
        for market, ids in self._old.items():
            recent = self._new.get(market, {})
            lacking = _ALWAYS_KEPT - len(recent)
            if lacking > 0:
                self._new[market] = dict.fromkeys([*list(ids)[-lacking:], *recent])
        self._old, self._new, self._count = self._new, {}, 0


class Deduplicator:
    """What has already passed, per market."""

    def __init__(self) -> None:
        #: Events held back, by name.
        self.held_back: Counter[str] = Counter()
        self._trades = _RecentTrades()
        #: Markets that had a trade.
        self._traded: set[str] = set()
        self._ticker_ms: dict[str, int] = {}
        self._book_us: dict[str, int] = {}

    def accept(self, event: Trade | Ticker | OrderBook | EncodedBook, latest_ms: int = _NEVER_MS) -> bool:
        """Return whether `event` is to go on.

        Args:
            latest_ms: no ticker and no book can be newer than this; one that passed and is, was wrong.
        """
        if isinstance(event, Trade):
            return self._accept_trade(event)
        if isinstance(event, Ticker):
            return self._accept_newer(self._ticker_ms, event.market, event.exchange_ms, latest_ms, "ticker")
        latest_us = latest_ms * 1000
        return self._accept_newer(self._book_us, event.market, event.exchange_us, latest_us, "orderbook")

    def forget(self, trades: Iterable[Trade]) -> None:
        """Let `trades` pass once more: they were lost further down the line."""
        for trade in trades:
            self._trades.discard(trade.market, trade.id)

    def _accept_trade(self, trade: Trade) -> bool:
        if trade.market not in self._traded:
            if len(self._traded) >= _MARKETS_MAX:
                self.held_back["beyond_markets_max"] += 1
                return False
            self._traded.add(trade.market)
        if self._trades.add(trade.market, trade.id):
            return True
        self.held_back["trade_copies"] += 1
        return False

    def _accept_newer(self, last: dict[str, int], market: str, time: int, latest: int, name: str) -> bool:
        newest = last.get(market)
        if newest is None and len(last) >= _MARKETS_MAX:
            self.held_back["beyond_markets_max"] += 1
            return False
        if newest is None or time > newest or newest > latest:
            last[market] = time
            return True
        self.held_back[f"{name}_copies" if time == newest else f"{name}_older"] += 1
        return False
