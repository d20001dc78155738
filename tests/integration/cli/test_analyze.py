"""`collector analyze` and `tasks.ask`: a question to real workers, and what is said where none answers."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
import redis

from collector.host.redis_server import PrivateRedis
from collector.settings import Settings
from collector.store.keys import Keys

from .conftest import MINUTE, T0, Run

pytestmark = pytest.mark.server

TIMEOUT_S = 30
Ended = subprocess.CompletedProcess[str]


def collector(*arguments: str) -> Ended:
    """Run the command in a process of its own: Celery reads its settings once."""
    argv = [sys.executable, "-m", "collector", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


def test_worker_answers(filled: str, worker: None) -> None:
    """The promised object: what it is about, and exact figures."""
    ended = collector("analyze", "vwap", "krw-btc", "--window", "15m", "--json")
    assert (ended.returncode, ended.stderr) == (0, "")
    answer = msgspec.json.decode(ended.stdout)
    assert answer["vwap"] == "99999714.28571020408165597668"
    assert (answer["market"], answer["window"], answer["trade_count"]) == ("KRW-BTC", "15m", 3)
    assert answer["from_ms"] == T0 - 13 * MINUTE
    table = collector("analyze", "vwap", "KRW-BTC")
    assert "99,999,714.2857" in table.stdout


def test_python_gets_the_model_of_the_answer(filled: str, worker: None) -> None:
    """`tasks.ask.result` gives a pydantic model: decimals are decimals."""
    program = (
        "from tasks.ask import result; r = result('vwap', 'KRW-BTC'); print(repr(r.vwap), type(r).__name__)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=TIMEOUT_S)
    assert ended.stdout == "Decimal('99999714.28571020408165597668') Vwap\n", ended.stderr


def test_several_markets_are_answered_one_after_the_other(filled: str, worker: None) -> None:
    """A list is an array, whoever answers it; an analysis of several markets answers once."""
    ended = collector("analyze", "vwap", "dust,BTC/KRW", "--json")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert [row["market"] for row in msgspec.json.decode(ended.stdout)] == ["KRW-DUST", "KRW-BTC"]
    table = collector("analyze", "vwap", "KRW-*").stdout
    assert table.index("KRW-BTC") < table.index("KRW-DUST")
    pair = collector("analyze", "correlation", "btc,KRW_DUST", "--json")
    assert msgspec.json.decode(pair.stdout)["market"] == "KRW-BTC,KRW-DUST"


def test_further_arguments_and_all_markets(filled: str, worker: None) -> None:
    """`--arg` reaches the analysis; one of all markets needs no market."""
    ended = collector("analyze", "vpin", "KRW-BTC", "--arg", "buckets=7", "--json")
    assert (ended.returncode, ended.stderr) == (0, "")
    answer = msgspec.json.decode(ended.stdout)
    assert (answer["buckets"], answer["window"]) == (7, "1h")
    movers = collector("analyze", "top_movers")
    assert (movers.returncode, movers.stderr) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["vwap", "KRW-NOPE"], 1, "KRW-NOPE is not a market"),
        (["vwap", "KRW-DUSK"], 1, "did you mean KRW-DUST?"),
        (["vwap", "btc,KRW-DUSK"], 1, "did you mean KRW-DUST?"),
        (["spread", "KRW-DU*"], 1, "KRW-DUST: no book was sampled"),
        (["vwap", "KRW-BTC", "--window", "7x"], 2, "'7x' is not a window"),
        (["nonsense", "KRW-BTC"], 2, "twap, "),
        (["vpin", "KRW-BTC", "--arg", "buckets=0"], 2, "buckets=0: input should be greater"),
        (["vpin", "KRW-BTC", "--arg", "size=5"], 2, "vpin has no argument 'size': it has window, buckets"),
        (["vpin", "KRW-BTC", "--arg", "buckets"], 2, "--arg buckets: write name=value"),
    ],
)
def test_what_the_worker_refuses_is_one_line(
    filled: str, worker: None, arguments: list[str], code: int, said: str
) -> None:
    """The worker's own sentence reaches the caller, with its exit code."""
    ended = collector("analyze", *arguments)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (code, "", 1), ended.stderr
    assert said in ended.stderr


def test_nobody_there_is_said_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a worker the wait is bounded, and the line says what to start."""
    with PrivateRedis(Settings(data_dir=tmp_path)) as server:
        monkeypatch.setenv("REDIS_URL", server.url)
        started = time.monotonic()
        ended = collector("analyze", "vwap", "KRW-BTC", "--timeout", "0.5")
        took = time.monotonic() - started
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert (
        "no worker answered within 0.5 s: start one with `celery -A tasks worker -Q analysis`" in ended.stderr
    )
    assert took < 30  # of which most is the start of an interpreter on a busy machine


def test_list_needs_no_redis(tmp_path: Path) -> None:
    """Names and what each answers, before anything is started."""
    argv = [sys.executable, "-m", "collector", "analyze", "--list", "--json"]
    ended = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
    listed = msgspec.json.decode(ended.stdout)
    assert "vwap" in {row["name"] for row in listed}
    assert all(row["description"] for row in listed)


def test_name_and_market_are_needed(filled: str) -> None:
    """Wrong usage shows how it is done."""
    ended = collector("analyze", "vwap")
    assert ended.returncode == 2
    assert "collector analyze vwap KRW-BTC" in ended.stderr


def test_kept_answers_are_shown_oldest_first(run: Run, filled: str, settings: Settings) -> None:
    """As a table of their single figures, as JSON with everything; none is a sentence, or []."""
    assert run("analyze", "vwap", "KRW-BTC", "--kept", "--json").out == "[]\n"
    assert "COLLECTOR_ANALYSIS__PERIODIC" in run("analyze", "vwap", "KRW-BTC", "--kept").out
    key = Keys(settings.store.key_prefix).answers("vwap", ("KRW-BTC", "15m"))
    answers = [
        {"market": "KRW-BTC", "window": "15m", "to_ms": 1_790_000_000_000 + n, "vwap": str(100 + n)}
        for n in range(25)
    ]
    with redis.Redis.from_url(filled) as client:
        client.rpush(key, *map(json.dumps, answers))
    assert json.loads(run("analyze", "vwap", "krw-btc", "--kept", "--json").out) == answers
    shown = run("analyze", "vwap", "KRW-BTC", "--kept").out
    assert "vwap KRW-BTC 15m" in shown
    assert "the newest 20 of 25" in shown
    assert " 124\n" in re.sub(" +\n", "\n", shown)
    refused = run("analyze", "walls", "KRW-BTC", "--window", "5m", "--kept")
    assert (refused.code, refused.err) == (2, "collector: walls has no window\n")
