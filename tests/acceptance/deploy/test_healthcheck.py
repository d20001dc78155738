"""The containers' health check: true of what it finds, and one line for what is wrong."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from collector import settings
from collector.store.keys import Keys, listener_name
from tests.acceptance.deploy.servers import Cluster
from tests.acceptance.scenarios.processes import clean_environment

pytestmark = pytest.mark.server

PROGRAM = Path(__file__).resolve().parents[3] / "deploy" / "healthcheck.py"
HOST = socket.gethostname()


def check(url: str, *words: str, **env: str) -> tuple[int, str]:
    """Status and output of the check."""
    argv = [sys.executable, str(PROGRAM), *words]
    full = {**clean_environment(), "REDIS_URL": url, **env}
    done = subprocess.run(argv, env=full, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout.strip()


def test_a_key_that_lives_is_healthy_and_one_that_does_not_is_named(redis_url: str) -> None:
    """Worker and listener are found by their own keys, behind Redis' password."""
    with redis.Redis.from_url(redis_url) as client:
        client.set(f"bithumb:health:worker:ingest@{HOST}", "{}")
        client.set(f"other:health:listener:{HOST}-1-2of3", "{}")
    assert check(redis_url, "worker", "ingest") == (0, "healthy")
    assert check(redis_url, "worker", "analysis") == (1, f"no key bithumb:health:worker:analysis@{HOST}")
    listener = {"COLLECTOR_STORE__KEY_PREFIX": "other:", "COLLECTOR_SHARD": "2/3"}
    assert check(redis_url, "listener", **listener) == (0, "healthy")
    assert check(redis_url, "listener") == (1, f"no key bithumb:health:listener:{HOST}-1-1of1")


@pytest.mark.parametrize(
    "env",
    [
        {"COLLECTOR_STORE__KEY_PREFIX": "", "COLLECTOR_SHARD": ""},
        {"COLLECTOR_STORE__KEY_PREFIX": "other:", "COLLECTOR_SHARD": "2/3"},
        {"collector_store__key_prefix": "lower:", "Collector_Shard": "1/2"},
    ],
)
def test_settings_are_read_as_the_collector_reads_them(
    redis_url: str, env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty variable is the default, and names have any case: else a container is never healthy."""
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    found = settings.load()
    key = Keys(found.store.key_prefix).listener(listener_name(HOST, 1, found.shard))
    assert check(redis_url, "listener", **env) == (1, f"no key {key}")


def test_wrong_password_and_no_redis_are_said(redis_url: str) -> None:
    """Neither is healthy, and the line says which it is."""
    wrong = redis_url.replace("redis://:", "redis://:wrong", 1)
    status, said = check(wrong, "worker", "ingest")
    assert (status, "invalid username-password pair" in said) == (1, True)
    status, said = check("redis://127.0.0.1:1/0", "worker", "ingest")
    assert (status, "refused" in said) == (1, True)
    assert check(redis_url, "http", "1", "/healthz")[0] == 1


def test_sentinels_are_asked_through_our_own_client(tmp_path: Path) -> None:
    """An address of Sentinels leads to the master's keys."""
    with Cluster(tmp_path / "redis") as cluster:
        with cluster.first.client() as client:
            client.set(f"bithumb:health:worker:ingest@{HOST}", "{}")
        env = {name: value for name, value in cluster.env.items() if name != "REDIS_URL"}
        assert check(cluster.env["REDIS_URL"], "worker", "ingest", **env) == (0, "healthy")
