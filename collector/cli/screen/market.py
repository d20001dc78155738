"""One market: candles, order book, trades, and how far it is proven."""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.screen import Screen
from textual.widgets import Static

from collector.analytics.candles import INTERVALS, Candle
from collector.analytics.depth import Book
from collector.analytics.proof import Completeness
from collector.cli.render import candles as drawing
from collector.cli.render import values
from collector.cli.render.candles import Palette
from collector.errors import CollectorError, NoData
from collector.model import Channel, Level, Side
from collector.store.read import GapRow, Reader, TradeRow

REFRESH_S = 1.0
#: Candles that are read: more than any terminal is wide.
_CANDLES = 300
_TRADES = 60
_SIDE = 38
_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class MarketView:
    """What was read of a market at one moment."""

    market: str
    interval: str
    candles: list[Candle]
    book: Book | None
    trades: list[TradeRow]
    gaps: list[GapRow]
    proof: Completeness | None
    trouble: str = ""


def read(reader: Reader, market: str, interval: str) -> MarketView:
    """Read all of it; what there is nothing of yet is left out."""
    try:
        book = reader.book(market)
    except NoData:
        book = None
    return MarketView(
        market,
        interval,
        reader.candles(market, interval, limit=_CANDLES),
        book,
        reader.trades(market, limit=_TRADES),
        [gap for gap in reader.gaps(market) if gap.channel is Channel.TRADE and not gap.recovered],
        next(iter(reader.completeness(market)), None),
    )


class MarketScreen(Screen[None]):
    """Followed until it is left."""

    CSS = f"""
    MarketScreen {{ layout: vertical; overflow: hidden; }}
    #head {{ height: 1; }}
    #candles {{ width: 1fr; height: 1fr; padding: 0 1; }}
    #side {{ width: {_SIDE}; height: 1fr; padding: 0 1; border-left: solid $panel; }}
    #foot {{ height: 1; background: $panel; padding: 0 1; }}
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,backspace", "app.pop_screen", "back"),
        Binding("i", "interval(1)", "interval"),
        Binding("I", "interval(-1)", show=False),
        Binding("up,k", "step(-1)", show=False),
        Binding("down,j", "step(1)", show=False),
    ]

    def __init__(
        self, reader: Reader, market: str, colours: Callable[[], Palette], neighbour: Callable[[int], str]
    ) -> None:
        super().__init__()
        self._reader = reader
        self._market = market
        self._interval = "1m"
        self._colours = colours
        self._neighbour = neighbour
        self._view: MarketView | None = None
        #: Held while one thread reads.
        self._looking = threading.Lock()

    def compose(self) -> ComposeResult:
        """Lay it out."""
        yield Static(id="head")
        with Horizontal():
            yield Static(id="candles")
            yield Static(id="side")
        yield Static("Esc back   i interval   ↑↓ market   t theme   c colours   ? keys", id="foot")

    def on_mount(self) -> None:
        """Begin to follow."""
        self.set_interval(REFRESH_S, self._look)
        self._look()

    def on_resize(self) -> None:
        """Draw anew at the new size."""
        self.draw()

    def action_interval(self, step: int) -> None:
        """Go to the next interval."""
        names = [*INTERVALS]
        self._interval = names[(names.index(self._interval) + step) % len(names)]
        self._look()

    def action_step(self, step: int) -> None:
        """Go to the market before or after."""
        self._market = self._neighbour(step) or self._market
        self._look()

    def _look(self) -> None:
        self.run_worker(self._read, thread=True)

    def _read(self) -> None:
        """Read all of it, in a thread, unless another still waits for a slow Redis."""
        if not self._looking.acquire(blocking=False):
            return
        market, interval = self._market, self._interval
        try:
            view = read(self._reader, market, interval)
        except CollectorError as error:
            view = MarketView(market, interval, [], None, [], [], None, str(error))
        finally:
            self._looking.release()
        self.app.call_from_thread(self._take, view)

    def _take(self, view: MarketView) -> None:
        if (view.market, view.interval) == (self._market, self._interval):
            self._view = view
            self.draw()

    def draw(self) -> None:
        """Draw what was read last."""
        if self._view is None or not self.is_mounted:
            return
        colours = self._colours()
        self.query_one("#head", Static).update(_head(self._view, colours), layout=False)
        canvas = self.query_one("#candles", Static)
        size = canvas.content_size
        lines = drawing.drawn(self._view.candles, size.width, size.height, colours)
        canvas.update(Text("\n").join(lines), layout=False)
        side = self.query_one("#side", Static)
        side.update(Text("\n").join(_side(self._view, side.content_size.height, colours)), layout=False)


def _head(view: MarketView, colours: Palette) -> Text:
    line = Text(f" {view.market} ", "bold")
    if view.trouble:
        return line.append(view.trouble, colours.down)
    last = view.candles[-1] if view.candles else None
    if last is not None and last.close is not None and last.open is not None:
        line.append(f" {values.number(last.close)} ", colours.down if last.close < last.open else colours.up)
    line.append(f" {view.interval}  ", colours.quiet)
    proof = view.proof
    if proof is not None and proof.proven_until_ms is not None:
        line.append(f"proven until {values.local(proof.proven_until_ms):%H:%M}  ", colours.quiet)
    if view.gaps:
        first, count = view.gaps[0], len(view.gaps)
        since = values.clock(first.from_ms)
        line.append(f"{count} open gap{'s' * (count > 1)}, from {since} ({first.reason})", "bold")
    else:
        line.append("no open gap", colours.quiet)
    return line


def _side(view: MarketView, height: int, colours: Palette) -> list[Text]:
    """Return the order book and, in the lines that it leaves, the newest trades."""
    lines: list[Text] = []
    if view.book is not None:
        levels = min(10, max(3, (height - 4) // 4))
        lines += _ladder(view.book, levels, colours)
    lines.append(Text("trades", "bold"))
    width = _SIDE - 3
    for trade in reversed(view.trades[-max(0, height - len(lines)) :]):
        line = Text(f"{values.clock(trade.exchange_ms)} ", colours.quiet)
        price = values.number(trade.price)
        line.append(price.rjust(13), colours.up if trade.side is Side.BUY else colours.down)
        lines.append(line.append(_fit(values.number(trade.volume), width - len(line.plain))))
    return lines[:height]


def _ladder(book: Book, levels: int, colours: Palette) -> list[Text]:
    shown = [*book.asks[:levels], *book.bids[:levels]]
    most = max((size for _, size in shown), default=_ZERO)
    places = values.places([price for price, _ in shown])
    lines = [Text("order book", "bold")]

    def rows(side: Iterable[Level], style: str) -> None:
        for price, size in side:
            bar = round(size / most * 8) if most else 0
            line = Text(values.fixed(price, places).rjust(13), style)
            line.append(_fit(values.number(size), 12))
            lines.append(line.append(" " + "█" * bar, style))

    rows(reversed(book.asks[:levels]), colours.down)
    spread = "–" if book.spread is None else values.number(book.spread)
    lines.append(Text(f"spread {spread}".center(_SIDE - 4), colours.quiet))
    rows(book.bids[:levels], colours.up)
    return lines


def _fit(text: str, width: int) -> str:
    return text[:width].rjust(width) if width > 0 else ""
