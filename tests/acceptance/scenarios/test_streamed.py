"""Consumers of the event stream under faults: each trade of the exchange once, or announced."""

import random

import pytest

from tests.acceptance.scenarios.catalog import at_random_in_the_open
from tests.acceptance.scenarios.consumer import streamed
from tests.acceptance.scenarios.play import Act, Scenario
from tests.acceptance.scenarios.system import System


@pytest.mark.timeout(180)
def test_a_consumer_gets_each_trade_once_whoever_dies(system: System) -> None:
    """Workers are killed, Redis stands still, sockets are cut; nothing has to be announced."""
    scenario = Scenario(
        name="streamed",
        faults="cut@3s,leave-out:0.02@2s:4s",
        acts=(Act(1.5, "kill workers", 1), Act(5, "pause redis", 2)),
        seconds=10,
    )
    for found in streamed(system, scenario):
        assert found.complaints() == []
        assert found.announced == []
        assert found.pieces > 1


@pytest.mark.timeout(180)
def test_what_a_redis_that_lost_writes_had_pushed_is_announced(system: System) -> None:
    scenario = Scenario(
        name="streamed, the tail of Redis' file cut off",
        acts=(Act(4, "cut redis", 1),),
        seconds=9,
        deaths=True,
    )
    for found in streamed(system, scenario):
        assert found.complaints() == []


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_consumers_under_many_random_schedules(system: System) -> None:
    """Ten schedules from a base that is printed."""
    base = random.SystemRandom().randrange(1_000_000)
    for seed in range(base, base + 10):
        for found in streamed(system, at_random_in_the_open(seed)):
            print(f"seed {seed}: {found}")
            assert found.complaints() == []
