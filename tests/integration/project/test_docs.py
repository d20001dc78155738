"""What the documents say is what the code does."""

import re
from decimal import Decimal
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from collector import settings
from collector.cli.entry import app
from collector.feed import session
from collector.host import metrics
from collector.model import Side, Trade
from collector.store.redis_client import connect
from collector.store.store import Store
from collector.stream import pressure

NOW_MS = 1_789_997_580_000 + 5

ROOT = Path(__file__).resolve().parents[3]
READMES = ("README.md", "README.ko.md")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_settings_page_lists_every_setting_as_it_is():
    """`docs/settings.md` is what `python -m collector.settings` prints."""
    assert settings.reference() + "\n" == read("docs/settings.md")


def test_metrics_page_lists_every_metric_as_it_is():
    """`docs/metrics.md` is what `python -m collector.host.metrics` prints."""
    assert metrics.reference() + "\n" == read("docs/metrics.md")


@pytest.mark.parametrize("draw", [session.diagram, pressure.mermaid])
def test_diagrams_are_drawn_from_the_tables(draw):
    """The architecture page shows the state tables of the code."""
    assert draw().rstrip() in read("docs/architecture.md")


@pytest.mark.parametrize("name", READMES)
def test_readme_names_only_commands_that_exist(name):
    """Every `collector …` line of a README is a command, or one of a group, with options it has."""
    group = typer.main.get_command(app)
    lines = re.findall(
        r"^(?:    |.*`)(?:\.venv/bin/)?collector ([a-z][a-z-]*)([^`#\n]*)", read(name), re.MULTILINE
    )
    assert len(lines) >= 9
    for command, rest in lines:
        assert command in group.commands, command
        found = group.commands[command]
        if isinstance(found, TyperGroup):
            found = found.commands[rest.split()[0]]
        known = {option for parameter in found.params for option in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", rest)) <= known, (command, rest)


@pytest.mark.parametrize("name", READMES)
def test_readme_names_only_verbs_of_the_makefile(name):
    """Every `make …` line of a README is a target."""
    targets = set(re.findall(r"^([a-z]+):", read("Makefile"), re.MULTILINE))
    verbs = re.findall(r"^    make ([a-z]+)", read(name), re.MULTILINE)
    assert {"demo", "test", "up"} <= set(verbs) <= targets


def test_korean_readme_says_the_same():
    """Both READMEs have the same headings, commands and pictures in the same order."""
    english, korean = map(read, READMES)
    for pattern in (
        r"^#+ ",
        r"^    (?:\w[^#\n]*?)(?=\s*(?:#|$))",
        r"!\[[^\]]*\]\(([^)]*)\)",
        r"```python\n.*?```",
    ):
        found = [re.findall(pattern, text, re.MULTILINE | re.DOTALL) for text in (english, korean)]
        if pattern.startswith("^    "):
            found = [[line for line in lines if not re.search(r"\d,\d|made", line)] for lines in found]
        assert found[0] == found[1]


@pytest.mark.parametrize("name", READMES)
def test_pictures_and_links_exist(name):
    """Every local link of a README leads somewhere."""
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", read(name)):
        assert (ROOT / target).exists(), target


@pytest.mark.parametrize("name", READMES)
def test_python_of_the_readme_runs(name, redis_url, monkeypatch, capsys):
    """The Python snippet of a README reads candles from a running system, in Korean time."""
    chosen = settings.Settings(redis_url=redis_url)
    trade = Trade("KRW-BTC", 1, Decimal("100.5"), Decimal("0.25"), Side.BUY, NOW_MS, NOW_MS)
    Store(connect(redis_url, chosen), chosen.store).put_trades([trade])
    monkeypatch.setenv("REDIS_URL", redis_url)
    settings.current.cache_clear()
    (snippet,) = re.findall(r"```python\n(.*?)```", read(name), re.DOTALL)
    exec(snippet, {})  # noqa: S102 - our own README
    settings.current.cache_clear()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["open", "high", "low", "close", "complete"]
    prices = ["100.5"] * 4
    # It opens at 22:30, before the first trade there is: what came then is not known.
    assert lines[-1].split() == ["2026-09-21", "22:30:00+09:00", *prices, "False"]
