"""Workers: batches in, candles, volumes, change rates and book measures out.

`app`, which `celery -A tasks` looks for, is made on first access: importing `tasks.read` loads no Celery.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tasks.app import app

__all__ = ["app"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - Celery's app
    """Return the app; as `celery` too, where Celery looks once `app` is the module of that name."""
    if name not in ("app", "celery"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tasks.app import app as made

    globals()[name] = made
    return made
