"""The public face on the test server: its settings come from the environment, as a user's would."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from collector import settings as settings_module
from collector.settings import Settings
from collector.store.redis_client import connect
from collector.store.store import Store


@pytest.fixture
def store(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> Iterator[Store]:
    """Where a worker would put things, in the Redis that `REDIS_URL` names."""
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("COLLECTOR_DATA_DIR", str(tmp_path / "data"))
    settings_module.current.cache_clear()
    with connect(redis_url, settings) as client:
        yield Store(client, settings.store)
    settings_module.current.cache_clear()


@pytest.fixture
def client(redis_url: str, settings: Settings) -> Iterator[redis.Redis]:
    """A client of the test server that is lent out."""
    with connect(redis_url, settings) as connected:
        yield connected
