"""A column of times: in full, or brief on a narrow terminal with the common part in the title."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from collector.cli.render import values
from collector.cli.render.table import Column

Unit = Literal["day", "minute", "second", "millisecond"]
_CLOCKS = {"day": "", "minute": "%H:%M", "second": "%H:%M:%S", "millisecond": "%H:%M:%S.%f"}


def moments(
    title: str, times_ms: Sequence[int | None], unit: Unit = "second", *, right: bool = False, rank: int = 0
) -> Column:
    """Return a column of local times; None is shown as nothing.

    Args:
        times_ms: epoch milliseconds.
        unit: the smallest that is shown.
    """
    times = [None if time_ms is None else values.local(time_ms) for time_ms in times_ms]
    brief, of = _brief([time for time in times if time is not None], unit)
    said = f"times in {values.zone_name()}"
    return Column(
        title,
        _written(times, f"%Y-%m-%d {_CLOCKS[unit]}".strip(), unit),
        right,
        rank=rank,
        brief=_written(times, brief, unit) if brief else (),
        said=(said, f"{said} {of}"),
    )


def _brief(times: Sequence[datetime], unit: Unit) -> tuple[str, str]:
    """Return a shorter format, and what all `times` have in common and it leaves out; empty for none."""
    days = {time.date() for time in times}
    if len(days) == 1 and unit != "day":
        return _CLOCKS[unit], f"on {min(days)}"
    if len({day.year for day in days}) == 1:
        return f"%m-%d {_CLOCKS[unit]}".strip(), f"of {min(days).year}"
    return "", ""


def _written(times: Sequence[datetime | None], form: str, unit: Unit) -> list[str]:
    cut = -3 if unit == "millisecond" else None
    return [values.NOTHING if time is None else time.strftime(form)[:cut] for time in times]
