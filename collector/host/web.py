"""An HTTP port of `/metrics`, `/healthz`, `/readyz`: of a listener, a worker, or of `collector metrics`.

Healthy means the process works; ready means data flows: a stalled listener is healthy and not ready.
"""

import asyncio
import logging
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from prometheus_client import CollectorRegistry, make_wsgi_app

from collector.errors import ConfigurationError
from collector.host.metrics import HealthCollector, Look, Row, Snapshot

log = logging.getLogger(__name__)

#: A listener whose newest frame is older than this is not ready.
READY_WITHIN_MS = 60_000
LOOPBACK = "127.0.0.1"
#: What `host` and `port` come from, for the message about a port that is taken.
SETTING = "COLLECTOR_HEALTH__METRICS_PORT"
#: Connections at once; the one that has kept its request back longest goes first.
CLIENTS_MAX = 32
#: Answers made at once, each in a thread of its own.
THREADS_MAX = 4
#: Limit for a client to send its request, and to take the answer.
CLIENT_TIMEOUT_S = 5.0
REQUEST_BYTES_MAX = 8 << 10
ALLOWED = "GET, HEAD, OPTIONS"
TEXT = ("Content-Type", "text/plain; charset=utf-8")


class Request(NamedTuple):
    """What of a request counts here."""

    method: str
    path: str
    query: str
    headers: dict[str, str]


class Answer(NamedTuple):
    """What is sent back."""

    status: str
    headers: list[tuple[str, str]]
    body: bytes


class Web:
    """Serves until closed, in threads of its own: one for all connections, a few for answers.

    A client that sends or takes nothing is cut off after some seconds, so silent ones cost a bounded number
    of descriptors and no thread.

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
        self._look = look
        self._now_ms = now_ms
        registry = CollectorRegistry()
        registry.register(HealthCollector(look))
        self._metrics = make_wsgi_app(registry)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._socket = socket.create_server((host, port), family=family)
        except OSError as error:
            raise ConfigurationError(f"{setting} {port} can't be used: {error.strerror}") from error
        self._port = int(self._socket.getsockname()[1])
        #: Clients whose request has not come yet, the oldest first; then all.
        self._reading: dict[asyncio.StreamWriter, None] = {}
        self._clients: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._threads = asyncio.Semaphore(THREADS_MAX)
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._port

    def close(self) -> None:
        """Stop serving."""
        with suppress(RuntimeError):  # its loop has ended
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(CLIENT_TIMEOUT_S)

    def answer(self, request: Request) -> Answer:
        """Return what is sent back for a request, its body too where only the head was asked for."""
        if request.method not in ALLOWED.split(", "):
            return Answer("405 Method Not Allowed", [("Allow", ALLOWED), TEXT], f"{ALLOWED}\n".encode())
        if request.method == "OPTIONS":
            return Answer("200 OK", [("Allow", ALLOWED)], b"")
        match request.path:
            case "/metrics":
                return self._scraped(request)
            case "/healthz":
                return Answer("200 OK", [TEXT], b"ok\n")
            case "/readyz":
                reason = why_not_ready(self._look(), self._now_ms())
                status = "503 Service Unavailable" if reason else "200 OK"
                return Answer(status, [TEXT], f"{reason or 'ready'}\n".encode())
        return Answer("404 Not Found", [TEXT], b"/metrics, /healthz or /readyz\n")

    def _scraped(self, request: Request) -> Answer:
        """Have the library's own application answer: it negotiates format and compression."""
        head: list[tuple[str, list[tuple[str, str]]]] = []
        environment = {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": request.path,
            "QUERY_STRING": request.query,
            "HTTP_ACCEPT": request.headers.get("accept"),
            "HTTP_ACCEPT_ENCODING": request.headers.get("accept-encoding"),
        }
        body = b"".join(self._metrics(environment, lambda *status: head.append(status)))
        ((status, headers),) = head
        return Answer(status, headers, body)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._on_client, sock=self._socket, limit=REQUEST_BYTES_MAX)
        await self._stop.wait()
        server.close()
        for client in list(self._clients):
            client.transport.abort()

    async def _on_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.add(writer)
        self._reading[writer] = None
        if len(self._clients) > CLIENTS_MAX:
            oldest = next(iter(self._reading))
            self._forget(oldest)
            oldest.transport.abort()
        try:
            await self._converse(reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            writer.transport.abort()
        finally:
            self._forget(writer)
            writer.close()

    def _forget(self, writer: asyncio.StreamWriter) -> None:
        self._clients.discard(writer)
        self._reading.pop(writer, None)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(CLIENT_TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            head = b""
        self._reading.pop(writer, None)
        request = parse(head)
        if request is None:
            answer = Answer("400 Bad Request", [TEXT], b"not a request\n")
        else:
            async with self._threads:
                answer = await self._in_thread(request)
        lines = [f"{name}: {value}" for name, value in answer.headers]
        lines += [f"Content-Length: {len(answer.body)}", "Connection: close", "", ""]
        is_head = request is not None and request.method == "HEAD"
        top = "\r\n".join((f"HTTP/1.1 {answer.status}", *lines)).encode()
        async with asyncio.timeout(CLIENT_TIMEOUT_S):
            writer.write(top + (b"" if is_head else answer.body))
            await writer.drain()

    async def _in_thread(self, request: Request) -> Answer:
        """Make the answer in a daemon thread: a Redis that hangs holds up neither the others nor the end."""
        done: asyncio.Future[Answer] = self._loop.create_future()

        def deliver(answer: Answer) -> None:
            if not done.done():  # the client is gone
                done.set_result(answer)

        def work() -> None:
            try:
                answer = self.answer(request)
            except Exception as error:
                log.exception("no answer to %s %s", request.method, request.path)
                answer = Answer("500 Internal Server Error", [TEXT], f"{type(error).__name__}\n".encode())
            with suppress(RuntimeError):  # closed meanwhile
                self._loop.call_soon_threadsafe(deliver, answer)

        threading.Thread(target=work, name="web answer", daemon=True).start()
        return await done


def parse(head: bytes) -> Request | None:
    """Read the head of a request; None where it is none."""
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        return None
    path, _, query = words[1].partition("?")
    pairs = (line.partition(":") for line in lines if line)
    return Request(words[0], path, query, {name.lower(): value.strip() for name, _, value in pairs})


def why_not_ready(snapshot: Snapshot, now_ms: int) -> str | None:
    """Return what keeps the listener, or the whole system, from being ready, or None.

    A stopped listener reports `stopped` until its report expires; it does not count.
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
