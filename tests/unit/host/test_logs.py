"""Log lines: their times can be compared with those of the tables."""

import logging
from zoneinfo import ZoneInfo

import msgspec
import pytest

from collector.host.logs import JsonFormatter, PlainFormatter


@pytest.fixture
def record() -> logging.LogRecord:
    """A line of 2026-09-21 14:13:00 UTC."""
    made = logging.LogRecord("collector", logging.WARNING, __file__, 1, "no data %s", ("any more",), None)
    made.created = 1_789_999_980.0
    return made


def test_people_read_times_of_their_zone(record: logging.LogRecord) -> None:
    """`COLLECTOR_TIME_ZONE`, as in every table."""
    assert PlainFormatter(ZoneInfo("Asia/Seoul")).format(record) == "23:13:00 WARNING no data any more"
    assert PlainFormatter(ZoneInfo("UTC")).format(record) == "14:13:00 WARNING no data any more"


def test_programs_read_milliseconds(record: logging.LogRecord) -> None:
    """One JSON object a line."""
    line = msgspec.json.decode(JsonFormatter().format(record))
    assert (line["time_ms"], line["level"], line["message"]) == (
        1_789_999_980_000,
        "warning",
        "no data any more",
    )
