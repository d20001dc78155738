"""A calm table of ready text that fits itself to the terminal; a cell is shown whole or not at all.

A shortened price is a wrong price. Where the width does not do for all of a table, it gives way in this
order, and what it leaves out is named below it:

    1. columns that have a brief form take it (the time without the day, which moves to the title)
    2. columns move together
    3. columns are left out, those of the highest rank first; columns of one rank go together
    4. every row becomes a record, one column a line
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

#: Cells between two columns, and at both edges together: usual, moved together, and of a compact sheet.
USUAL, TIGHT, COMPACT = (3, 2), (2, 0), (2, 2)
#: A column of sentences is no narrower than this.
SENTENCE = 30


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """One column.

    Attributes:
        styles: one per cell, or none at all.
        rank: 0 stays; of the others the highest leaves first.
        wraps: a sentence, which may take several lines.
        brief: shorter cells for a narrow terminal, where there are some.
        said: text of the table's title about the cells, and about the brief ones.
    """

    title: str
    cells: Sequence[str]
    right: bool = True
    styles: Sequence[str] = ()
    rank: int = 0
    wraps: bool = False
    brief: Sequence[str] = ()
    said: tuple[str, str] = ("", "")

    def width(self, *, is_brief: bool = False) -> int:
        """Return the cells of the terminal it takes at the least."""
        widest = max(map(cell_len, (self.title, *self.shown(is_brief=is_brief))))
        return min(widest, SENTENCE) if self.wraps else widest

    def shown(self, *, is_brief: bool) -> Sequence[str]:
        """Return the cells, the brief ones where there are some and they are asked for."""
        return self.brief if is_brief and self.brief else self.cells


@dataclass(frozen=True, slots=True)
class Layout:
    """What of a sheet is shown, and how."""

    columns: Sequence[Column]
    gaps: tuple[int, int] = USUAL
    is_brief: bool = False
    are_records: bool = False

    @property
    def width(self) -> int:
        """Cells of the terminal the table takes at the least."""
        between, edges = self.gaps
        widths = [column.width(is_brief=self.is_brief) for column in self.columns]
        return sum(widths) + between * (len(widths) - 1) + edges


@dataclass(frozen=True, slots=True)
class RenderedTable:
    """A titled table, with a note below; prints itself through rich.

    A compact one has neither a line under its header nor a word about what is left out, and no records.

    Attributes:
        hint: how to see what is left out.
        vertical: every row is a record, whatever the width.
    """

    title: str
    columns: Sequence[Column]
    note: str = ""
    compact: bool = False
    hint: str = ""
    vertical: bool = False

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield title, table and notes that fit."""
        columns = [column for column in self.columns if column.title or any(column.cells)]
        layout = laid_out(columns, options.max_width, compact=self.compact, vertical=self.vertical)
        if self.title:
            yield Text(", ".join([self.title, *_said(layout)]), style="bold")
        if columns:
            yield _records(layout.columns) if layout.are_records else _table(layout)
        left_out = [column.title for column in columns if column not in layout.columns]
        if left_out and not self.compact:
            hint = f" ({self.hint})" if self.hint else ""
            yield _note(f"columns left out: {', '.join(filter(None, left_out))}{hint}")
        if self.note:
            yield _note(self.note)


def laid_out(
    columns: Sequence[Column], width: int, *, compact: bool = False, vertical: bool = False
) -> Layout:
    """Return how `columns` are shown in `width` cells; see the module's docstring."""
    if vertical:
        return Layout(columns, are_records=True)
    if compact:
        tries = [Layout(columns, COMPACT), Layout(columns, COMPACT, is_brief=True)]
    else:
        tries = [
            Layout(columns, gaps, is_brief)
            for gaps, is_brief in ((USUAL, False), (USUAL, True), (TIGHT, True))
        ]
    for layout in tries:
        if layout.width <= width:
            return layout
    kept = _without_columns(tries[-1], width)
    return kept if compact or kept.width <= width else Layout(columns, are_records=True)


def _without_columns(layout: Layout, width: int) -> Layout:
    """Return the columns that must stay, and rank by rank those that fit beside them."""
    columns = layout.columns
    kept = replace(layout, columns=[column for column in columns if not column.rank])
    for rank in sorted({column.rank for column in columns} - {0}):
        more = [column for column in columns if column in kept.columns or column.rank == rank]
        if replace(layout, columns=more).width <= width:
            kept = replace(layout, columns=more)
    return kept


def _said(layout: Layout) -> Iterable[str]:
    """Return the texts of the columns for the title, each once."""
    said = (column.said[layout.is_brief and bool(column.brief)] for column in layout.columns)
    return dict.fromkeys(filter(None, said))


def _table(layout: Layout) -> Table:
    table = Table(
        box=None if layout.gaps == COMPACT else SIMPLE_HEAD,
        header_style="dim",
        border_style="dim",
        show_edge=False,
        pad_edge=layout.gaps != TIGHT,
        collapse_padding=layout.gaps == TIGHT,
        padding=(0, 1),
    )
    for column in layout.columns:
        table.add_column(
            column.title,
            justify="right" if column.right else "left",
            no_wrap=not column.wraps,
            overflow="fold",
        )
    shown = [column.shown(is_brief=layout.is_brief) for column in layout.columns]
    for number in range(max(map(len, shown), default=0)):
        table.add_row(
            *(_styled(column, cells, number) for column, cells in zip(layout.columns, shown, strict=True))
        )
    return table


def _records(columns: Sequence[Column]) -> Table:
    """Return a table of two columns, names and values, an empty line between two rows."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True, justify="right")
    table.add_column(overflow="fold")
    for number in range(max((len(column.cells) for column in columns), default=0)):
        if number:
            table.add_row()
        for name, value in _record(columns, number):
            table.add_row(name, value)
    return table


def _record(columns: Sequence[Column], number: int) -> Iterator[tuple[str, Text]]:
    for column in columns:
        if column.cells[number]:
            yield column.title, _styled(column, column.cells, number)


def _styled(column: Column, cells: Sequence[str], number: int) -> Text:
    return Text(cells[number], style=column.styles[number] if column.styles else "")


def _note(text: str) -> RenderableType:
    return Padding(Text(text, style="dim"), (0, 0, 0, 2), expand=False)
