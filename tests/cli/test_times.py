"""Points in time as they are typed."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.commands.times import parse_ms, parse_span
from collector.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("1790000000000", 1_790_000_000_000),
        ("1970-01-02", 86_400_000),
        ("1970-01-01T00:00:01", 1_000),
        ("1970-01-01T00:00:01Z", 1_000),
        ("1970-01-01T09:00:01+09:00", 1_000),
        ("1970-01-01 00:00:00.123", 123),
    ],
)
def test_times_are_read(text: str, expected: int) -> None:
    """Epoch milliseconds, or ISO 8601; without a zone it is UTC."""
    assert expected == parse_ms(text, "--from")


@pytest.mark.parametrize("text", ["", "now", "12:00", "2026-13-01", "1e3", "-1", "٣", "9" * 16])
def test_anything_else_is_refused_by_name(text: str) -> None:
    """The message names the option and shows how it is done."""
    with pytest.raises(
        ConfigurationError, match=r"--to .* is not a time: write epoch milliseconds or ISO 8601"
    ):
        parse_ms(text, "--to")


@given(st.integers(0, 4_000_000_000_000))
def test_iso_text_of_a_time_is_that_time(time_ms: int) -> None:
    """To the millisecond, whatever the host's zone."""
    text = datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds")
    assert time_ms == parse_ms(text, "--from")


def test_span_must_run_forward() -> None:
    """An end before its beginning is refused; one moment is a span."""
    assert parse_span("5", "5") == (5, 5)
    assert parse_span(None, None) == (None, None)
    with pytest.raises(ConfigurationError, match="--from 6 is after --to 5"):
        parse_span("6", "5")
