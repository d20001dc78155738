"""Growing delays with jitter, 429 respected, and never more connects than the budget."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.errors import ConnectFailed
from collector.feed.reconnect import ConnectBudget, GiveUp, ReconnectPolicy, Retry
from collector.settings import ConnectionSettings

SETTINGS = ConnectionSettings()  # 0.5 s doubled up to 30 s, 429 waits 60 s
POLICY = ReconnectPolicy(SETTINGS)


def delay_s(failures: int, cause: Exception | None = None, random: float = 0.5) -> float:
    decision = POLICY.decide(failures, cause, lambda: random)
    assert isinstance(decision, Retry)
    return decision.delay_s


def test_delays_double_up_to_the_ceiling() -> None:
    """With the most jitter: 0.5, 1, 2, 4 … 30, 30."""
    assert [delay_s(failures, random=1) for failures in range(1, 9)] == [0.5, 1, 2, 4, 8, 16, 30, 30]


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_jitter_keeps_between_half_and_all(failures: int, random: float) -> None:
    """At the ceiling too, so that many listeners do not come back together; no overflow ever."""
    most_s = min(SETTINGS.backoff_max_s, SETTINGS.backoff_initial_s * 2 ** min(failures - 1, 64))
    assert most_s / 2 <= delay_s(failures, random=random) <= most_s


@pytest.mark.parametrize(
    ("expected", "cause"),
    [
        (60.0, ConnectFailed("HTTP 429", status=429)),
        (60.0, ConnectFailed("HTTP 429", status=429, retry_after_s=5)),
        (600.0, ConnectFailed("HTTP 429", status=429, retry_after_s=600)),
        (120.0, ConnectFailed("HTTP 503", status=503, retry_after_s=120)),
        (3600.0, ConnectFailed("HTTP 503", status=503, retry_after_s=1e300)),
    ],
)
def test_the_servers_wish_is_the_least_wait(expected: float, cause: Exception) -> None:
    """429 waits at least `blocked_wait_s`; Retry-After is respected up to an hour."""
    assert delay_s(1, cause) == expected


@pytest.mark.parametrize("cause", [None, OSError("x"), ConnectFailed("HTTP 503", status=503), TimeoutError()])
def test_other_failures_wait_no_longer_than_usual(cause: Exception | None) -> None:
    """Half a second at the most for the first."""
    assert delay_s(1, cause) <= 0.5


def test_it_gives_up_only_where_a_limit_is_set() -> None:
    """Three retries: the fourth failure in a row is the end; by default there is none."""
    policy = ReconnectPolicy(ConnectionSettings(retries_max=3))
    decisions = [policy.decide(failures, None, lambda: 0.5) for failures in (1, 2, 3, 4)]
    assert [type(decision) for decision in decisions] == [Retry, Retry, Retry, GiveUp]
    assert isinstance(POLICY.decide(10**6, None, lambda: 0.5), Retry)


@given(
    per_s=st.floats(0.1, 5),
    waits=st.lists(st.floats(0, 3), min_size=2, max_size=60),
    window_s=st.floats(0.5, 10),
)
def test_no_window_ever_holds_more_than_the_budget(per_s: float, waits: list[float], window_s: float) -> None:
    """However the callers come: any stretch of time holds its share of slots and the one at its start."""
    budget, now_s, slots = ConnectBudget(per_s), 100.0, []
    for wait_s in waits:
        now_s += wait_s
        slot_s = now_s + budget.reserve(now_s)
        assert slot_s >= now_s
        slots.append(slot_s)
    for first_s in slots:
        inside = sum(first_s <= slot_s < first_s + window_s for slot_s in slots)
        assert inside <= window_s * per_s + 1 + 1e-6


def test_the_first_slot_is_free_at_once() -> None:
    """No delay before the first connect."""
    assert ConnectBudget(1).reserve(5.0) == 0
