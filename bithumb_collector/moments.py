"""Points in time as Python users give them. Pure."""

from datetime import datetime

from collector.settings import Settings
from collector.util.times import parse_ms

#: Epoch milliseconds, an aware or naive `datetime`, or text such as `2026-11-30 09:00`, `yesterday`, `-2h`.
Moment = int | str | datetime


def epoch_ms(moment: Moment | None, name: str, settings: Settings, now_ms: int, *, ends: bool) -> int | None:
    """Return the epoch milliseconds that `moment` means; what has no zone is read in `COLLECTOR_TIME_ZONE`.

    Raises:
        ConfigurationError: it means no time.
    """
    if moment is None or (isinstance(moment, int) and not isinstance(moment, bool)):
        return moment
    if isinstance(moment, datetime):
        aware = moment if moment.tzinfo else moment.replace(tzinfo=settings.zone)
        return round(aware.timestamp() * 1000)
    return parse_ms(str(moment), name, settings.zone, now_ms, ends=ends)
