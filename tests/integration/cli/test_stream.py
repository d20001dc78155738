"""`collector stream`: a line of JSON for each event, and an end where nobody reads on."""

import json
import subprocess
import sys

import pytest

STREAM = f"{sys.executable} -m collector stream trade btc --start earliest"


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("command", [f"{STREAM} --limit 3", f"{STREAM} | head -n 3"])
def test_it_ends_with_the_last_line_that_is_wanted(command: str) -> None:
    """By itself, or because its reader has gone: no further event comes here."""
    ended = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=30)  # noqa: S602
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [(it["channel"], it["market"], it["data"]["price"]) for it in lines] == [
        ("trade", "KRW-BTC", price) for price in ("100000000", "100002000", "99999000")
    ]
    assert ended.stderr == ""
