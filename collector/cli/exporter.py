"""`collector metrics`: metrics, health and readiness of the whole system on one port, read from Redis.

Every listener and worker keeps its report in Redis, wherever it runs, and what workers count is one hash
there: so nothing has to be collected from processes that come and go.
"""

import logging
import signal
import threading

from collector.analytics.proof import Proof
from collector.cli.run import INTERRUPTED
from collector.cli.store import open_running
from collector.clock import SystemClock
from collector.errors import BrokerUnavailable
from collector.host.metrics import Snapshot
from collector.host.web import Web
from collector.settings import Settings
from collector.store.read import Reader

log = logging.getLogger(__name__)

#: Entries of `Reader.queues()` that are no queues.
UNACKED, DEAD_LETTERS = "unacked", "dead-letters"


def serve(settings: Settings, *, host: str, port: int) -> int:
    """Serve until SIGINT or SIGTERM; return the exit code.

    Raises:
        BrokerUnavailable: no Redis at the start; one that goes away later is shown as such.
        ConfigurationError: the port is in use.
    """
    stop = threading.Event()
    received: list[int] = []

    def on_signal(number: int, _: object) -> None:
        received.append(number)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    with open_running(settings) as client:
        reader = Reader(client, settings)
        web = Web(port, lambda: look(reader), SystemClock().now_ms, host=host, setting="--port")
        log.info("metrics at http://%s:%d/metrics, with /healthz and /readyz", host, web.port)
        try:
            stop.wait()
        finally:
            web.close()
    return INTERRUPTED if signal.SIGINT in received else 0


def look(reader: Reader) -> Snapshot:
    """Return the state of the whole system, or that Redis does not answer."""
    try:
        queues = reader.queues()
        state = reader.condition()
        memory = (
            {
                "redis_memory_bytes": state.memory_bytes,
                "redis_memory_limit_bytes": state.memory_limit_bytes,
            }
            if state
            else {}
        )
        system = {
            "redis_up": 1,
            **memory,
            "batches_unacknowledged": queues.pop(UNACKED),
            "dead_letters": queues.pop(DEAD_LETTERS),
            **_proven(reader.proof()),
        }
        return Snapshot(
            listeners=reader.listeners(),
            queues=queues,
            oldest_ages_ms=reader.oldest_ages_ms(SystemClock().now_ms()),
            workers=reader.workers(),
            worker_counters=reader.counters(),
            system=system,
            redis_problems=[problem.kind for problem in state.problems] if state else None,
        )
    except BrokerUnavailable:
        return Snapshot(system={"redis_up": 0})


def _proven(proof: Proof) -> dict[str, float]:
    return {
        **_until(proof.proven_until_ms),
        "unproven_markets": proof.unproven_markets,
        "trade_gaps_open": proof.open_gaps,
        "trade_gaps_recovered": proof.recovered_gaps,
        "markets_without_data": sum(outage.markets for outage in proof.outages),
    }


def _until(until_ms: int | None) -> dict[str, float]:
    """Return the time until which all is proven, under its name and the old one."""
    if until_ms is None:
        return {}
    return {
        "proven_until_timestamp_seconds": until_ms / 1000,
        "proven_until_timestamp_milliseconds": until_ms,
    }
