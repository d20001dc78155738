"""How the reading commands reach the stored results, whether or not a collector is running."""

import logging
import re
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from urllib.parse import unquote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from collector.errors import BrokerUnavailable, ConfigurationError
from collector.host.redis_server import POLL_S, PrivateRedis, find_url, is_disk_trouble
from collector.settings import Settings
from collector.store.read import Reader
from collector.store.redis_client import connect, translated

log = logging.getLogger(__name__)

#: How long to wait for the folder of a private server that is just starting, or that another reader has.
OWNER_WAIT_S = 3.0
#: In the name of what an address must not show.
_SECRET = re.compile("pass|pwd|secret|token|auth", re.IGNORECASE)


@contextmanager
def open_reader(settings: Settings) -> Iterator[Reader]:
    """Yield a reader of the stored results; see `open_redis`."""
    with open_redis(settings) as client:
        yield Reader(client, settings)


@contextmanager
def open_redis(settings: Settings) -> Iterator[redis.Redis]:
    """Yield a client of the Redis in force, which has just answered.

    Where none runs but an earlier `collector up` or `collector demo` left data in the data folder, the
    private server is started over that data and stopped at the end.

    Raises:
        BrokerUnavailable: no Redis, or one that refuses or does not answer; the message has the remedy.
    """
    url, server = _find_or_start(settings)
    try:
        with _connected(url, settings) as client:
            yield client
    finally:
        if server:
            server.stop()


@contextmanager
def open_running(settings: Settings) -> Iterator[redis.Redis]:
    """Yield a client of a Redis that runs already, for commands that need workers too.

    Raises:
        BrokerUnavailable: as `open_redis`.
    """
    with _connected(find_url(settings), settings) as client:
        yield client


def has_results(settings: Settings) -> bool:
    """Return whether a private server left its data in the data folder."""
    return any((settings.data_dir / "redis").glob("appendonly*"))


def masked(url: str) -> str:
    """Return an address with every secret in it replaced by `***`, wherever it stands."""
    return ";".join(map(_masked, url.split(";")))  # several where they are Sentinels


def _masked(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    place, question, query = rest.partition("?")
    netloc, slash, path = place.partition("/")
    credentials, at, host = netloc.rpartition("@")
    if "@" in path or "#" in rest:  # a password that is not quoted: where it ends is a guess
        return f"{scheme}://***"
    if at:  # a user alone is often a password in the wrong place
        user, colon, _ = credentials.partition(":")
        netloc = f"{f'{user}:***' if colon else '***'}@{host}"
    arguments = "&".join(map(_masked_argument, query.split("&")))
    return f"{scheme}://{netloc}{slash}{path}{question}{arguments}"


def _masked_argument(text: str) -> str:
    name, equals, _ = text.partition("=")
    return f"{name}=***" if equals and _SECRET.search(unquote(name)) else text


def explain(error: redis.RedisError, url: str, limit_s: float, folder: str = "its data") -> str:
    """Return one sentence with the fault of the Redis at `url` and the remedy."""
    where = f"Redis at {masked(url)}"
    match error:
        case redis.ResponseError() if is_disk_trouble(error):
            return (
                f"{where} can't write to the disk of {folder} and accepts no writes until it can"
                f" (is it full?): make room there [{_said(error)}]"
            )
        case redis.AuthenticationError():
            return f"{where} refuses the password: put the right one into REDIS_URL (redis://:PASSWORD@host)"
        case redis.BusyLoadingError():
            return f"{where} is still loading its data: try again in a moment"
        case redis.TimeoutError():
            return f"{where} does not answer within {limit_s:g} s: check whether it hangs, or set REDIS_URL"
        case redis.ConnectionError():
            return f"{where} can't be reached ({error}): start it or set REDIS_URL"
        case _:
            return f"{where} refuses: {error}"


def _folder(client: redis.Redis) -> str:
    """Return the folder that a server keeps its data in, where it is readable."""
    try:
        return str(client.config_get("dir")["dir"])
    except (redis.RedisError, KeyError):
        return "its data"


def _said(error: redis.RedisError) -> str:
    return str(error).removeprefix("MISCONF ").partition(". ")[0]


@contextmanager
def _connected(url: str, settings: Settings) -> Iterator[redis.Redis]:
    with closing(connect(url, settings)) as client:
        greet(client, url, settings.publish.socket_timeout_s)
        yield client


def _find_or_start(settings: Settings) -> tuple[str, PrivateRedis | None]:
    """Return the address of the running Redis, or of one started for us, which is then to be stopped."""
    deadline = time.monotonic() + OWNER_WAIT_S
    while True:
        try:
            return find_url(settings), None
        except BrokerUnavailable:
            if not has_results(settings):
                raise
        server = PrivateRedis(settings)
        try:
            return server.start(), server
        except ConfigurationError:
            if time.monotonic() > deadline:
                raise
        time.sleep(POLL_S)


def greet(client: redis.Redis, url: str, limit_s: float) -> None:
    """Ask for one answer.

    Raises:
        BrokerUnavailable: none, or a refusal; the message has the remedy.
    """
    usual = client.get_retry()
    client.set_retry(Retry(NoBackoff(), 0))  # nothing can be stale yet: one wait is enough
    try:
        client.ping()
    except redis.RedisError as error:
        if not is_disk_trouble(error):
            raise BrokerUnavailable(explain(error, url, limit_s)) from error
        log.warning("%s", explain(error, url, limit_s, _folder(client)))
    if usual is not None:
        client.set_retry(usual)


def check_room(client: redis.Redis, url: str) -> None:
    """See that Redis can take anything at all, for commands that would only half do their work.

    Raises:
        BrokerUnavailable: it is full.
    """
    with translated():
        memory = client.info("memory")
    used, limit = int(memory["used_memory"]), int(memory.get("maxmemory", 0))
    if limit and used >= limit:
        raise BrokerUnavailable(
            f"Redis at {masked(url)} is full ({used / 1e6:.1f} of {limit / 1e6:.1f} MB): "
            "make room, or raise its maxmemory"
        )
