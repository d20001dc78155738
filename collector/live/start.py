"""Where a subscriber begins. Pure."""

import re
from zoneinfo import ZoneInfo

from collector.errors import ConfigurationError
from collector.live.events import EARLIEST, NOW
from collector.store.event_log import Position
from collector.util.times import parse_ms

#: `0-0` and its like are before the first trade; other short numbers are dates.
_ID = re.compile(r"(0|[0-9]{6,})-[0-9]+(-[0-9]+)?")


def begin_at(start: str, zone: ZoneInfo, now_ms: int) -> Position | None:
    """Return the position that `start` names, None for now.

    Raises:
        ConfigurationError: it is neither `now`, `earliest`, an event's id nor a time.
    """
    text = start.strip()
    if text in ("", NOW):
        return None
    if text == EARLIEST:
        return Position(0, 0)
    if _ID.fullmatch(text):
        return Position.parse(text)
    try:
        return Position.before(parse_ms(text, "start", zone, now_ms, ends=False))
    except ConfigurationError:
        raise ConfigurationError(
            f"start={text[:60]!r} is neither now, earliest, the id of an event, nor a time"
        ) from None
