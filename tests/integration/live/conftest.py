"""A store, and the server before it, on loopback."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
import redis
from pydantic import SecretStr

from collector.cli.serve import listen, new_server
from collector.host.redis_server import PrivateRedis
from collector.settings import Settings
from collector.store.keys import Keys
from collector.store.redis_client import connect
from collector.store.store import Store

Serve = Callable[..., str]


@pytest.fixture
def client(redis_url: str, settings: Settings) -> Iterator[redis.Redis]:
    """A client of the empty test server."""
    with connect(redis_url, settings) as connected:
        yield connected


@pytest.fixture
def store(client: redis.Redis, settings: Settings) -> Store:
    """Where workers put things."""
    return Store(client, settings.store)


@pytest.fixture
def keys(settings: Settings) -> Keys:
    """The names of the keys."""
    return Keys(settings.store.key_prefix)


@pytest.fixture
def serve(redis_url: str) -> Iterator[Serve]:
    """Start servers; returns their addresses, and ends them after the test, or by what is put into `end`."""
    with ExitStack() as stack:

        def start(settings: Settings, port: int = 0, end: list[Callable[[], None]] | None = None) -> str:
            one = stack.enter_context(ExitStack())
            if end is not None:
                end.append(one.close)
            return one.enter_context(_served(redis_url, settings, port))

        yield start


@pytest.fixture(scope="module")
def shared_url(redis_server: PrivateRedis) -> Iterator[str]:
    """Address of a server with settings by default, for all tests of a file."""
    settings = Settings(redis_url=SecretStr(redis_server.url))
    with _served(redis_server.url, settings) as url:
        yield url


@pytest.fixture
def url(shared_url: str, redis_url: str) -> str:
    """The same, before an empty Redis."""
    return shared_url


@contextmanager
def _served(redis_url: str, settings: Settings, port: int = 0) -> Iterator[str]:
    with listen("127.0.0.1", port) as listening:
        server = new_server(redis_url, settings)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(15)
            assert not thread.is_alive()
