"""Whatever goes wrong: no trade is lost, none is counted twice, every candle is exact."""

from pathlib import Path

import pytest

from tests.acceptance.scenarios.catalog import DISK_FULL, EACH, LONG, OPEN, SHORT
from tests.acceptance.scenarios.disk import can_mount
from tests.acceptance.scenarios.play import Scenario, play
from tests.acceptance.scenarios.system import System


@pytest.mark.timeout(180)
@pytest.mark.parametrize("scenario", SHORT, ids=lambda scenario: scenario.name)
def test_every_trade_is_counted_once_in_spite_of(system: System, scenario: Scenario) -> None:
    """Once all has settled, the candles equal the exchange's truth to the last digit."""
    _play(scenario, system)


@pytest.mark.timeout(180)
def test_every_trade_is_counted_once_in_spite_of_a_full_disk(system: System, tmp_path: Path) -> None:
    """What neither Redis nor the disk took is fetched again from the exchange."""
    _play_on_a_small_disk(system, tmp_path)


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_a_full_disk_alone(system: System, tmp_path: Path) -> None:
    """The last row of docs/reliability.md."""
    _play_on_a_small_disk(system, tmp_path)


@pytest.mark.soak
@pytest.mark.timeout(300)
@pytest.mark.parametrize("scenario", EACH, ids=lambda scenario: scenario.name)
def test_each_fault_alone(system: System, scenario: Scenario) -> None:
    """The rows of docs/reliability.md."""
    _play(scenario, system)


@pytest.mark.soak
@pytest.mark.timeout(400)
@pytest.mark.parametrize("scenario", OPEN, ids=lambda scenario: scenario.name)
def test_what_an_exchange_a_host_and_a_redis_may_do(system: System, scenario: Scenario) -> None:
    """The second table of docs/reliability.md."""
    _play(scenario, system)


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("scenario", LONG, ids=lambda scenario: scenario.name)
def test_with_the_times_of_production(tmp_path: Path, scenario: Scenario) -> None:
    """As long as on the live exchange, and no time made shorter."""
    with System(tmp_path, workers=2, times={}) as system:
        _play(scenario, system)


def _play_on_a_small_disk(system: System, folder: Path) -> None:
    if not can_mount(folder):
        pytest.skip("no small file system can be mounted here (needs root)")
    _play(DISK_FULL, system)


def _play(scenario: Scenario, system: System) -> None:
    outcome = play(scenario, system)
    print(f"\n{outcome}")
    assert outcome.complaints() == []
