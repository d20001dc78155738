"""Celery's settings as a worker, a caller and a person at the prompt meet them."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from celery import Celery

from collector import routing

ROOT = Path(__file__).resolve().parents[3]
LIMIT_S = 30


def celery(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the `celery` command in `folder`, with no settings but `environment`."""
    return subprocess.run(
        [sys.executable, "-m", "celery", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )


@pytest.mark.server
@pytest.mark.parametrize("command", [("worker",), ("call", "tasks.analysis.vwap")])
def test_without_redis_there_is_one_line_that_says_what_to_do(tmp_path: Path, command: tuple[str]) -> None:
    """No stack trace, exit code 1."""
    ended = celery(tmp_path, "-A", "tasks", *command)
    assert ended.returncode == 1
    (line,) = ended.stderr.strip().splitlines()
    assert "start `collector up` there or set REDIS_URL" in line


@pytest.mark.server
def test_a_setting_that_does_not_exist_is_one_line(tmp_path: Path) -> None:
    """The slip is named, with what was meant."""
    ended = celery(tmp_path, "-A", "tasks", "report", COLLECTOR_WORKER__CONCURENCY="3")
    assert "did you mean COLLECTOR_WORKER__CONCURRENCY" in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


@pytest.mark.server
def test_help_needs_no_redis(tmp_path: Path) -> None:
    """Neither does importing the app."""
    assert celery(tmp_path, "-A", "tasks", "worker", "--help").returncode == 0


@pytest.fixture
def app(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Celery:
    """An app configured as every process of ours is."""
    from collector import settings

    monkeypatch.setenv("REDIS_URL", redis_url)
    settings.current.cache_clear()
    monkeypatch.delitem(sys.modules, "collector.broker.config", raising=False)
    made = Celery("configured", set_as_current=False)
    made.config_from_object("collector.broker.config")
    assert made.conf.broker_url == redis_url
    settings.current.cache_clear()
    return made


@pytest.mark.parametrize(
    ("task", "queue"),
    [
        (routing.INGEST_TRADES, "trade"),
        (routing.INGEST_GAPS, "trade"),
        (routing.INGEST_ORDERBOOKS, "orderbook"),
        (routing.INGEST_TICKERS, "ticker"),
        ("tasks.analysis.vwap", "analysis"),
        ("tasks.analysis.whatever_comes", "analysis"),
    ],
)
def test_every_task_has_its_queue(app: Celery, task: str, queue: str) -> None:
    """A flood of books never delays a trade; nobody has to name a queue."""
    assert app.amqp.router.route({}, task)["queue"].name == queue


def test_nothing_is_pickled_and_nothing_is_acknowledged_early(app: Celery) -> None:
    """The settings that decide whether data can be lost or code be injected."""
    conf = app.conf
    assert (conf.accept_content, conf.task_serializer, conf.result_serializer) == (["json"], "json", "json")
    assert (conf.task_acks_late, conf.task_reject_on_worker_lost) == (True, True)
    assert conf.worker_prefetch_multiplier == 1


def test_flower_is_shown_settings_and_nothing_else(app: Celery) -> None:
    """What Celery reads and shows is each name the file assigns, spelled as Celery spells it."""
    assigned = [
        node.id
        for node in ast.walk(ast.parse((ROOT / "collector/broker/config.py").read_text()))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    ]
    settings = {name for name in assigned if not name.startswith("_")} - {"error", "name"}
    shown = app.conf.table()
    assert settings == set(shown) - {"include", "deprecated_settings"}
    assert repr(shown["task_annotations"]) == "[tasks.analysis.*: rate_limit 50/s]"
    assert len(settings) > 25


def test_shards_have_queues_of_their_own() -> None:
    """One shard is just `trade`; several are read beside it."""
    assert routing.trade_queues(1) == ("trade",)
    assert routing.trade_queues(2) == ("trade", "trade.0", "trade.1")
    assert set(routing.QUEUES) == set(routing.all_queues(1))
