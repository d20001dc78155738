"""The way of the reading commands to Redis, and what they say where it is barred."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from collector.cli.store import has_results, masked, open_reader
from collector.errors import BrokerUnavailable
from collector.host.redis_server import PrivateRedis
from collector.settings import RedisSettings, Settings

from .conftest import Run, fill


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[PrivateRedis]:
    """A server of this test alone, to be mistreated."""
    with PrivateRedis(Settings(data_dir=tmp_path / "own", redis=RedisSettings(max_memory_mb=32))) as server:
        yield server


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:secret@host:1/0", "redis://:***@host:1/0"),
        ("redis://me:secret@host", "redis://me:***@host"),
        ("redis://me@host", "redis://***@host"),
        ("redis://host/0?password=secret", "redis://host/0?password=***"),
        (
            "redis://host?db=1&pass%77ord=secret&PASSWORD=secret",
            "redis://host?db=1&pass%77ord=***&PASSWORD=***",
        ),
        ("rediss://me:secret@host?ssl_password=secret", "rediss://me:***@host?ssl_password=***"),
        ("unix:///run/redis.sock?db=0&password=secret", "unix:///run/redis.sock?db=0&password=***"),
        ("sentinel://:secret@a:1;sentinel://:secret@b:2/0", "sentinel://:***@a:1;sentinel://:***@b:2/0"),
        ("redis://:se#cret@host", "redis://***"),
        ("redis://:se/cret@host", "redis://***"),
        ("redis+socket:///run/redis.sock?virtual_host=1", "redis+socket:///run/redis.sock?virtual_host=1"),
        ("redis://host:1", "redis://host:1"),
        ("redis://:p%40ss@[::1]:1/0", "redis://:***@[::1]:1/0"),
        ("", ""),
    ],
)
def test_password_is_masked(url: str, shown: str) -> None:
    """The address stays readable, the password does not, wherever it stands."""
    assert shown == masked(url)


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """The data folder of a running private server that can't write to its disk any more."""
    settings = Settings(data_dir=tmp_path / "full")
    server = PrivateRedis(settings)
    server.prepare()
    process = subprocess.Popen(server.argv, pass_fds=server.pass_fds, restore_signals=False)
    try:
        while not server.answers():
            time.sleep(0.02)
        fill(server.url, settings)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, 0))
        with redis.Redis.from_url(server.url) as client:
            while takes_writes(client):
                time.sleep(0.05)
        yield settings.data_dir
    finally:
        process.kill()
        process.wait(10)
        server.release()


def takes_writes(client: redis.Redis) -> bool:
    """Whether a server still takes something new."""
    try:
        return bool(client.incr("counter"))
    except redis.ResponseError as error:
        assert "MISCONF" in str(error)  # noqa: PT017 - what it says is the point
        return False


@pytest.mark.server
def test_a_full_disk_is_named_and_results_are_shown_all_the_same(
    run: Run, full_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Redis that can't write refuses even a PING; what it has can be read."""
    monkeypatch.setenv("COLLECTOR_DATA_DIR", str(full_disk))
    ended = run("show", "health")
    assert ended.code == 0
    assert f"can't write to the disk of {full_disk / 'redis'}" in ended.err
    assert "it can't write to its disk" in ended.out
    problems = run("show", "health", "--json").json["redis"]["problems"]
    assert [problem["kind"] for problem in problems] == ["disk"]
    assert run("show", "ticker", "btc", "--json").json[0]["market"] == "KRW-BTC"
    checked = run("check", "--json").json["checks"]
    assert {row["name"]: row["state"] for row in checked}["redis persistence"] == "failed"


@pytest.mark.server
def test_refused_connection_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens there: start it, or set another."""
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    ended = run("show", "ticker")
    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
    assert "redis://127.0.0.1:1/0 can't be reached" in ended.err


@pytest.mark.server
@pytest.mark.parametrize("password", ["", ":wrong@"])
def test_wrong_password_is_named_and_not_shown(
    run: Run, own_server: PrivateRedis, monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    """A missing password and a wrong one."""
    port = own_server.url.rpartition(":")[2]
    monkeypatch.setenv("REDIS_URL", f"redis://{password}127.0.0.1:{port}")
    ended = run("show", "ticker")
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert "refuses the password" in ended.err
    assert "wrong" not in ended.err


@pytest.mark.server
def test_frozen_server_is_given_up_within_the_limit(
    run: Run, own_server: PrivateRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that takes the connection and never answers."""
    monkeypatch.setenv("REDIS_URL", own_server.url)
    monkeypatch.setenv("COLLECTOR_PUBLISH__SOCKET_TIMEOUT_S", "0.5")
    assert own_server.pid is not None
    os.kill(own_server.pid, signal.SIGSTOP)
    try:
        started = time.monotonic()
        ended = run("show", "ticker")
        took = time.monotonic() - started
    finally:
        os.kill(own_server.pid, signal.SIGCONT)
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert "does not answer within 0.5 s" in ended.err
    assert took < 15


@pytest.mark.server
def test_full_server_can_still_be_read(
    run: Run, own_server: PrivateRedis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading needs no memory; a question to the workers does, and says so."""
    fill(own_server.url, Settings(data_dir=tmp_path))
    with redis.Redis.from_url(own_server.url) as client:
        client.config_set("maxmemory", "1mb")
    monkeypatch.setenv("REDIS_URL", own_server.url)
    assert run("show", "candles", "KRW-BTC").code == 0
    asked = subprocess.run(
        [sys.executable, "-m", "collector", "analyze", "vwap", "KRW-BTC"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (asked.returncode, asked.stderr.count("\n")) == (1, 1)
    assert "maxmemory" in asked.stderr


@pytest.mark.server
def test_private_server_is_borrowed_and_given_back(tmp_path: Path) -> None:
    """It runs for as long as the reader is open, no longer."""
    settings = Settings(data_dir=tmp_path / "data")
    assert not has_results(settings)
    with pytest.raises(BrokerUnavailable, match="start `collector up`"), open_reader(settings):
        pass
    with PrivateRedis(settings) as server:
        fill(server.url, settings)
        with open_reader(settings) as reader:
            assert reader.markets() == ["KRW-BTC", "KRW-DUST"]
        assert server.answers()
    with open_reader(settings) as reader, open_reader(settings) as another:
        assert ["KRW-BTC", "KRW-DUST"] == reader.markets() == another.markets()
    assert not server.answers()
