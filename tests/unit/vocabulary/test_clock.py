"""The clocks: wall time and monotonic time, never mixed."""

import time

import pytest

from collector.clock import Clock, ManualClock, SystemClock


def test_system_clock_tells_the_time():
    """Epoch milliseconds of this machine, between two looks at its own clock."""
    before, now_ms, after = time.time(), SystemClock().now_ms(), time.time()
    assert int(before * 1000) <= now_ms <= after * 1000 + 1


def test_system_clock_never_goes_back():
    """Monotonic seconds do not decrease, and they pass as seconds do."""
    clock = SystemClock()
    start = clock.monotonic()
    time.sleep(0.01)
    assert clock.monotonic() - start >= 0.009


def test_system_clock_is_not_moved_by_the_wall(monkeypatch):
    """A wall clock that jumps back a day moves no deadline."""
    clock = SystemClock()
    start_s, start_ms = clock.monotonic(), clock.now_ms()
    monkeypatch.setattr(time, "time_ns", lambda: (start_ms - 86_400_000) * 1_000_000)
    assert clock.now_ms() == start_ms - 86_400_000
    assert 0 <= clock.monotonic() - start_s < 60


def test_manual_clock_stands_still():
    """A manual clock moves only when told to, both times together."""
    clock = ManualClock(now_ms=1000)
    assert (clock.now_ms(), clock.monotonic()) == (1000, 0.0)
    clock.advance(1.5)
    assert (clock.now_ms(), clock.monotonic()) == (2500, 1.5)


@pytest.mark.parametrize("seconds", [3600, -3600])
def test_manual_clock_jumps_like_ntp(seconds):
    """A jump moves the wall time alone, forwards or back."""
    clock = ManualClock(now_ms=10_000_000)
    clock.jump(seconds)
    assert (clock.now_ms(), clock.monotonic()) == (10_000_000 + seconds * 1000, 0.0)


@pytest.mark.parametrize("clock", [SystemClock(), ManualClock()])
def test_both_are_clocks(clock):
    """Both say milliseconds as an integer and seconds as a float, as the protocol promises."""
    used: Clock = clock
    assert (type(used.now_ms()), type(used.monotonic())) == (int, float)
