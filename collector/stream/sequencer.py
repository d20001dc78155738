"""First copy wins, newest wins: the same event may come from several sockets and from a backfill. Pure.

Trades pass once per id; tickers and books pass if they are newer than the last that passed. What is held back
is counted by name. The workers would not be fooled by a second copy either; this keeps it off the wire.
"""

from collections import Counter
from collections.abc import Iterable

from collector.model import OrderBook, Ticker, Trade, WrittenBook

#: Ids remembered per market and generation; two generations are kept.
_IDS_KEPT = 5_000
#: Several times what any exchange lists: invented names beyond it must not fill the memory.
_MARKETS_MAX = 4_096


class _RecentIds:
    """A bounded memory of ids: the last `_IDS_KEPT` to `2 * _IDS_KEPT`."""

    __slots__ = ("_new", "_old")

    def __init__(self) -> None:
        self._new: set[int] = set()
        self._old: set[int] = set()

    def discard(self, number: int) -> None:
        """Forget `number`."""
        self._new.discard(number)
        self._old.discard(number)

    def add(self, number: int) -> bool:
        """Remember `number`; tell whether it is new."""
        if number in self._new or number in self._old:
            return False
        self._new.add(number)
        if len(self._new) >= _IDS_KEPT:
            self._old, self._new = self._new, set()
        return True


class Sequencer:
    """What has already passed, per market."""

    def __init__(self) -> None:
        #: Events held back, by name.
        self.held_back: Counter[str] = Counter()
        self._ids: dict[str, _RecentIds] = {}
        self._ticker_ms: dict[str, int] = {}
        self._book_us: dict[str, int] = {}

    def accept(self, event: Trade | Ticker | OrderBook | WrittenBook) -> bool:
        """Tell whether `event` is to go on."""
        if isinstance(event, Trade):
            return self._accept_trade(event)
        if isinstance(event, Ticker):
            return self._accept_newer(self._ticker_ms, event.market, event.exchange_ms, "ticker")
        return self._accept_newer(self._book_us, event.market, event.exchange_us, "orderbook")

    def forget(self, trades: Iterable[Trade]) -> None:
        """Let `trades` pass once more: they were lost further down the line."""
        for trade in trades:
            if trade.market in self._ids:
                self._ids[trade.market].discard(trade.id)

    def _accept_trade(self, trade: Trade) -> bool:
        ids = self._ids.get(trade.market)
        if ids is None:
            if len(self._ids) >= _MARKETS_MAX:
                self.held_back["beyond_markets_max"] += 1
                return False
            ids = self._ids[trade.market] = _RecentIds()
        if ids.add(trade.id):
            return True
        self.held_back["trade_copies"] += 1
        return False

    def _accept_newer(self, last: dict[str, int], market: str, time: int, name: str) -> bool:
        newest = last.get(market)
        if newest is None and len(last) >= _MARKETS_MAX:
            self.held_back["beyond_markets_max"] += 1
            return False
        if newest is None or time > newest:
            last[market] = time
            return True
        self.held_back[f"{name}_copies" if time == newest else f"{name}_older"] += 1
        return False
