"""`collector analyze`: send an analysis to the workers, wait for its answer, print it."""

from collector.commands.store import open_running
from collector.render import output
from collector.render.answers import answer
from collector.render.sheet import Column, Sheet
from collector.settings import Settings
from tasks.analysis import names
from tasks.ask import ask
from tasks.read import to_json


def analyze(
    settings: Settings, name: str, market: str, *, window: str, timeout_s: float, as_json: bool
) -> int:
    """Print the answer of the analysis `name`; return the exit code.

    Raises:
        ConfigurationError: no such analysis or window.
        NoData: an unknown market, or nothing in the window.
        PipelineError: no Redis, or no worker answered within `timeout_s`.
    """
    with open_running(settings):
        figures = ask(name, market, window, timeout_s=timeout_s)
    if as_json:
        output.write(to_json(figures))
    else:
        output.show(answer(name, figures))
    return 0


def list_analyses(*, as_json: bool) -> int:
    """Print the name of every analysis and what it says; return the exit code."""
    found = names()
    if as_json:
        output.write(to_json([{"name": name, "description": text} for name, text in found.items()]))
    else:
        columns = (
            Column("name", list(found), right=False),
            Column("answers", list(found.values()), right=False, wraps=True),
        )
        output.show([Sheet("Analyses", columns, "collector analyze NAME MARKET --window 15m")])
    return 0
