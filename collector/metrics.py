"""Every metric in one table, and their Prometheus form.

Counters are events since the start of a listener, or of the store for those of the workers. A counter with a
colon has variants (`rejected:not_json`); in Prometheus the part behind it is the label `detail`.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

NAMESPACE = "bithumb"

#: Listener counter -> what one of it is.
COUNTERS: Mapping[str, str] = {
    "frames": "WebSocket frames received, on all sockets",
    "frame_copies": "frames another socket had brought already, not parsed again",
    "statuses": "acknowledgements and keepalives of the exchange",
    "server_errors": "error frames of the exchange",
    "rejected": "messages, or parts of one, that could not be understood, by reason",
    "surprise": "oddities that were tolerated, by kind",
    "stalls": "sockets given up because a channel was silent for too long, by channel",
    "books_repeated": "order books equal to the one before, noticed before they were parsed",
    "books_asked_again": "legacy order books asked for again",
    "trade_copies": "trades held back because their id had passed already",
    "ticker_copies": "tickers held back: same time as the last",
    "ticker_older": "tickers held back: older than the last",
    "orderbook_copies": "order books held back: same time as the last",
    "orderbook_older": "order books held back: older than the last",
    "trade_rows": "trades put into batches",
    "ticker_rows": "tickers put into batches",
    "orderbook_rows": "order books put into batches",
    "gap_rows": "gaps put into batches, opened or recovered",
    "trades_backfilled": "trades that a backfill brought and no socket had",
    "ticker_merged": "tickers replaced by a newer one of their market before they were sent",
    "orderbook_merged": "order books replaced by a newer one of their market before they were sent",
    "batches_sent": "batches handed to Celery",
    "trade_batches_sent": "batches of trades handed to Celery",
    "ticker_batches_sent": "batches of tickers handed to Celery",
    "orderbook_batches_sent": "batches of order books handed to Celery",
    "gap_batches_sent": "batches of gaps handed to Celery",
    "trade_rows_sent": "trades handed to Celery",
    "ticker_rows_sent": "tickers handed to Celery",
    "orderbook_rows_sent": "order books handed to Celery",
    "gap_rows_sent": "gaps handed to Celery",
    "trade_rows_spooled": "trades put on disk",
    "gap_rows_spooled": "gaps put on disk",
    "trade_rows_lost": "trades that could be neither sent nor kept; each is in a gap",
    "gap_rows_lost": "gaps that could be neither sent nor kept; they are tried again",
    "spool_batches_drained": "batches brought back from disk",
    "spool_sync_errors": "times the disk refused to sync the spool",
    "send_failures": "times Redis refused or did not answer",
    "mode_changes_to_flow": "returns to mode FLOW",
    "mode_changes_to_merge": "entries into mode MERGE",
    "mode_changes_to_spool": "entries into mode SPOOL",
}

#: Field of a listener's health -> (metric, unit and meaning).
GAUGES: Mapping[str, tuple[str, str]] = {
    "frames_per_s": ("frames_per_second", "frames received per second"),
    "lag_ms_p50": ("lag_p50_milliseconds", "exchange's time to our receipt, median of the newest events"),
    "lag_ms_p99": ("lag_p99_milliseconds", "exchange's time to our receipt, 99th percentile"),
    "spool_bytes": ("spool_bytes", "bytes of trades that wait on disk"),
    "last_frame_ms": ("last_frame_timestamp_milliseconds", "epoch time of the newest frame"),
    "markets": ("markets", "markets subscribed to"),
    "backfills_waiting": ("backfills_waiting", "holes that wait to be fetched again"),
}

MODES = ("flow", "merge", "spool")


#: Returns the listeners' rows, counters among them, and the queue lengths.
Look = Callable[[], tuple[list[dict[str, Any]], Mapping[str, int]]]


class HealthCollector(Collector):
    """Turns health rows into Prometheus metrics at each scrape."""

    def __init__(self, look: Look) -> None:
        self._look = look

    def collect(self) -> Iterable[Metric]:
        """Yield all metrics."""
        listeners, queues = self._look()
        yield from _gauges(listeners)
        yield _modes(listeners)
        yield _connections(listeners)
        yield _counters(listeners)
        if queues:
            family = GaugeMetricFamily(
                f"{NAMESPACE}_queue_length", "batches ready in a queue", labels=["queue"]
            )
            for queue, length in queues.items():
                family.add_metric([queue], length)
            yield family


def _gauges(listeners: list[dict[str, Any]]) -> Iterable[Metric]:
    for field, (name, meaning) in GAUGES.items():
        family = GaugeMetricFamily(f"{NAMESPACE}_listener_{name}", meaning, labels=["listener"])
        for row in listeners:
            if row.get(field) is not None:
                family.add_metric([row["id"]], row[field])
        yield family


def _modes(listeners: list[dict[str, Any]]) -> Metric:
    family = GaugeMetricFamily(
        f"{NAMESPACE}_listener_mode", "1 for the mode in force, 0 for the others", labels=["listener", "mode"]
    )
    for row in listeners:
        for mode in MODES:
            family.add_metric([row["id"], mode], row["mode"] == mode)
    return family


def _connections(listeners: list[dict[str, Any]]) -> Metric:
    family = GaugeMetricFamily(
        f"{NAMESPACE}_listener_connections", "sockets by state", labels=["listener", "state"]
    )
    for row in listeners:
        states = [connection["state"] for connection in row["connections"]]
        for state in sorted(set(states)):
            family.add_metric([row["id"], state], states.count(state))
    return family


def _counters(listeners: list[dict[str, Any]]) -> Metric:
    family = CounterMetricFamily(
        f"{NAMESPACE}_listener_events", "see docs/metrics.md", labels=["listener", "name", "detail"]
    )
    for row in listeners:
        for counter, count in row["counters"].items():
            name, _, detail = counter.partition(":")
            family.add_metric([row["id"], name, detail], count)
    return family


def reference() -> str:
    """Return all metrics as Markdown; `docs/metrics.md` is this text."""
    lines = [
        "# Metrics",
        "",
        "A listener serves `/metrics`, `/healthz`, `/readyz` on loopback, port `COLLECTOR_HEALTH__METRICS_PORT`.",
        "Made by `python -m collector.metrics > docs/metrics.md`.",
        "",
        "| gauge | meaning |",
        "| --- | --- |",
        *(f"| `{NAMESPACE}_listener_{name}` | {meaning} |" for name, meaning in GAUGES.values()),
        f"| `{NAMESPACE}_listener_mode` | 1 for the mode in force, label `mode` |",
        f"| `{NAMESPACE}_listener_connections` | sockets, label `state` |",
        f"| `{NAMESPACE}_queue_length` | batches ready, label `queue` |",
        "",
        f"Counters are `{NAMESPACE}_listener_events_total`, labels `name` and, where there are kinds, `detail`;",
        "`collector show health` shows the same names.",
        "",
        "| counter | what one of it is |",
        "| --- | --- |",
        *(f"| `{name}` | {meaning} |" for name, meaning in COUNTERS.items()),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(reference())
