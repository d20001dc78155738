"""The way to Redis: one client with time limits, and its errors in our words."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from collector.errors import BrokerUnavailable, ConfigurationError
from collector.redis_server import find_url
from collector.settings import Settings, current

SCHEMES = ("redis://", "rediss://", "unix://")


def connect(url: str, settings: Settings) -> redis.Redis:
    """Return a client for `url`; nothing is sent yet.

    Raises:
        ConfigurationError: an address this client does not understand.
    """
    if not url.startswith(SCHEMES):
        raise ConfigurationError(f"REDIS_URL must start with {' or '.join(SCHEMES)} to hold our data")
    limit_s = settings.publish.socket_timeout_s
    return redis.Redis.from_url(
        url,
        socket_timeout=limit_s,
        socket_connect_timeout=limit_s,
        # Once, for a connection that went stale while idle; every command of ours may be repeated.
        retry=Retry(NoBackoff(), 1),
        health_check_interval=30,
    )


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
