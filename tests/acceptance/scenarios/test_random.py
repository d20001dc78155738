"""Several faults at the same time, at random: each seed is a schedule that can be repeated.

RELIABILITY_SEEDS=20 make soak                   so many seeds, from a base that is printed
RELIABILITY_SEED=123456 pytest tests/acceptance/scenarios/test_random.py -m soak -s   this one again
"""

import os
import random

import pytest

from tests.acceptance.scenarios.catalog import at_random
from tests.acceptance.scenarios.play import play
from tests.acceptance.scenarios.system import System

FEW = (11, 24)
MANY = int(os.environ.get("RELIABILITY_SEEDS", "20"))


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
    _play(system, seed)


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_many_random_schedules_lose_nothing(system: System) -> None:
    """Unknown seeds; the one that fails is named."""
    for seed in _many():
        _play(system, seed)


def _play(system: System, seed: int) -> None:
    scenario = at_random(seed)
    print(f"\nRELIABILITY_SEED={seed} faults {scenario.faults!r} acts {scenario.acts}")
    outcome = play(scenario, system)
    print(outcome)
    assert outcome.complaints() == [], f"repeat with RELIABILITY_SEED={seed}"
