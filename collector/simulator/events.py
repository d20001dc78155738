"""What happens in the simulated market: trades, books, tickers, all in integers (`fixed`)."""

from typing import Any, NamedTuple, TypeVar

from collector.simulator.fixed import printed_size

#: 2025-09-16 00:00 KST: `(sequential_id >> 25) + ID_EPOCH_MS` is the trade's millisecond (protocol 1.7).
ID_EPOCH_MS = 1_757_948_400_000
ID_BITS = 25
#: Levels of a side that a socket shows.
LEVELS = 15


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
    suspended: bool


Event = SimTrade | SimBook | SimTicker
E = TypeVar("E", bound=SimTrade | SimBook | SimTicker)


CHANNELS: dict[type, str] = {SimTrade: "trade", SimBook: "orderbook", SimTicker: "ticker"}


def is_repeat(event: Event) -> bool:
    """Return whether an event is a book that a socket shows as it showed the one before."""
    if not isinstance(event, SimBook):
        return False
    before, now = (event.old_asks, event.old_bids), (event.asks, event.bids)
    return [*map(_shown, before)] == [*map(_shown, now)]


def _shown(side: Side) -> list[tuple[int, int]]:
    return [(price, printed_size(size)) for price, size in side[:LEVELS]]


def stamped(event: E, later_ms: int) -> E:
    """Return an event with later stamps."""
    if isinstance(event, SimTicker):
        return event._replace(ms=event.ms + later_ms, trade_ms=event.trade_ms + later_ms)
    later: Any = event._replace(us=event.us + later_ms * 1000)
    return later  # type: ignore[no-any-return]


def stream_id(ms: int, number: int) -> int:
    """Return the socket's trade id: time-ordered to the millisecond, the rest a running number."""
    return (ms - ID_EPOCH_MS) << ID_BITS | number & (1 << ID_BITS) - 1
