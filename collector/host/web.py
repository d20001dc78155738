"""An HTTP port of `/metrics`, `/healthz`, `/readyz`: of a listener, a worker, or of `collector metrics`.

Healthy means the process works; ready means data flows: a stalled listener is healthy and not ready.
"""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from collector.errors import ConfigurationError
from collector.host.metrics import HealthCollector, Look, Row, Snapshot

#: A listener whose newest frame is older than this is not ready.
READY_WITHIN_MS = 60_000
LOOPBACK = "127.0.0.1"
#: What `host` and `port` come from, for the message about a port that is taken.
SETTING = "COLLECTOR_HEALTH__METRICS_PORT"


class Web:
    """Serves until closed.

    Args:
        port: 0 takes a free one.
        look: returns what is to be shown, at each request.
        now_ms: the present, epoch milliseconds.
        host: address to listen on.
        setting: where the port was chosen, for the message about one that is taken.

    Raises:
        ConfigurationError: the port is in use.
    """

    def __init__(
        self,
        port: int,
        look: Look,
        now_ms: Callable[[], int],
        *,
        host: str = LOOPBACK,
        setting: str = SETTING,
    ) -> None:
        registry = CollectorRegistry()
        registry.register(HealthCollector(look))

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/metrics":
                    self._answer(200, generate_latest(registry), CONTENT_TYPE_LATEST)
                elif self.path == "/healthz":
                    self._answer(200, b"ok\n")
                elif self.path == "/readyz":
                    reason = why_not_ready(look(), now_ms())
                    self._answer(503 if reason else 200, f"{reason or 'ready'}\n".encode())
                else:
                    self._answer(404, b"/metrics, /healthz or /readyz\n")

            def _answer(self, status: int, body: bytes, kind: str = "text/plain; charset=utf-8") -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing: a scrape every few seconds is no news."""

        try:
            self._server = ThreadingHTTPServer((host, port), Handler)
        except OSError as error:
            raise ConfigurationError(f"{setting} {port} can't be used: {error.strerror}") from error
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="web", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


def why_not_ready(snapshot: Snapshot, now_ms: int) -> str | None:
    """Return what keeps the listener, or the whole system, from being ready, or None.

    A listener that has left says so for a moment, until its report expires; it is not waited for.
    """
    if snapshot.system and not snapshot.system["redis_up"]:
        return "Redis does not answer"
    listeners = [row for row in snapshot.listeners if row["state"] != "stopped"]
    if not listeners:
        alone = snapshot.workers and not snapshot.system  # a worker that speaks for itself
        return None if alone else "no listener reports"
    reasons = [_why_not_streaming(row, now_ms) for row in listeners]
    if snapshot.system:
        reasons += [
            f"no worker takes from queue {name}, where batches wait"
            for name, count in snapshot.consumers().items()
            if not count and snapshot.queues[name]
        ]
    return "; ".join(filter(None, reasons)) or None


def _why_not_streaming(row: Row, now_ms: int) -> str | None:
    if row["state"] != "streaming":
        return f"listener {row['id']}: no socket streams: {row['state']}"
    last_ms = row["last_frame_ms"]
    if last_ms is None or now_ms - last_ms > READY_WITHIN_MS:
        return f"listener {row['id']}: no frame within {READY_WITHIN_MS // 1000} s"
    return None
