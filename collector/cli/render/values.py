"""Numbers and times as people read them; programs read `--json`.

Times are in the zone of `COLLECTOR_TIME_ZONE`, by default Korean like the exchange's own day, and every table
names it.
"""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from collector import settings

#: Decimals after which a price or volume is rounded for the eye.
PLACES_MAX = 8
NOTHING = "–"

_BYTES = ("B", "KB", "MB", "GB", "TB")
#: Zones whose usual abbreviation is the same all year.
_SHORT = {"Asia/Seoul": "KST", "Asia/Tokyo": "JST", "Etc/UTC": "UTC"}
_AMOUNTS = ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "k"))


def places(values: Iterable[Decimal | None], most: int = PLACES_MAX) -> int:
    """Return how many decimals show all of `values`, at most `most`: one number for a whole column."""
    texts = (format(value, "f").partition(".")[2].rstrip("0") for value in values if value is not None)
    return min(max(map(len, texts), default=0), most)


def fixed(value: Decimal | None, decimals: int) -> str:
    """Return a number with thousands separators and a fixed number of decimals."""
    return NOTHING if value is None else f"{value:,.{decimals}f}"


def column(values: Iterable[Decimal | None], most: int = PLACES_MAX) -> list[str]:
    """Return numbers with their decimal points under each other."""
    values = list(values)
    decimals = places(values, most)
    return [fixed(value, decimals) for value in values]


def number(value: Decimal | None) -> str:
    """Return one number with as many decimals as it has, at most `PLACES_MAX`."""
    return fixed(value, places([value]))


def count(value: int | None) -> str:
    """Return an integer with thousands separators."""
    return NOTHING if value is None else f"{value:,}"


def percent(ratio: Decimal | None) -> str:
    """Return a signed ratio as a percentage: 0.0117 is `+1.17 %`, what rounds to nothing has no sign."""
    if ratio is None:
        return NOTHING
    text = f"{ratio * 100:+.2f} %"
    return text[1:] if text[1:] == "0.00 %" else text


def amount(value: Decimal | None) -> str:
    """Return a large number in short: 1 234 567 890 is `1.23 B`."""
    if value is None:
        return NOTHING
    for size, letter in _AMOUNTS:
        if abs(value) >= size:
            return f"{value / size:,.2f} {letter}"
    return fixed(value, min(places([value]), 2))


def size(value: int | None) -> str:
    """Return bytes with a unit."""
    if value is None:
        return NOTHING
    scaled, unit = float(value), 0
    while scaled >= 1024 and unit < len(_BYTES) - 1:
        scaled, unit = scaled / 1024, unit + 1
    return f"{scaled:,.0f} {_BYTES[unit]}" if unit == 0 else f"{scaled:,.1f} {_BYTES[unit]}"


def zone() -> ZoneInfo:
    """Return the zone in force, `COLLECTOR_TIME_ZONE`."""
    return settings.current().zone


def zone_name() -> str:
    """Return the name of the zone in force as a table shows it."""
    return _SHORT.get(zone().key, zone().key)


def local(time_ms: int) -> datetime:
    """Return epoch milliseconds as local time of the zone in force."""
    return datetime.fromtimestamp(time_ms // 1000, zone()).replace(microsecond=time_ms % 1000 * 1000)


def minute(time_ms: int) -> str:
    """Return local date and time to the minute."""
    return f"{local(time_ms):%Y-%m-%d %H:%M}"


def second(time_ms: int | None) -> str:
    """Return local date and time to the second."""
    return NOTHING if time_ms is None else f"{local(time_ms):%Y-%m-%d %H:%M:%S}"


def clock(time_ms: int) -> str:
    """Return local time to the second, where the day is clear."""
    return f"{local(time_ms):%H:%M:%S}"


def millisecond(time_ms: int) -> str:
    """Return local date and time to the millisecond."""
    return local(time_ms).replace(tzinfo=None).isoformat(" ", "milliseconds")


def ago(length_ms: int) -> str:
    """Return how long ago something was, in one unit."""
    seconds = length_ms // 1000
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size:,} {unit} ago"
    return f"{seconds} s ago"


def duration(length_ms: float | None) -> str:
    """Return a length of time in its two largest units."""
    if length_ms is None:
        return NOTHING
    if length_ms < 1000:
        return f"{length_ms:.0f} ms"
    if length_ms < 60_000:
        return f"{length_ms / 1000:.1f} s"
    minutes, seconds = divmod(round(length_ms / 1000), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"
