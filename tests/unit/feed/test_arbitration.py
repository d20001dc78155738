"""A frame that another socket brought first is recognised byte for byte, in bounded memory."""

from collector.feed.arbitration import FeedArbiter
from collector.model import Channel


def test_an_equal_frame_is_a_copy_and_tells_its_channel() -> None:
    """One byte makes another frame."""
    first = FeedArbiter()
    assert first.channel_of_copy(b"a") is None
    first.remember(b"a", Channel.TRADE)
    assert first.channel_of_copy(b"a") is Channel.TRADE
    assert first.channel_of_copy(b"A") is None


def test_memory_holds_one_to_two_generations() -> None:
    """Of ten thousand frames the last hundred are always known, never more than two hundred."""
    first = FeedArbiter(kept=100)
    for number in range(10_000):
        first.remember(str(number).encode(), Channel.TICKER)
        assert first.channel_of_copy(str(max(0, number - 99)).encode()) is Channel.TICKER
    known = sum(first.channel_of_copy(str(number).encode()) is not None for number in range(10_000))
    assert 100 <= known <= 200


def test_giant_frames_are_not_kept() -> None:
    """Four thousand frames of a megabyte would be four gigabytes."""
    first = FeedArbiter()
    first.remember(b"x" * 100_000, Channel.ORDERBOOK)
    assert first.channel_of_copy(b"x" * 100_000) is None
