"""A quiet market is normal, a quiet channel is not; keepalives prove nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.feed.watchdog import Rhythm, Stall, Watchdog, new_rhythms
from collector.model import Channel
from collector.settings import ConnectionSettings

SETTINGS = ConnectionSettings()  # first message 15 s, stall between 15 and 120 s
TRADE, BOOK, TICKER = Channel.TRADE, Channel.ORDERBOOK, Channel.TICKER


def watchdog(*channels: Channel) -> tuple[Watchdog, dict[Channel, Rhythm]]:
    rhythms = new_rhythms(SETTINGS)
    return Watchdog(channels or tuple(Channel), rhythms, SETTINGS, 0.0), rhythms


def feed(dog: Watchdog, channel: Channel, from_s: float, to_s: float, step_s: float) -> float:
    """Let a channel speak every `step_s`; return when it spoke last."""
    count = round((to_s - from_s) / step_s)
    for number in range(count + 1):
        dog.heard(channel, from_s + number * step_s)
    return from_s + count * step_s


def test_a_socket_silent_from_birth_is_noticed() -> None:
    """The first message has a deadline too."""
    dog, _ = watchdog()
    assert dog.check(15.0) is None
    assert dog.check(15.1) == Stall(TICKER, 15.1, 15.0)


def test_a_busy_channel_that_falls_silent_is_noticed_after_the_least_limit() -> None:
    """Ten frames a second, then nothing while another channel flows."""
    dog, _ = watchdog(TRADE, BOOK)
    last_s = feed(dog, TRADE, 0.0, 60.0, 0.1)
    feed(dog, BOOK, 0.0, 90.0, 0.1)
    assert dog.check(last_s + 15) is None
    stall = dog.check(last_s + 15.1)
    assert stall is not None
    assert stall.channel is TRADE


def test_a_slow_channel_gets_a_longer_limit() -> None:
    """One frame in eight seconds may be silent for eighty."""
    dog, rhythms = watchdog(TRADE)
    last_s = feed(dog, TRADE, 0.0, 400.0, 8.0)
    assert rhythms[TRADE].limit_s == pytest.approx(80.0)
    assert dog.check(last_s + 79) is None
    assert dog.check(last_s + 81) is not None


def test_no_limit_passes_the_ceiling() -> None:
    """A channel silent for `stall_max_s` is stalled whatever its rhythm was."""
    dog, rhythms = watchdog(TRADE)
    last_s = feed(dog, TRADE, 0.0, 400.0, 50.0)
    assert rhythms[TRADE].limit_s == SETTINGS.stall_max_s
    assert dog.check(last_s + SETTINGS.stall_max_s + 1) is not None


def test_a_channel_that_never_spoke_on_a_talking_socket_is_given_the_ceiling() -> None:
    """A market list without trades yet is no reason to hurry."""
    dog, _ = watchdog(TRADE, BOOK)
    feed(dog, BOOK, 1.0, 130.0, 1.0)
    assert dog.check(119.0) is None
    stall = dog.check(121.0)
    assert stall is not None
    assert (stall.channel, stall.limit_s) == (TRADE, SETTINGS.stall_max_s)


def test_the_worst_of_several_stalls_is_told() -> None:
    """Measured in limits, not in seconds."""
    dog, _ = watchdog(TRADE, BOOK)
    feed(dog, BOOK, 0.0, 100.0, 10.0)  # limit 100 s
    feed(dog, TRADE, 0.0, 100.0, 0.1)  # limit 15 s
    stall = dog.check(205.0)
    assert stall is not None
    assert stall.channel is TRADE


def test_a_channel_that_is_merely_quiet_is_not_reconnected_for_ever() -> None:
    """Frames every ten minutes: the patience doubles until the limit is above the silence."""
    rhythms, now_s, stalls = new_rhythms(SETTINGS), 0.0, 0
    for _ in range(20):
        dog = Watchdog((TRADE,), rhythms, SETTINGS, now_s)
        dog.heard(TRADE, now_s)  # the snapshot
        silent_until_s = now_s + 600
        while now_s < silent_until_s:
            now_s += 1
            if dog.check(now_s):
                stalls += 1
                rhythms[TRADE].called_a_stall()
                break
        else:
            dog.heard(TRADE, now_s)
    assert stalls <= 7


def test_patience_goes_again_once_the_rhythm_holds() -> None:
    """Real stalls must not blunt the watchdog for good: it is as sharp as before within minutes."""
    dog, rhythms = watchdog(TRADE)
    last_s = feed(dog, TRADE, 0.0, 30.0, 0.1)
    for _ in range(10):
        rhythms[TRADE].called_a_stall()
    assert rhythms[TRADE].limit_s == 64 * SETTINGS.stall_min_s
    feed(dog, TRADE, last_s, last_s + 6 * SETTINGS.stall_max_s + 10, 0.5)
    assert rhythms[TRADE].limit_s == SETTINGS.stall_min_s


def test_a_burst_of_snapshots_does_not_forgive() -> None:
    """Time counts, not frames: five hundred frames in a second are one second."""
    dog, rhythms = watchdog(TRADE)
    rhythms[TRADE].called_a_stall()
    feed(dog, TRADE, 0.0, 1.0, 0.002)
    assert rhythms[TRADE].patience == 2


@given(st.lists(st.floats(0, 1000), max_size=60), st.integers(0, 10))
def test_the_limit_stays_between_its_bounds(silences: list[float], stalls: int) -> None:
    """Whatever was learned."""
    rhythm = Rhythm(SETTINGS)
    for silence_s in silences:
        rhythm.heard_after(silence_s)
    for _ in range(stalls):
        rhythm.called_a_stall()
    assert 1 <= rhythm.patience <= 64
    assert SETTINGS.stall_min_s <= rhythm.limit_s / rhythm.patience <= SETTINGS.stall_max_s


@given(st.lists(st.floats(0.01, 14.9), min_size=1, max_size=50))
def test_no_channel_is_stalled_below_the_least_limit(gaps_s: list[float]) -> None:
    """Frames closer than `stall_min_s` never raise an alarm."""
    dog, _ = watchdog(TRADE)
    now_s = 0.0
    for gap_s in gaps_s:
        now_s += gap_s
        assert dog.check(now_s) is None
        dog.heard(TRADE, now_s)
