"""The command line run in this process."""

import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from collector import settings as settings_module
from collector.cli import entry as cli

#: 2026-09-21T14:13:00Z, 23:13 in Korea.
T0 = 1_789_999_980_000
MINUTE = 60_000


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> object:
        return msgspec.json.decode(self.out)


Run = Callable[..., Ended]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[Run]:
    """A function that runs `collector …` in this process, in an empty folder."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    monkeypatch.chdir(tmp_path)

    def command(*arguments: str) -> Ended:
        settings_module.current.cache_clear()
        monkeypatch.setattr(sys, "argv", ["collector", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        return Ended(int(ended.value.code or 0), printed.out, printed.err)

    yield command
    settings_module.current.cache_clear()
    root.handlers[:] = handlers
    root.setLevel(level)
