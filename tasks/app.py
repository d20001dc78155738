"""The Celery app. `celery -A tasks worker` finds it through the package; settings are in `celeryconfig`."""

from celery import Celery

app = Celery("tasks", include=["tasks.ingest", "tasks.analysis", "tasks.heartbeat"])
app.config_from_object("celeryconfig")
