"""How the exchange is asked for trades of a time."""

from datetime import UTC, date, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from collector.feed.paging import Walk, before, start_of
from collector.util.korean_time import date_of
from tests.doubles.exchange import DAY, HOUR, KST, S

MIDNIGHT_MS = 20_000 * DAY - KST


@given(st.integers(0, 7 * DAY), st.integers(0, DAY - 1))
def test_the_first_query_reaches_the_end_and_not_much_more(age_ms: int, now_of_day_ms: int) -> None:
    """`to` and `daysAgo` together mean a moment just after the end."""
    now_ms = MIDNIGHT_MS + now_of_day_ms
    latest_ms = now_ms - age_ms
    query = Walk("KRW-BTC", latest_ms - S, latest_ms, latest_ms - S, now_ms, 500).query
    if not query:
        assert age_ms < 120_000
        return
    clock = datetime.strptime(str(query["to"]), "%H:%M:%S").time()
    day = date_of(now_ms) - timedelta(days=int(query.get("daysAgo", 0)))
    before_ms = int(datetime.combine(day, clock, UTC).timestamp() * 1000) - KST
    assert latest_ms < before_ms <= latest_ms + S


def test_before_midnight() -> None:
    """Of today without `daysAgo`, which must be at least 1."""
    today = date(2026, 5, 7)
    assert before(start_of(today), today) == {"to": "00:00:00"}
    assert before(start_of(date(2026, 5, 5)), today) == {"to": "00:00:00", "daysAgo": 2}
    assert before(start_of(today) - 9 * HOUR, today) == {"to": "15:00:00", "daysAgo": 1}
