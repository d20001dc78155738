"""TAB: markets of the store in the shell, at once, and nothing at all where there is no store."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.server

PROGRAM = "import sys; sys.argv[0] = 'collector'; from collector.cli.entry import main; main()"


def completions(*words: str) -> list[str]:
    """Return what bash is offered after these words, the last of them unfinished."""
    environment = {
        "_COLLECTOR_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(("collector", *words)),
        "COMP_CWORD": str(len(words)),
    }
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert ended.stderr == ""
    return ended.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("show", "candles", "KRW-"), ["KRW-BTC", "KRW-DUST"]),
        (("show", "ticker", "bt"), ["btc"]),
        (("show", "ticker", "btc,du"), ["btc,dust"]),
        (("chart", "krw_d"), ["krw_dust"]),
        (("analyze", "vwap", "KRW-B"), ["KRW-BTC"]),
        (("export", "trades", "KRW-B"), ["KRW-BTC"]),
        (("up", "--markets", "KRW-B"), ["KRW-BTC"]),
    ],
)
def test_markets_of_the_store_are_offered(filled: str, words: tuple[str, ...], offered: list[str]) -> None:
    """Wherever a market is named."""
    assert completions(*words) == offered


def test_no_store_offers_nothing_in_silence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No Redis, one that never answers, settings that are wrong: no market, no word, no wait."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLLECTOR_DATA_DIR", str(tmp_path))
    assert completions("show", "candles", "KRW-") == []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        started_s = time.monotonic()
        assert completions("show", "candles", "KRW-") == []
        assert time.monotonic() - started_s < 10  # of which most is the start of an interpreter
    monkeypatch.setenv("REDIS_URL", "no address")
    assert completions("show", "candles", "KRW-") == []
