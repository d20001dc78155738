"""Korean time: the exchange's days begin at 00:00 KST, which is UTC+9 all year. Pure."""

from datetime import date, datetime, timedelta, timezone

#: What Korean wall clocks are ahead of UTC.
KST_MS = 9 * 3_600_000
KST_OFFSET = timedelta(milliseconds=KST_MS)
KST = timezone(KST_OFFSET, "KST")
DAY_MS = 86_400_000


def day_number(time_ms: int) -> int:
    """Return the exchange's day at a moment in epoch ms, as days since 1970-01-01."""
    return (time_ms + KST_MS) // DAY_MS


def day_start_ms(time_ms: int) -> int:
    """Return the moment, epoch ms, at which the exchange's day of `time_ms` began."""
    return day_number(time_ms) * DAY_MS - KST_MS


def date_of(time_ms: int) -> date:
    """Return the exchange's day at a moment in epoch ms, as a date."""
    return datetime.fromtimestamp(time_ms / 1000, KST).date()
