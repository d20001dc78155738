"""A worker that consumes nothing is noticed and ends; one that has nothing to do, or no Redis, is not."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from hypothesis import given
from hypothesis import strategies as st

from collector import routing
from collector.store.read import Reader
from tasks.consumer_watchdog import EXIT_STATUS, ConsumerActivity, Look
from tests.integration.tasks.test_workers import send, text
from tests.samples.rows import trade

DEAF_AFTER_S, LOOK_S = 10.0, 1.0
DEAF = Look(waiting=3, held=0, taken=7)


def answers(looks: list[Look | None], step_s: float = LOOK_S) -> list[bool]:
    """Return what is said at each of the looks, `step_s` apart."""
    hearing = ConsumerActivity(DEAF_AFTER_S, LOOK_S)
    return [hearing.is_deaf(look, number * step_s) for number, look in enumerate(looks)]


def test_waiting_batches_and_idle_hands_for_long_are_deafness() -> None:
    """After the time and not before."""
    assert answers([DEAF] * 14) == [False] * 11 + [True] * 3


@pytest.mark.parametrize(
    "other",
    [None, replace(DEAF, waiting=0), replace(DEAF, held=1), replace(DEAF, taken=8)],
    ids=["Redis away", "nothing waits", "a task in hand", "one was taken"],
)
def test_any_sign_of_life_starts_the_time_again(other: Look | None) -> None:
    """Once in ten seconds is enough."""
    assert not any(answers([*[DEAF] * 9, other, *[DEAF] * 9, other, *[DEAF] * 9]))


def test_a_process_that_stood_still_is_not_deaf() -> None:
    """Looks that come much too late prove nothing: the machine slept, or the process was stopped."""
    assert not any(answers([DEAF] * 20, step_s=DEAF_AFTER_S))


@given(st.lists(st.builds(Look, st.integers(0, 2), st.integers(0, 1), st.integers(0, 3)) | st.none()))
def test_deafness_needs_as_many_looks_as_the_time_has(looks: list[Look | None]) -> None:
    """Whatever is seen: the last ten seconds before a verdict are all alike, waiting, and empty-handed."""
    for number, verdict in enumerate(answers(looks)):
        if verdict:
            stretch = looks[number - 10 : number + 1]
            assert len({look and look.taken for look in stretch}) == 1
            assert all(look is not None and look.waiting and not look.held for look in stretch)


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_a_worker_that_stopped_consuming_ends_and_the_next_one_takes_all(
    start_worker: Callable[..., Any],
    sender: Celery,
    reader: Reader,
    eventually: Callable[..., None],
    tmp_path: Path,
    pool: str,
) -> None:
    """It still reports that it lives; its queue says that it does not. An idle one stays."""
    mark = tmp_path / "deaf"
    options = ("-Q", "trade", "--pool", pool, "-c", "1")
    worker = start_worker(*options, app="tests.doubles.workers.deaf", DEAF_MARK=str(mark))
    send(sender, routing.INGEST_TRADES, text([trade(1)]))
    eventually(lambda: reader.counters().get("trades_counted") == 1, 10, "the first is stored")
    with pytest.raises(Exception, match="timed out"):
        worker.wait(3)  # longer than the patience with a deaf one: there is nothing to do
    mark.touch()
    for number in range(2, 6):
        send(sender, routing.INGEST_TRADES, text([trade(number)]))
    assert worker.wait(15) == EXIT_STATUS
    assert reader.queues()["trade"] >= 3
    start_worker(*options)
    eventually(lambda: reader.counters().get("trades_counted") == 5, 10, "all are stored")
