"""The roles of one machine: complete, told apart, and configured like their parent."""

import os
from pathlib import Path

import pytest

from collector import settings as settings_module
from collector.host.services import REDIS_STOP_S, environment, ingest_queues, roles
from collector.host.supervisor import Service, Stage
from collector.settings import BatchSettings, ExchangeSettings, Settings, WorkerSettings


def option(role: Service, name: str) -> str:
    return role.argv[role.argv.index(name) + 1]


def test_every_role_has_its_own_name_and_worker_name(tmp_path: Path) -> None:
    """Role names and Celery node names are unique, so nothing overwrites anything."""
    found = roles(Settings(data_dir=tmp_path), url="redis://r", workers=3, python="py", flower=True)
    assert [role.name for role in found] == [
        "ingest1",
        "ingest2",
        "ingest3",
        "analysis",
        "flower",
        "listener",
    ]
    nodes = [option(role, "-n") for role in found if "worker" in role.argv]
    assert len(set(nodes)) == 4


def test_analysis_has_a_worker_of_its_own(tmp_path: Path) -> None:
    """Rate-limited tasks never share a worker with ingest: they would hold it up."""
    found = roles(Settings(data_dir=tmp_path), url="redis://r", workers=1, python="py")
    assert {role.name: option(role, "-Q") for role in found if "worker" in role.argv} == {
        "ingest1": "trade,orderbook,ticker",
        "analysis": "analysis,archive",
    }


def test_listener_comes_last_and_everyone_gets_the_redis(tmp_path: Path) -> None:
    """The listener starts after, and stops before, all others; the address is in each environment."""
    found = roles(
        Settings(data_dir=tmp_path), url="redis://:secret@r:1/0", workers=1, python="py", flower=True
    )
    assert [role.name for role in found if role.stage == Stage.LISTENER] == ["listener"]
    assert {role.env["REDIS_URL"] for role in found} == {"redis://:secret@r:1/0"}
    assert not any("secret" in word for role in found for word in role.argv)


def test_stop_times_fit_into_ten_seconds(tmp_path: Path) -> None:
    """The slowest role of each stage, one after the other, still end within the promised 10 s."""
    found = roles(Settings(data_dir=tmp_path), url="redis://r", workers=2, python="py", flower=True)
    slowest = {
        stage: max(role.stop_timeout_s for role in found if role.stage == stage)
        for stage in (Stage.SERVICES, Stage.LISTENER)
    }
    assert sum(slowest.values()) + REDIS_STOP_S < 10


@pytest.mark.parametrize(("shards", "workers"), [(1, 1), (1, 4), (2, 1), (3, 2), (8, 3), (2, 5)])
def test_every_shard_has_exactly_one_worker(shards: int, workers: int) -> None:
    """All workers take the common queues; each trade shard belongs to one worker."""
    found = ingest_queues(shards, workers)
    assert len(found) == workers
    assert all(queues[:3] == ("trade", "orderbook", "ticker") for queues in found)
    expected = sorted(f"trade.{shard}" for shard in range(shards)) if shards > 1 else []
    assert sorted(queue for queues in found for queue in queues[3:]) == expected


def test_environment_carries_the_settings_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another process loads from this environment equals the settings it was made from."""
    original = Settings(
        data_dir=tmp_path / "data",
        markets=("KRW-BTC", "USDT-*"),
        channels=("trade",),
        exchange=ExchangeSettings(websocket_url="ws://127.0.0.1:9/websocket/v1", market_refresh_s=1.5),
        batch=BatchSettings(trade_queues=3),
        worker=WorkerSettings(analysis_rate_limit="7/m"),
    )
    for name, value in environment(original).items():
        monkeypatch.setenv(name, value)
    assert settings_module.load() == original
    assert "REDIS_URL" not in os.environ
