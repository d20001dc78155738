"""Celery's settings, for who names this module: they are those of `collector.broker.config`."""

from collector.broker import config


def __getattr__(name: str) -> object:
    """Return a setting."""
    return getattr(config, name)


def __dir__() -> list[str]:
    """Return the settings' names: Celery takes all that `dir` names for settings."""
    return dir(config)
