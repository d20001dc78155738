"""A histogram of durations: each is counted once, behind the smallest bound that holds it."""

from collector.stream.histogram import Histogram


def test_each_duration_is_counted_once() -> None:
    """A bound belongs to what it ends; what exceeds the last has a place of its own."""
    it = Histogram((10, 100))
    for value_ms in (0, 10, 11, 100, 101, 5_000):
        it.observe(value_ms)
    assert it.snapshot() == {"bounds_s": [0.01, 0.1], "counts": [2, 2, 2], "sum_s": 5.222}


def test_a_clock_that_is_behind_takes_nothing_off_the_sum() -> None:
    """A sum of a histogram never falls."""
    it = Histogram((10,))
    it.observe(-700)
    it.observe(3)
    assert it.snapshot() == {"bounds_s": [0.01], "counts": [2, 0], "sum_s": 0.003}
