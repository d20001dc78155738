"""The listener's own HTTP port tells the truth."""

import os
import socket
import threading
from contextlib import ExitStack, suppress

import httpx
import pytest

from collector.errors import ConfigurationError
from collector.host.metrics import Snapshot
from collector.host.web import CLIENTS_MAX, READY_WITHIN_MS, THREADS_MAX, Web

pytestmark = pytest.mark.server

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


@pytest.fixture
def web():
    """A running port."""
    served = Web(0, lambda: Snapshot(listeners=[row()], queues={"trade": 4}), lambda: NOW_MS)
    yield served
    served.close()


def test_scrapers_get_the_format_they_ask_for(web):
    """A query string is no other path; OpenMetrics and gzip are negotiated."""
    at = f"http://127.0.0.1:{web.port}/metrics"
    plain = httpx.get(f"{at}?x=1", headers={"accept-encoding": "identity"})
    assert (plain.status_code, plain.headers["content-type"].split(";")[0]) == (200, "text/plain")
    assert "version=0.0.4" in plain.headers["content-type"]
    opened = httpx.get(at, headers={"accept": "application/openmetrics-text;version=1.0.0"})
    assert opened.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert opened.text.endswith("# EOF\n")
    assert httpx.get(at, headers={"accept-encoding": "gzip"}).headers["content-encoding"] == "gzip"


@pytest.mark.parametrize(
    ("path", "status"), [("/metrics", 200), ("/healthz", 200), ("/readyz", 200), ("/x", 404)]
)
def test_head_answers_as_get_does_without_the_body(web, path, status):
    """Load balancers look with HEAD."""
    url = f"http://127.0.0.1:{web.port}{path}"
    head, get = httpx.head(url), httpx.get(url)
    assert (head.status_code, head.text) == (status, "")
    assert head.headers["content-type"] == get.headers["content-type"]
    assert int(head.headers["content-length"]) > 0


def test_other_methods_are_refused(web):
    """Nothing can be changed here."""
    url = f"http://127.0.0.1:{web.port}/metrics"
    refused = httpx.post(url, content=b"x")
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
    assert (httpx.options(url).status_code, httpx.options(url).headers["allow"]) == (
        200,
        "GET, HEAD, OPTIONS",
    )


@pytest.mark.parametrize(
    "sent", [b"\r\n\r\n", b"nonsense\r\n\r\n", b"GET /\xff HTTP/9\r\n\r\n", b"x" * 20_000]
)
def test_what_is_no_request_is_one(web, sent):
    """Not a traceback."""
    with socket.create_connection(("127.0.0.1", web.port), timeout=5) as client, suppress(ConnectionError):
        client.sendall(sent)
        assert client.recv(100).startswith(b"HTTP/1.1 400")
    assert httpx.get(f"http://127.0.0.1:{web.port}/healthz").status_code == 200


def test_an_error_of_ours_is_an_answer(caplog):
    """Logged here, short there, and the next request is answered."""
    broken = Web(0, lambda: 1 / 0, lambda: NOW_MS)
    try:
        for _ in range(2):
            answer = httpx.get(f"http://127.0.0.1:{broken.port}/readyz")
            assert (answer.status_code, answer.text) == (500, "ZeroDivisionError\n")
    finally:
        broken.close()
    assert "no answer to GET /readyz" in caplog.text


def test_hundreds_of_silent_clients_cost_little_and_scrapes_go_on(web):
    """Bounded threads and descriptors, whatever connects and is silent, or drips; old ones are cut off."""
    threads, files = threading.active_count(), open_files()
    with ExitStack() as stack:
        clients = []
        for number in range(300):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", web.port), timeout=5))
            if number % 2:
                client.sendall(b"GET /metr")
            clients.append(client)
        served = httpx.get(f"http://127.0.0.1:{web.port}/metrics")
        assert served.status_code == 200
        assert threading.active_count() - threads <= THREADS_MAX
        ours = open_files() - files - len(clients)
        assert ours <= CLIENTS_MAX + 5, "of the server, which lives in this process"
        assert clients[0].recv(1) == b"", "the oldest is cut off"


def test_a_client_that_is_silent_is_cut_off_in_time(monkeypatch):
    """Alone, too: it keeps its descriptor for some seconds."""
    monkeypatch.setattr("collector.host.web.CLIENT_TIMEOUT_S", 0.2)
    served = Web(0, Snapshot, lambda: NOW_MS)
    try:
        with socket.create_connection(("127.0.0.1", served.port), timeout=5) as client:
            client.sendall(b"GET /metrics HTTP/1.1\r\n")
            assert client.recv(1) == b""
    finally:
        served.close()


def open_files():
    return len(os.listdir("/proc/self/fd"))


def test_port_in_use_is_one_clear_line():
    """A second listener on the same port says which setting to change."""
    first = Web(0, Snapshot, lambda: NOW_MS)
    try:
        with pytest.raises(ConfigurationError, match=f"COLLECTOR_HEALTH__METRICS_PORT {first.port}"):
            Web(first.port, Snapshot, lambda: NOW_MS)
    finally:
        first.close()
