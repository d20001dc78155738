"""The panels of a chart: candles with VWAP, volume by side, order book, hatched where trades may be missing.

Floats are for pixels alone; every figure that is written out comes from the exact decimals.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from math import ceil, log10

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.patches import Patch
from matplotlib.ticker import Formatter, FuncFormatter, MaxNLocator

from collector.analytics.candles import Candle, Prices
from collector.analytics.depth import Book
from collector.analytics.exact import EXACT, ZERO, ratio
from collector.cli.render import values
from collector.model import Level
from collector.util.korean_time import DAY_MS

UP, DOWN, LINE = "#1a9c87", "#e0524d", "#3b6fd4"
INK, QUIET, GRID, SHADE = "#1f2430", "#7a8194", "#eceef3", "#f1b54a"
#: Share of its interval a candle takes.
BODY = 0.72
#: Fewer candles than this keep the width they would have among so many.
ROOM_FOR = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What is drawn: at least one candle, each `length_ms` long."""

    candles: Sequence[Candle]
    length_ms: int
    book: Book | None = None
    title: str = ""

    @property
    def traded(self) -> list[tuple[Candle, Prices]]:
        """The candles that have a trade, with their prices."""
        return [(candle, prices) for candle in self.candles if (prices := candle.prices)]

    def middle(self, candle: Candle) -> float:
        """Return where a candle stands on the time axis."""
        return days(candle.open_ms + self.length_ms / 2)


def candles(axes: Axes, picture: Picture) -> None:
    """Draw the candles and their running VWAP, prices on the right."""
    rows, prices = [row for row, _ in picture.traded], [prices for _, prices in picture.traded]
    on_the_right(axes)
    if not prices:
        axes.text(0.5, 0.5, "every trade is missing", ha="center", color=QUIET, transform=axes.transAxes)
        axes.set_yticks([])
        return
    colours = list(map(colour, prices))
    wicks = [
        [(picture.middle(row), float(price)) for price in (of.low, of.high)]
        for row, of in zip(rows, prices, strict=True)
    ]
    axes.add_collection(LineCollection(wicks, colors=colours, linewidths=1))
    lows = [float(min(of.open, of.close)) for of in prices]
    highs = [float(max(of.open, of.close)) for of in prices]
    _boxes(axes, picture, rows, lows, highs, colours, edge=0.8)
    _vwap(axes, picture)
    _price_range(axes, prices)
    _last_price(axes, prices[-1])


def volumes(axes: Axes, picture: Picture) -> None:
    """Draw the volume of each candle, what was bought below what was sold."""
    bought = [float(row.buy_volume) for row in picture.candles]
    summed = [float(row.base_volume) for row in picture.candles]
    count = len(picture.candles)
    _boxes(axes, picture, picture.candles, [0.0] * count, bought, [UP] * count)
    _boxes(axes, picture, picture.candles, bought, summed, [DOWN] * count)
    axes.set_ylim(0, max(summed) * 1.12 or 1)
    on_the_right(axes)
    axes.yaxis.set_major_locator(MaxNLocator(3, prune="upper"))
    axes.yaxis.set_major_formatter(FuncFormatter(short))


def book(axes: Axes, rows: Book | None) -> None:
    """Draw the summed sizes of both sides of the book by price."""
    if rows is None or not (rows.bids or rows.asks):
        axes.set_axis_off()
        axes.text(0.5, 0.5, "no order book", ha="center", color=QUIET, transform=axes.transAxes)
        return
    for side, tone in ((rows.bids, UP), (rows.asks, DOWN)):
        prices, sums = [float(price) for price, _ in side], _running(side)
        # Away from the best price: what is summed stays until the next level adds to it.
        axes.fill_betweenx(prices, sums, step="post", color=tone, alpha=0.22, linewidth=0)
        axes.plot([0, *sums], [*prices[:1], *prices], drawstyle="steps-pre", color=tone, linewidth=1.2)
    if rows.mid is not None:
        axes.axhline(float(rows.mid), color=QUIET, linewidth=0.8, linestyle=(0, (2, 3)))
    axes.set_xlim(left=0)
    axes.margins(y=0.02)
    on_the_right(axes)
    price_ticks(axes)
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.xaxis.set_major_formatter(FuncFormatter(short))


def time_axis(axes: Axes, picture: Picture) -> None:
    """Label the time in the zone in force; a few candles stand in the middle, no wider than among many."""
    first, last = picture.candles[0].open_ms, picture.candles[-1].open_ms + picture.length_ms
    room = max((last - first) * 0.01, (ROOM_FOR * picture.length_ms - (last - first)) / 2)
    axes.set_xlim(days(first - room), days(last + room))
    locator = AutoDateLocator(tz=values.zone(), minticks=4, maxticks=9)  # type: ignore[no-untyped-call]
    formatter = ConciseDateFormatter(locator, tz=values.zone(), show_offset=False)  # type: ignore[no-untyped-call]
    formatter.formats[2] = formatter.zero_formats[2] = "%d %b"
    formatter.zero_formats[3:] = ["%d %b", "%H:%M", "%H:%M"]
    formatter.formats[3:] = ["%H:%M", "%H:%M", "%H:%M:%S"]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(formatter)
    axes.annotate(
        values.zone_name(),
        (1, 0),
        (30, -4),
        xycoords="axes fraction",
        textcoords="offset points",
        va="top",
        color=QUIET,
    )


def losses(axes: Axes, picture: Picture) -> bool:
    """Hatch candles where trades may be missing; return whether there are any."""
    spans = incomplete_spans(picture)
    for start, end in spans:
        axes.axvspan(days(start), days(end), facecolor=SHADE, alpha=0.16, edgecolor="none", zorder=0)
        axes.axvspan(
            days(start), days(end), facecolor="none", edgecolor=SHADE, alpha=0.6, hatch="///", lw=0, zorder=0
        )
    return bool(spans)


def legend(axes: Axes, *, has_losses: bool) -> None:
    """Name the colours above the panel."""
    handles = [Patch(color=UP, label="up, bought"), Patch(color=DOWN, label="down, sold")]
    if has_losses:
        handles.append(
            Patch(facecolor="none", edgecolor=SHADE, hatch="///", lw=0, label="trades may be missing")
        )
    axes.legend(
        handles=[*(line for line in axes.lines if line.get_label() == "VWAP"), *handles],
        loc="lower left",
        bbox_to_anchor=(-0.008, 1.0),
        ncols=len(handles) + 1,
        frameon=False,
        labelcolor=QUIET,
        handlelength=1.2,
        columnspacing=1.4,
    )


def incomplete_spans(picture: Picture) -> list[tuple[int, int]]:
    """Return the candles that are not complete, as joined stretches in epoch ms."""
    spans: list[tuple[int, int]] = []
    for start in (row.open_ms for row in picture.candles if not row.complete):
        first = spans.pop()[0] if spans and spans[-1][1] == start else start
        spans.append((first, start + picture.length_ms))
    return spans


def running_vwap(rows: Iterable[Candle]) -> list[Decimal | None]:
    """Return the average price weighted by volume from the first candle to each; None before any trade."""
    base = quote = ZERO
    averages = []
    for row in rows:
        base, quote = EXACT.add(base, row.base_volume), EXACT.add(quote, row.quote_volume)
        averages.append(ratio(quote, base))
    return averages


class PriceFormatter(Formatter):
    """Ticks with thousands separators and only the decimals that distinguish them."""

    def __call__(self, x: float, pos: int | None = None) -> str:  # noqa: ARG002 - matplotlib's protocol
        """Return the label of a tick that stands alone."""
        return f"{x:,.15g}"

    def format_ticks(self, values: Iterable[float]) -> list[str]:
        """Return the labels of all ticks of an axis."""
        ticks = list(values)
        steps = [abs(b - a) for a, b in pairwise(ticks) if a != b]
        if not steps:
            return [self(tick) for tick in ticks]
        decimals = max(0, ceil(-log10(min(steps)) - 1e-6))  # the steps are floats: 0.2 may be a little less
        return [f"{tick:,.{decimals}f}" for tick in ticks]


def short(number: float, _: int | None = None) -> str:
    """Return an axis label such as 1.5k or 20M."""
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= size:
            return f"{number / size:,.6g}{letter}"
    return f"{number:.6g}"


def colour(of: Prices) -> str:
    """Return the colour of a candle; one that closes where it opened counts as up."""
    return UP if of.close >= of.open else DOWN


def days(time_ms: float) -> float:
    """Return epoch milliseconds in matplotlib's days."""
    return float(time_ms) / DAY_MS


def on_the_right(axes: Axes) -> None:
    """Put the values where the newest data are."""
    axes.yaxis.tick_right()
    for spine in axes.spines.values():
        spine.set_visible(False)


def price_ticks(axes: Axes) -> None:
    """Label prices at round numbers."""
    axes.yaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(PriceFormatter())


def _boxes(
    axes: Axes,
    picture: Picture,
    rows: Sequence[Candle],
    bottoms: Sequence[float],
    tops: Sequence[float],
    colours: Sequence[str],
    edge: float = 0,
) -> None:
    """Draw one upright box per candle, all at once: there may be thousands.

    The edge makes a box without height visible.
    """
    half = days(picture.length_ms) * BODY / 2
    corners = [
        [(x - half, low), (x - half, high), (x + half, high), (x + half, low)]
        for x, low, high in zip(map(picture.middle, rows), bottoms, tops, strict=True)
    ]
    axes.add_collection(  # snapped to whole pixels, bars thinner than one would vanish
        PolyCollection(corners, facecolors=colours, edgecolors=colours, linewidths=edge, snap=False)
    )


def _vwap(axes: Axes, picture: Picture) -> None:
    averages = running_vwap(picture.candles)
    known = [(row, float(price)) for row, price in zip(picture.candles, averages, strict=True) if price]
    times = [picture.middle(row) for row, _ in known]
    marker = "o" if len(known) == 1 else ""
    axes.plot(
        times, [price for _, price in known], color=LINE, linewidth=1.4, marker=marker, ms=3, label="VWAP"
    )


def _price_range(axes: Axes, prices: Sequence[Prices]) -> None:
    low, high = float(min(of.low for of in prices)), float(max(of.high for of in prices))
    room = (high - low) * 0.08 or high * 0.002
    axes.set_ylim(low - room, high + room)
    price_ticks(axes)


def _last_price(axes: Axes, of: Prices) -> None:
    axes.axhline(float(of.close), color=colour(of), linewidth=0.8, linestyle=(0, (4, 3)))
    axes.annotate(
        values.number(of.close),
        (1, float(of.close)),
        xycoords=("axes fraction", "data"),
        xytext=(5, 0),
        textcoords="offset points",
        va="center",
        color="white",
        fontweight="bold",
        bbox={"boxstyle": "round,pad=0.25", "facecolor": colour(of), "edgecolor": "none"},
    )


def _running(side: Sequence[Level]) -> list[float]:
    sums, total = [], ZERO
    for _, size in side:
        total = EXACT.add(total, size)
        sums.append(float(total))
    return sums
