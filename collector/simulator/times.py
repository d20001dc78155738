"""Wall-clock texts of the exchange: Korean time (UTC+9, no daylight saving) and UTC."""

from datetime import UTC, datetime, timezone
from functools import lru_cache

from collector.util.korean_time import KST


@lru_cache(maxsize=4096)
def wall(second: int, zone: timezone = KST) -> tuple[str, str]:
    """Return (`yyyy-MM-dd`, `HH:mm:ss`) of an epoch second."""
    moment = datetime.fromtimestamp(second, zone)
    return moment.strftime("%Y-%m-%d"), moment.strftime("%H:%M:%S")


def kst(ms: int) -> tuple[str, str]:
    """Return Korean date and time of an epoch millisecond."""
    return wall(ms // 1000)


def utc(ms: int) -> tuple[str, str]:
    """Return UTC date and time of an epoch millisecond."""
    return wall(ms // 1000, UTC)


def compact(texts: tuple[str, str]) -> tuple[str, str]:
    """Return date and time without their separators."""
    return texts[0].replace("-", ""), texts[1].replace(":", "")


def kst_micros(us: int) -> str:
    """Write an epoch microsecond as the legacy protocol does: `2026-05-07 20:56:17.158984`, Korean time."""
    return f"{' '.join(wall(us // 1_000_000))}.{us % 1_000_000:06d}"
