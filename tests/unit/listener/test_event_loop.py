"""The resting loop: what comes close together is taken together, and nothing waits longer than it should."""

import asyncio
import os
import selectors
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from collector.listener import event_loop
from collector.listener.event_loop import MUCH_BYTES, CoalescingLoop, CoalescingSelector

#: Far longer than any real one, so that a busy machine does not look like a rest.
REST_S = 0.1
#: As long as no machine is slow.
LONG_S = 60.0
#: A busy machine may let some of them take longer than they would, not all.
TRIES = 5


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Both ends of a pipe."""
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)


def took(selector: CoalescingSelector, timeout: float | None) -> tuple[int, float]:
    """Return how many files were ready, and the seconds it took to say so."""
    started_s = time.monotonic()
    ready = selector.select(timeout)
    return len(ready), time.monotonic() - started_s


def test_what_is_ready_is_told_at_once(pipe: tuple[int, int]) -> None:
    """However young the last look is: under load there is no rest."""
    with CoalescingSelector(LONG_S) as selector:
        selector.register(pipe[0], selectors.EVENT_READ)
        os.write(pipe[1], b"x")
        for _ in range(3):
            count, seconds = took(selector, None)
            assert count == 1
            assert seconds < LONG_S / 2


def test_the_first_after_a_silence_is_told_at_once(pipe: tuple[int, int]) -> None:
    """What comes to a selector that has been blocked for longer than a rest need not wait."""

    def write() -> float:
        time.sleep(1.5 * REST_S)
        written_s = time.monotonic()
        os.write(pipe[1], b"x")
        return written_s

    def latency_s() -> float:
        with CoalescingSelector(REST_S) as selector, ThreadPoolExecutor(1) as other:
            selector.register(pipe[0], selectors.EVENT_READ)
            selector.select(0)
            written = other.submit(write)
            assert selector.select(LONG_S)
            seconds = time.monotonic() - written.result()
            os.read(pipe[0], 1)
            return seconds

    assert any(latency_s() < REST_S / 2 for _ in range(TRIES))


def test_between_two_looks_it_rests_and_no_longer_than_asked(pipe: tuple[int, int]) -> None:
    """Nothing ready: it returns after the timeout, whether that is shorter than the rest or longer."""
    with CoalescingSelector(REST_S) as selector:
        selector.register(pipe[0], selectors.EVENT_READ)
        selector.select(0)
        for timeout in (REST_S / 5, 2 * REST_S):
            tries = [took(selector, timeout) for _ in range(TRIES)]
            assert {count for count, _ in tries} == {0}
            assert timeout * 0.9 <= min(seconds for _, seconds in tries) < timeout + REST_S / 2
        assert min(took(selector, 0)[1] for _ in range(TRIES)) < REST_S / 2


@pytest.fixture
def other_pipe() -> Iterator[tuple[int, int]]:
    """Both ends of another one."""
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)


def test_in_a_cycle_what_is_read_together_waits_and_the_rest_does_not(
    pipe: tuple[int, int], other_pipe: tuple[int, int]
) -> None:
    """The socket is told of once; until the cycle ends only the other file is, and the end is announced."""
    rests: list[float] = []
    with CoalescingSelector(LONG_S) as selector:
        selector.before_rest = rests.append
        selector.read_together(pipe[0])
        selector.register(pipe[0], selectors.EVENT_READ, "socket")
        selector.register(other_pipe[0], selectors.EVENT_READ, "other")
        for _, writing in (pipe, other_pipe):
            os.write(writing, b"x")
        assert {key.data for key, _ in selector.select(LONG_S)} == {"socket", "other"}
        assert [key.data for key, _ in selector.select(LONG_S)] == ["other"]
        assert [key.data for key, _ in selector.select(0)] == ["other"]
        os.read(other_pipe[0], 1)
        assert selector.select(REST_S / 10) == []
        assert len(rests) == 2
        assert LONG_S / 2 < rests[-1] <= LONG_S
        selector.go_on()
        assert [key.data for key, _ in selector.select(LONG_S)] == ["socket"]


def test_a_cycle_ends(pipe: tuple[int, int]) -> None:
    """What came in it is told of then; a file that is closed and opened anew is an ordinary one."""
    with CoalescingSelector(REST_S) as selector:
        selector.register(pipe[0], selectors.EVENT_READ)
        selector.read_together(pipe[0])
        os.write(pipe[1], b"x")
        assert selector.select(LONG_S)
        tries = [took(selector, LONG_S) for _ in range(TRIES)]
        assert {count for count, _ in tries} == {1}
        assert REST_S / 2 < min(seconds for _, seconds in tries) < LONG_S / 2
        selector.unregister(pipe[0])
        selector.register(pipe[0], selectors.EVENT_READ)
        selector.modify(pipe[0], selectors.EVENT_READ, "again")
        assert [key.data for key, _ in selector.select(0)] == ["again"]


def test_much_at_once_ends_a_cycle() -> None:
    """There may be more than asyncio reads at a time."""
    loop = CoalescingLoop(LONG_S)
    try:
        reading, writing = os.pipe()
        loop.add_reader(reading, os.read, reading, 1)
        loop.read_together(reading)
        os.write(writing, b"xx")
        loop.coalescing.select(0)
        assert loop.coalescing.select(0) == []
        loop.on_read(MUCH_BYTES - 1)
        assert loop.coalescing.select(0) == []
        loop.on_read(MUCH_BYTES)
        assert loop.coalescing.select(0) != []
        loop.remove_reader(reading)
        os.close(reading)
        os.close(writing)
    finally:
        loop.close()


def test_writes_that_come_together_wake_it_once() -> None:
    """Twenty writes, a millisecond apart, are a few wake-ups; in a loop without rest they are twenty."""
    some = [event_loop.run(_wakes(20, 0.001), rest_s) for rest_s in TRIES * [0.02]]
    many = [event_loop.run(_wakes(20, 0.001), rest_s) for rest_s in TRIES * [0.0]]
    assert min(some) * 3 < max(many)


async def _wakes(writes: int, apart_s: float) -> int:
    """Return how often a reader was called for `writes` writes of another thread."""
    reading, writing = os.pipe()
    wakes, received = 0, 0
    done = asyncio.Event()

    def on_readable() -> None:
        nonlocal wakes, received
        wakes += 1
        received += len(os.read(reading, 100))
        if received == writes:
            done.set()

    def write() -> None:
        for _ in range(writes):
            os.write(writing, b"x")
            time.sleep(apart_s)

    running = asyncio.get_running_loop()
    if isinstance(running, CoalescingLoop):
        running.read_together(reading)
    running.add_reader(reading, on_readable)
    try:
        async with asyncio.timeout(5):
            await asyncio.gather(asyncio.to_thread(write), done.wait())
    finally:
        running.remove_reader(reading)
        os.close(reading)
        os.close(writing)
    return wakes


def test_timers_and_exceptions_are_those_of_asyncio() -> None:
    """A timer rings when it is due, about, and what `main` raises comes out."""

    async def main() -> None:
        started_s = time.monotonic()
        await asyncio.sleep(0.03)
        assert 0.029 <= time.monotonic() - started_s < LONG_S / 2
        raise ValueError("out")

    with pytest.raises(ValueError, match="out"):
        event_loop.run(main(), LONG_S)
