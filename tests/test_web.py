"""The listener's own HTTP port tells the truth."""

import httpx
import pytest

from collector.errors import ConfigurationError
from collector.host.metrics import Snapshot
from collector.host.web import READY_WITHIN_MS, Web

NOW_MS = 1_790_000_000_000


def row(**changes):
    healthy = {
        "id": "here-1",
        "state": "streaming",
        "connections": [{"state": "streaming"}, {"state": "waiting"}],
        "mode": "merge",
        "frames_per_s": 12.5,
        "lag_ms_p50": 20,
        "lag_ms_p99": None,
        "spool_bytes": 0,
        "last_frame_ms": NOW_MS - 10,
        "markets": 3,
        "backfills_waiting": 0,
        "counters": {"frames": 7, "rejected:not_json": 2},
    }
    return healthy | changes


@pytest.fixture
def serve():
    """Return a function that serves a row and answers a path."""
    servers = []

    def get(path, **changes):
        web = Web(0, lambda: Snapshot(listeners=[row(**changes)], queues={"trade": 4}), lambda: NOW_MS)
        servers.append(web)
        return httpx.get(f"http://127.0.0.1:{web.port}{path}", timeout=5)

    yield get
    for web in servers:
        web.close()


def test_metrics_carry_gauges_counters_mode_and_queues(serve):
    """A scrape shows what the health row says."""
    text = serve("/metrics").text
    for line in (
        'bithumb_listener_frames_per_second{listener="here-1"} 12.5',
        'bithumb_listener_events_total{detail="not_json",listener="here-1",name="rejected"} 2.0',
        'bithumb_listener_mode{listener="here-1",mode="merge"} 1.0',
        'bithumb_listener_mode{listener="here-1",mode="flow"} 0.0',
        'bithumb_listener_connections{listener="here-1",state="streaming"} 1.0',
        'bithumb_queue_length{queue="trade"} 4.0',
    ):
        assert line in text
    assert "lag_p99_milliseconds{" not in text  # nothing measured is not zero


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, 200),
        ({"state": "waiting"}, 503),
        ({"last_frame_ms": None}, 503),
        ({"last_frame_ms": NOW_MS - READY_WITHIN_MS - 1}, 503),
    ],
)
def test_a_stalled_listener_is_healthy_but_not_ready(serve, changes, status):
    """Ready means that data flows, healthy that the process works."""
    assert serve("/readyz", **changes).status_code == status
    assert serve("/healthz", **changes).status_code == 200


def test_unknown_path_is_not_found(serve):
    """Only three paths exist."""
    assert serve("/").status_code == 404


def test_port_in_use_is_one_clear_line():
    """A second listener on the same port says which setting to change."""
    first = Web(0, Snapshot, lambda: NOW_MS)
    try:
        with pytest.raises(ConfigurationError, match=f"COLLECTOR_HEALTH__METRICS_PORT {first.port}"):
            Web(first.port, Snapshot, lambda: NOW_MS)
    finally:
        first.close()
