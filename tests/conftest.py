"""Fixtures every test may use: a real Redis, recorded data, settings in a folder of their own, waiting.

Nothing here is shared between pytest-xdist's workers: each has its own server on its own port.
"""

import asyncio
import gc
import os
import time
from collections.abc import Awaitable, Callable, Generator, Iterator
from pathlib import Path

import hypothesis
import pytest
import redis
from pydantic import SecretStr

from collector.host.redis_server import PrivateRedis
from collector.settings import RedisSettings, Settings
from tests import guard

ROOT = Path(__file__).resolve().parent.parent
POLL_S = 0.02
#: Longer than anything takes on the busiest machine; a test that promises a time gives its own.
WITHIN_S = 30.0
#: An exchange and a listener have started within this time.
START_S = 5.0

# How long an example takes depends on the machine's load, so it proves nothing.
hypothesis.settings.register_profile("collector", deadline=None)
hypothesis.settings.load_profile("collector")


#: Variables of the caller that no test sees, beside the settings.
FORGOTTEN = {"REDIS_URL", "COLUMNS", "LINES"}
#: Folders whose files take minutes: they start first, so that both cores have work to the end.
LONG = ("documented", "smoke", "scenarios", "deploy", "recorded", "system")
#: Folders that are about running systems, and fixtures that start a server: their tests are marked `server`.
SYSTEMS = {"documented", "smoke", "scenarios", "recorded", "system", "pressure"}
SERVERS = {"redis_server", "listen"}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what `.ci/run` needs, to run later what could not be run at first."""
    parser.addoption("--skipped-to", type=Path, help="write the skipped tests there, for `pytest @FILE`")


class Skipped:
    """Notes which tests were skipped."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._names: dict[str, None] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note one."""
        if report.skipped and not hasattr(report, "wasxfail"):
            self._names[report.nodeid] = None

    def pytest_sessionfinish(self) -> None:
        """Write them down, one a line."""
        self._path.write_text("".join(f"{name}\n" for name in self._names), encoding="utf-8")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need a server, and begin with the long files."""
    for item in items:
        if item.path.parent.name in SYSTEMS or SERVERS & {*getattr(item, "fixturenames", ())}:
            item.add_marker(pytest.mark.server)
    places = {folder: place for place, folder in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path.parent.name, len(LONG)))


def pytest_collection_finish() -> None:
    """Leave all that was imported and collected out of every later collection of garbage: it stays anyway."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    """Guard the fixtures of every test that is not marked `server`."""
    with guard.nothing_started(unless=item.get_closest_marker("server")):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Guard the test itself."""
    with guard.nothing_started(unless=item.get_closest_marker("server")):
        return (yield)


def pytest_configure(config: pytest.Config) -> None:
    """Forget the caller's settings and terminal: a test must not talk to anyone's real Redis.

    pytest loads readline, which sets COLUMNS and LINES for the processes of pytest-xdist.
    """
    path = config.getoption("skipped_to")
    if path and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Skipped(path))
    for name in [name for name in os.environ if name.startswith("COLLECTOR_") or name in FORGOTTEN]:
        del os.environ[name]


@pytest.fixture(scope="module", autouse=True)
def nothing_left_open() -> Iterator[None]:
    """What a file leaves unclosed fails there, not in whatever test runs when it is found."""
    yield
    gc.collect()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateRedis]:
    """A real server of this test session, started by the product's own code."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("data"), redis=RedisSettings(max_memory_mb=256))
    with PrivateRedis(settings) as server:
        yield server


@pytest.fixture
def redis_url(redis_server: PrivateRedis) -> str:
    """Address of an empty Redis."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server.url


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    """Settings with an empty Redis and an empty data folder, all else by default."""
    return Settings(redis_url=SecretStr(redis_url), data_dir=tmp_path / "data")


@pytest.fixture
def early_in_the_minute() -> None:
    """Let a listener begin in the minute of the first trade: what is older is none of its business."""
    left_s = 60 - time.time() % 60
    if left_s < START_S:
        time.sleep(left_s + 0.05)


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of recorded data; the test is skipped, saying so, where there is none."""
    folder = Path(os.environ.get("SHARED_DIR") or ROOT.parent / "shared")
    if not (folder / "data").is_dir():
        pytest.skip(f"no recorded data at {folder}: set SHARED_DIR")
    return folder


@pytest.fixture
def eventually() -> Callable[..., None]:
    """A function that waits until `condition()` is true and fails, naming `what`, after `within_s`."""

    def wait(
        condition: Callable[[], object], within_s: float = WITHIN_S, what: str = "the condition"
    ) -> None:
        deadline = time.monotonic() + within_s
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(f"{what} did not come true within {within_s} s")
            time.sleep(POLL_S)

    return wait


@pytest.fixture
def eventually_async() -> Callable[..., Awaitable[None]]:
    """Like `eventually`, for tests that run on an event loop: the loop keeps running meanwhile."""

    async def wait(
        condition: Callable[[], object], within_s: float = WITHIN_S, what: str = "the condition"
    ) -> None:
        deadline = time.monotonic() + within_s
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(f"{what} did not come true within {within_s} s")
            await asyncio.sleep(POLL_S)

    return wait
