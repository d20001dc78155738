"""Every file in `examples/` runs as its first lines say."""

import os
import subprocess
import sys

import pytest

from .conftest import ROOT

EXAMPLES = {
    "candles_to_csv.py": (["KRW-BTC", "1m"], "KRW-BTC,1m,1789999980000,2026-09-21T14:13:00Z,100000000,"),
    "volume_by_hour.py": (["KRW-BTC"], "2026-09-21 14:00Z            1.75000001  bought  86%"),
    "follow_gaps.py": (["0.1"], "KRW-BTC trade 100 ms disconnected: open"),
    "ask_workers.py": (["KRW-BTC", "15m"], "KRW-BTC 15m: vwap 99999714.28571020"),
}


def test_every_example_is_tested() -> None:
    """A new file in the folder needs a line in the table above."""
    assert {file.name for file in (ROOT / "examples").glob("*.py")} == set(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_runs(name: str, filled: str, worker: None) -> None:
    """It prints what is stored, and ends."""
    arguments, expected = EXAMPLES[name]
    ended = subprocess.run(
        [sys.executable, str(ROOT / "examples" / name), *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert expected in ended.stdout
