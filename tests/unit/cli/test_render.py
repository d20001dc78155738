"""Numbers, times and tables for people."""

from decimal import Decimal
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from collector import settings as settings_module
from collector.cli.render import values
from collector.cli.render.analysis_tables import answer, figure
from collector.cli.render.health import workers
from collector.settings import Settings

D = Decimal


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (D("95000000"), "95,000,000"),
        (D("2.1E-7"), "0.00000021"),
        (D("0.10"), "0.1"),
        (D("1234.5678"), "1,234.5678"),
        (D("-0.5"), "-0.5"),
        (D("1E+3"), "1,000"),
        (None, "–"),
    ],
)
def test_numbers_have_separators_and_no_exponent(value: Decimal | None, text: str) -> None:
    """As many decimals as there are, none for show."""
    assert values.number(value) == text


def test_column_has_its_points_under_each_other() -> None:
    """The number with most decimals sets them for all."""
    assert values.column([D("1"), D("0.25"), None, D("1000.5")]) == ["1.00", "0.25", "–", "1,000.50"]


@given(st.lists(st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=0), min_size=1))
def test_short_decimals_are_shown_exactly(numbers: list[Decimal]) -> None:
    """Up to eight decimals nothing is rounded."""
    assert [D(text.replace(",", "")) for text in values.column(numbers)] == numbers


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (D("999.126"), "999.13"),
        (D(1234), "1.23 k"),
        (D("3.04E9"), "3.04 B"),
        (D("-5E6"), "-5.00 M"),
        (D(0), "0"),
    ],
)
def test_amounts_are_short(value: Decimal, text: str) -> None:
    """Three digits and a letter."""
    assert values.amount(value) == text


@pytest.mark.parametrize(
    ("length_ms", "text"),
    [
        (0, "0 ms"),
        (999, "999 ms"),
        (1500, "1.5 s"),
        (83_000, "1 min 23 s"),
        (3_660_000, "1 h 1 min"),
        (90_000_000, "1 d 1 h"),
        (None, "–"),
    ],
)
def test_durations_have_two_units_at_most(length_ms: float | None, text: str) -> None:
    """The two largest."""
    assert values.duration(length_ms) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1,023 B"), (1536, "1.5 KB"), (5 << 30, "5.0 GB")]
)
def test_sizes_have_a_unit(count: int, text: str) -> None:
    """Powers of 1024."""
    assert values.size(count) == text


@pytest.mark.parametrize(
    ("ratio", "text"),
    [
        (D("0.0117"), "+1.17 %"),
        (D("-0.5"), "-50.00 %"),
        (D("-0.00001"), "0.00 %"),
        (D(0), "0.00 %"),
        (None, "–"),
    ],
)
def test_ratios_are_percentages(ratio: Decimal | None, text: str) -> None:
    """Signed; what rounds to nothing has no sign."""
    assert values.percent(ratio) == text


def test_times_are_korean_whatever_the_host_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """UTC+9 by default."""
    monkeypatch.setenv("TZ", "America/New_York")
    assert values.millisecond(1_789_999_980_007) == "2026-09-21 23:13:00.007"
    assert values.minute(1_789_999_980_007) == "2026-09-21 23:13"
    assert values.zone_name() == "KST"


@pytest.mark.parametrize(
    ("zone", "name", "text"),
    [
        ("UTC", "UTC", "2026-09-21 14:13:00"),
        ("America/New_York", "America/New_York", "2026-09-21 10:13:00"),
        ("Asia/Kolkata", "Asia/Kolkata", "2026-09-21 19:43:00"),
    ],
)
def test_times_are_of_the_zone_in_force(
    monkeypatch: pytest.MonkeyPatch, zone: str, name: str, text: str
) -> None:
    """Those of COLLECTOR_TIME_ZONE."""
    monkeypatch.setattr(settings_module, "current", lambda: Settings(time_zone=zone))
    assert (values.second(1_789_999_980_007), values.zone_name()) == (text, name)


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("from_ms", 1_789_999_980_000, "2026-09-21 23:13:00"),
        ("trade_count", 1234, "1,234"),
        ("id", 1234, "1234"),
        ("vwap", "100000666.6666666666666666667", "100,000,666.6667"),
        ("imbalance", "-0.123456789012", "-0.12345679"),
        ("price", "0.00000021", "0.00000021"),
        ("market", "KRW-BTC", "KRW-BTC"),
        ("twap", None, "–"),
        ("is_open", True, "yes"),
    ],
)
def test_figures_are_read_by_their_name(key: str, value: object, text: str) -> None:
    """Times by `_ms`, ids as they are, decimals rounded only where they come from a division."""
    assert figure(key, value) == text


def test_answer_has_a_table_for_each_list() -> None:
    """Single figures first; an empty list is said to be empty."""
    console = Console(file=StringIO(), width=100)
    for part in answer(
        "large_trades", {"market": "KRW-BTC", "trades": [{"id": 7, "price": "1.5"}], "runs": []}
    ):
        console.print(part)
    text = console.file.getvalue()
    assert "large_trades" in text
    assert "1.5" in text
    assert "runs: none" in text


@pytest.mark.parametrize(("ahead_ms", "shown"), [(0, "0 ms"), (11_000, "11.0 s"), (-2_500, "-2.5 s")])
def test_how_far_a_clock_is_ahead_is_a_length_of_time(ahead_ms: int, shown: str) -> None:
    """Not a moment: it would be shown as so many days ago."""
    rows = [{"hostname": "ingest@a", "started_ms": 1_790_000_000_000, "clock_ahead_ms": ahead_ms}]
    columns = {column.title: column.cells for column in workers(rows, 1_790_000_060_000).columns}
    assert columns == {"hostname": ["ingest@a"], "started": ["1 min 0 s ago"], "clock ahead": [shown]}
