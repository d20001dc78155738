"""A calm table: columns of ready text that give way, the least needed first, where the terminal is narrow.

A shortened price is a wrong price, so numbers are not cut: what does not fit is left out, and said.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

#: Around each cell and between two columns of `SIMPLE_HEAD`.
PADDING, DIVIDER = 2, 1
#: A column of sentences is no narrower than this.
SENTENCE = 30


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        styles: one per cell, or none at all.
        rank: 0 stays; of the others the highest leaves first.
        wraps: a sentence, which may take several lines.
    """

    title: str
    cells: Sequence[str]
    right: bool = True
    styles: Sequence[str] = ()
    rank: int = 0
    wraps: bool = False

    @property
    def width(self) -> int:
        """Cells of the terminal it takes at the least."""
        widest = max(map(cell_len, (self.title, *self.cells)))
        return min(widest, SENTENCE) if self.wraps else widest


@dataclass(frozen=True, slots=True)
class Sheet:
    """A titled table, with a note below; prints itself through rich.

    A compact one has neither a line under its header nor a word about what is left out.
    """

    title: str
    columns: Sequence[Column]
    note: str = ""
    compact: bool = False

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield title, table and notes that fit."""
        shown = fitting(self.columns, options.max_width)
        if self.title:
            yield Text(self.title, style="bold")
        yield _table(shown, self.compact)
        left_out = [column.title for column in self.columns if column not in shown]
        if left_out and not self.compact:
            yield Text(f"  no room for: {', '.join(left_out)}", style="dim")
        if self.note:
            yield Text(f"  {self.note}", style="dim")


def fitting(columns: Sequence[Column], width: int) -> list[Column]:
    """Return the columns that fit into `width` cells, dropping the highest ranks first."""
    shown = list(columns)
    while _width(shown) > width and any(column.rank for column in shown):
        shown.remove(max(shown, key=lambda column: column.rank))
    return shown


def _width(columns: Sequence[Column]) -> int:
    return sum(column.width + PADDING for column in columns) + DIVIDER * (len(columns) - 1)


def _table(columns: Sequence[Column], compact: bool) -> Table:
    box = None if compact else SIMPLE_HEAD
    table = Table(box=box, header_style="dim", border_style="dim", show_edge=False, pad_edge=True)
    for column in columns:
        table.add_column(column.title, justify="right" if column.right else "left", no_wrap=not column.wraps)
    for number in range(max((len(column.cells) for column in columns), default=0)):
        table.add_row(*(_cell(column, number) for column in columns))
    return table


def _cell(column: Column, number: int) -> Text:
    return Text(column.cells[number], style=column.styles[number] if column.styles else "")
