"""A table that draws the lines that are seen and no others, so that 500 markets cost what 20 do."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.events import Click
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

#: Between two columns.
_SPACE = 2


@dataclass(frozen=True, slots=True)
class Cell:
    """A text and its colour, as rich writes it."""

    text: str
    style: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of fixed width, so that nothing jumps; the higher `rank` goes first where there is no room."""

    title: str
    width: int
    right: bool = True
    rank: int = 0


class Grid(ScrollView, can_focus=True):
    """Rows under a head that stays; one row is chosen."""

    DEFAULT_CSS = """
    Grid { height: 1fr; overflow-x: hidden; scrollbar-size-vertical: 1; }
    Grid > .grid--chosen { background: $primary 35%; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {"grid--chosen"}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", show=False),
        Binding("down,j", "move(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown,space", "page(1)", show=False),
        Binding("home,g", "move(-1000000)", show=False),
        Binding("end,G", "move(1000000)", show=False),
        Binding("enter", "choose", show=False),
    ]

    class Chosen(Message):
        """A row was entered."""

        def __init__(self, key: str) -> None:
            super().__init__()
            self.key = key

    def __init__(self, columns: Sequence[Column], empty: str, id: str | None = None) -> None:
        super().__init__(id=id)
        self._columns = tuple(columns)
        self._empty = empty
        self._keys: list[str] = []
        self._row_of: Callable[[str], Sequence[Cell]] = lambda _: ()
        self._key = ""

    @property
    def key(self) -> str:
        """The key of the row that is chosen; empty for none."""
        return self._key

    def show(self, keys: Sequence[str], row_of: Callable[[str], Sequence[Cell]]) -> None:
        """Show the rows of `keys`, in their order; the chosen one stays chosen wherever it went.

        Args:
            row_of: returns the cells of a row; called for rows that are seen.
        """
        self._keys, self._row_of = list(keys), row_of
        if self._key not in self._keys:
            self._key = self._keys[0] if self._keys else ""
        self.virtual_size = Size(self.size.width, len(self._keys) + 1)
        self.refresh()

    def choose(self, key: str) -> None:
        """Choose a row."""
        if key in self._keys:
            self._key = key
            self._reveal()

    def neighbour(self, step: int) -> str:
        """Return the key of the row `step` further on, round the ends."""
        if not self._keys:
            return ""
        return self._keys[(self._keys.index(self._key) + step) % len(self._keys)]

    def action_move(self, step: int) -> None:
        """Choose another row."""
        if self._keys:
            place = self._keys.index(self._key) + step
            self._key = self._keys[min(max(place, 0), len(self._keys) - 1)]
            self._reveal()

    def action_page(self, step: int) -> None:
        """Choose the row a screen further on."""
        self.action_move(step * max(1, self.size.height - 2))

    def action_choose(self) -> None:
        """Enter the chosen row."""
        if self._key:
            self.post_message(self.Chosen(self._key))

    def on_click(self, event: Click) -> None:
        """Choose the row that was clicked; enter it at the second click."""
        place = event.y - 1 + self.scroll_offset.y
        if event.y > 0 and place < len(self._keys):
            is_again = self._keys[place] == self._key
            self._key = self._keys[place]
            self.refresh()
            if is_again:
                self.action_choose()

    def _reveal(self) -> None:
        place, top, seen = self._keys.index(self._key), self.scroll_offset.y, self.size.height - 1
        if place < top:
            self.scroll_to(y=place, animate=False)
        elif place >= top + seen:
            self.scroll_to(y=place - seen + 1, animate=False)
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """Draw a line of what is seen: the head, or a row."""
        width, base = self.size.width, self.rich_style
        columns = self._fitting(width)
        if y == 0:
            head = [Cell(self._columns[place].title, "bold") for place in columns]
            return self._line(columns, head, width, base)
        place = y - 1 + self.scroll_offset.y
        if place >= len(self._keys):
            text = self._empty if not self._keys and y == 1 else ""
            return Strip([Segment(set_cell_size(f" {text}", width), base)], width)
        row = self._row_of(self._keys[place])
        is_chosen = self._keys[place] == self._key and self.has_focus
        style = self.get_component_rich_style("grid--chosen") if is_chosen else base
        return self._line(columns, [row[each] for each in columns], width, style)

    def _fitting(self, width: int) -> list[int]:
        """Return the places of the columns that there is room for."""
        chosen = set(range(len(self._columns)))
        for place in sorted(chosen, key=lambda it: -self._columns[it].rank):
            if sum(self._columns[it].width + _SPACE for it in chosen) <= width:
                break
            if self._columns[place].rank:
                chosen.discard(place)
        return sorted(chosen)

    def _line(self, columns: Sequence[int], cells: Sequence[Cell], width: int, style: Style) -> Strip:
        segments = [Segment(" ", style)]
        for place, cell in zip(columns, cells, strict=True):
            column = self._columns[place]
            text = set_cell_size(cell.text, min(len(cell.text), column.width))
            text = text.rjust(column.width) if column.right else text.ljust(column.width)
            segments.append(Segment(text, style + Style.parse(cell.style) if cell.style else style))
            segments.append(Segment(" " * _SPACE, style))
        return Strip(segments).adjust_cell_length(width, style).crop(0, width)
