"""What `collector check` tries out: Redis, data folder, exchange, clock. Every wait is bounded."""

import asyncio
import queue
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import httpx
from msgspec import Struct

from collector.cli.render import values
from collector.cli.store import has_results, masked, open_running
from collector.clock import SystemClock
from collector.errors import BrokerUnavailable, ConfigurationError, ConnectFailed, RestError
from collector.feed.connection import open_socket
from collector.feed.rest_client import http_options
from collector.host.redis_server import find_binary, find_url
from collector.protocol.rest import parse_markets
from collector.settings import ConnectionSettings, Settings
from collector.store.condition import LOSING, OF_MEMORY, Condition, Problem, condition_of
from collector.store.redis_client import translated
from collector.util.network import Way, way_to

REACH_TIMEOUT_S = 5.0
CLOCK_OFF_MAX_MS = 2_000
FREE_MIN_BYTES = 1 << 30
BODY_MAX_BYTES = 8 << 20


class CheckState(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


class Finding(Struct, frozen=True):
    """The result of one check; `detail` is what was found and, after a failure, the remedy."""

    name: str
    state: CheckState
    detail: str


_NO_CLOCK = Finding("clock", CheckState.WARNING, "not compared: the exchange did not answer")


def probe_all(settings: Settings) -> list[Finding]:
    """Return the findings of all probes, which run side by side and end within a few seconds."""
    probes: dict[str, Callable[[Settings], list[Finding]]] = {
        "redis": probe_redis,
        "data folder": probe_folder,
        "exchange REST": probe_rest,
        "exchange WebSocket": probe_websocket,
    }
    limit_s = settings.publish.socket_timeout_s + 2 * REACH_TIMEOUT_S
    pending = {name: _start(probe, settings) for name, probe in probes.items()}
    deadline_s = time.monotonic() + limit_s
    return [
        finding for name, answers in pending.items() for finding in _wait(name, answers, deadline_s, limit_s)
    ]


def probe_redis(settings: Settings) -> list[Finding]:
    """Look at the Redis in force: reachable, memory, eviction, persistence."""
    try:
        url = find_url(settings)
    except BrokerUnavailable:
        return [_private_redis(settings)]
    started_s = time.monotonic()
    try:
        with open_running(settings) as client, translated():
            took_ms = (time.monotonic() - started_s) * 1000
            info: Mapping[str, Any] = client.info()
    except (BrokerUnavailable, ConfigurationError) as error:
        return [Finding("redis", CheckState.FAILED, str(error))]
    version = info.get("valkey_version") or info.get("redis_version")
    where = f"{masked(url)}, version {version}, answers in {took_ms:.0f} ms"
    state = condition_of(info, settings.pressure.redis_memory_high)
    return [Finding("redis", CheckState.OK, where), _memory(state), _persistence(state)]


def probe_folder(settings: Settings) -> list[Finding]:
    """Look whether the data folder can be written and has room."""
    folder = settings.data_dir.absolute()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            free = shutil.disk_usage(existing).free
    except OSError as error:
        return [
            Finding(
                "data folder",
                CheckState.FAILED,
                f"{folder} can't be written ({error.strerror}): set COLLECTOR_DATA_DIR",
            )
        ]
    wanted = max(FREE_MIN_BYTES, settings.spool.max_mb << 20)
    said = f"{folder}, {values.size(free)} free"
    if free < wanted:
        advice = f"the spool may need {values.size(wanted)}: make room or lower COLLECTOR_SPOOL__MAX_MB"
        return [Finding("data folder", CheckState.WARNING, f"{said}; {advice}")]
    return [Finding("data folder", CheckState.OK, said)]


def probe_rest(settings: Settings) -> list[Finding]:
    """Ask the exchange for its markets, and compare the clocks."""
    url = f"{settings.exchange.rest_url}/v1/market/all"
    before_s = time.monotonic()
    try:
        way = way_to(url)
        with (
            httpx.Client(timeout=REACH_TIMEOUT_S, **http_options(way)) as client,
            client.stream("GET", url) as reply,
        ):
            reply.raise_for_status()
            listed = parse_markets(_start_of(reply))
    except ConfigurationError as error:
        return [Finding("exchange REST", CheckState.FAILED, str(error)), _NO_CLOCK]
    except (httpx.HTTPError, httpx.InvalidURL, RestError) as error:
        reason = f"{str(error) or type(error).__name__}{way.note}"
        advice = "check the network, or set COLLECTOR_EXCHANGE__REST_URL"
        return [Finding("exchange REST", CheckState.FAILED, f"{url}: {reason}: {advice}"), _NO_CLOCK]
    took_s = time.monotonic() - before_s
    refused = f" ({len(listed.refused)} more with names that can't be collected)" if listed.refused else ""
    detail = (
        f"{settings.exchange.rest_url}, markets listed: {len(listed.markets)}{refused}, "
        f"answers in {took_s * 1000:.0f} ms{way.note}"
    )
    return [Finding("exchange REST", CheckState.OK, detail), _clock(reply, took_s)]


def _start_of(reply: httpx.Response) -> bytes:
    """Read a body, or as much of it as a market list can have."""
    body = bytearray()
    for part in reply.iter_bytes():
        body += part
        if len(body) > BODY_MAX_BYTES:
            break
    return bytes(body)


def probe_websocket(settings: Settings) -> list[Finding]:
    """Open and close one socket to the exchange, the way a listener does."""
    url = settings.exchange.websocket_url
    started_s = time.monotonic()
    try:
        way = way_to(url)
        asyncio.run(_open_and_close(url, way, settings.connection))
    except ConfigurationError as error:
        return [Finding("exchange WebSocket", CheckState.FAILED, str(error))]
    except ConnectFailed as error:
        advice = "check the network, or set COLLECTOR_EXCHANGE__WEBSOCKET_URL"
        return [
            Finding("exchange WebSocket", CheckState.FAILED, f"{url} can't be reached ({error}): {advice}")
        ]
    took_ms = (time.monotonic() - started_s) * 1000
    return [Finding("exchange WebSocket", CheckState.OK, f"{url}, opened in {took_ms:.0f} ms{way.note}")]


async def _open_and_close(url: str, way: Way, settings: ConnectionSettings) -> None:
    limits = {"open_timeout_s": REACH_TIMEOUT_S, "close_timeout_s": min(1.0, settings.close_timeout_s)}
    async with await open_socket(url, way, settings.model_copy(update=limits)):
        pass


def _private_redis(settings: Settings) -> Finding:
    try:
        binary = Path(find_binary()).name
    except ConfigurationError as error:
        return Finding("redis", CheckState.FAILED, str(error))
    kept = "; it finds the data of the last run" if has_results(settings) else ""
    return Finding(
        "redis", CheckState.OK, f"REDIS_URL is empty: `collector up` starts a private server ({binary}){kept}"
    )


def _memory(state: Condition) -> Finding:
    limit = values.size(state.memory_limit_bytes) if state.memory_limit_bytes else "no limit"
    said = f"{values.size(state.memory_bytes)} of {limit}, policy {state.policy}"
    return _judged("redis memory", said, [it for it in state.problems if it.kind in OF_MEMORY])


def _persistence(state: Condition) -> Finding:
    problems = [problem for problem in state.problems if problem.kind not in OF_MEMORY]
    return _judged("redis persistence", "" if problems else "append-only file", problems)


def _judged(name: str, said: str, problems: Sequence[Problem]) -> Finding:
    kinds = {problem.kind for problem in problems}
    worst = CheckState.FAILED if kinds & LOSING else CheckState.WARNING if kinds else CheckState.OK
    return Finding(name, worst, "; ".join(filter(None, (said, *(problem.detail for problem in problems)))))


def _clock(reply: httpx.Response, took_s: float) -> Finding:
    """Compare with the `Date` header, which is whole seconds, cut off."""
    try:
        theirs_ms = parsedate_to_datetime(reply.headers["date"]).timestamp() * 1000 + 500
    except (KeyError, ValueError):
        return Finding("clock", CheckState.WARNING, "not compared: the exchange sent no usable date")
    off_ms = SystemClock().now_ms() - took_s * 500 - theirs_ms
    if abs(off_ms) > CLOCK_OFF_MAX_MS:
        way = "ahead of" if off_ms > 0 else "behind"
        return Finding(
            "clock",
            CheckState.WARNING,
            f"about {values.duration(abs(off_ms))} {way} the exchange: lags will be wrong; use NTP",
        )
    return Finding("clock", CheckState.OK, "within 2 s of the exchange's")


def _start(
    probe: Callable[[Settings], list[Finding]], settings: Settings
) -> "queue.SimpleQueue[list[Finding]]":
    """Run `probe` in a thread that ends with the process: a name lookup has no time limit."""
    answers: queue.SimpleQueue[list[Finding]] = queue.SimpleQueue()
    threading.Thread(target=lambda: answers.put(probe(settings)), daemon=True).start()
    return answers


def _wait(
    name: str, answers: "queue.SimpleQueue[list[Finding]]", deadline_s: float, limit_s: float
) -> list[Finding]:
    try:
        return answers.get(timeout=max(0.0, deadline_s - time.monotonic()))
    except queue.Empty:
        return [Finding(name, CheckState.FAILED, f"no answer within {limit_s:.0f} s: check the network")]
