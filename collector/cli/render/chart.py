"""A market as a picture: candles, VWAP, volume by side, order book; times in `COLLECTOR_TIME_ZONE`."""

import html
from collections.abc import Iterable
from decimal import Decimal
from functools import reduce
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from collector.analytics.exact import EXACT, ZERO, ratio
from collector.cli.render import panels, values
from collector.cli.render.panels import DOWN, GRID, INK, QUIET, UP, Picture
from collector.errors import ConfigurationError

KOREAN_FONTS = ("Noto Sans CJK KR", "Noto Sans KR", "NanumGothic", "Apple SD Gothic Neo", "Malgun Gothic")
SIZE_INCHES, DPI = (12.8, 7.2), 125
#: Left edge, right edge of the panels and of their labels, in parts of the width.
LEFT, PANELS, RIGHT = 0.03, 0.905, 0.978
FORMATS = ("png", "svg", "pdf", "html")

#: matplotlib types its keys one by one.
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "legend.fontsize": 9,
    "axes.edgecolor": GRID,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 9,
    "axes.titlecolor": QUIET,
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "grid.color": GRID,
    "text.color": INK,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
}


def check_kind(suffix: str) -> str:
    """Return the kind of file an ending like `.png` stands for.

    Raises:
        ConfigurationError: none of `FORMATS`.
    """
    kind = suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        raise ConfigurationError(
            f"--out ends in {suffix!r}: one of {', '.join(f'.{known}' for known in FORMATS)}"
        )
    return kind


def render(picture: Picture, kind: str) -> bytes:
    """Return the picture as a file of `kind`, one of `FORMATS`."""
    file = BytesIO()
    with mpl.rc_context({**STYLE, "font.family": _fonts()}):
        draw(picture).savefig(file, format="svg" if kind == "html" else kind, dpi=DPI)
    return _page(picture, file.getvalue().decode()) if kind == "html" else file.getvalue()


def draw(picture: Picture) -> Figure:
    """Return the figure: price over volume, the book and some figures beside them."""
    figure = Figure(figsize=SIZE_INCHES, facecolor="white")
    grid = figure.add_gridspec(2, 2, width_ratios=(4.4, 1), height_ratios=(3, 1), hspace=0.05, wspace=0.24)
    figure.subplots_adjust(left=LEFT, right=PANELS, top=0.84, bottom=0.07)
    price = figure.add_subplot(grid[0, 0])
    volume = figure.add_subplot(grid[1, 0], sharex=price)
    panels.candles(price, picture)
    panels.volumes(volume, picture)
    panels.time_axis(volume, picture)
    price.tick_params(labelbottom=False)
    panels.losses(volume, picture)
    panels.legend(price, has_losses=panels.losses(price, picture))
    depth = figure.add_subplot(grid[0, 1], title="order book, summed")
    panels.book(depth, picture.book)
    _facts(figure.add_subplot(grid[1, 1]), picture)
    _headline(figure, picture)
    return figure


def _headline(figure: Figure, picture: Picture) -> None:
    figure.text(LEFT, 0.935, picture.title or picture.candles[0].market, fontsize=19, fontweight="bold")
    figure.text(RIGHT, 0.897, _about(picture), color=QUIET, ha="right")
    if not picture.traded:
        return
    first, last = picture.traded[0][1], picture.traded[-1][1]
    change = ratio(EXACT.subtract(last.close, first.open), first.open)
    tone = INK if last.close == first.open else UP if last.close > first.open else DOWN
    price = f"{values.number(last.close)}   {values.percent(change)}"
    figure.text(RIGHT, 0.935, price, fontsize=19, fontweight="bold", ha="right", color=tone)


def _about(picture: Picture) -> str:
    """Return what the candles are: interval, stretch of time, number."""
    first, last = picture.candles[0], picture.candles[-1]
    start, end = values.local(first.open_ms), values.local(last.open_ms + picture.length_ms)
    until = f"{end:%H:%M}" if start.date() == end.date() else f"{end:%Y-%m-%d %H:%M}"
    count = len(picture.candles)
    plural = "" if count == 1 else "s"
    stretch = f"{start:%Y-%m-%d %H:%M} to {until} {values.zone_name()}"
    return f"{count:,} candle{plural} of {first.interval}, {stretch}"


def _facts(axes: Axes, picture: Picture) -> None:
    """Write the figures a picture can't show."""
    axes.set_axis_off()
    for number, (name, text) in enumerate(_figures(picture)):
        y = 0.83 - number * 0.165
        axes.text(0, y, name, color=QUIET, fontsize=9, transform=axes.transAxes)
        axes.text(1.5, y, text, ha="right", fontsize=9, transform=axes.transAxes)


def _figures(picture: Picture) -> list[tuple[str, str]]:
    rows, book = picture.candles, picture.book
    base, bought = _total(row.base_volume for row in rows), _total(row.buy_volume for row in rows)
    vwap = panels.running_vwap(rows)[-1]
    decimals = values.places(price for row in rows for price in (row.open, row.close))
    figures = [
        ("VWAP", values.fixed(vwap, decimals + 1)),
        ("volume", f"{_rounded(base)} {rows[0].market.partition('-')[2]}"),
        ("bought", f"{values.fixed(ratio(bought * 100, base), 0)} %"),
        ("trades", f"{sum(row.trade_count for row in rows):,}"),
    ]
    if book is not None:
        figures += [
            ("spread", f"{values.number(book.spread)}  ({values.fixed(book.spread_bps, 1)} bps)"),
            ("book at", f"{values.local(book.exchange_ms):%m-%d %H:%M:%S}"),
        ]
    return figures


def _rounded(amount: Decimal) -> str:
    return values.fixed(amount, 0 if amount >= 1000 else min(values.places([amount]), 4))


def _total(amounts: Iterable[Decimal]) -> Decimal:
    """Return the exact sum."""
    return reduce(EXACT.add, amounts, ZERO)


def _fonts() -> list[str]:
    """Return the fonts to try for each letter, Korean ones after the usual one."""
    found = _korean_fonts()
    if not found:  # matplotlib remembers the fonts of its first start: one may have been installed since
        for file in font_manager.findSystemFonts():
            if any(name.replace(" ", "") in Path(file).stem for name in KOREAN_FONTS):
                font_manager.fontManager.addfont(file)
        found = _korean_fonts()
    return ["DejaVu Sans", *found]


def _korean_fonts() -> list[str]:
    present = {font.name for font in font_manager.fontManager.ttflist}
    return [name for name in KOREAN_FONTS if name in present]


def _page(picture: Picture, svg: str) -> bytes:
    """Return a page that needs nothing but itself."""
    title = html.escape(picture.title or picture.candles[0].market)
    drawing = svg[svg.index("<svg") :]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<style>body{{margin:0}}svg{{width:100%;height:auto}}</style>{drawing}</html>\n"
    ).encode()
