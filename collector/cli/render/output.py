"""The way to the terminal: quiet colours on a screen, plain unwrapped lines in a pipe."""

import os
import sys
from collections.abc import Iterable

from rich.console import Console, RenderableType

#: Wider than any table of ours: a pipe has no edge to wrap at.
ENDLESS = 1000


def console() -> Console:
    """Return a console for stdout; `NO_COLOR`, `TERM` and `COLUMNS` are respected."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else ENDLESS)


def show(parts: Iterable[RenderableType]) -> None:
    """Print `parts`, an empty line between two of them; a reader that leaves early is no error."""
    try:
        screen = console()
        for number, part in enumerate(parts):
            if number:
                screen.print()
            screen.print(part, soft_wrap=isinstance(part, str))
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
