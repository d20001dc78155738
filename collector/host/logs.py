"""Log lines on stderr: one a line, quiet by default, plain or JSON."""

import logging
import sys
from datetime import datetime, tzinfo
from typing import Any

import msgspec

from collector.settings import LogSettings


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message; of a line written in a task also that."""

    def format(self, record: logging.LogRecord) -> str:
        """Return `record` as JSON."""
        entry: dict[str, Any] = {
            "time_ms": round(record.created * 1000),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry |= {name: getattr(record, name) for name in ("task", "task_id") if hasattr(record, name)}
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(entry).decode()


class PlainFormatter(logging.Formatter):
    """Time, level, message; the time in `zone`, like those of the tables, so that both can be compared."""

    def __init__(self, zone: tzinfo | None) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s")
        self._zone = zone

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002
        """Return the time of day of `record`; called by `logging`."""
        return f"{datetime.fromtimestamp(record.created, self._zone):%H:%M:%S}"


def set_up(settings: LogSettings, zone: tzinfo | None = None) -> None:
    """Send this process's log to stderr.

    Args:
        zone: in which people read its times; None is that of the host.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.format == "json" else PlainFormatter(zone))
    logging.basicConfig(level=settings.level.upper(), handlers=[handler], force=True)
    for chatty in ("httpx", "httpcore", "websockets", "matplotlib"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
