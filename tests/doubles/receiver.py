"""A receiver of webhooks on loopback that can be down, slow, or refuse."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from tests.doubles.ports import free_port


class Received(NamedTuple):
    """One request, and when it came, epoch seconds."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    raw: bytes
    at_s: float


class Receiver:
    """Answers as it is told.

    Attributes:
        answers: statuses of the next requests, each with headers; then 204.
        delay_s: how long each answer takes.
        received: all requests, refused ones too.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self.answers: list[tuple[int, dict[str, str]]] = []
        self.delay_s = 0.0
        self.received: list[Received] = []
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}/secret-path"

    def ids(self) -> list[str]:
        """Return the ids of what came, in order."""
        return [each.headers["webhook-id"] for each in self.received]

    def start(self) -> None:
        """Listen."""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.received.append(Received(self.path, headers, json.loads(raw), raw, time.time()))
                status, more = receiver.answers.pop(0) if receiver.answers else (204, {})
                time.sleep(receiver.delay_s)
                try:
                    self.send_response(status)
                    for name, value in more.items():
                        self.send_header(name, value)
                    self.send_header("content-length", "0")
                    self.end_headers()
                except OSError:
                    pass  # the sender did not wait

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def stop(self) -> None:
        """End it; connections are refused then."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join(10)
            self._server = None


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Yield one that listens."""
    receiver = Receiver()
    receiver.start()
    try:
        yield receiver
    finally:
        receiver.stop()
