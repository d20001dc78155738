"""Points in time as people type them, read in the zone that tables print (`COLLECTOR_TIME_ZONE`)."""

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from collector.errors import ConfigurationError

HOW = "2026-07-31 09:00, 09:00, yesterday, -2h, ISO 8601 with an offset, or epoch milliseconds"

#: Days by name, and how many days ago they began.
DAYS = {"today": 0, "yesterday": 1}

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_DAY = timedelta(days=1)
_DIGITS = re.compile(r"\d{1,15}", re.ASCII)
_COMPACT_DATE = re.compile(r"20\d{6}", re.ASCII)
_BACK = re.compile(r"-(\d{1,6})(s|m|h|d|w)", re.ASCII)
_CLOCK = re.compile(r"\d{1,2}:\d{2}(:\d{2}(\.\d{1,6})?)?", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Span(NamedTuple):
    """A stretch of time in epoch milliseconds, both ends included; None where it is open."""

    from_ms: int | None
    to_ms: int | None

    def text(self, zone: ZoneInfo) -> str:
        """Return how the stretch was read, with a space before it; nothing where both ends are open."""
        parts = [f"from {moment(self.from_ms, zone)}"] if self.from_ms is not None else []
        parts += [f"to {moment(self.to_ms, zone)}"] if self.to_ms is not None else []
        return f" {' '.join(parts)} ({zone.key})" if parts else ""


def nothing(noun: str, market: str | None, span: Span, known: Span | None, zone: ZoneInfo) -> str:
    """Return the sentence about an empty answer: what was looked for, how its times were read, what there is.

    Args:
        noun: what was asked for, in the plural.
        market: whose; None means of any.
        span: the stretch that was asked for.
        known: the stretch there are data for; None where there are none, or where that was not looked up.
        zone: where times without an offset are read, and where these are printed.
    """
    sentence = f"no {noun}{f' of {market}' if market else ''}{span.text(zone)}"
    return f"{sentence}; there are {noun}{known.text(zone)}" if known else sentence


def moment(time_ms: int, zone: ZoneInfo) -> str:
    """Return a point in time as `zone` has it, to the second or, where there are any, to the millisecond."""
    try:
        local = (_EPOCH + time_ms * _MS).astimezone(zone).replace(tzinfo=None)
    except OverflowError:
        return f"{time_ms} ms"
    return local.isoformat(" ", "milliseconds" if time_ms % 1000 else "seconds")


def parse_ms(text: str, option: str, zone: ZoneInfo, now_ms: int, *, ends: bool = False) -> int:
    """Return the epoch milliseconds that a text means.

    Args:
        text: `2026-07-31 09:00` or any ISO 8601 date or time, with an offset or else in `zone`; `09:00`, the
            last such time that is over; `now`, `today`, `yesterday`, the latter two also with a time behind
            them; `-2h`, that long ago (s, m, h, d, w); or epoch milliseconds.
        option: names the option in an error.
        zone: where times without an offset are read.
        now_ms: the present.
        ends: a day means its last millisecond, not its first.

    Raises:
        ConfigurationError: it means no time.
    """
    try:
        if _DIGITS.fullmatch(text) and not _COMPACT_DATE.fullmatch(text):
            return int(text)
        now = (_EPOCH + now_ms * _MS).astimezone(zone)
        read = _read(text.strip(), now, zone)
        if not isinstance(read, datetime):
            read = _midnight(read + _DAY if ends else read, zone) - (_MS if ends else timedelta())
        return (read - _EPOCH) // _MS
    except (ValueError, OverflowError):
        raise ConfigurationError(f"{option} {text!r} is not a time: write {HOW}") from None


def parse_span(from_text: str | None, to_text: str | None, zone: ZoneInfo, now_ms: int) -> Span:
    """Return what `--from` and `--to` mean; a day as `--to` is part of the stretch.

    Raises:
        ConfigurationError: not a time, or the end is before the beginning.
    """
    from_ms = None if from_text is None else parse_ms(from_text, "--from", zone, now_ms)
    to_ms = None if to_text is None else parse_ms(to_text, "--to", zone, now_ms, ends=True)
    if from_ms is not None and to_ms is not None and from_ms > to_ms:
        raise ConfigurationError(
            f"--from {from_text} ({moment(from_ms, zone)}) is after --to {to_text} ({moment(to_ms, zone)})"
        )
    return Span(from_ms, to_ms)


def _read(text: str, now: datetime, zone: ZoneInfo) -> date | datetime:
    """Return a day, or a point in time that has a zone."""
    if text == "now":
        return now
    if back := _BACK.fullmatch(text):
        return now.astimezone(UTC) - timedelta(**{_UNITS[back[2]]: int(back[1])})
    if _CLOCK.fullmatch(text):
        clock = _clock(text)
        found = datetime.combine(now.date(), clock, zone)
        return found if found <= now else datetime.combine(now.date() - _DAY, clock, zone)
    day, _, clock_text = text.partition(" ")
    if day in DAYS:
        named = now.date() - DAYS[day] * _DAY
        return datetime.combine(named, _clock(clock_text), zone) if clock_text else named
    return _iso(text, zone)


def _iso(text: str, zone: ZoneInfo) -> date | datetime:
    if "T" not in text.upper() and ":" not in text:
        return date.fromisoformat(text)
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=zone)


def _clock(text: str) -> time:
    if not _CLOCK.fullmatch(text):
        raise ValueError(f"{text!r} is not a time of day")
    return time.fromisoformat(text if text[1] != ":" else f"0{text}")


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=zone)
