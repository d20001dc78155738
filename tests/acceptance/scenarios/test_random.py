"""Several faults at the same time, at random: each seed is a schedule that can be repeated.

make soak                                        100 seeds from a base that is printed, under rules by chance
RELIABILITY_SEEDS=20 make soak                   so many
RELIABILITY_SEED=123456 python -m pytest tests/acceptance/scenarios/test_random.py -m soak -s    this one
"""

import os
import random

import pytest

from tests.acceptance.scenarios.catalog import at_random, at_random_in_the_open
from tests.acceptance.scenarios.play import Scenario, play
from tests.acceptance.scenarios.system import System

FEW = (11, 24)
#: Seeds that once lost trades.
KNOWN = (914_363,)
MANY = int(os.environ.get("RELIABILITY_SEEDS", "100"))


def _many() -> list[int]:
    """Return the seeds of a soak: the one asked for, or as many as asked for after a random base."""
    if "RELIABILITY_SEED" in os.environ:
        return [int(os.environ["RELIABILITY_SEED"])]
    base = random.SystemRandom().randrange(1_000_000)
    return list(range(base, base + MANY))


@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", FEW)
def test_a_random_schedule_loses_nothing(system: System, seed: int) -> None:
    """Known seeds, in every run."""
    assert _complaints(system, at_random(seed)) == [], f"repeat with seed {seed}"


@pytest.mark.soak
@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", KNOWN)
def test_a_seed_that_once_lost_trades_loses_none(system: System, seed: int) -> None:
    """Several times: what it needs comes by chance."""
    for _ in range(3):
        assert _complaints(system, at_random(seed)) == []


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_many_random_schedules_lose_nothing(system: System) -> None:
    """Unknown seeds, under rules by chance, with faults of the host and of Redis; all that fail are named."""
    seeds = _many()
    failed = {seed: found for seed in seeds if (found := _complaints(system, at_random_in_the_open(seed)))}
    print(f"{len(seeds)} seeds from {seeds[0]}, {len(failed)} failed: {sorted(failed)}")
    assert failed == {}, "repeat with RELIABILITY_SEED"


def _complaints(system: System, scenario: Scenario) -> list[str]:
    print(f"\n{scenario.name}: faults {scenario.faults!r} acts {scenario.acts} rules {scenario.rules!r}")
    try:
        outcome = play(scenario, system)
    except AssertionError as error:  # it did not settle in time
        print(error)
        return [str(error).splitlines()[0]]
    complaints = outcome.complaints()
    print(outcome, complaints or "", flush=True)
    if complaints:
        report = system.folder / f"{scenario.name}.txt"
        report.write_text(
            "\n".join([str(outcome), *complaints, *map(str, outcome.verdict.gaps), outcome.report])
        )
        print(f"logs and gaps: {report}", flush=True)
    return complaints
