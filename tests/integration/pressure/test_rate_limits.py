"""Rate limits of analysis tasks as workers keep them: by default, lowered under pressure, restored."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery
from celery.utils.time import rate

from collector.listener.pacing import PAUSED, analysis_limits
from collector.settings import Settings
from tests.acceptance.scenarios import waits
from tests.integration.pressure.conftest import Line

#: Celery closes a broadcast's socket when its memory is collected, whichever test runs then.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

VWAP = "tasks.analysis.vwap"
#: The longest wait for one answer; most come at once.
ANSWER_S = 5
FULL = Settings().worker.analysis_rate_limit
#: A few batches are a strain already, some more a danger: the mode follows what the test puts into the queue.
TOUCHY = {
    "COLLECTOR_PRESSURE__QUEUE_LOW": "2",
    "COLLECTOR_PRESSURE__QUEUE_HIGH": "4",
    "COLLECTOR_PRESSURE__QUEUE_MAX": "50",
    # Nobody takes the batches of the start; their age is no matter here, and there are to be no others.
    "COLLECTOR_CHANNELS": "trade",
    "COLLECTOR_PRESSURE__AGE_LOW_MS": "500000",
    "COLLECTOR_PRESSURE__AGE_HIGH_MS": "600000",
}


@pytest.fixture
def control(line: Line) -> Celery:
    """Any other program's view of the workers."""
    return line.control


def registered(control: Celery, worker: str) -> list[str]:
    """Return the tasks of a worker with their rate limits, as `celery inspect registered` shows them."""
    inspect = control.control.inspect([f"{worker}@test"], timeout=ANSWER_S, limit=1)
    return (inspect.registered("rate_limit") or {}).get(f"{worker}@test", [])


def limit_of(control: Celery, worker: str, task: str = VWAP) -> str | None:
    """Return the rate limit a worker keeps for a task now."""
    for text in registered(control, worker):
        name, _, about = text.partition(" ")
        if name == task:
            return about.strip("[]").removeprefix("rate_limit=")
    return None


def analyses(control: Celery, count: int) -> list[Any]:
    """Call an analysis some times."""
    return [control.send_task(VWAP, args=("KRW-NONE",), queue="analysis") for _ in range(count)]


def answered(results: list[Any]) -> int:
    """Return how many have an answer; here that nobody knows this market."""
    return sum(result.ready() for result in results)


@pytest.mark.parametrize(
    ("full", "conflated", "paused"),
    [
        ("50/s", "12.5/s", "12/m"),
        ("5/m", "5/m", "5/m"),
        ("13/m", "12/m", "12/m"),
        ("1/s", "0.25/s", "12/m"),
        ("700/h", "700/h", "700/h"),
        ("1/h", "1/h", "1/h"),
        ("999999999/s", "249999999.75/s", "12/m"),
    ],
)
def test_pressure_makes_no_analysis_faster(full: str, conflated: str, paused: str) -> None:
    """Each step of pressure is as slow as the one before it or slower, whatever the full rate is."""
    assert rate(full) >= rate(conflated) >= rate(paused) > 0, "as Celery reads them; 0 is no limit"
    assert {full} == set(analysis_limits(full, 1).values())
    assert {conflated} == set(analysis_limits(full, 0.25).values())
    assert {paused} == set(analysis_limits(full, 0).values())


def test_every_analysis_is_limited_and_no_ingest_task_is(line: Line, control: Celery) -> None:
    """The annotation of `celeryconfig` reaches each `tasks.analysis.*`, though Celery knows no patterns."""
    line.ready(line.worker("analysis", "analysis", {"COLLECTOR_WORKER__ANALYSIS_RATE_LIMIT": "3/s"}))
    tasks = registered(control, "analysis")
    limited = {text.split()[0] for text in tasks if "rate_limit=3/s" in text}
    assert limited == set(analysis_limits(FULL, 1))
    assert not any("ingest" in text and "rate_limit" in text for text in tasks)
    started = time.monotonic()
    results = analyses(control, 6)
    waits.until(lambda: answered(results) == 6, 10, "six answers")
    assert time.monotonic() - started > 1.5, "it slows them down, too"


def test_what_a_worker_held_while_paused_goes_on_when_the_limit_is_restored(
    line: Line, control: Celery
) -> None:
    """A task in hand waits for the rate it was taken under, so a pause must not be an hour long."""
    line.ready(line.worker("analysis", "analysis"))
    for name, limit in analysis_limits(FULL, 0).items():
        control.control.rate_limit(name, limit)
    until_limit(control, "analysis", PAUSED)
    results = analyses(control, 8)
    time.sleep(1.5)
    assert answered(results) <= 1, "paused: one is let through when the limit is set"
    for name, limit in analysis_limits(FULL, 1).items():
        control.control.rate_limit(name, limit)
    waits.until(lambda: answered(results) == 8, 15, "all answers")


def test_the_listener_lowers_the_limits_tells_late_workers_and_restores_them(
    line: Line, control: Celery
) -> None:
    """MERGE, SPOOL and FLOW as seen in a worker that was there and in one that came later."""
    line.exchange(rate=0, markets=1)
    early = line.worker("early", "analysis")
    listener = line.listener("listener", TOUCHY)
    line.ready(early)
    waits.until(lambda: line.reader.listeners(), 15, "the listener", listener.output)
    assert limit_of(control, "early") == FULL
    fill(line, 5)
    until_limit(control, "early", "12.5/s")
    fill(line, 60)
    until_limit(control, "early", PAUSED)
    line.ready(line.worker("late", "analysis"))
    until_limit(control, "late", PAUSED)
    line.redis.delete("trade")
    until_limit(control, "early", FULL)
    until_limit(control, "late", FULL)


def test_a_new_listener_restores_what_a_dead_one_had_lowered(line: Line, control: Celery) -> None:
    """Killed under pressure, it can't take its limits back; its successor starts in FLOW and does."""
    line.exchange(rate=0, markets=1)
    line.ready(line.worker("early", "analysis"))
    for name, limit in analysis_limits(FULL, 0).items():
        control.control.rate_limit(name, limit)
    until_limit(control, "early", PAUSED)
    line.listener("listener", {"COLLECTOR_PRESSURE__AGE_HIGH_MS": "600000"})
    until_limit(control, "early", FULL)


def fill(line: Line, count: int) -> None:
    """Put batches nobody takes into the trade queue."""
    line.redis.rpush("trade", *["{}"] * count)


def until_limit(control: Celery, worker: str, limit: str) -> None:
    """Wait until a worker keeps this limit."""
    look: Callable[[], str | None] = lambda: limit_of(control, worker)  # noqa: E731
    waits.until(lambda: look() == limit, 20, f"{worker} keeps {limit}", lambda: str(look()))
