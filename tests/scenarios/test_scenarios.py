"""Whatever goes wrong: no trade is lost, none is counted twice, every candle is exact."""

from pathlib import Path

import pytest

from tests.scenarios.catalog import DISK_FULL, SHORT
from tests.scenarios.play import Scenario, play
from tests.scenarios.system import System, can_mount

pytestmark = pytest.mark.timeout(180)


@pytest.mark.parametrize("scenario", SHORT, ids=lambda scenario: scenario.name)
def test_every_trade_is_counted_once_in_spite_of(system: System, scenario: Scenario) -> None:
    """Once all has settled, the candles equal the exchange's truth to the last digit."""
    outcome = play(scenario, system)
    print(f"\n{outcome}")
    assert outcome.complaints() == []


def test_every_trade_is_counted_once_in_spite_of_a_full_disk(system: System, tmp_path: Path) -> None:
    """What neither Redis nor the disk took is fetched again from the exchange."""
    if not can_mount(tmp_path):
        pytest.skip("no small file system can be mounted here (needs root)")
    outcome = play(DISK_FULL, system)
    print(f"\n{outcome}")
    assert outcome.complaints() == []
