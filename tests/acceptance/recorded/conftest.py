"""One worker for all recordings of a module: each replay starts from an empty store."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis

from collector.host.redis_server import PrivateRedis

if TYPE_CHECKING:
    from tests.acceptance.recorded.line import Line


@pytest.fixture(scope="module")
def line(
    shared_dir: Path,  # without recordings nothing is started
    redis_server: PrivateRedis,
    tmp_path_factory: pytest.TempPathFactory,
) -> "Iterator[Line]":
    """The whole line, its worker running."""
    # Not earlier: pytest's Celery plugin would read the settings of our app before there is any Redis.
    from tests.acceptance.recorded.line import open_line

    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    with open_line(redis_server.url, tmp_path_factory.mktemp("line")) as line:
        yield line
