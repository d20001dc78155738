"""A worker's own port: `/metrics`, `/healthz`, `/readyz`."""

import re
import socket
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import redis
from celery import Celery

from collector.clock import ManualClock
from collector.host.web import why_not_ready
from tasks.heartbeat import Heartbeat, Report
from tests.samples.rows import T0

pytestmark = pytest.mark.server


def test_a_worker_serves_itself_on_a_port_of_its_own(
    sender: Celery, start_worker: Any, eventually: Callable[..., None]
) -> None:
    """Its tasks, whichever of its processes did them; ready while Redis answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    start_worker("-Q", "analysis", "-c", "2", COLLECTOR_WORKER__METRICS_PORT=str(port))
    address = f"http://127.0.0.1:{port}"
    eventually(lambda: httpx.get(f"{address}/readyz", timeout=5).text == "ready\n", 10, "it is ready")
    text = httpx.get(f"{address}/metrics", timeout=5).text
    assert "bithumb_worker_started_timestamp_milliseconds{worker=" in text
    assert httpx.get(f"{address}/healthz", timeout=5).text == "ok\n"
    before = tasks_done(text)
    for _ in range(20):
        sender.send_task("tasks.periodic.sample_books", queue="analysis", ignore_result=True)
    page = f"{address}/metrics"
    eventually(lambda: tasks_done(httpx.get(page, timeout=5).text) >= before + 20, 15, "all are counted")


def tasks_done(text: str) -> float:
    """The counter of finished tasks."""
    return float(re.search(r"bithumb_worker_tasks_total\{[^}]*\} (\S+)", text)[1])


def test_a_worker_that_cannot_report_is_not_ready() -> None:
    """Its port says so while Redis is away; its own figures are still there."""
    with redis.Redis(port=1, socket_connect_timeout=0.2) as nobody:
        heartbeat = Heartbeat(nobody, "key", Report("w@host", ["trade"], ManualClock(T0)), interval_s=0.02)
        heartbeat.start()
        heartbeat.join(0.2)
        heartbeat.stop()
        heartbeat.join(2)
    snapshot = heartbeat.look()
    assert why_not_ready(snapshot, T0) == "Redis does not answer"
    assert snapshot.workers[0]["hostname"] == "w@host"
