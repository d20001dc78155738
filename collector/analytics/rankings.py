"""All markets beside each other: who moved most, where is more traded than usual."""

from collections.abc import Iterable, Mapping
from decimal import Decimal

from msgspec import Struct

from collector.analytics.candles import Minute, total
from collector.analytics.change import Change, End, change
from collector.analytics.completeness import Known
from collector.analytics.exact import EXACT, ratio
from collector.analytics.windows import window_start_ms
from collector.model import MINUTE_MS


class Movers(Struct, frozen=True):
    """Markets by change of price, the strongest first; those that did not move are in neither list."""

    market_count: int
    rising_count: int
    falling_count: int
    risers: list[Change]
    fallers: list[Change]


class Spike(Struct, frozen=True):
    """A market's quote volume in the window, by the mean of the windows before."""

    market: str
    relative_volume: Decimal
    quote_volume: Decimal
    usual_volume: Decimal
    trade_count: int


class Spikes(Struct, frozen=True):
    """Markets that trade more than usual, the strongest first. `windows` is how many windows are usual."""

    market_count: int
    windows: int
    spikes: list[Spike]


#: Price as the window began and newest price, None where unknown.
Ends = tuple[End | None, End | None]


def top_movers(
    ends: Mapping[str, Ends], window: str, limit: int, start_ms: int, known: Mapping[str, Known]
) -> Movers:
    """Return the `limit` markets that rose most and the `limit` that fell most.

    Formula: (newest price - price as the window began) / price as the window began, the latter being the
        close of the newest candle before the window. A market without both is not counted.
    Source: the exchange's own definition of a change, with the window's start for the previous close
        (bithumb-protocol.md, ticker).
    """
    rows = [
        change(market, window, *prices, start_ms, known[market]) for market, prices in sorted(ends.items())
    ]
    rated = [(row.change_rate, row) for row in rows if row.change_rate is not None]
    rising = sorted((pair for pair in rated if pair[0] > 0), key=lambda pair: -pair[0])
    falling = sorted((pair for pair in rated if pair[0] < 0), key=lambda pair: pair[0])
    return Movers(
        market_count=len(rated),
        rising_count=len(rising),
        falling_count=len(falling),
        risers=[row for _, row in rising[:limit]],
        fallers=[row for _, row in falling[:limit]],
    )


def whole_windows(first_ms: int, as_of_ms: int, length: int, wanted: int) -> int:
    """Return how many of `wanted` windows before the newest lie behind `first_ms`, when the data begins."""
    span_ms = window_start_ms(as_of_ms, length) - first_ms
    return max(0, min(wanted, span_ms // (length * MINUTE_MS)))


def volume_spikes(
    minutes: Mapping[str, Mapping[int, Minute]], as_of_ms: int, length: int, windows: int, times: Decimal
) -> Spikes:
    """Return the markets whose newest window of `length` minutes holds `times` the usual volume or more.

    Formula: relative volume = quote volume of the window / mean quote volume of the `windows` windows of the
        same length before it. A market without a trade in those has no usual volume and is left out. The
        newest minute is still running, so a spike is rather found late than wrongly.
    Source: relative volume (RVOL), as charting programs define it.
    """
    start_ms = window_start_ms(as_of_ms, length)
    usual_ms = start_ms - windows * length * MINUTE_MS
    found = [
        spike
        for market, candles in sorted(minutes.items())
        if (spike := _spike(market, candles, usual_ms, start_ms, windows)) and spike.relative_volume >= times
    ]
    return Spikes(len(minutes), windows, sorted(found, key=lambda spike: -spike.relative_volume))


def _spike(
    market: str, candles: Mapping[int, Minute], usual_ms: int, start_ms: int, windows: int
) -> Spike | None:
    before, _, _, _ = total(_between(candles, usual_ms, start_ms))
    now, _, _, count = total(minute for open_ms, minute in candles.items() if open_ms >= start_ms)
    relative = ratio(EXACT.multiply(now, Decimal(windows)), before)
    usual = ratio(before, Decimal(windows))
    return None if relative is None or usual is None else Spike(market, relative, now, usual, count)


def _between(candles: Mapping[int, Minute], from_ms: int, to_ms: int) -> Iterable[Minute]:
    return (minute for open_ms, minute in candles.items() if from_ms <= open_ms < to_ms)
