"""What the command line says about itself: whole sentences that fit, an example for every command."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from collector.cli import entry as cli
from collector.cli.group import sentence
from tests.doubles.command_line import Run

WIDTHS = (80, 100, 140)


def commands(found: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every command and group with the words it is typed with."""
    found = found or typer.main.get_command(cli.app)
    yield path, found
    for name, inner in getattr(found, "commands", {}).items():
        yield from commands(inner, (*path, name))


ALL = dict(commands())
GROUPS = [path for path, found in ALL.items() if hasattr(found, "commands")]


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_help_has_an_example(run: Run, path: tuple[str, ...]) -> None:
    """And goes to stdout with exit code 0."""
    ended = run(*path, "--help")
    assert (ended.code, ended.err) == (0, "")
    assert re.search(rf"Example: .*collector {' '.join(path)}", " ".join(ended.out.split()))


@pytest.mark.parametrize("path", GROUPS, ids=" ".join)
def test_a_group_alone_prints_its_help(run: Run, path: tuple[str, ...]) -> None:
    """On stdout, with exit code 0; a wrong word is still wrong usage."""
    assert run(*path) == run(*path, "--help")
    wrong = run(*path, "nonsense")
    assert (wrong.code, wrong.out, wrong.err.count("\n")) == (2, "", 1)
    assert f"(see `{' '.join(('collector', *path))} --help`)" in wrong.err


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("path", GROUPS, ids=" ".join)
def test_summaries_are_sentences_that_fit(
    run: Run, path: tuple[str, ...], width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each command has one line, which ends with its full stop."""
    monkeypatch.setenv("COLUMNS", str(width))
    out = run(*path).out
    lines = out.partition("Commands:\n")[2].partition("\n\n")[0].splitlines()
    assert len(lines) == len(ALL[path].commands)
    assert [line for line in lines if not re.fullmatch(r"  \S+ +\S.*\.", line) or "..." in line] == []
    assert max(map(len, out.splitlines())) <= width


def test_a_narrow_terminal_wraps_summaries(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is cut."""
    monkeypatch.setenv("COLUMNS", "50")
    letters = "".join(run().out.split())
    for found in ALL[()].commands.values():
        assert "".join(sentence(found.help).split()) in letters


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("Run it. Then stop.", "Run it."),
        ("Serve /v1/… and\n/healthz.\n\nMore.", "Serve /v1/… and /healthz."),
        ("No stop", "No stop"),
    ],
)
def test_first_sentence(text: str, first: str) -> None:
    """Up to the full stop, or the whole paragraph."""
    assert sentence(text) == first
