"""Log lines of a worker as JSON, where `COLLECTOR_LOG__FORMAT` is `json`: with task and its id.

The id of an ingest task is that of its batch: dead letters and the in-flight log have the same.
"""

import logging
from typing import Any

from celery import current_task
from celery.signals import after_setup_logger, after_setup_task_logger

from collector.host.logs import JsonFormatter
from collector.settings import current


class TaskIds(logging.Filter):
    """Adds the task that a line was written in."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Pass every line on."""
        if current_task and current_task.request.id:
            record.task, record.task_id = current_task.name, current_task.request.id
        return True


@after_setup_logger.connect
@after_setup_task_logger.connect
def set_up(logger: logging.Logger, **_: Any) -> None:  # noqa: ANN401 - whatever Celery passes
    """Write JSON; Celery calls this once it has made its handlers."""
    if current().log.format != "json":
        return
    for handler in logger.handlers:
        handler.setFormatter(JsonFormatter())
        handler.addFilter(TaskIds())
