"""The Celery app. `celery -A tasks` finds it through the package; settings: `collector.broker.config`."""

from celery import Celery

# Not the current app of whoever imports us: a program that only reads may have one of its own.
app = Celery(
    "tasks",
    set_as_current=False,
    task_cls="tasks.expiry:Task",
    include=[
        "tasks.ingest",
        "tasks.analysis",
        "tasks.periodic",
        "tasks.archive_jobs",
        "tasks.alerts",
        "tasks.json_logs",
        "tasks.events",
        "tasks.heartbeat",
        "tasks.consumer_watchdog",
        "tasks.shutdown",
    ],
)
app.config_from_object("collector.broker.config")
