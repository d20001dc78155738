"""A second signal that asks for a stop, told apart from a copy of the first one."""

from collector.util.signals import COPY_S, StopSignals


def test_copies_are_no_second_wish() -> None:
    """`timeout` sends two in one millisecond; whoever asks again later means it."""
    now_s = [1000.0]
    signals = StopSignals(lambda: now_s[0])
    assert signals.arrived() == 1
    assert [signals.arrived(), signals.arrived()] == [0, 0]
    now_s[0] += COPY_S / 2
    assert (signals.arrived(), signals.wishes) == (0, 1)
    now_s[0] += COPY_S
    assert [signals.arrived(), signals.arrived()] == [2, 3]
