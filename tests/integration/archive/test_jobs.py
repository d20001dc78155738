"""A real worker on the queue `archive`: it calls itself, survives `kill -9`, and leaves analyses alone."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from collector import routing
from collector.archive.files import Files
from collector.archive.schema import CANDLES, TRADES
from collector.settings import Settings
from collector.store.store import Store
from tests.samples.rows import T0, trade

ROOT = Path(__file__).resolve().parents[3]
FAST = {"COLLECTOR_ARCHIVE__INTERVAL_S": "5"}
QUEUES = ("-Q", "analysis,archive", "-c", "2")


def ids(files: Files) -> list[int]:
    """Return the ids of all archived trades."""
    found = [pq.read_table(path).column("id").to_pylist() for path in files.within(TRADES, None, None)]
    return sorted(number for some in found for number in some)


def test_a_worker_archives_by_itself_and_goes_on_after_a_kill(
    store: Store, files: Files, settings: Settings, start_worker: Any, eventually: Callable[..., None]
) -> None:
    """No scheduler beside it: the worker that takes the queue is enough, also the one that comes after it."""
    folder = {"COLLECTOR_DATA_DIR": str(settings.data_dir)}
    store.put_trades([trade(1)])
    worker = start_worker(*QUEUES, **FAST, **folder)
    eventually(lambda: ids(files) == [1], 30, "the first run")
    worker.send_signal(signal.SIGKILL)
    worker.wait(10)
    store.put_trades([trade(2), trade(3, exchange_ms=T0 + 60_000)])
    start_worker(*QUEUES, **FAST, **folder)
    eventually(lambda: ids(files) == [1, 2, 3], 30, "the run after the kill")
    eventually(lambda: bool(files.within(CANDLES, None, None)), 30, "the candles, which follow their trades")


def test_archive_tasks_go_to_their_own_queue() -> None:
    """Whoever calls them by name needs no option, and workers without `-Q` take the queue."""
    for name in (routing.ARCHIVE_RUN, routing.ARCHIVE_SWEEP):
        assert [way for pattern, way in routing.ROUTES.items() if fnmatch(name, pattern)] == [
            {"queue": "archive"}
        ]
    assert "archive" in routing.all_queues(1)


@pytest.mark.parametrize(("enabled", "written"), [("false", False), ("true", True)])
def test_it_can_be_switched_off(store: Store, settings: Settings, enabled: str, written: bool) -> None:
    """With COLLECTOR_ARCHIVE__ENABLED=false a call does nothing."""
    store.put_trades([trade(1)])
    environment = {
        **os.environ,
        "REDIS_URL": settings.redis_url.get_secret_value(),
        "COLLECTOR_DATA_DIR": str(settings.data_dir),
        "COLLECTOR_ARCHIVE__ENABLED": enabled,
    }
    argv = [sys.executable, "-c", "from tasks import archive_jobs as jobs; jobs.sweep()"]
    subprocess.run(argv, cwd=ROOT, env=environment, timeout=60, check=True)
    assert written is (settings.data_dir / "archive").exists()
