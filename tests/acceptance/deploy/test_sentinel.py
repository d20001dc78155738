"""The master of a Sentinel set-up is killed while the exchange trades: nothing is lost or doubled."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from collector import settings as settings_module
from collector.host.redis_client import Sentinels, connect
from collector.settings import RedisSettings, Settings
from collector.store.read import Reader
from tests.acceptance.deploy.fleet import Exchange, listener, worker
from tests.acceptance.deploy.servers import MASTER, SENTINEL_PASSWORD, Cluster
from tests.acceptance.scenarios.processes import clean_environment
from tests.acceptance.scenarios.system import wait_for_room_in_the_minute
from tests.acceptance.scenarios.truth import compare_all
from tests.acceptance.scenarios.waits import until

RATE, SECONDS = 150, 20
KILLED_AT_S = 6
QUEUES = "trade,orderbook,ticker,analysis"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path / "redis") as cluster:
        yield cluster


def settings_of(cluster: Cluster, tmp_path: Path) -> Settings:
    return Settings(
        redis_url=SecretStr(cluster.env["REDIS_URL"]),
        data_dir=tmp_path / "data",
        redis=RedisSettings(sentinel_master=MASTER, sentinel_password=SecretStr(SENTINEL_PASSWORD)),
    )


@pytest.mark.server
@pytest.mark.timeout(180)
def test_nothing_is_lost_when_the_master_is_killed(
    cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every trade the exchange made is stored once on the promoted replica, and the figures are printed."""
    settings = settings_of(cluster, tmp_path)
    client = connect(cluster.env["REDIS_URL"], settings, retries=1)
    reader = Reader(client, settings)
    working = worker("worker", QUEUES, cluster.env, tmp_path)
    exchange = Exchange(tmp_path, rate=RATE, trades=RATE * SECONDS)
    listening = listener("listener", {**cluster.env, **exchange.env}, tmp_path)

    def stored() -> int:
        return reader.counters().get("trades_counted", 0)

    def report() -> str:
        return f"made {exchange.truth.read()}\n{listening.output()}\n{working.output()}"

    def settled() -> bool:
        return stored() >= exchange.truth.read() >= exchange.trades and not any(reader.queues().values())

    with client, working:
        working.wait_until(reader.workers)
        wait_for_room_in_the_minute(8)
        since_ms = int(time.time() // 60) * 60_000
        with exchange, listening:
            until(lambda: exchange.truth.read() >= RATE * KILLED_AT_S, 60, "the exchange trades", report)
            before = stored()
            promoted_s = cluster.kill_master()
            kept = stored()
            resumed_s = promoted_s + until(lambda: stored() > kept, 60, "the workers go on", report)
            until(settled, 90, "every trade is stored", report)
        verdict = compare_all(exchange.truth, reader, since_ms)
    with capsys.disabled():
        print(
            f"\nSentinel failover: {verdict.sent} made, {verdict.lost} lost, {verdict.doubled} doubled; "
            f"master killed after {before} stored, replica promoted in {promoted_s:.1f} s, "
            f"storing again after {resumed_s:.1f} s"
        )
    assert verdict.wrong == []
    assert (verdict.sent, verdict.lost, verdict.doubled) == (exchange.trades, 0, 0)


@pytest.mark.server
def test_commands_find_the_master_and_hide_the_password(cluster: Cluster, tmp_path: Path) -> None:
    """`collector check` names the Sentinels without the password of Redis; `show health` answers."""
    env = {**clean_environment(), **cluster.env, "COLLECTOR_DATA_DIR": str(tmp_path)}

    def collector(*words: str) -> str:
        argv = [sys.executable, "-m", "collector", *words, "--json"]
        return subprocess.run(argv, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60).stdout

    checked = collector("check")
    assert "sentinel://:***@127.0.0.1" in checked
    assert "pass%2Fword" not in checked
    assert "pass/word" not in checked
    assert SENTINEL_PASSWORD not in checked
    assert set(json.loads(collector("show", "health"))["queues"]) >= {"trade", "orderbook", "ticker"}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sentinel://a:1", Sentinels((("a", 1),))),
        ("sentinel://a;sentinel://b:2/3", Sentinels((("a", 26379), ("b", 2)), db=3)),
        ("sentinel://u:p%2F@a:1;sentinel://b:2", Sentinels((("a", 1), ("b", 2)), "u", "p/")),
    ],
)
def test_address_is_read_and_written_for_celery(url: str, expected: Sentinels) -> None:
    """Credentials and database may stand in one part; Celery gets them in each."""
    assert Sentinels.parse(url) == expected
    parts = expected.for_celery().split(";")
    assert len(parts) == len(expected.hosts)
    assert all(Sentinels.parse(part).password == expected.password for part in parts)
    assert all(Sentinels.parse(part).db == expected.db for part in parts)


@pytest.mark.parametrize("url", ["sentinel://", "sentinel://a:x", "sentinel://a;redis://b", "sentinel://a/b"])
def test_broken_address_is_one_clear_line(url: str) -> None:
    """What is no Sentinel address says what one looks like."""
    with pytest.raises(settings_module.ConfigurationError, match="sentinel://host"):
        Sentinels.parse(url)
