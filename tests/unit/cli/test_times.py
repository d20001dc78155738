"""Points in time as they are typed."""

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.cli.replay import _Cut
from collector.errors import ConfigurationError
from collector.recording import Frame
from collector.util.times import Span, moment, parse_ms, parse_span

SEOUL, NEW_YORK, ZULU = ZoneInfo("Asia/Seoul"), ZoneInfo("America/New_York"), ZoneInfo("UTC")
#: 2026-11-28 17:00:00.500 in Seoul, 08:00:00.500 UTC.
NOW_MS = 1_795_852_800_500


def at(text: str) -> int:
    """Return the epoch milliseconds of an ISO text with an offset."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("1790000000000", 1_790_000_000_000),
        ("2026-11-28", at("2026-11-28T00:00:00+09:00")),
        ("20261128", at("2026-11-28T00:00:00+09:00")),
        ("2026-11-28 16:45", at("2026-11-28T16:45:00+09:00")),
        ("2026-11-28T16:45:01", at("2026-11-28T16:45:01+09:00")),
        ("2026-11-28 16:45:01.123", at("2026-11-28T16:45:01.123+09:00")),
        ("2026-11-28T16:45:01Z", at("2026-11-28T16:45:01+00:00")),
        ("2026-11-28 16:45+02:00", at("2026-11-28T16:45:00+02:00")),
        ("16:45", at("2026-11-28T16:45:00+09:00")),
        ("9:05", at("2026-11-28T09:05:00+09:00")),
        ("9:05:07", at("2026-11-28T09:05:07+09:00")),
        ("16:45:30.25", at("2026-11-28T16:45:30.250+09:00")),
        ("17:01", at("2026-11-27T17:01:00+09:00")),
        ("now", NOW_MS),
        ("today", at("2026-11-28T00:00:00+09:00")),
        ("yesterday", at("2026-11-27T00:00:00+09:00")),
        ("yesterday 16:45", at("2026-11-27T16:45:00+09:00")),
        ("today 9:00", at("2026-11-28T09:00:00+09:00")),
        ("-2h", NOW_MS - 7_200_000),
        ("-90s", NOW_MS - 90_000),
        ("-15m", NOW_MS - 900_000),
        ("-1d", NOW_MS - 86_400_000),
        ("-1w", NOW_MS - 7 * 86_400_000),
    ],
)
def test_times_are_read_in_the_zone(text: str, expected: int) -> None:
    """What names no offset is local time; a time of day is the last one that is over."""
    assert expected == parse_ms(text, "--from", SEOUL, NOW_MS)


@pytest.mark.parametrize(
    "text",
    ["", "tomorrow", "25:00", "2026-13-01", "1e3", "-1", "-2y", "٣", "9" * 16, "yesterday noon", "-999999w"],
)
def test_anything_else_is_refused_by_name(text: str) -> None:
    """The message names the option and shows how it is done."""
    with pytest.raises(ConfigurationError, match=r"--to .* is not a time: write 2026-07-31 09:00, 09:00, "):
        parse_ms(text, "--to", SEOUL, NOW_MS)


@given(st.integers(0, 4_000_000_000_000), st.sampled_from([SEOUL, NEW_YORK, ZULU]))
def test_iso_text_of_a_time_is_that_time(time_ms: int, zone: ZoneInfo) -> None:
    """To the millisecond, whatever the host's zone and ours."""
    text = datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds")
    assert time_ms == parse_ms(text, "--from", zone, NOW_MS)


@given(st.integers(0, 4_000_000_000_000), st.sampled_from([SEOUL, ZULU]))
def test_what_is_printed_can_be_typed(time_ms: int, zone: ZoneInfo) -> None:
    """A time as a message prints it means the same time."""
    assert time_ms == parse_ms(moment(time_ms, zone), "--from", zone, NOW_MS)


def test_ago_is_elapsed_time_where_clocks_are_changed() -> None:
    """Over the change to winter time in New York, a day ago is 24 hours ago."""
    now_ms = at("2026-11-01T12:00:00-05:00")
    assert now_ms - 86_400_000 == parse_ms("-1d", "--from", NEW_YORK, now_ms)


def test_a_day_is_whole() -> None:
    """As an end, a day is part of the stretch; from and to the same day is that day."""
    day = (at("2026-11-27T00:00:00+09:00"), at("2026-11-28T00:00:00+09:00") - 1)
    assert day == parse_span("2026-11-27", "2026-11-27", SEOUL, NOW_MS)
    assert day == parse_span("yesterday", "yesterday", SEOUL, NOW_MS)
    assert at("2026-11-27T16:45+09:00") == parse_span(None, "2026-11-27 16:45", SEOUL, NOW_MS).to_ms


def test_span_must_run_forward() -> None:
    """An end before its beginning is refused and shows how both were read; one moment is a span."""
    assert parse_span("5", "5", SEOUL, NOW_MS) == (5, 5)
    assert parse_span(None, None, SEOUL, NOW_MS) == (None, None)
    said = r"--from now \(2026-11-28 17:00:00.500\) is after --to 16:45 \(2026-11-28 16:45:00\)"
    with pytest.raises(ConfigurationError, match=said):
        parse_span("now", "16:45", SEOUL, NOW_MS)


def test_a_span_tells_how_it_was_read() -> None:
    """With its zone; an open span is no text, a time beyond the calendar is its number."""
    span = parse_span("16:45", None, SEOUL, NOW_MS)
    assert span.text(SEOUL) == " from 2026-11-28 16:45:00 (Asia/Seoul)"
    assert Span(None, None).text(SEOUL) == ""
    assert Span(None, 10**15 - 1).text(ZULU) == f" to {10**15 - 1} ms (UTC)"


def test_a_replay_of_nothing_tells_how_it_was_read_and_what_there_is() -> None:
    """The frames of the recording beside the stretch that was asked for; silent where there are some."""
    frames = [Frame(received_ms * 1000, b"{}") for received_ms in (NOW_MS, NOW_MS + 61_000)]
    cut = _Cut(Span(NOW_MS + 1, NOW_MS + 60_000))
    assert list(cut.within(frames)) == []
    assert cut.nothing(Path("x.zst"), SEOUL) == (
        "x.zst: no frames from 2026-11-28 17:00:00.501 to 2026-11-28 17:01:00.500 (Asia/Seoul);"
        " there are frames from 2026-11-28 17:00:00.500 to 2026-11-28 17:01:01.500 (Asia/Seoul)"
    )
    whole = _Cut(Span(NOW_MS, None))
    assert list(whole.within(frames)) == frames
    assert whole.nothing(Path("x.zst"), SEOUL) == ""
