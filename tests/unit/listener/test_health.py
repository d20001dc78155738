"""The figures a listener tells about itself."""

import threading
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.feed.session import SessionState
from collector.listener.health import FrameRate, added_up, connection_row, percentile, state_of


def connection(state: SessionState, **changes: Any) -> Any:
    totals = SimpleNamespace(connects=2, losses=1, frames=77, last_frame_ms=5)
    return SimpleNamespace(number=1, state=state, totals=totals, last_loss="disconnected: x", **changes)


@pytest.mark.parametrize(
    ("expected", "states"),
    [
        ("streaming", [SessionState.WAITING, SessionState.STREAMING]),
        ("subscribed", [SessionState.SUBSCRIBED, SessionState.WAITING]),
        ("connecting", [SessionState.CONNECTING, SessionState.WAITING]),
        ("waiting", [SessionState.WAITING, SessionState.STOPPED]),
        ("gave_up", [SessionState.GAVE_UP, SessionState.STOPPED]),
        ("stopped", [SessionState.STOPPED]),
        ("starting", []),
    ],
)
def test_the_best_connection_is_the_listeners_state(expected: str, states: list[SessionState]) -> None:
    """Redundancy: one that streams is enough."""
    assert state_of(connection(state) for state in states) == expected


def test_every_state_has_a_word() -> None:
    """No state of a connection is unknown here."""
    assert {state_of([connection(state)]) for state in SessionState} == {str(state) for state in SessionState}


def test_a_connection_row() -> None:
    """What `show health` promises."""
    assert connection_row(connection(SessionState.STREAMING)) == {
        "number": 1,
        "state": "streaming",
        "connects": 2,
        "losses": 1,
        "frames": 77,
        "last_frame_ms": 5,
        "last_loss": "disconnected: x",
    }


@pytest.mark.parametrize(
    ("expected", "values", "share"),
    [(None, [], 0.5), (7, [7], 0.99), (50, range(1, 101), 0.5), (99, range(1, 101), 0.99), (1, [1, 2], 0.5)],
)
def test_percentiles_by_nearest_rank(expected: int | None, values: list[int], share: float) -> None:
    """Always one of the values."""
    assert percentile(list(values), share) == expected


@given(st.lists(st.integers(), min_size=1), st.floats(0.01, 1))
def test_a_percentile_has_its_share_at_or_below_it(values: list[int], share: float) -> None:
    """And no smaller value has."""
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9
    assert sum(value < found for value in values) < share * len(values)


def test_frame_rate_between_two_looks() -> None:
    """Looks closer than half a second change nothing."""
    rate = FrameRate()
    assert rate.look(100, 10.0) == 0
    assert rate.look(150, 10.2) == 0
    assert rate.look(300, 12.0) == 100
    assert rate.look(301, 12.1) == 100
    assert rate.look(300, 13.0) == 0


def test_counters_add_up_in_order_of_their_names() -> None:
    """None of them is changed."""
    first = Counter(b=2, a=1)
    assert list(added_up([first, {"b": 3, "c": 0}]).items()) == [("a", 1), ("b", 5), ("c", 0)]
    assert first == Counter(b=2, a=1)


def test_counters_may_grow_meanwhile() -> None:
    """The publisher's thread asks while the event loop counts: no error, whatever the moment."""
    counter: Counter[str] = Counter()
    stop = threading.Event()

    def count() -> None:
        while not stop.is_set():  # names come and go, so that its size never rests
            counter.clear()
            for number in range(500):
                counter[f"name {number}"] += 1

    thread = threading.Thread(target=count)
    thread.start()
    try:
        for _ in range(3000):
            added_up([counter, counter])
    finally:
        stop.set()
        thread.join()
