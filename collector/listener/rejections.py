"""Messages that could not be understood, from the sockets to Redis.

Two threads meet here, under one lock: the event loop adds what sessions refused, the publisher's thread takes
what is to be written.
"""

import logging
import threading
from typing import Any

from collector.feed.session import Session

log = logging.getLogger(__name__)

#: A refused message is logged the first time of its reason, then once per so many.
_LOG_EVERY = 1_000
#: Messages kept, here and in Redis.
KEPT_MAX = 200

Row = dict[str, Any]


class RejectionLog:
    """The newest refused messages that are not in Redis yet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: list[Row] = []

    def note(self, session: Session, received_ms: int) -> None:
        """Take the refused messages of a session, and log new reasons; in the event loop."""
        rows = []
        for refusal in session.rejections:
            name = f"rejected:{refusal.reason}"
            if session.counts[name] % _LOG_EVERY == 1:
                log.warning("message refused (%s): %s", name, refusal.detail)
            rows.append(
                {
                    "at_ms": received_ms,
                    "reason": refusal.reason,
                    "detail": refusal.detail,
                    "raw": refusal.raw.decode(errors="replace"),
                }
            )
        session.rejections.clear()
        with self._lock:
            self._rows += rows
            del self._rows[:-KEPT_MAX]

    def take(self) -> list[Row]:
        """Return what waits, oldest first, and forget it; in the publisher's thread."""
        with self._lock:
            rows, self._rows = self._rows, []
            return rows

    def put_back(self, rows: list[Row]) -> None:
        """Keep rows that Redis did not take; in the publisher's thread."""
        with self._lock:
            self._rows[:0] = rows
            del self._rows[:-KEPT_MAX]
