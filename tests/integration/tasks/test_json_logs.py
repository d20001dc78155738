"""Log lines of a worker as JSON."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from celery import Celery

from collector import routing
from collector.store.read import Reader


def test_lines_of_a_task_have_its_id(
    start_worker: Callable[..., Any], sender: Celery, reader: Reader, tmp_path: Path, eventually: Any
) -> None:
    """Every line is JSON; the one about a broken batch names the batch, as its dead letter does."""
    start_worker("-Q", "trade", "-P", "solo", COLLECTOR_LOG__FORMAT="json")
    sender.send_task(routing.INGEST_TRADES, args=("no batch",), queue="trade", task_id="batch-1")
    eventually(lambda: reader.dead_letters(), 20, "the dead letter")
    (log,) = tmp_path.glob("*.log")
    lines = [
        msgspec.json.decode(line) for line in log.read_text().splitlines() if line.startswith('{"time_ms"')
    ]
    assert any(line["message"].endswith(" ready.") and "task_id" not in line for line in lines)
    found = [line for line in lines if line.get("task_id") == "batch-1"]
    assert found
    assert {line["task"] for line in found} == {routing.INGEST_TRADES}
