"""`collector dead-letters`: look, send again, drop."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
import redis

from collector.settings import Settings
from collector.store.dead_letters import DeadLetter, DeadLetters
from collector.store.redis_client import connect

from .conftest import T0, Run

LETTERS = [
    DeadLetter(f"id-{number}", "tasks.ingest.trades", "trade", f"broken {number}", number, T0, "{}")
    for number in (1, 2)
]


@pytest.fixture
def letters(redis_in_force: str, settings: Settings) -> Iterator[DeadLetters]:
    """Two dead letters."""
    with connect(redis_in_force, settings) as client:
        kept = DeadLetters(client, settings.store)
        for letter in LETTERS:
            kept.bury(letter)
        yield kept


def test_letters_are_listed_oldest_first(run: Run, letters: DeadLetters) -> None:
    """With reason and tries; for programs with the batch itself."""
    rows = run("dead-letters", "list", "--json").json
    assert [row["id"] for row in rows] == ["id-1", "id-2"]
    promised = ["id", "task", "queue", "reason", "attempts", "failed_ms", "body"]
    assert list(rows[0]) == [*promised, "created_ms", "from_ms", "to_ms", "everywhere"]
    assert [row["id"] for row in run("dead-letters", "list", "--limit", "1", "--json").json] == ["id-2"]
    assert "broken 2" in run("dead-letters", "list").out


def test_no_letters_is_no_error(run: Run, redis_in_force: str) -> None:
    """A sentence, or an empty array."""
    assert run("dead-letters", "list").out == "No dead letters.\n"
    assert run("dead-letters", "list", "--json").json == []


def test_one_letter_is_dropped(run: Run, letters: DeadLetters) -> None:
    """The other one stays; the same again is an error."""
    assert run("dead-letters", "drop", "id-1").out == "1 dropped\n"
    assert [letter.id for letter in letters.list()] == ["id-2"]
    again = run("dead-letters", "drop", "id-1")
    assert (again.code, again.err.count("\n")) == (1, 1)


def test_dropping_all_must_be_said(run: Run, letters: DeadLetters) -> None:
    """Neither a name nor --all, or both, drops nothing."""
    for arguments in ([], ["id-1", "--all"]):
        assert run("dead-letters", "drop", *arguments).code == 2
    assert len(letters.list()) == 2
    assert run("dead-letters", "drop", "--all").out == "2 dropped\n"


def test_letters_are_sent_again(letters: DeadLetters, redis_in_force: str) -> None:
    """They leave the list and wait in the queue they came from."""
    argv = [sys.executable, "-m", "collector", "dead-letters", "retry"]
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert (ended.returncode, ended.stdout) == (0, "2 sent to the workers again\n")
    with redis.Redis.from_url(redis_in_force) as client:
        assert client.llen("trade") == 2
    assert letters.list() == []


def test_full_redis_takes_nothing_and_loses_nothing(letters: DeadLetters, redis_in_force: str) -> None:
    """One line says so, and the letters are still there."""
    argv = [sys.executable, "-m", "collector", "dead-letters", "retry"]
    with redis.Redis.from_url(redis_in_force) as client:
        before = client.config_get("maxmemory")["maxmemory"]
        client.config_set("maxmemory", "1mb")
        try:
            ended = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
        finally:
            client.config_set("maxmemory", before)
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert "Redis did not take the batch" in ended.stderr
    assert len(letters.list()) == 2
