"""One Redis and two workers for all scenarios of a module; they are killed and restarted on the way."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.acceptance.scenarios.system import System


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[System]":
    """The system with short times."""
    # Not earlier: pytest's Celery plugin would read the settings of our app before there is any Redis.
    from tests.acceptance.scenarios.system import System

    with System(tmp_path_factory.mktemp("system"), workers=2) as system:
        yield system
