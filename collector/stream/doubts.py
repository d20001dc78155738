"""Events that are stamped ahead of the exchange's time: held for a moment, until others decide. Pure.

what comes next                               then
others agree, so the time as known was wrong  all of them pass
every event of its kind is 9 h ahead          Korean wall time was stamped as UTC: 9 h are taken off
nothing of the kind within `HOLD_S`           a trade passes with its stamp, a ticker or a book is dropped

A ticker or a book with a stamp from the future would otherwise be the newest of its market for hours.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

from msgspec import structs

from collector.model import Channel, EncodedBook, OrderBook, Ticker, Trade
from collector.stream.exchange_time import AHEAD_MS, BEHIND_MS, ExchangeTime
from collector.util.korean_time import KST_MS

MarketEvent = Trade | Ticker | OrderBook | EncodedBook
#: An event, and the monotonic moment it came.
_Held = tuple[MarketEvent, float]

#: How long an event is held at the most.
HOLD_S = 2.0
#: So many events of a kind in a row show that its stamps have changed.
_AGREEING = 3
_HELD_MAX = 1_000
_CHANNELS: dict[type, Channel] = {
    Trade: Channel.TRADE,
    Ticker: Channel.TICKER,
    OrderBook: Channel.ORDERBOOK,
    EncodedBook: Channel.ORDERBOOK,
}


class Doubts:
    """The events that are held.

    Args:
        rows: how many events of each channel have passed, as `trade_rows`, `ticker_rows`, `orderbook_rows`.
    """

    def __init__(self, time: ExchangeTime, rows: Mapping[str, int]) -> None:
        self.counts: Counter[str] = Counter()
        #: Classes of events whose stamps are Korean wall time.
        self.in_kst: set[type] = set()
        self._time = time
        self._rows = rows
        self._held: list[_Held] = []
        #: Per channel: events in a row that speak for a change of its stamps, and the rows passed till then.
        self._streaks: dict[Channel, tuple[int, int]] = {}

    def __len__(self) -> int:
        return len(self._held)

    @property
    def oldest_s(self) -> float | None:
        """The moment the oldest event came that is held."""
        return self._held[0][1] if self._held else None

    def take(self, event: MarketEvent, now_s: float) -> list[MarketEvent]:
        """Take an event from the future, or of a kind that is `in_kst`; return what may pass now."""
        if type(event) in self.in_kst:
            return self._put_right([(event, now_s)], now_s)
        is_korean_now = self._is_now(event.exchange_ms - KST_MS, now_s)
        if is_korean_now and not self._time.is_vouched_for(event.exchange_ms, now_s):
            if self._is_in_kst(_CHANNELS[type(event)]):
                self.in_kst |= _classes_of(_CHANNELS[type(event)])
                return self._put_right([*self._release(type(event)), (event, now_s)], now_s)
        elif self._time.saw(event.exchange_ms, now_s):
            return [*self.believable(now_s), event]
        return [*self._hold(event, now_s)]

    def _put_right(self, held: Iterable[_Held], now_s: float) -> list[MarketEvent]:
        """Take the 9 h off; what is ahead even so is held like any other."""
        passed: list[MarketEvent] = []
        for event, since_s in held:
            corrected = self._corrected(event, now_s)
            if corrected.exchange_ms <= self._time.at(now_s) + AHEAD_MS:
                passed.append(corrected)
            else:
                passed += self._hold(corrected, since_s)
        return passed

    def _hold(self, event: MarketEvent, since_s: float) -> list[Trade]:
        self._held.append((event, since_s))
        return self._give_up(1) if len(self._held) > _HELD_MAX else []

    def believable(self, now_s: float) -> list[MarketEvent]:
        """Return what need not be held any more because the time has moved."""
        latest_ms = self._time.at(now_s) + AHEAD_MS
        ready = [event for event, _ in self._held if event.exchange_ms <= latest_ms]
        if ready:
            self._held = [held for held in self._held if held[0].exchange_ms > latest_ms]
        return ready

    def due(self, now_s: float) -> list[Trade]:
        """Return the trades that were held for long enough; tickers and books are dropped and counted."""
        return self._give_up(sum(now_s - since_s >= HOLD_S for _, since_s in self._held))

    def _give_up(self, count: int) -> list[Trade]:
        events = [event for event, _ in self._held[:count]]
        del self._held[:count]
        for event in events:
            self.counts[f"{_CHANNELS[type(event)]}_ahead"] += 1
        return [event for event in events if isinstance(event, Trade)]

    def _release(self, cls: type) -> list[_Held]:
        channel = _CHANNELS[cls]
        ready = [held for held in self._held if _CHANNELS[type(held[0])] is channel]
        self._held = [held for held in self._held if _CHANNELS[type(held[0])] is not channel]
        return ready

    def _is_in_kst(self, channel: Channel) -> bool:
        """Return whether an event that would be of now in Korea shows it: a first one, or some in a row."""
        rows = self._rows[f"{channel}_rows"]
        if not rows:
            return self._time.is_known
        length, rows_then = self._streaks.get(channel, (0, rows))
        length = length + 1 if rows == rows_then else 1
        self._streaks[channel] = length, rows
        return length >= _AGREEING

    def _corrected(self, event: MarketEvent, now_s: float) -> MarketEvent:
        """Take the 9 h off, unless the stamps of this kind have become true again."""
        channel = _CHANNELS[type(event)]
        if not self._is_now(event.exchange_ms, now_s):
            self.counts[f"{channel}_in_kst"] += 1
            self._streaks.pop(channel, None)
            return shifted(event, -KST_MS)
        length = self._streaks.pop(channel, (0, 0))[0] + 1
        if length < _AGREEING:
            self._streaks[channel] = length, 0
        else:
            self.in_kst -= _classes_of(channel)
        return event

    def _is_now(self, exchange_ms: int, now_s: float) -> bool:
        return -BEHIND_MS <= exchange_ms - self._time.at(now_s) <= AHEAD_MS


def _classes_of(channel: Channel) -> set[type]:
    return {cls for cls, of in _CHANNELS.items() if of is channel}


def shifted(event: MarketEvent, by_ms: int) -> MarketEvent:
    """Return the event with its times moved."""
    if isinstance(event, OrderBook | EncodedBook):
        return structs.replace(event, exchange_us=event.exchange_us + by_ms * 1000)
    if isinstance(event, Ticker) and event.trade_ms is not None:
        return structs.replace(event, exchange_ms=event.exchange_ms + by_ms, trade_ms=event.trade_ms + by_ms)
    return structs.replace(event, exchange_ms=event.exchange_ms + by_ms)
