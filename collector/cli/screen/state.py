"""What `top` shows: the verdict first, rates over time, markets in the order that is wanted. Pure."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum

from collector.cli.render import values
from collector.cli.render.top import FLOWS, View, summed
from collector.store.read import TickerRow

#: Looks that a sparkline goes back.
KEPT = 120
#: How often a market's price is noted for its trend, and how many prices a trend has.
TREND_S, TREND_KEPT, _TREND_LEAST = 5.0, 24, 3
_BARS = "▁▂▃▄▅▆▇█"
_ZERO = Decimal(0)


class Mood(Enum):
    """How a sentence is to be taken; the value is the name of a colour of the theme."""

    GOOD = "success"
    WARN = "warning"
    BAD = "error"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One sentence on everything."""

    text: str
    mood: Mood


def verdict(view: View) -> Verdict:
    """Return the worst that there is to report, or until when all is proven."""
    health, proof = view.health, view.health.proof
    if view.trouble:
        return Verdict(view.trouble, Mood.BAD)
    if not health.listeners:
        return Verdict("no listener is running: start `collector up`", Mood.BAD)
    if proof is None:
        return Verdict("nothing is known of what is proven yet", Mood.WARN)
    if proof.outages:
        worst = min(proof.outages, key=lambda it: it.since_ms)
        lasts = values.duration(max(0, view.now_ms - worst.since_ms))
        return Verdict(f"no data for {lasts} ({_why(health.listeners, worst.reason)})", Mood.BAD)
    if count := health.queues.get("dead-letters"):
        return Verdict(f"{count:,} dead letters: `collector dead-letters`", Mood.BAD)
    if not health.workers:
        return Verdict("no worker is running: `collector up`, or `celery -A tasks worker`", Mood.BAD)
    if proof.waiting_since_ms is not None:
        return Verdict(f"trades since {values.clock(proof.waiting_since_ms)} wait to be stored", Mood.WARN)
    until = "" if proof.proven_until_ms is None else f"; proven until {values.clock(proof.proven_until_ms)}"
    if proof.open_gaps:
        return Verdict(f"{proof.open_gaps:,} gaps are open{until}", Mood.WARN)
    if proof.proven_until_ms is None:
        return Verdict("nothing has been compared with the exchange yet", Mood.WARN)
    if proof.unproven_markets:
        return Verdict(f"{proof.unproven_markets:,} markets have not been compared yet{until}", Mood.WARN)
    return Verdict(f"all proven until {values.clock(proof.proven_until_ms)}", Mood.GOOD)


def _why(listeners: Sequence[Mapping[str, object]], reason: str) -> str:
    """Return why sockets do not connect, where that is known, else the outage's reason."""
    losses = [
        str(socket["last_loss"])
        for row in listeners
        for socket in row.get("connections", ())  # type: ignore[attr-defined]
        if socket.get("last_loss") and socket.get("state") != "streaming"
    ]
    return losses[0] if losses else reason


@dataclass(slots=True)
class Trends:
    """The prices of each market, noted every `TREND_S`."""

    _prices: dict[str, deque[float]] = field(default_factory=dict)
    _noted_ms: int = 0

    def note(self, view: View) -> None:
        """Take one look."""
        if view.now_ms - self._noted_ms < TREND_S * 1000:
            return
        self._noted_ms = view.now_ms
        for row in view.tickers:
            prices = self._prices.setdefault(row.market, deque(maxlen=TREND_KEPT))
            prices.append(float(row.price))

    def line(self, market: str) -> str:
        """Return a market's prices as bars, from the lowest to the highest; none before there are some."""
        prices = self._prices.get(market, ())
        if len(prices) < _TREND_LEAST:
            return ""
        low = min(prices)
        return sparkline([price - low for price in prices], TREND_KEPT)


@dataclass(slots=True)
class Rates:
    """What flowed a second, look after look."""

    frames: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))
    trades: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))
    lag_ms: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))

    def note(self, view: View) -> None:
        """Take one look."""
        if not view.rates:
            return
        self.frames.append(summed(view.rates, FLOWS["frames"]))
        self.trades.append(summed(view.rates, FLOWS["trades"]))
        lags = [row.get("lag_ms_p50") for row in view.health.listeners]
        self.lag_ms.append(float(max((lag for lag in lags if lag is not None), default=0)))


def sparkline(numbers: Sequence[float], width: int) -> str:
    """Return the newest `width` numbers as bars, from 0 to the largest."""
    shown = list(numbers)[-width:]
    most = max(shown, default=0.0)
    bars = "".join(_BARS[min(int(each / most * 8), 7) if most else 0] for each in shown)
    return bars.rjust(width)


#: What markets are sorted by, in the order of the columns; names first, numbers from the largest.
SORTS: Mapping[str, Callable[[TickerRow], object]] = {
    "value": lambda it: it.quote_volume_24h or _ZERO,
    "change": lambda it: it.change_rate or _ZERO,
    "price": lambda it: it.price,
    "market": lambda it: it.market,
}


def arranged(rows: Sequence[TickerRow], wanted: str, sort: str, *, is_down: bool) -> list[TickerRow]:
    """Return the markets whose names contain `wanted`, sorted; of equals by name."""
    found = sorted((row for row in rows if wanted.upper() in row.market), key=lambda it: it.market)
    key: Callable[[TickerRow], object] = SORTS[sort]
    found.sort(key=key, reverse=is_down)  # type: ignore[arg-type]
    return found
