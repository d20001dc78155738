"""Candles drawn with characters, for a terminal: heavy lines are bodies, light ones wicks. Pure.

A cell has two halves, so a price is placed to half a line. Under the prices is the volume, in eighths of a
cell, and the time of some candles. Minutes in which trades may be missing have another background. The newest
candle stands beside the prices at the right; few candles have a space between them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import ceil, floor, log10

from rich.text import Text

from collector.analytics.candles import Candle
from collector.cli.render import values

#: (upper half, lower half) of a cell -> character; 0 = nothing, 1 = wick, 2 = body.
_CELLS = {
    (0, 0): " ", (0, 1): "╷", (0, 2): "╻",
    (1, 0): "╵", (1, 1): "│", (1, 2): "╽",
    (2, 0): "╹", (2, 1): "╿", (2, 2): "┃",
}  # fmt: skip
_EIGHTHS = " ▁▂▃▄▅▆▇█"
#: Lines for the volume and for the times.
_VOLUME_LINES, _TIME_LINES = 3, 1
#: Labels are at least so many lines, or cells, apart.
_LABEL_EVERY, _TIME_EVERY = 4, 12
_LEAST_WIDTH, _LEAST_HEIGHT = 24, 8


@dataclass(frozen=True, slots=True)
class Palette:
    """Styles as rich writes them."""

    up: str = "green"
    down: str = "red"
    quiet: str = "dim"
    missing: str = "on #4a3a10"


@dataclass(frozen=True, slots=True)
class _Scale:
    """Prices to halves of lines, the highest first."""

    low: float
    high: float
    lines: int

    def half(self, price: float) -> int:
        share = (self.high - price) / (self.high - self.low) if self.high > self.low else 0.5
        return min(int(share * self.lines * 2), self.lines * 2 - 1)

    def labels(self) -> dict[int, Decimal]:
        """Return round prices by the line that each is on."""
        rough = (self.high - self.low) * _LABEL_EVERY / self.lines or abs(self.high) or 1.0
        unit = 10.0 ** floor(log10(rough))
        step = next(unit * each for each in (1, 2, 5, 10) if unit * each >= rough * 0.999)
        first = ceil(self.low / step)
        last = floor(self.high / step)
        places = max(0, -floor(log10(step)))
        return {
            self.half(number * step) // 2: round(Decimal(number * step), places)
            for number in range(first, last + 1)
        }


def drawn(candles: Sequence[Candle], width: int, height: int, palette: Palette | None = None) -> list[Text]:
    """Return `height` lines of at most `width` cells, the newest candle at the right.

    Args:
        candles: oldest first; as many of the newest are drawn as there is room for.
    """
    palette = palette or Palette()
    if width < _LEAST_WIDTH or height < _LEAST_HEIGHT:
        return [Text("too small for candles", palette.quiet)]
    priced = [it for it in candles if it.close is not None]
    if not priced:
        return [Text("no candles yet", palette.quiet)]
    labels = max(len(values.number(price)) for it in priced for price in (it.high, it.low)) + 2
    room = width - labels
    shown = list(candles)[-room:]
    gap = " " if 2 * len(shown) <= room else ""
    margin = " " * (room - len(shown) * (1 + len(gap)))
    with_prices = [it for it in shown if it.close is not None]
    if not with_prices:
        return [Text("no trades in these candles", palette.quiet)]
    lines = height - _VOLUME_LINES - _TIME_LINES
    scale = _Scale(
        min(float(it.low) for it in with_prices if it.low is not None),
        max(float(it.high) for it in with_prices if it.high is not None),
        lines,
    )
    columns = [_column(it, scale) for it in shown]
    prices = scale.labels()
    found = []
    for line in range(lines):
        text = Text(margin)
        for candle, column in zip(shown, columns, strict=True):
            text.append(_CELLS[column[2 * line], column[2 * line + 1]] + gap, _style(candle, palette))
        if line in prices:
            text.append(f" {values.number(prices[line])}", palette.quiet)
        found.append(text)
    return [*found, *_volumes(shown, palette, margin, gap), _times(shown, palette, margin, gap)]


def _column(candle: Candle, scale: _Scale) -> list[int]:
    """Return what is in each half line: 0 = nothing, 1 = wick, 2 = body."""
    halves = [0] * (2 * scale.lines)
    if candle.open is None or candle.close is None or candle.high is None or candle.low is None:
        return halves
    for place in range(scale.half(float(candle.high)), scale.half(float(candle.low)) + 1):
        halves[place] = 1
    ends = sorted((scale.half(float(candle.open)), scale.half(float(candle.close))))
    for place in range(ends[0], ends[1] + 1):
        halves[place] = 2
    return halves


def _style(candle: Candle, palette: Palette) -> str:
    if candle.open is None or candle.close is None:
        colour = palette.quiet
    else:
        colour = palette.down if candle.close < candle.open else palette.up
    return colour if candle.complete else f"{colour} {palette.missing}"


def _volumes(shown: Sequence[Candle], palette: Palette, margin: str, gap: str) -> list[Text]:
    most = max((float(it.base_volume) for it in shown), default=0.0)
    steps = _VOLUME_LINES * 8
    found = []
    for line in range(_VOLUME_LINES):
        text = Text(margin)
        for it in shown:
            filled = round(float(it.base_volume) / most * steps) if most else 0
            eighths = min(max(filled - (_VOLUME_LINES - 1 - line) * 8, 0), 8)
            text.append(_EIGHTHS[eighths] + gap, _style(it, palette))
        if line == 0:
            text.append(f" {values.amount(max(it.base_volume for it in shown))}", palette.quiet)
        found.append(text)
    return found


def _times(shown: Sequence[Candle], palette: Palette, margin: str, gap: str) -> Text:
    form = "%m-%d" if shown[0].interval.endswith("d") else "%H:%M"
    cells = 1 + len(gap)
    line = [" "] * (len(shown) * cells + len(form))
    for place in range(0, len(shown), _TIME_EVERY // cells):
        line[place * cells : place * cells + 5] = f"{values.local(shown[place].open_ms):{form}}"
    return Text(margin + "".join(line).rstrip(), palette.quiet)
