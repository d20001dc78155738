"""A store, an archive fed from it, the command line, and the simulator's truth as trades."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
import redis

from collector.archive.archiver import Archiver
from collector.archive.files import Files
from collector.archive.partitions import FOLDER
from collector.archive.source import ArchiveSource
from collector.model import Side, Trade
from collector.settings import Settings
from collector.simulator.events import SimTrade
from collector.simulator.model import MarketModel, Pace
from collector.simulator.truth import TruthFile
from tests.integration.cli.conftest import redis_in_force, run
from tests.integration.tasks.conftest import client, compare, cover, keys, reader, start_worker, store

__all__ = [
    "client",
    "compare",
    "cover",
    "keys",
    "reader",
    "redis_in_force",
    "run",
    "start_worker",
    "store",
]

#: 2026-09-21T13:56:20Z: what follows crosses an hour.
START_US = 1_789_998_980_000_000
SECONDS = 480


@pytest.fixture
def files(settings: Settings) -> Files:
    """The archive's files."""
    return Files(settings.data_dir / FOLDER)


@pytest.fixture
def source(client: redis.Redis, settings: Settings) -> ArchiveSource:
    """Redis as the archive sees it."""
    return ArchiveSource(client, settings)


@pytest.fixture
def archive(files: Files, source: ArchiveSource, settings: Settings) -> Archiver:
    """The archive."""
    return Archiver(files, source, settings.archive)


@pytest.fixture
def snapshot(files: Files) -> Callable[[], dict[Path, tuple[int, int]]]:
    """A function that tells which files there are, and notices any that was written again."""

    def look() -> dict[Path, tuple[int, int]]:
        found = files.root.rglob("*.parquet*")
        return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}

    return look


@pytest.fixture(scope="session")
def truth_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the simulator says it made in eight minutes, as `collector simulate --truth` writes it."""
    path = tmp_path_factory.mktemp("truth") / "truth.jsonl"
    model = MarketModel(12, Pace(rate=2), seed=3, now_us=START_US)
    file = TruthFile(path)
    for second in range(1, SECONDS + 1):
        events = model.advance(START_US + second * 1_000_000)
        file.write([event for event in events if isinstance(event, SimTrade)])
    file.close()
    return path


@pytest.fixture(scope="session")
def truth(truth_file: Path) -> list[Trade]:
    """The same as the socket would have told it."""
    return [_trade(line) for line in truth_file.read_bytes().splitlines()]


def _trade(line: bytes) -> Trade:
    said = msgspec.json.decode(line)
    return Trade(
        said["market"], said["id"], Decimal(said["price"]), Decimal(said["volume"]), Side(said["side"]),
        said["exchange_ms"], said["exchange_ms"] + 50,
    )  # fmt: skip
