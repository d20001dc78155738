"""The application: verdict and rates above, pages below, `Watcher` asked in a thread once a second."""

import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from rich.console import Group
from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import ContentSwitcher, Input, Static

from collector.analytics.market_states import MarketState
from collector.cli.render import health, values
from collector.cli.render.candles import Palette
from collector.cli.render.top import View
from collector.cli.screen import look
from collector.cli.screen.market import MarketScreen
from collector.cli.screen.state import (
    SORTS,
    TREND_KEPT,
    TREND_S,
    Rates,
    Trends,
    arranged,
    sparkline,
    verdict,
)
from collector.cli.screen.table import Cell, Column, Grid
from collector.cli.watcher import Watcher
from collector.errors import BrokerUnavailable
from collector.store.read import GapRow, MarketRow, TickerRow

REFRESH_S = 1.0
#: Bytes of the end of a log that are shown.
_TAIL_BYTES = 32 << 10
_GAPS_SHOWN = 1_000
PAGES = {"markets": "Markets", "system": "System", "gaps": "Gaps", "logs": "Logs"}
_MARKETS = (
    Column("market", 12, right=False),
    Column("", 10, right=False, rank=1),
    Column("price", 15),
    Column("change", 9),
    Column("value 24h", 11),
    Column("high", 15, rank=4),
    Column("low", 15, rank=5),
    Column("volume 24h", 12, rank=3),
    Column("age", 11, rank=2),
    Column(f"trend, {TREND_S:g} s each", TREND_KEPT, rank=6),
)
_GAPS = (
    Column("market", 12, right=False),
    Column("channel", 9, right=False, rank=2),
    Column("from", 19, right=False),
    Column("lasted", 12),
    Column("reason", 16, right=False),
    Column("", 9, right=False, rank=1),
)
_KEYS = """\
↑ ↓ PgUp PgDn  move            1 … 4  page
Enter          one market      Tab    next page
/              search          s r    sort by, reverse
Esc            back            i      interval of candles
← →            log file        t c    theme, colours
?              keys            q      quit"""


class Keys(ModalScreen[None]):
    """What the keys do."""

    CSS = """
    Keys { align: center middle; }
    #keys { width: auto; height: auto; padding: 1 3; background: $panel; border: round $primary; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,q,enter", "app.pop_screen", "close")
    ]

    def compose(self) -> ComposeResult:
        """Show them."""
        yield Static(_KEYS, id="keys")


class Top(App[None]):
    """`collector top` on a terminal."""

    TITLE = "collector top"

    CSS = """
    Screen { overflow: hidden; }
    ContentSwitcher { height: 1fr; }
    #verdict, #rates, #pages { height: 1; }
    #pages { background: $panel; }
    #search { height: 1; border: none; padding: 0 1; background: $panel; display: none; }
    #search.open { display: block; }
    VerticalScroll { padding: 0 1; scrollbar-size-vertical: 1; }
    """
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "quit"),
        Binding("ctrl+c", "interrupt", show=False, priority=True),
        Binding("question_mark", "keys", "keys"),
        Binding("slash", "search", "search"),
        Binding("escape", "clear", show=False),
        Binding("s", "sort(1)", "sort"),
        Binding("r", "reverse", "reverse"),
        Binding("t", "turn_theme", "theme"),
        Binding("c", "turn_colours", "colours"),
        Binding("tab", "page_after", show=False, priority=True),
        Binding("left", "log(-1)", show=False),
        Binding("right", "log(1)", show=False),
        *(Binding(str(place), f"page('{name}')", show=False) for place, name in enumerate(PAGES, 1)),
    ]

    def __init__(
        self, watcher: Watcher, log_dir: Path, *, theme: str | None = None, style: str | None = None
    ) -> None:
        super().__init__()
        for each in look.THEMES:
            self.register_theme(each)
        self.theme = theme or look.usual_theme()
        self._style = style or look.usual_style()
        self._watcher = watcher
        self._log_dir = log_dir
        self._log_place = 0
        self._rates, self._trends = Rates(), Trends()
        self._view: View | None = None
        #: Held while one thread reads.
        self._looking = threading.Lock()
        self._gaps: Sequence[GapRow] = ()
        self._sort, self._is_down = "value", True
        self._wanted = ""
        #: Why it ended by itself, and whether Ctrl-C did.
        self.trouble, self.is_interrupted = "", False

    @property
    def palette(self) -> Palette:
        """The colours of prices."""
        return look.palette(self.theme, self._style)

    # Layout

    def compose(self) -> ComposeResult:
        """Lay it out."""
        yield Static(id="verdict")
        yield Static(id="rates")
        yield Static(id="pages")
        yield Input(placeholder="part of a market's name", id="search", compact=True)
        with ContentSwitcher(initial="markets"):
            yield Grid(_MARKETS, "no market so far", id="markets")
            with VerticalScroll(id="system"):
                yield Static(id="report")
            yield Grid(_GAPS, "no gap", id="gaps")
            with VerticalScroll(id="logs"):
                yield Static(id="lines")

    def on_mount(self) -> None:
        """Begin to look."""
        self.query_one("#markets", Grid).focus()
        self.set_interval(REFRESH_S, self._look)
        self._look()

    def on_resize(self) -> None:
        """Draw anew at the new size."""
        self._draw()

    # Reading

    def _look(self) -> None:
        self.run_worker(self._read, thread=True)

    def _read(self) -> None:
        """Read everything, in a thread, unless another still waits for a slow Redis."""
        if not self._looking.acquire(blocking=False):
            return
        try:
            view = self._watcher.look()
        except BrokerUnavailable as error:  # nothing could be read so far
            self.trouble = str(error)
            self.call_from_thread(self.exit, None, 1)
            return
        finally:
            self._looking.release()
        gaps = None
        if self._page == "gaps":
            with suppress(BrokerUnavailable):  # the next look has it as the verdict
                gaps = self._watcher.reader.gaps()
        self.call_from_thread(self._take, view, gaps)

    def _take(self, view: View, gaps: Sequence[GapRow] | None) -> None:
        self._view = view
        self._gaps = self._gaps if gaps is None else gaps
        self._rates.note(view)
        self._trends.note(view)
        self._draw()

    # Drawing

    @property
    def _page(self) -> str:
        return self.screen_stack[0].query_one(ContentSwitcher).current or "markets"

    def _draw(self) -> None:
        view = self._view
        if view is None:
            return
        base = self.screen_stack[0]
        base.query_one("#verdict", Static).update(self._verdict(view), layout=False)
        base.query_one("#rates", Static).update(self._rate_line(view), layout=False)
        base.query_one("#pages", Static).update(self._page_line(view), layout=False)
        if isinstance(self.screen, MarketScreen):
            return  # it draws itself, and covers the pages
        match self._page:
            case "markets":
                shown = arranged(view.tickers, self._wanted, self._sort, is_down=self._is_down)
                rows = {it.market: it for it in shown}
                base.query_one("#markets", Grid).show([*rows], lambda key: self._market(rows[key], view))
            case "system":
                base.query_one("#report", Static).update(Group(*health.health(view.health, view.now_ms)))
            case "gaps":
                newest = sorted(self._gaps, key=lambda it: -it.from_ms)[:_GAPS_SHOWN]
                open_first = sorted(newest, key=lambda it: it.recovered)
                gaps = {_name(it): it for it in open_first}
                base.query_one("#gaps", Grid).show([*gaps], lambda key: self._gap(gaps[key]))
            case "logs":
                self._draw_log()

    def _verdict(self, view: View) -> Text:
        found = verdict(view)
        colour = str(getattr(self.current_theme, found.mood.value))
        line = Text.assemble((" ● ", colour), (found.text[0].upper() + found.text[1:], f"bold {colour}"))
        now = f"{values.clock(view.now_ms)} {values.zone_name()} "
        room = self.size.width - len(now) - 1
        line.truncate(max(room, 1), overflow="ellipsis", pad=True)
        return line.append(f" {now}", self.palette.quiet)

    def _rate_line(self, view: View) -> Text:
        width = max(4, min(30, (self.size.width - 50) // 3))
        rates = self._rates
        line = Text(" ")
        for name, numbers, unit in (
            ("frames", rates.frames, "/s"),
            ("trades", rates.trades, "/s"),
            ("lag", rates.lag_ms, " ms"),
        ):
            last = f"{numbers[-1]:,.0f}{unit}" if numbers else values.NOTHING
            line.append(f"{name} ", self.palette.quiet).append(f"{last:>8} ")
            line.append(f"{sparkline(numbers, width)}  ", self.palette.quiet)
        waiting = sum(count for name, count in view.health.queues.items() if name != "dead-letters")
        line.append("waiting ", self.palette.quiet).append(f"{waiting:,}")
        line.truncate(self.size.width, overflow="crop")
        return line

    def _page_line(self, view: View) -> Text:
        line = Text(" ")
        for place, (name, title) in enumerate(PAGES.items(), 1):
            style = "reverse bold" if name == self._page else ""
            line.append(f" {place} {title} ", style).append(" ")
        hint = f"/{self._wanted or ' search'}  s {self._sort}{'↓' if self._is_down else '↑'}  ? keys  q quit "
        count = f"{len(view.tickers):,} markets  " if self._page == "markets" else ""
        room = self.size.width - len(line.plain)
        return line.append((count + hint if len(count + hint) <= room else hint)[:room].rjust(room))

    def _market(self, row: TickerRow, view: View) -> Sequence[Cell]:
        colours = self.palette
        rate = row.change_rate or 0
        colour = colours.up if rate > 0 else colours.down if rate < 0 else ""
        number = values.number
        return (
            Cell(row.market, "bold"),
            Cell(_standing(view.states.get(row.market)), "yellow"),
            Cell(number(row.price), colour),
            Cell(values.percent(row.change_rate), colour),
            Cell(values.amount(row.quote_volume_24h)),
            Cell(number(row.high), colours.quiet),
            Cell(number(row.low), colours.quiet),
            Cell(values.amount(row.base_volume_24h), colours.quiet),
            Cell(values.duration(max(0, view.now_ms - row.exchange_ms)), colours.quiet),
            Cell(self._trends.line(row.market), colour),
        )

    def _gap(self, row: GapRow) -> Sequence[Cell]:
        quiet = self.palette.quiet if row.recovered else ""
        return (
            Cell(row.market, quiet),
            Cell(str(row.channel), quiet),
            Cell(values.second(row.from_ms), quiet),
            Cell(values.duration(row.to_ms - row.from_ms), quiet),
            Cell(row.reason, quiet),
            Cell("recovered" if row.recovered else "open", quiet or "bold"),
        )

    def _draw_log(self) -> None:
        files = sorted(self._log_dir.glob("*.log"))
        shown = self.screen_stack[0].query_one("#lines", Static)
        if not files:
            shown.update(f"no logs in {self._log_dir}: they are those of `collector up` on this machine")
            return
        file = files[self._log_place % len(files)]
        names = Text("← → ", self.palette.quiet)
        for each in files:
            names.append(f" {each.stem} ", "reverse" if each == file else "")
        shown.update(Group(names, Text("\n".join(_tail(file)))))
        page = self.screen_stack[0].query_one("#logs", VerticalScroll)
        page.scroll_end(animate=False)

    # Keys

    def on_grid_chosen(self, event: Grid.Chosen) -> None:
        """Show one market."""
        if self._page == "markets":
            self._enter(event.key)
        elif self._page == "gaps":
            self._enter(event.key.split(" ")[0])

    def _enter(self, market: str) -> None:
        grid = self.query_one("#markets", Grid)

        def neighbour(step: int) -> str:
            key = grid.neighbour(step)
            grid.choose(key)
            return key

        self.push_screen(MarketScreen(self._watcher.reader, market, lambda: self.palette, neighbour))

    def action_interrupt(self) -> None:
        """End as Ctrl-C ends every command."""
        self.is_interrupted = True
        self.exit()

    def action_keys(self) -> None:
        """Show what the keys do."""
        self.push_screen(Keys())

    def action_search(self) -> None:
        """Let a part of a name be typed."""
        if self.screen is self.screen_stack[0]:
            self.action_page("markets")
            search = self.query_one("#search", Input)
            search.add_class("open")
            search.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Show the markets that fit so far."""
        self._wanted = event.value.strip()
        self._draw()

    def on_input_submitted(self, _: Input.Submitted) -> None:
        """Go on among them."""
        self.query_one("#search", Input).remove_class("open")
        self.query_one("#markets", Grid).focus()

    def action_clear(self) -> None:
        """Show all markets again."""
        search = self.query_one("#search", Input)
        search.value = ""
        search.remove_class("open")
        self.query_one(f"#{self._page}").focus()

    def action_sort(self, step: int) -> None:
        """Sort by the next column; names rise, numbers fall."""
        names = [*SORTS]
        self._sort = names[(names.index(self._sort) + step) % len(names)]
        self._is_down = self._sort != "market"
        self._draw()

    def action_reverse(self) -> None:
        """Turn the order round."""
        self._is_down = not self._is_down
        self._draw()

    def action_page(self, name: str) -> None:
        """Go to a page."""
        if self.screen is not self.screen_stack[0]:
            return
        self.query_one(ContentSwitcher).current = name
        self.query_one(f"#{name}").focus()
        self._draw()
        self._look()

    def action_page_after(self) -> None:
        """Go to the next page."""
        names = [*PAGES]
        self.action_page(names[(names.index(self._page) + 1) % len(names)])

    def action_log(self, step: int) -> None:
        """Show the next log."""
        if self._page == "logs":
            self._log_place += step
            self._draw()

    def action_turn_theme(self) -> None:
        """Light or dark."""
        self.theme = look.LIGHT if self.theme == look.DARK else look.DARK
        self._redraw()

    def action_turn_colours(self) -> None:
        """The colours of rising and falling prices."""
        self._style = look.STYLES[(look.STYLES.index(self._style) + 1) % len(look.STYLES)]
        self._redraw()

    def _redraw(self) -> None:
        self._draw()
        if isinstance(self.screen, MarketScreen):
            self.screen.draw()


def _standing(row: MarketRow | None) -> str:
    """Return the state of a market that does not trade, or what it is warned of."""
    if row is None:
        return ""
    return str(row.state) if row.state is not MarketState.ACTIVE else row.warning or ""


def _name(row: GapRow) -> str:
    return f"{row.market} {row.channel} {row.from_ms} {row.reason}"


def _tail(file: Path) -> list[str]:
    with file.open("rb") as opened:
        opened.seek(0, 2)
        opened.seek(max(0, opened.tell() - _TAIL_BYTES))
        lines: Sequence[str] = opened.read().decode(errors="replace").splitlines()
    return list(lines[-200:])
