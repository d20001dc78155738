"""Log lines on stderr: one a line, quiet by default, plain or JSON."""

import logging
import sys
from typing import Any

import msgspec

from collector.settings import LogSettings


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message."""

    def format(self, record: logging.LogRecord) -> str:
        """Return `record` as JSON."""
        entry: dict[str, Any] = {
            "time_ms": round(record.created * 1000),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(entry).decode()


def set_up(settings: LogSettings) -> None:
    """Send this process's log to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    plain = logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")
    handler.setFormatter(JsonFormatter() if settings.format == "json" else plain)
    logging.basicConfig(level=settings.level.upper(), handlers=[handler], force=True)
    for chatty in ("httpx", "httpcore", "websockets", "matplotlib"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
