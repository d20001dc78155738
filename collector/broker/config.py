"""Celery's settings, under the lower-case names of its documentation.

Facts behind the numbers: docs/decisions/0002 and the measurements it cites. A batch is acknowledged only when
it is stored, and storing it twice changes nothing, so every setting here prefers "again" to "lost".
"""

from typing import TYPE_CHECKING, Any

from celery.app.defaults import DEFAULTS
from click import ClickException
from kombu import Exchange, Queue

from collector.broker import transport
from collector.errors import CollectorError
from collector.host.redis_client import celery_way
from collector.host.redis_server import find_url
from collector.routing import ANALYSES, ANALYSIS, ROUTES, all_queues
from collector.settings import current

if TYPE_CHECKING:
    from celery import Task

try:
    _settings = current()
    _way = celery_way(find_url(_settings), _settings)
except CollectorError as error:
    # What the `celery` command, which reads this, prints as one line instead of a stack trace.
    raise ClickException(str(error)) from error

transport.register()
broker_url = result_backend = _way.url
broker_use_ssl = redis_backend_use_ssl = _way.ssl

# -- what goes where
task_queues = [
    Queue(name, Exchange(name), routing_key=name) for name in all_queues(_settings.batch.trade_queues)
]
task_routes = ROUTES
task_default_queue = ANALYSIS


class _AnalysisRate:
    """Limits every analysis task; Celery's own annotations know only full names and `*`."""

    def __repr__(self) -> str:
        """Return what Flower and `inspect conf` show."""
        return f"{ANALYSES}*: rate_limit {_settings.worker.analysis_rate_limit}"

    def annotate(self, task: "Task[Any, Any]") -> dict[str, str] | None:
        """Return what to set on `task`; called by Celery for each one."""
        if not task.name.startswith(ANALYSES):
            return None
        return {"rate_limit": _settings.worker.analysis_rate_limit}


task_annotations = [_AnalysisRate()]

# -- how it is written: JSON only, never pickle
accept_content = ["json"]
task_serializer = "json"
result_serializer = "json"
task_compression = "zstd"

# -- delivery: at least once
task_acks_late = True
task_reject_on_worker_lost = True
worker_prefetch_multiplier = 1
task_publish_retry = True
result_expires = 3600  # seconds; only analysis tasks have results

# -- the worker
worker_concurrency = _settings.worker.concurrency
worker_send_task_events = True  # what Flower shows; ingest tasks are few and large, so events are cheap
task_send_sent_event = False  # the sender's share would cost more than the publish itself
worker_hijack_root_logger = False
worker_cancel_long_running_tasks_on_connection_loss = False  # a batch is idempotent: let it finish

# -- the broker
broker_connection_retry_on_startup = True
broker_connection_max_retries = None  # for ever: the supervisor decides when to give up
broker_transport_options = {
    # A batch whose worker was killed comes back after this and at most one look more; kombu's defaults are
    # an hour and, with every tenth look alone being a real one, 100 s.
    "visibility_timeout": _settings.worker.visibility_timeout_s,
    "unacked_restore_interval": min(5.0, _settings.worker.visibility_timeout_s / 4),
    "unacked_restore_throttle": 1,
    # Who is killed while it looks leaves its lock behind: for 10 s, not for kombu's 300.
    "unacked_mutex_expire": 10,
    "socket_timeout": _settings.publish.socket_timeout_s,
    "socket_connect_timeout": _settings.publish.socket_timeout_s,
    "socket_keepalive": True,
    # Default 25: a worker on a half-open connection would sleep for 51 s.
    "health_check_interval": 5,
    **_way.transport_options,
}
result_backend_transport_options = {"retry_policy": {"timeout": 5.0}, **_way.transport_options}
redis_socket_timeout = _settings.publish.socket_timeout_s
redis_socket_connect_timeout = _settings.publish.socket_timeout_s


def __dir__() -> list[str]:
    """Return the settings above: Celery, and with it Flower, takes all that `dir` names for settings."""
    return [name for name in globals() if name in DEFAULTS]
