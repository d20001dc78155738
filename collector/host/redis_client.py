"""The way to Redis for every form of `REDIS_URL`: one factory for our own clients, and the same for Celery.

    redis://[user:password@]host:port/db                 rediss://…   the same over TLS
    unix://[user:password@]/path/of/socket?db=0          redis+socket://…   the same
    sentinel://[user:password@]host:port/db;sentinel://host:port;…   the master those Sentinels name

User, password and db of a Sentinel address are those of Redis and may stand in any part. What the Sentinels
themselves ask for, and the files of TLS, are settings: `COLLECTOR_REDIS__…`.
"""

import ssl
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from collector.errors import ConfigurationError
from collector.settings import RedisSettings, Settings

SENTINEL = "sentinel://"
SOCKETS = ("unix://", "redis+socket://")
TLS = "rediss://"
SCHEMES = ("redis://", TLS, *SOCKETS, SENTINEL)
SENTINEL_PORT = 26379


@dataclass(frozen=True, slots=True)
class CeleryWay:
    """Celery's options to reach the same Redis; `ssl` is empty without TLS."""

    url: str
    ssl: dict[str, Any] = field(default_factory=dict)
    transport_options: dict[str, Any] = field(default_factory=dict)


def connect(
    url: str, settings: Settings, *, retries: int = 0, health_check_interval_s: float = 0
) -> redis.Redis:
    """Return a client with bounded waits; nothing is sent yet.

    Args:
        retries: how often a command is repeated at once after a broken connection.
        health_check_interval_s: a connection idle for so long is tried out before it is used; 0 = never.

    Raises:
        ConfigurationError: an address nobody here understands.
    """
    options: dict[str, Any] = {
        **_limits(settings),
        "retry": Retry(NoBackoff(), retries),
        "health_check_interval": health_check_interval_s,
    }
    if not url.startswith(SCHEMES):
        raise ConfigurationError(f"REDIS_URL must start with {' or '.join(SCHEMES)}")
    if url.startswith(SENTINEL):
        return _master(Sentinels.parse(url), settings, options)
    if url.startswith(TLS):
        options |= tls_options(settings.redis)
    return redis.Redis.from_url(_with_scheme(url, SOCKETS[1], SOCKETS[0], "virtual_host", "db"), **options)


def celery_way(url: str, settings: Settings) -> CeleryWay:
    """Return the same in Celery's words.

    Raises:
        ConfigurationError: a Sentinel address that can't be read.
    """
    if url.startswith(SENTINEL):
        options = {
            "master_name": settings.redis.sentinel_master,
            "sentinel_kwargs": _sentinel_options(settings),
        }
        return CeleryWay(Sentinels.parse(url).for_celery(), transport_options=options)
    if url.startswith(TLS):
        return CeleryWay(url, ssl=tls_options(settings.redis))
    return CeleryWay(_with_scheme(url, SOCKETS[0], SOCKETS[1], "db", "virtual_host"))


def tls_options(files: RedisSettings) -> dict[str, Any]:
    """Return redis-py's options for a connection whose server must prove who it is."""
    paths = {
        "ssl_ca_certs": files.tls_ca_file,
        "ssl_certfile": files.tls_cert_file,
        "ssl_keyfile": files.tls_key_file,
    }
    return {"ssl_cert_reqs": ssl.CERT_REQUIRED} | {name: path for name, path in paths.items() if path}


@dataclass(frozen=True, slots=True)
class Sentinels:
    """A Sentinel address taken apart."""

    hosts: tuple[tuple[str, int], ...]
    user: str = ""
    password: str = ""
    db: int = 0

    @classmethod
    def parse(cls, url: str) -> "Sentinels":
        """Read `sentinel://…;sentinel://…`.

        Raises:
            ConfigurationError: a part that is no such address.
        """
        parts = [urlsplit(part.strip()) for part in url.split(";") if part.strip()]
        try:
            hosts = tuple((part.hostname or "", part.port or SENTINEL_PORT) for part in parts)
            db = next((int(part.path.strip("/")) for part in parts if part.path.strip("/")), 0)
        except ValueError:
            hosts, db = (), 0
        if not hosts or not all(host for host, _ in hosts) or {part.scheme for part in parts} != {"sentinel"}:
            raise ConfigurationError("REDIS_URL must look like sentinel://host:26379;sentinel://host:26379/0")
        user = next((part.username for part in parts if part.username), "")
        password = next((part.password for part in parts if part.password), "")
        return cls(hosts, unquote(user), unquote(password), db)

    def for_celery(self) -> str:
        """Return the address with user, password and db in each part: kombu may begin with any of them."""
        secret = f"{quote(self.user, safe='')}:{quote(self.password, safe='')}@" if self.password else ""
        return ";".join(f"{SENTINEL}{secret}{host}:{port}/{self.db}" for host, port in self.hosts)


def _master(at: Sentinels, settings: Settings, options: dict[str, Any]) -> redis.Redis:
    secrets = {"username": at.user or None, "password": at.password or None, "db": at.db}
    new_finder: Any = Sentinel  # redis-py does not type its Sentinel
    finder = new_finder(list(at.hosts), sentinel_kwargs=_sentinel_options(settings))
    client: redis.Redis = finder.master_for(settings.redis.sentinel_master, **options, **secrets)
    return client


def _sentinel_options(settings: Settings) -> dict[str, Any]:
    password = settings.redis.sentinel_password.get_secret_value()
    return {
        **_limits(settings),
        # redis-py would try a dead Sentinel for 4 s at every new connection: ask the next one at once.
        "retry": Retry(NoBackoff(), 0),
        **({"password": password} if password else {}),
    }


def _limits(settings: Settings) -> dict[str, Any]:
    limit_s = settings.publish.socket_timeout_s
    return {"socket_timeout": limit_s, "socket_connect_timeout": limit_s}


def _with_scheme(url: str, before: str, after: str, db_before: str, db_after: str) -> str:
    """Translate a socket's address between redis-py's words and Celery's."""
    if not url.startswith(before):
        return url
    return after + url.removeprefix(before).replace(f"?{db_before}=", f"?{db_after}=")
