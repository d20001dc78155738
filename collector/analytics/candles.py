"""The one-minute candle, the only stored aggregate, and its views to longer intervals.

`merge` is commutative: the candle is a function of the set of copies it was given, whatever their order and
however they were split. Open and close are the prices of the first and last trade by (exchange time, order
within the millisecond where known, id). Neither ids nor orders of two sources can be compared, so within the
first and the last millisecond the trades of the source that has shown more of them decide, of equals the
stream's.

Intervals are aligned to Korean midnight (UTC+9), like the exchange's day.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, localcontext
from typing import Any, NamedTuple

from msgspec import Struct, structs

from collector.analytics.completeness import ALL_KNOWN, Known, all_verified
from collector.analytics.exact import EXACT, ZERO, ratio
from collector.errors import ConfigurationError
from collector.model import MINUTE_MS, Side, Source, Trade
from collector.util.korean_time import KST_MS

INTERVALS: dict[str, int] = {
    "1m": 1, "3m": 3, "5m": 5, "15m": 15, "30m": 30, "1h": 60, "4h": 240, "1d": 1440,
}  # fmt: skip

#: `min` for the first trade, `max` for the last.
Pick = Callable[..., Any]


class Mark(Struct, frozen=True, array_like=True, gc=False):
    """The first or last of one source's trades in a millisecond, and how many it has shown there."""

    copies: int
    order: int
    id: int
    price: Decimal


class Edge(Struct, frozen=True, array_like=True):
    """The first or the last millisecond of a candle that has trades."""

    ms: int
    stream: Mark | None = None
    rest: Mark | None = None

    @property
    def price(self) -> Decimal:
        """Price of the first or last trade of this millisecond."""
        marks = [mark for mark in (self.stream, self.rest) if mark]
        return max(marks, key=lambda mark: mark.copies).price  # of equals max takes the first: the stream's


class Minute(Struct, frozen=True, array_like=True):
    """The stored one-minute candle of one market."""

    first: Edge
    last: Edge
    high: Decimal
    low: Decimal
    quote_volume: Decimal
    buy_volume: Decimal
    sell_volume: Decimal
    trade_count: int
    #: Copies merged, counted or not. It grows with every write, so equal text means nothing was written.
    copies: int


class Prices(NamedTuple):
    """Of a candle with a trade."""

    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal


class Candle(Struct, frozen=True):
    """A candle of any interval as it is read.

    `open_time` is `open_ms` as an aware `datetime` in UTC; in JSON it is ISO 8601 to the second, with `Z`.
    A candle of which every trade is missing has no prices and `trade_count` 0.

    Attributes:
        complete: false where trades may be missing (`collector.analytics.completeness`).
        verified: true where the exchange's own candles agree in every minute with trades, false where one
            differs, None where not all have been compared.
    """

    market: str
    interval: str
    open_ms: int
    open_time: datetime
    open: Decimal | None
    high: Decimal | None
    low: Decimal | None
    close: Decimal | None
    base_volume: Decimal
    quote_volume: Decimal
    buy_volume: Decimal
    sell_volume: Decimal
    vwap: Decimal | None
    trade_count: int
    complete: bool
    verified: bool | None = None

    @property
    def prices(self) -> Prices | None:
        """Its four prices, None where all its trades are missing."""
        if self.open is None or self.high is None or self.low is None or self.close is None:
            return None
        return Prices(self.open, self.high, self.low, self.close)


def merge(minute: Minute | None, counted: Sequence[Trade], copies: Sequence[Trade]) -> Minute:
    """Return `minute` with `copies` of its trades merged in, of which `counted` add to the volumes.

    Raises:
        decimal.Inexact: a sum would need more than `EXACT_DIGITS` digits.
    """
    if not minute:
        first_ms = last_ms = copies[0].exchange_ms
        high = low = copies[0].price
    else:
        first_ms, last_ms, high, low = minute.first.ms, minute.last.ms, minute.high, minute.low
    at_first: list[Trade] = []
    at_last: list[Trade] = []
    for trade in copies:
        ms, price = trade.exchange_ms, trade.price
        if price > high:
            high = price
        elif price < low:
            low = price
        if ms < first_ms:
            first_ms, at_first = ms, [trade]
        elif ms == first_ms:
            at_first.append(trade)
        if ms > last_ms:
            last_ms, at_last = ms, [trade]
        elif ms == last_ms:
            at_last.append(trade)
    quote, buy, sell = _sums(minute, counted)
    return Minute(
        _edge(minute.first if minute else None, first_ms, at_first, min),
        _edge(minute.last if minute else None, last_ms, at_last, max),
        high,
        low,
        quote,
        buy,
        sell,
        (minute.trade_count if minute else 0) + len(counted),
        (minute.copies if minute else 0) + len(copies),
    )


def view(
    market: str,
    minutes: Mapping[int, Minute],
    interval: str = "1m",
    known: Known = ALL_KNOWN,
    *,
    missing: Iterable[int] = (),
    verdicts: Mapping[int, bool | None] | None = None,
) -> list[Candle]:
    """Return the candles of `interval` that `minutes` (by open, epoch ms) make up, oldest first.

    Args:
        market: whose candles.
        minutes: the stored ones by open, epoch ms.
        interval: one of `INTERVALS`.
        known: where trades may be missing, and where the data begin: the beginning of a candle that opens
            earlier may be missing.
        missing: opens of minutes without a stored candle that a loss touches; they make candles too.
        verdicts: what a comparison with the exchange's candles found, by open.

    Raises:
        ConfigurationError: no such interval; the message lists them.
    """
    length_ms = interval_ms(interval)
    verdicts = verdicts or {}
    groups: dict[int, list[int]] = {}
    for open_ms in sorted({*minutes, *missing}):
        groups.setdefault(align(open_ms, length_ms), []).append(open_ms)
    return [
        _candle(
            market,
            interval,
            open_ms,
            [minutes[each] for each in opens if each in minutes],
            complete=known.is_complete(open_ms, open_ms + length_ms - 1),
            verified=all_verified(
                verdicts.get(each) for each in opens if each in minutes or verdicts.get(each) is False
            ),
        )
        for open_ms, opens in groups.items()
    ]


def interval_ms(interval: str) -> int:
    """Return the length of a candle interval in milliseconds.

    Raises:
        ConfigurationError: no such interval; the message lists them.
    """
    if interval not in INTERVALS:
        raise ConfigurationError(f"{interval!r} is not an interval: one of {', '.join(INTERVALS)}")
    return INTERVALS[interval] * MINUTE_MS


def align(time_ms: int, length_ms: int) -> int:
    """Return the open of the interval that holds `time_ms`, counted from Korean midnight."""
    return (time_ms + KST_MS) // length_ms * length_ms - KST_MS


def total(minutes: Iterable[Minute]) -> tuple[Decimal, Decimal, Decimal, int]:
    """Return quote volume, buy volume, sell volume and number of trades of `minutes`, exactly."""
    quote = buy = sell = ZERO
    count = 0
    with localcontext(EXACT):
        for minute in minutes:
            quote += minute.quote_volume
            buy += minute.buy_volume
            sell += minute.sell_volume
            count += minute.trade_count
    return quote, buy, sell, count


def joined(minutes: Sequence[Minute]) -> Minute:
    """Return several minutes, oldest first, as if they were one: its candle is the candle of all."""
    quote, buy, sell, count = total(minutes)
    return Minute(
        first=minutes[0].first,
        last=minutes[-1].last,
        high=max(minute.high for minute in minutes),
        low=min(minute.low for minute in minutes),
        quote_volume=quote,
        buy_volume=buy,
        sell_volume=sell,
        trade_count=count,
        copies=sum(minute.copies for minute in minutes),
    )


def iso(time_ms: int) -> str:
    """Return epoch milliseconds as ISO 8601 text in UTC, to the second."""
    return datetime.fromtimestamp(time_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _sums(minute: Minute | None, counted: Iterable[Trade]) -> tuple[Decimal, Decimal, Decimal]:
    quote, buy, sell = (
        (minute.quote_volume, minute.buy_volume, minute.sell_volume) if minute else (ZERO, ZERO, ZERO)
    )
    for trade in counted:
        volume = trade.volume
        quote = EXACT.fma(trade.price, volume, quote)
        if trade.side is Side.BUY:
            buy = EXACT.add(buy, volume)
        else:
            sell = EXACT.add(sell, volume)
    return quote, buy, sell


def _edge(edge: Edge | None, ms: int, trades: Sequence[Trade], pick: Pick) -> Edge:
    """Return the edge at `ms`: the one before, where it is still there, and the new `trades` of that time."""
    if edge is None or edge.ms != ms:
        (trade, *trades) = trades
        mark = Mark(1, trade.order, trade.id, trade.price)
        edge = Edge(ms, mark) if trade.source is Source.STREAM else Edge(ms, None, mark)
    for trade in trades:
        edge = _marked(edge, trade, pick)
    return edge


def _marked(edge: Edge, trade: Trade, pick: Pick) -> Edge:
    mine = Mark(1, trade.order, trade.id, trade.price)
    if trade.source is Source.STREAM:
        return structs.replace(edge, stream=_joined(edge.stream, mine, pick))
    return structs.replace(edge, rest=_joined(edge.rest, mine, pick))


def _joined(known: Mark | None, mine: Mark, pick: Pick) -> Mark:
    if known is None:
        return mine
    first = pick(known, mine, key=lambda mark: (mark.order, mark.id, mark.price))
    return Mark(known.copies + 1, first.order, first.id, first.price)


def _candle(
    market: str,
    interval: str,
    open_ms: int,
    minutes: Sequence[Minute],
    *,
    complete: bool,
    verified: bool | None,
) -> Candle:
    quote, buy, sell, count = total(minutes)
    base = EXACT.add(buy, sell)
    return Candle(
        market=market,
        interval=interval,
        open_ms=open_ms,
        open_time=datetime.fromtimestamp(open_ms // 1000, UTC),
        open=minutes[0].first.price if minutes else None,
        high=max((minute.high for minute in minutes), default=None),
        low=min((minute.low for minute in minutes), default=None),
        close=minutes[-1].last.price if minutes else None,
        base_volume=base,
        quote_volume=quote,
        buy_volume=buy,
        sell_volume=sell,
        vwap=ratio(quote, base),
        trade_count=count,
        complete=complete,
        verified=verified,
    )
