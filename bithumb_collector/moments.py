"""Points in time as arguments. Pure."""

from datetime import datetime

from collector.settings import Settings
from collector.util.times import parse_ms

#: Epoch milliseconds, an aware or naive `datetime`, or text such as `2026-11-30 09:00`, `yesterday`, `-2h`.
Moment = int | str | datetime


def epoch_ms(moment: Moment | None, name: str, settings: Settings, now_ms: int, *, ends: bool) -> int | None:
    """Return `moment` in epoch milliseconds; times without a zone are read in `COLLECTOR_TIME_ZONE`.

    Raises:
        ConfigurationError: `moment` is not a time.
    """
    if moment is None or (isinstance(moment, int) and not isinstance(moment, bool)):
        return moment
    if isinstance(moment, datetime):
        aware = moment if moment.tzinfo else moment.replace(tzinfo=settings.zone)
        return round(aware.timestamp() * 1000)
    return parse_ms(str(moment), name, settings.zone, now_ms, ends=ends)
