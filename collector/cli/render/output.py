"""The way to the terminal: quiet colours on a screen, plain unwrapped lines in a pipe."""

import os
import sys
from collections.abc import Iterable

from rich.console import Console, RenderableType
from rich.text import Text

#: Wider than any table of ours: a pipe has no edge to wrap at.
ENDLESS = 1000


def console() -> Console:
    """Return a console for stdout; `NO_COLOR`, `TERM` and `COLUMNS` are respected, in a pipe too."""
    has_edge = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(highlight=False, width=None if has_edge else ENDLESS)


def show(parts: Iterable[RenderableType], *, warning: str = "") -> None:
    """Print `parts`, an empty line between two of them; a reader that leaves early is no error.

    Args:
        warning: a sentence that comes first and catches the eye.
    """
    try:
        screen = console()
        if warning:
            parts = (Text(warning, "yellow"), *parts)
        for number, part in enumerate(parts):
            if number:
                screen.print()
            screen.print(part)
        sys.stdout.flush()
    except BrokenPipeError:
        _leave_quietly()


def write(text: str) -> None:
    """Print `text` as it is."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        _leave_quietly()


def _leave_quietly() -> None:
    """Let what is still buffered go nowhere, so that the interpreter does not complain at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
