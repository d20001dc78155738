"""The exchange's time: from its own events, whatever the host's clock does, never from one event alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.clock import ManualClock
from collector.stream.exchange_time import ExchangeClock, ExchangeTime
from tests.samples.events import T0

DAY_MS = 86_400_000
HOUR_MS = 3_600_000


def told(time: ExchangeTime, *events: tuple[float, int]) -> list[bool]:
    """Let `time` see events given as (seconds, milliseconds after `T0`)."""
    return [time.saw(T0 + ms, now_s) for now_s, ms in events]


def running(step_s: float = 0.1, seconds: float = 30) -> ExchangeTime:
    """A time that has followed a busy stream; the newest event is `T0 + seconds * 1000`."""
    time = ExchangeTime(T0, 0.0)
    for number in range(round(seconds / step_s) + 1):
        assert time.saw(T0 + round(number * step_s * 1000), number * step_s)
    return time


def test_time_runs_on_with_the_monotonic_clock() -> None:
    """From the newest event, not from the host's clock."""
    time = ExchangeTime(T0 + 700, 100.0)
    assert not time.is_known
    time.saw(T0, 100.0)
    assert time.is_known
    assert time.at(101.5) == T0 + 1500
    assert time.at(99.0) == T0 - 1000


def test_the_event_with_the_shortest_way_counts() -> None:
    """Old trades of a snapshot and slow networks do not set the time back."""
    time = ExchangeTime(T0, 0.0)
    assert told(time, (0.0, 0), (0.1, -50_000), (0.2, 150), (0.3, -DAY_MS)) == [True, True, True, False]
    assert time.at(1.0) == T0 + 1000


def test_a_delay_that_lasts_is_followed() -> None:
    """The largest offset of the last windows, so not that of an hour ago."""
    time = running()
    for number in range(300):
        time.saw(T0 + 30_000 + number * 100 - 400, 30 + number * 0.1)
    assert time.at(60.0) == pytest.approx(T0 + 60_000 - 400, abs=1)


@pytest.mark.parametrize("ahead_ms", [20_000, HOUR_MS, DAY_MS - 1])
def test_one_event_from_the_future_moves_nothing(ahead_ms: int) -> None:
    """Nor does an order whose fills all carry that time, nor a market that does so all the time."""
    time = running()
    assert told(time, (30.0, 30_000 + ahead_ms), (30.0, 30_000 + ahead_ms)) == [False, False]
    for number in range(50):
        now_s = 30 + number * 0.1
        assert told(time, (now_s, round(now_s * 1000)), (now_s, round(now_s * 1000) + ahead_ms)) == [
            True,
            False,
        ]
    assert time.at(35.0) == pytest.approx(T0 + 35_000, abs=1)


@pytest.mark.parametrize("slept_s", [30, 7_200, 3 * 86_400])
def test_a_host_that_slept_learns_the_time_from_the_next_events(slept_s: int) -> None:
    """The monotonic clock stood still; nothing but the events shows it."""
    time = running()
    woke = [(30.1 + number / 10, 30_100 + slept_s * 1000 + number * 100) for number in range(3)]
    assert told(time, *woke) == [False, True, True]
    assert time.at(30.3) == T0 + 30_300 + slept_s * 1000


def test_a_date_header_lets_one_event_suffice() -> None:
    """The handshake after a sleep brings one."""
    time = running()
    time.hint(T0 + 7_230_500, 30.0)
    assert time.at(30.0) == T0 + 30_000
    assert told(time, (30.1, 7_230_100)) == [True]
    assert time.at(30.1) == T0 + 7_230_100


@pytest.mark.parametrize("wrong_ms", [-2 * DAY_MS, -90_000, -40_000, 40_000, HOUR_MS, 2 * DAY_MS])
def test_a_host_that_starts_with_a_wrong_clock(wrong_ms: int) -> None:
    """Without any `Date` header the second event puts it right; with one the first does."""
    time = ExchangeTime(T0 + wrong_ms, 0.0)
    told(time, (0.0, 0), (0.1, 100))
    assert time.at(1.0) == T0 + 1000
    time = ExchangeTime(T0 + wrong_ms, 0.0)
    time.hint(T0 - 300, 0.0)
    assert time.at(0.0) == T0 - 300
    assert told(time, (0.0, 0)) == [True]
    assert time.at(1.0) == T0 + 1000


def test_markets_that_stood_still_for_hours_do_not_set_the_time_back() -> None:
    """After maintenance every snapshot's trade is as old as the next: the `Date` of the handshake says so."""
    time, later_s = running(), 8 * 3600.0
    time.hint(T0 + 8 * HOUR_MS, later_s)
    assert not any(told(time, *((later_s + number / 100, 30_000 + number * 10) for number in range(300))))
    assert time.at(later_s) == T0 + 8 * HOUR_MS
    assert told(time, (later_s + 4, 8 * HOUR_MS + 4_000)) == [True]


def test_a_wrong_date_header_changes_nothing() -> None:
    """A proxy's clock may be wrong, too: events near the time as known are still believed."""
    time = running()
    time.hint(T0 + 5 * HOUR_MS, 30.0)
    assert told(time, (30.1, 30_100)) == [True]
    assert time.at(30.1) == T0 + 30_100


def test_a_time_that_was_moved_wrongly_comes_back() -> None:
    """Enough events in a row agree that it is earlier."""
    time = running()
    assert told(time, (30.1, DAY_MS), (30.2, DAY_MS + 100)) == [False, True]
    after = [(30.3 + number / 10, 30_300 + number * 100) for number in range(10)]
    assert told(time, *after)[-1]
    assert time.at(31.2) == T0 + 31_200


@given(st.lists(st.tuples(st.floats(0, 2), st.integers(0, 900)), min_size=2, max_size=60))
def test_no_delay_makes_the_time_later_than_it_is(steps: list[tuple[float, int]]) -> None:
    """Events come late by up to a second: the time is never ahead of theirs, nor behind by more than that."""
    time, now_s = ExchangeTime(T0 + 12_345, 0.0), 0.0
    for step_s, delay_ms in steps:
        now_s += step_s
        assert time.saw(T0 + round(now_s * 1000) - delay_ms, now_s)
    true_ms = T0 + round(now_s * 1000)
    assert true_ms - 901 <= time.at(now_s) <= true_ms + 1


def test_the_clock_is_the_hosts_until_it_is_far_off() -> None:
    """A jump of the host's clock, either way, is not followed; small differences are."""
    host = ManualClock(T0)
    time = ExchangeTime(host.now_ms(), host.monotonic())
    clock = ExchangeClock(host, time)
    host.jump(2 * 86_400)
    assert clock.now_ms() == T0 + 2 * DAY_MS
    assert clock.host_is_ahead_ms == 0
    time.saw(T0 + 400, host.monotonic())
    time.saw(T0 + 500, host.monotonic())
    assert clock.now_ms() == T0 + 500
    assert clock.host_is_ahead_ms == 2 * DAY_MS - 500
    host.jump(-2 * 86_400)
    assert clock.now_ms() == T0
    assert clock.host_is_ahead_ms == 0
    host.advance(1)
    assert (clock.now_ms(), clock.monotonic()) == (T0 + 1000, host.monotonic())
