"""Every metric in one table, and their Prometheus form.

A listener and a worker export themselves; `collector metrics` exports the whole system from what all its
processes keep in Redis, so it does not matter how many processes there are, on how many machines.

Counters are events since the start of a listener, or of the store for those of the workers. A counter with a
colon has variants (`rejected:not_json`); in Prometheus the part behind it is the label `detail`.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from collector.counters import MEANING as WORKER_COUNTERS

NAMESPACE = "bithumb"

#: Listener counter -> what one of it is.
COUNTERS: Mapping[str, str] = {
    "frames": "WebSocket frames received, on all sockets",
    "frame_copies": "frames another socket had brought already, not parsed again",
    "statuses": "acknowledgements and keepalives of the exchange",
    "server_errors": "error frames of the exchange",
    "rejected": "messages, or parts of one, that could not be parsed, by reason",
    "surprise": "deviations from the protocol that were tolerated, by kind",
    "tolerated": "fields that were null, missing or broken, where they are not required, by field",
    "stalls": "sockets closed because a channel was silent for too long, by channel",
    "books_repeated": "order books equal to the previous one, detected before they were parsed",
    "books_asked_again": "legacy order books requested again",
    "trade_copies": "copies of trades, dropped",
    "ticker_copies": "tickers dropped: same time as the last",
    "ticker_older": "tickers dropped: older than the last",
    "orderbook_copies": "order books dropped: same time as the last",
    "orderbook_older": "order books dropped: older than the last",
    "beyond_markets_max": "rows dropped because there are more than 4,096 markets",
    "trade_ahead": "trades stamped ahead of the exchange's time, accepted 2 s later with their stamp",
    "ticker_ahead": "tickers stamped ahead of the exchange's time, dropped",
    "orderbook_ahead": "order books stamped ahead of the exchange's time, dropped",
    "trade_in_kst": "trades stamped in Korean time as if it were UTC, corrected",
    "ticker_in_kst": "tickers stamped in Korean time, corrected",
    "orderbook_in_kst": "order books stamped in Korean time, corrected",
    "totals_agree": "tickers whose day turnover equals the sum of our trades, each new turnover once",
    "totals_disagree": "tickers whose day turnover never agreed, of a source or a market that is not trusted",
    "totals_lost": "losses detected by the exchange's totals; each is a gap with reason `totals`",
    "totals_recovered": "losses after which the totals agree again",
    "totals_unexplained": "losses and gaps after which they still differ and nothing more can be fetched",
    "totals_counted_twice": "times we had counted more than the exchange",
    "totals_rounded": "differences so small that sizes printed with 8 decimals explain them",
    "trade_rows": "trades put into batches",
    "ticker_rows": "tickers put into batches",
    "orderbook_rows": "order books put into batches",
    "gap_rows": "gaps put into batches, opened or recovered",
    "rest_calls": "REST calls made",
    "rest_limited": "replies at the exchange's REST limit; all calls pause then",
    "backfills_recovered": "gaps of which every trade was recovered",
    "backfills_stale": "tries that ended before the gap did, because REST lags behind the sockets",
    "backfills_given_up": "gaps that remain open",
    "audit_calls": "REST calls for comparisons with the exchange's candles",
    "audit_failures": "comparisons that failed because of REST or Redis",
    "audit_minutes_equal": "minutes equal to the exchange's to the last digit, or both without trades",
    "audit_minutes_less": "minutes with fewer trades than the exchange's; they are backfilled",
    "audit_minutes_more": "minutes with more trades than the exchange's",
    "audit_minutes_prices": "minutes with the exchange's volume and other prices",
    "audit_gaps_opened": "gaps that comparisons opened",
    "audit_gaps_closed": "gaps closed because all their minutes equal the exchange's",
    "trades_backfilled": "trades returned by a backfill, including those already stored",
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
    "trade_rows_spooled": "trades written to the spool",
    "gap_rows_spooled": "gaps written to the spool",
    "trade_rows_lost": "trades that could be neither sent nor kept; each is in a gap",
    "gap_rows_lost": "gaps that could be neither sent nor kept; they are sent again",
    "ticker_rows_dropped": "tickers that still waited when the listener stopped",
    "orderbook_rows_dropped": "order books that still waited when the listener stopped",
    "spool_batches_drained": "batches sent from the spool",
    "spool_batches_unreadable": "batches in the spool that another version wrote and this one cannot read",
    "redis_lost_writes": "times Redis lost written data; they are backfilled",
    "batches_sent_again": "batches of trades or gaps that no worker confirmed in time",
    "spool_sync_errors": "times the disk refused to sync the spool",
    "states_repeated": "times the newest tickers and books were sent again because earlier ones had expired",
    "state_batches_taken_back": "batches of tickers or books revoked from a queue in favour of newer ones",
    "ticker_rows_taken_back": "tickers revoked from their queue in favour of the newest of each market",
    "orderbook_rows_taken_back": "order books revoked in favour of the newest of each market",
    "send_failures": "times Redis refused or did not answer",
    "mode_changes_to_flow": "returns to mode FLOW",
    "mode_changes_to_merge": "entries into mode MERGE",
    "mode_changes_to_spool": "entries into mode SPOOL",
}

#: Counters that have kinds, each with a label `detail`.
DETAILED = frozenset({"rejected", "surprise", "tolerated", "stalls"})


class Gauge(NamedTuple):
    """A gauge made of one field of a health row.

    Attributes:
        divisor: from the field's unit to the metric's.
        instead: the metric that took its place; it is still exported.
    """

    field: str
    metric: str
    meaning: str
    divisor: int = 1
    instead: str = ""

    @property
    def help(self) -> str:
        """Its meaning; of an old name also what it is called now."""
        return f"{self.meaning} (old name, use `{self.instead}`)" if self.instead else self.meaning


_MS_IN_S = 1000

GAUGES = (
    Gauge("frames_per_s", "frames_per_second", "frames received per second"),
    Gauge("spool_bytes", "spool_bytes", "bytes of trades that wait on disk"),
    Gauge("last_frame_ms", "last_frame_timestamp_seconds", "epoch time of the newest frame", _MS_IN_S),
    Gauge("markets", "markets", "markets subscribed to"),
    Gauge("markets_refused", "markets_refused", "markets listed under names that can't be market codes"),
    Gauge("backfills_waiting", "backfills_waiting", "gaps that wait to be fetched again"),
    Gauge("lag_ms_p50", "lag_p50_milliseconds", "median of the newest lags", instead="lag_seconds"),
    Gauge("lag_ms_p99", "lag_p99_milliseconds", "99th percentile of the newest lags", instead="lag_seconds"),
    Gauge(
        "last_frame_ms",
        "last_frame_timestamp_milliseconds",
        "epoch time of the newest frame",
        instead="last_frame_timestamp_seconds",
    ),
)

OLDEST_AGE = "queue_oldest_age_seconds"
OLDEST_AGE_MEANING = "how long the oldest batch of an ingest queue has waited; 0 where none waits"
BUSY = "busy_seconds"
BUSY_MEANING = "time with tasks, summed over them, of workers without child processes"

WORKER_GAUGES = (
    Gauge("tasks_active", "tasks_active", "tasks it holds now"),
    Gauge("started_ms", "started_timestamp_seconds", "epoch time of its start", _MS_IN_S),
    Gauge("clock_ahead_ms", "clock_ahead_seconds", "its machine's clock minus Redis'", _MS_IN_S),
    Gauge("last_task_ms", "last_task_timestamp_seconds", "epoch time of its newest finished task", _MS_IN_S),
    Gauge(
        "started_ms",
        "started_timestamp_milliseconds",
        "epoch time of its start",
        instead="started_timestamp_seconds",
    ),
    Gauge(
        "clock_ahead_ms",
        "clock_ahead_milliseconds",
        "its machine's clock minus Redis'",
        instead="clock_ahead_seconds",
    ),
    Gauge(
        "last_task_ms",
        "last_task_timestamp_milliseconds",
        "epoch time of its newest finished task",
        instead="last_task_timestamp_seconds",
    ),
)

LAG = "lag_seconds"
LAG_MEANING = "exchange time to arrival time of each trade, ticker and order book"
OLD_EVENTS = "old name: each of these counters has a metric of its own"

#: Gauge of the whole system -> unit and meaning; from `collector metrics` alone.
SYSTEM_GAUGES: Mapping[str, str] = {
    "redis_up": "1 while Redis answers; 0 otherwise, and other metrics are missing",
    "redis_memory_bytes": "memory that Redis uses",
    "redis_memory_limit_bytes": "its `maxmemory`; 0 = no limit",
    "batches_unacknowledged": "batches held by workers, over all queues",
    "dead_letters": "batches that could not be stored, for an operator to look at",
    "proven_until_timestamp_seconds": (
        "epoch time until which our candles of every market agree with the exchange's own"
    ),
    "proven_until_timestamp_milliseconds": "the same (old name, use `proven_until_timestamp_seconds`)",
    "unproven_markets": "markets that were never compared with the exchange's candles",
    "trade_gaps_open": "open gaps in the trades, including outages in progress",
    "trade_gaps_recovered": "recovered gaps in the trades",
    "markets_without_data": "markets for which no socket carries data",
}

#: Values of the label `kind` of `bithumb_redis_problem`: `collector.store.condition.Kind`.
REDIS_PROBLEMS = ("evicts", "small", "no_limit", "nearly_full", "loading", "in_memory", "disk")

MODES = ("flow", "merge", "spool")

_PROBLEM = "1 where Redis has this problem, else 0"

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What one scrape shows; rows as in `collector show health`.

    Attributes:
        listeners: the listeners' rows, `counters` among their fields.
        queues: batches ready by queue.
        oldest_ages_ms: how long the oldest of them has waited, by queue.
        workers: the workers' rows.
        worker_counters: what all workers counted together.
        system: values of `SYSTEM_GAUGES`; empty where one listener or worker speaks for itself alone.
        redis_problems: those of `REDIS_PROBLEMS` that Redis has; None where they are unknown.
    """

    listeners: Sequence[Row] = ()
    queues: Mapping[str, int] = field(default_factory=dict)
    workers: Sequence[Row] = ()
    worker_counters: Mapping[str, int] = field(default_factory=dict)
    system: Mapping[str, float] = field(default_factory=dict)
    redis_problems: Collection[str] | None = None
    oldest_ages_ms: Mapping[str, int] = field(default_factory=dict)

    def consumers(self) -> dict[str, int]:
        """Return how many live workers take from each queue."""
        return {
            queue: sum(queue in worker["queues"] for worker in self.workers) for queue in sorted(self.queues)
        }


Look = Callable[[], Snapshot]


class HealthCollector(Collector):
    """Turns health rows into Prometheus metrics at each scrape."""

    def __init__(self, look: Look) -> None:
        self._look = look

    def collect(self) -> Iterable[Metric]:
        """Yield all metrics."""
        snapshot = self._look()
        yield from _gauges("listener", "id", GAUGES, snapshot.listeners)
        yield _modes(snapshot.listeners)
        yield _connections(snapshot.listeners)
        yield _lags(snapshot.listeners)
        yield from _counters(snapshot.listeners)
        yield _old_counters(snapshot.listeners)
        yield _by_queue("queue_length", "batches ready in a queue", snapshot.queues)
        if snapshot.system:
            yield from _system(snapshot)
        if snapshot.system or snapshot.workers:
            yield from _workers(snapshot)

    def describe(self) -> Iterable[Metric]:
        """Name nothing in advance, so that registering does not look."""
        return ()


def _system(snapshot: Snapshot) -> Iterable[Metric]:
    for name, value in snapshot.system.items():
        yield GaugeMetricFamily(f"{NAMESPACE}_{name}", SYSTEM_GAUGES[name], value=value)
    if snapshot.redis_problems is not None:
        problems = GaugeMetricFamily(f"{NAMESPACE}_redis_problem", _PROBLEM, labels=["kind"])
        for kind in REDIS_PROBLEMS:
            problems.add_metric([kind], kind in snapshot.redis_problems)
        yield problems
    ages_s = {queue: age_ms / 1000 for queue, age_ms in snapshot.oldest_ages_ms.items()}
    yield _by_queue(OLDEST_AGE, OLDEST_AGE_MEANING, ages_s)
    yield _by_queue("queue_workers", "live workers that take from a queue", snapshot.consumers())
    if snapshot.worker_counters:
        for name, meaning in WORKER_COUNTERS.items():
            count = snapshot.worker_counters.get(name, 0)
            yield CounterMetricFamily(f"{NAMESPACE}_worker_{name}", meaning, value=count)
    events = CounterMetricFamily(f"{NAMESPACE}_worker_events", OLD_EVENTS, labels=["name"])
    for counter, count in snapshot.worker_counters.items():
        events.add_metric([counter], count)
    yield events


def _workers(snapshot: Snapshot) -> Iterable[Metric]:
    yield from _gauges("worker", "hostname", WORKER_GAUGES, snapshot.workers)
    done = CounterMetricFamily(f"{NAMESPACE}_worker_tasks", "tasks finished", labels=["worker"])
    for row in snapshot.workers:
        done.add_metric([row["hostname"]], row["tasks_done"])
    yield done
    busy = CounterMetricFamily(f"{NAMESPACE}_worker_{BUSY}", BUSY_MEANING, labels=["worker"])
    for row in snapshot.workers:
        if row.get("busy_ms") is not None:
            busy.add_metric([row["hostname"]], row["busy_ms"] / _MS_IN_S)
    yield busy


def _gauges(kind: str, identity: str, table: Iterable[Gauge], rows: Iterable[Row]) -> Iterable[Metric]:
    for gauge in table:
        family = GaugeMetricFamily(f"{NAMESPACE}_{kind}_{gauge.metric}", gauge.help, labels=[kind])
        for row in rows:
            if row.get(gauge.field) is not None:
                family.add_metric([row[identity]], row[gauge.field] / gauge.divisor)
        yield family


def _lags(listeners: Iterable[Row]) -> Metric:
    family = HistogramMetricFamily(f"{NAMESPACE}_listener_{LAG}", LAG_MEANING, labels=["listener"])
    for row in listeners:
        if lag := row.get("lag"):
            bounds = [f"{bound:g}" for bound in lag["bounds_s"]] + ["+Inf"]
            cumulative = list(zip(bounds, accumulate(lag["counts"]), strict=True))
            family.add_metric([row["id"]], cumulative, lag["sum_s"])
    return family


def _by_queue(name: str, meaning: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(f"{NAMESPACE}_{name}", meaning, labels=["queue"])
    for queue, value in values.items():
        family.add_metric([queue], value)
    return family


def _modes(listeners: Iterable[Row]) -> Metric:
    family = GaugeMetricFamily(
        f"{NAMESPACE}_listener_mode", "1 for the mode in force, 0 for the others", labels=["listener", "mode"]
    )
    for row in listeners:
        for mode in MODES:
            family.add_metric([row["id"], mode], row["mode"] == mode)
    return family


def _connections(listeners: Iterable[Row]) -> Metric:
    family = GaugeMetricFamily(
        f"{NAMESPACE}_listener_connections", "sockets by state", labels=["listener", "state"]
    )
    for row in listeners:
        states = [connection["state"] for connection in row["connections"]]
        for state in sorted(set(states)):
            family.add_metric([row["id"], state], states.count(state))
    return family


def _counters(listeners: Sequence[Row]) -> Iterable[Metric]:
    for name, meaning in COUNTERS.items():
        labels = ["listener", "detail"] if name in DETAILED else ["listener"]
        family = CounterMetricFamily(f"{NAMESPACE}_listener_{name}", meaning, labels=labels)
        for row in listeners:
            if name in DETAILED:
                kinds = {key: count for key, count in row["counters"].items() if key.startswith(f"{name}:")}
                for key, count in kinds.items():
                    family.add_metric([row["id"], key.partition(":")[2]], count)
            else:
                family.add_metric([row["id"]], row["counters"].get(name, 0))
        yield family


def _old_counters(listeners: Iterable[Row]) -> Metric:
    family = CounterMetricFamily(
        f"{NAMESPACE}_listener_events", OLD_EVENTS, labels=["listener", "name", "detail"]
    )
    for row in listeners:
        for counter, count in row["counters"].items():
            name, _, detail = counter.partition(":")
            family.add_metric([row["id"], name, detail], count)
    return family


def reference() -> str:
    """Return all metrics as Markdown; `docs/metrics.md` is this text."""
    listener, worker = f"{NAMESPACE}_listener", f"{NAMESPACE}_worker"
    lines = [
        "# Metrics",
        "",
        "`collector metrics` serves `/metrics`, `/healthz`, `/readyz` of the whole system: listeners,",
        "workers, queues. On loopback a listener serves its own rows marked ●, port",
        "`COLLECTOR_HEALTH__METRICS_PORT`, a worker those marked ○, port",
        "`COLLECTOR_WORKER__METRICS_PORT`. A worker's main process counts the tasks of all its children.",
        "",
        "Made by `python -m collector.host.metrics > docs/metrics.md`.",
        "",
        "Units are seconds and bytes. Old names are still exported; their meaning has the new one.",
        "",
        f"● `{listener}_{LAG}` is a histogram, label `listener`: {LAG_MEANING}.",
        "",
        "| gauge | labels | meaning |",
        "| --- | --- | --- |",
        *(f"| ● `{listener}_{gauge.metric}` | `listener` | {gauge.help} |" for gauge in GAUGES),
        f"| ● `{listener}_mode` | `listener`, `mode` | 1 for the mode in force, 0 for the others |",
        f"| ● `{listener}_connections` | `listener`, `state` | sockets |",
        f"| ● `{NAMESPACE}_queue_length` | `queue` | batches ready |",
        f"| `{NAMESPACE}_redis_problem` | `kind` | {_PROBLEM}: {', '.join(REDIS_PROBLEMS)} |",
        f"| `{NAMESPACE}_{OLDEST_AGE}` | `queue` | {OLDEST_AGE_MEANING} |",
        f"| `{NAMESPACE}_queue_workers` | `queue` | live workers that take from it |",
        *(f"| `{NAMESPACE}_{name}` | | {meaning} |" for name, meaning in SYSTEM_GAUGES.items()),
        *(f"| ○ `{worker}_{gauge.metric}` | `worker` | {gauge.help} |" for gauge in WORKER_GAUGES),
        "",
        f"○ `{worker}_tasks_total`, label `worker`: finished tasks.",
        f"○ `{worker}_{BUSY}_total`, label `worker`: {BUSY_MEANING}.",
        "Its rate is the busy share of an ingest worker.",
        "",
        "Counters of listeners, label `listener` and, where there are kinds, `detail`; in `collector show",
        f"health` without `{listener}_` and `_total`. Old name of them all: `{listener}_events_total`,",
        "label `name`.",
        "",
        "| ● counter | meaning |",
        "| --- | --- |",
        *(f"| `{listener}_{name}_total` | {meaning} |" for name, meaning in COUNTERS.items()),
        "",
        "Counters of all workers together, since the store was created; old name:",
        f"`{worker}_events_total`, label `name`.",
        "",
        "| counter | meaning |",
        "| --- | --- |",
        *(f"| `{worker}_{name}_total` | {meaning} |" for name, meaning in WORKER_COUNTERS.items()),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(reference())
