"""The Celery app of who only sends: it has the settings of the workers, and none of their tasks."""

from celery import Celery

# Not the current app of whoever imports us: a program that only asks may have one of its own.
app = Celery("collector", set_as_current=False, config_source="collector.broker.config")
