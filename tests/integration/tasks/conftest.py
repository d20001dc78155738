"""A store and a reader on the test server, and real worker processes."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
import pytest
import redis
from celery import Celery

from collector.analytics.verdicts import written
from collector.model import MINUTE_MS
from collector.settings import Settings
from collector.store.keys import SHARD_MARKETS, Keys
from collector.store.read import Reader
from collector.store.redis_client import connect
from collector.store.store import Store
from tests.doubles.transport import plain_app
from tests.samples.rows import BTC, T0

Cover = Callable[..., None]
Compare = Callable[..., None]

ROOT = Path(__file__).resolve().parents[3]
START_S = 30
STOP_S = 15


@pytest.fixture
def client(redis_url: str, settings: Settings) -> Iterator[redis.Redis]:
    """A client of the empty test server, made by the product's own code."""
    with connect(redis_url, settings) as connected:
        yield connected


@pytest.fixture
def store(client: redis.Redis, settings: Settings) -> Store:
    """Where workers put things."""
    return Store(client, settings.store)


@pytest.fixture
def reader(client: redis.Redis, settings: Settings) -> Reader:
    """What people read."""
    return Reader(client, settings)


@pytest.fixture
def keys(settings: Settings) -> Keys:
    """The names of the keys."""
    return Keys(settings.store.key_prefix)


@pytest.fixture
def sender(redis_url: str) -> Iterator[Celery]:
    """A Celery app that sends to the test server, as any other program would."""
    app = plain_app(redis_url)
    yield app
    app.close()


@pytest.fixture
def cover(client: redis.Redis, keys: Keys) -> Cover:
    """A function that writes what a listener of a share says, and whether it lives."""

    def write(
        shard: str = "1/1", *, markets: tuple[str, ...] = (BTC,), alive: bool = True, **status: object
    ) -> None:
        said = {
            "covered_until_ms": T0,
            "outage_since_ms": None,
            "pending_from_ms": None,
            "run": "r",
            "marker": 7,
        }
        client.hset(keys.coverage, shard, msgspec.json.encode(said | status))
        client.hset(keys.coverage, shard + SHARD_MARKETS, msgspec.json.encode(markets))
        client.delete(keys.coverage_alive(shard))
        if alive:
            client.set(keys.coverage_alive(shard), "1", px=60_000)

    return write


@pytest.fixture
def compare(client: redis.Redis, keys: Keys, reader: Reader) -> Compare:
    """A function that writes what a comparison of minutes since `T0` found."""

    def write(*minutes: int, equal: bool = True, market: str = BTC) -> None:
        for number in minutes:
            open_ms = T0 + number * MINUTE_MS
            ours = reader.minutes(market, open_ms, open_ms).get(open_ms)
            client.hset(keys.verified(market, open_ms), str(open_ms), written(equal, ours))
            client.zadd(keys.proven, {market: open_ms + MINUTE_MS}, gt=True)

    return write


Worker = subprocess.Popen[bytes]


@pytest.fixture
def start_worker(redis_url: str, tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    """A function that starts `celery -A tasks worker` with options and waits until it is ready."""
    with ExitStack() as stack:

        def start(*options: str, app: str = "tasks", **environment: str) -> Worker:
            return stack.enter_context(_worker(redis_url, tmp_path, app, options, environment))

        yield start


@contextmanager
def _worker(
    url: str, folder: Path, app: str, options: tuple[str, ...], environment: dict[str, str]
) -> Iterator[Worker]:
    """Run one worker in a process group of its own, which is ended whatever happens."""
    name = f"w{len(list(folder.glob('*.log')))}"
    log = folder / f"{name}.log"
    command = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        app,
        "worker",
        "-l",
        "INFO",
        "-n",
        f"{name}@test",
        *options,
    ]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command,
            cwd=folder,  # not the repository: the installed package must do
            env={**os.environ, "PYTHONPATH": str(ROOT), "REDIS_URL": url, **environment},
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    try:
        _until_ready(process, log)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait(STOP_S)


def _until_ready(process: Worker, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while b" ready." not in log.read_bytes():
        if process.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"the worker did not start:\n{log.read_text()}")
        time.sleep(0.05)
