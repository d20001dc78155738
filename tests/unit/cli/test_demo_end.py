"""What a demo ends with: the verdict first, tables that fit, commands that work as they stand."""

import shlex
import sys
from dataclasses import replace
from decimal import Decimal
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from collector.cli.demo import print_parts
from collector.cli.program import program, typed
from collector.cli.render.demo import DemoEnd, MarketEnd, demo_end
from collector.settings import Settings

D = Decimal
END = DemoEnd(
    markets=[
        MarketEnd(
            f"KRW-C{number:02}",
            300 + number,
            300 + number,
            D("13590.2477"),
            D("116207881.5"),
            D("0.086"),
            True,
        )
        for number in range(24)
    ],
    counters={"trades_counted": 7476, "trades_recovered": 277, "frames": 123_456, "frame_copies": 61_000},
    sockets=2,
    lag="p50 14 ms, p99 29 ms",
    was_cut=False,
    next_commands={"its candles": ".venv/bin/collector show candles KRW-BTC", "up": ".venv/bin/collector up"},
)


def printed(end: DemoEnd, width: int, *, colour: bool = False) -> list[str]:
    console = Console(file=StringIO(), width=width, force_terminal=colour, highlight=False)
    print_parts(console, demo_end(end))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


@pytest.mark.parametrize("width", [80, 100, 140])
def test_the_verdict_comes_first_and_everything_fits(width: int) -> None:
    """Nothing is cut, whatever is left out is counted."""
    lines = printed(END, width)
    assert lines[1] == "7,476 trades made, 0 lost, 0 doubled: every trade counted exactly once"
    assert lines[3].split() == ["market", "made", "counted", "volume", "VWAP", "spread", "bps", "exact"]
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert "…" not in text
    assert "the busiest 8 of 24 markets" in text
    assert "  its candles  .venv/bin/collector show candles KRW-BTC" in lines


def test_trades_from_rest_are_explained() -> None:
    """Where they came from adds up to what was counted."""
    text = "\n".join(printed(END, 80))
    assert "trades from the sockets   7,199" in text
    assert "trades from REST          277, made before the sockets were connected\n" in text
    cut = " ".join(" ".join(printed(replace(END, was_cut=True), 80)).split())
    assert "277, made before the sockets were connected, or while they were cut" in cut
    none = "\n".join(printed(replace(END, counters={"trades_counted": 5}), 80))
    assert "trades from REST          none was needed" in none


def test_the_verdict_is_green_or_red() -> None:
    """A wrong market is named, and stands first in the table."""
    assert printed(END, 80, colour=True)[1].startswith("\x1b[1;32m7,476 trades made")
    wrong = [*END.markets[:-1], replace(END.markets[0], market="KRW-BAD", counted=299, is_exact=False)]
    lines = printed(replace(END, markets=wrong), 80, colour=True)
    assert lines[1] == "\x1b[1;31m7,453 trades made, 1 lost, 0 doubled: KRW-BAD differ\x1b[0m"
    assert "KRW-BAD" in printed(replace(END, markets=wrong), 80)[5]
    many = [replace(row, is_exact=False) for row in END.markets]
    assert "KRW-C04 and 19 more differ" in printed(replace(END, markets=many), 80)[1]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a virtual environment's program in it, whose shell finds none."""
    script = tmp_path / ".venv/bin/collector"
    script.parent.mkdir(parents=True)
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/nowhere")
    return tmp_path


def test_the_program_is_named_as_it_can_be_typed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its name where the shell finds it, else by the way to it."""
    assert program(".venv/bin/collector") == ".venv/bin/collector"
    assert program(str(folder / ".venv/bin/collector")) == ".venv/bin/collector"
    assert program("collector") == "collector"
    assert (
        program("/x/collector/__main__.py", str(folder / ".venv/bin/python"))
        == ".venv/bin/python -m collector"
    )
    monkeypatch.setenv("PATH", str(folder / ".venv/bin"))
    assert program(str(folder / ".venv/bin/collector")) == "collector"
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.chdir(folder / ".venv/bin")
    assert program(str(folder / ".venv/bin/collector")) == "./collector"
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    assert program(str(folder / ".venv/bin/collector")) == str(folder / ".venv/bin/collector")


def test_another_folder_is_part_of_the_command(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was started on a folder of its own is read there."""
    monkeypatch.setattr(sys, "argv", [".venv/bin/collector"])
    assert typed(Settings(), "chart KRW-BTC") == ".venv/bin/collector chart KRW-BTC"
    here = Settings(data_dir=Path.cwd() / "data")
    assert typed(here, "up") == ".venv/bin/collector up", "the default, spelled out"
    command = typed(Settings(data_dir=folder / "my data" / "demo"), "up")
    assert command == "COLLECTOR_DATA_DIR='my data/demo' .venv/bin/collector up"
    assert shlex.split(command)[0] == "COLLECTOR_DATA_DIR=my data/demo"
