"""The way to Redis: one client with time limits, and its errors in our words."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import redis

from collector.errors import BrokerUnavailable
from collector.host import redis_client
from collector.host.redis_server import find_url
from collector.settings import Settings, current


def connect(url: str, settings: Settings) -> redis.Redis:
    """Return a client for `url`; nothing is sent yet.

    Raises:
        ConfigurationError: an address this client does not understand.
    """
    # Repeated once, for a connection that went stale while idle; every command of ours may be repeated.
    return redis_client.connect(url, settings, retries=1, health_check_interval_s=30)


@lru_cache(maxsize=1)
def client() -> redis.Redis:
    """Return this process's client for the Redis of the settings in force."""
    return connect(find_url(current()), current())


@contextmanager
def translated() -> Iterator[None]:
    """Turn errors of redis-py into `BrokerUnavailable`."""
    try:
        yield
    except redis.RedisError as error:
        raise BrokerUnavailable(f"Redis: {error}") from error
