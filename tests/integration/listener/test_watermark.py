"""The status of a run in a real Redis that is restarted, flushed, set back, and does not answer."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from collector.analytics.completeness import Status
from collector.analytics.watermark import LAG_MS
from collector.batch import Kind
from collector.errors import BrokerUnavailable
from collector.host import redis_client
from collector.host.redis_server import PrivateRedis
from collector.listener.watermark import Forgotten, Snapshot, Watermark
from collector.publish.sender import Envelope
from collector.settings import RedisSettings, Settings
from collector.store.coverage import CoverageStore, decode
from collector.store.keys import Keys
from tests.doubles.durable import wait_until_on_disk
from tests.samples.events import T0

pytestmark = pytest.mark.server

SHARD = "1/1"
BEGAN_MS = T0 - 3_600_000


class Bench:
    """A watermark on a server of its own, with the exchange's time in our hand."""

    def __init__(self, folder: Path) -> None:
        self.now_ms = T0
        self.settings = Settings(data_dir=folder, redis=RedisSettings(max_memory_mb=64))
        self.server = PrivateRedis(self.settings)
        self.server.start()
        self.client = self._connect()
        self.mark = self.new("r1")
        self.number = 0

    def new(self, run: str) -> Watermark:
        store = CoverageStore(self.client, Keys("bithumb:"), SHARD, alive_s=10)
        mark = Watermark(store, run, lambda: self.now_ms)
        mark.begin(store.read(), BEGAN_MS)
        return mark

    def restart(self, change: Callable[[Path], None] = lambda _: None) -> None:
        """Kill the server, all on its disk; its files may be changed before it starts again."""
        assert self.server._process is not None
        wait_until_on_disk(self.client)
        self.server._process.kill()
        self.server._process.wait()
        self.server.stop()
        change(self.server.folder)
        self.client.close()
        self.server.start()
        self.client.connection_pool.disconnect()

    def hand(self, *, from_ms: int | None = None) -> None:
        """Let Redis take a batch of trades; as the publisher does, into Redis before anything is noted."""
        self.number += 1
        self.client.rpush("trade", self.number)
        oldest_ms = self.now_ms - 100 if from_ms is None else from_ms
        self.mark.on_handed(
            Envelope(Kind.TRADE, "trade", 1, self.now_ms, "a1", "", oldest_ms, oldest_ms + 50)
        )

    def second(self, **fields: int) -> Forgotten | None:
        """A second goes by: everything is covered, a batch is handed over, the status is written."""
        self.now_ms += 1_000
        self.hand()
        self.mark.note(Snapshot(self.now_ms, **fields))
        return self.write()

    def open_gaps(self) -> None:
        """Do what the event loop does with what was forgotten."""
        self.mark.go_on()

    def write(self) -> Forgotten | None:
        return self.mark.write(spooled_from_ms=None, spool="s", in_flight_from_ms=None)

    def stored(self) -> Status:
        found = decode(self.client.hget("bithumb:coverage", SHARD) or b"")
        assert found is not None
        return found

    def _connect(self) -> redis.Redis:
        return redis_client.connect(self.server.url, self.settings, retries=1)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    it = Bench(tmp_path)
    yield it
    it.client.close()
    it.server.stop()


def test_the_status_says_what_is_covered(bench: Bench) -> None:
    """With the oldest of all that is not stored; nothing before the run has begun."""
    assert bench.write() is None
    assert bench.client.exists("bithumb:coverage") == 0
    bench.mark.note(Snapshot(T0, T0 - 5, "disconnected", T0 - 300))
    assert bench.mark.write(spooled_from_ms=T0 - 800, spool="s", in_flight_from_ms=T0 - 500) is None
    status = Status(T0, T0 - 5, "disconnected", T0 - 800, "r1", 1, T0 - 300, T0 - 800, "s", T0)
    assert bench.stored() == status
    assert 0 < bench.client.pttl("bithumb:coverage-alive:1/1") <= 10_000
    assert bench.second() is None
    assert bench.stored() == Status(bench.now_ms, run="r1", marker=2, spool="s", now_ms=bench.now_ms)


def test_a_run_goes_on_counting_where_the_last_one_ended(bench: Bench) -> None:
    """So that an old copy of Redis is one with a lower marker, whoever wrote it."""
    for _ in range(3):
        bench.second()
    bench.mark = bench.new("r2")
    assert bench.second() is None
    assert (bench.stored().run, bench.stored().marker) == ("r2", 4)


def test_a_restart_that_lost_nothing(bench: Bench) -> None:
    """What was handed over since the last status may be lost: that much is fetched again, and no more."""
    for _ in range(3):
        assert bench.second() is None
    covered_ms = bench.now_ms
    bench.now_ms += 400
    bench.hand()
    bench.restart()
    bench.now_ms += 100
    assert bench.second() == Forgotten(((covered_ms - LAG_MS, bench.now_ms + LAG_MS),))
    assert bench.stored().marker == 3
    assert bench.write() is None, "nothing is written until it is a gap"
    assert bench.stored().marker == 3
    assert bench.second() is None
    assert bench.stored().marker == 3, "a snapshot from before does not count"
    bench.open_gaps()
    assert bench.write() is None
    assert bench.stored().marker == 3
    assert bench.second(unsent_from_ms=covered_ms - LAG_MS) is None
    assert (bench.stored().marker, bench.stored().unsent_from_ms) == (4, covered_ms - LAG_MS)


def test_a_restart_while_nothing_was_handed_over_is_no_loss(bench: Bench) -> None:
    """Everything was in Redis before its last status."""
    bench.second()
    bench.restart()
    bench.mark.note(Snapshot(bench.now_ms + 1))
    assert bench.write() is None
    assert bench.second() is None


def test_flushed(bench: Bench) -> None:
    """Everything is gone: it is fetched again from where this run began, as far as the exchange goes back."""
    for _ in range(3):
        bench.second()
    bench.client.flushall()
    assert bench.second() == Forgotten(((BEGAN_MS, bench.now_ms + LAG_MS),))
    bench.open_gaps()
    assert bench.second() is None
    assert bench.stored().marker == 4


def test_a_tail_of_the_file_is_cut(bench: Bench) -> None:
    """The status that is left tells from when on."""

    def cut(folder: Path) -> None:
        (file,) = folder.glob("appendonlydir/*.incr.aof")
        content = file.read_bytes()
        place = content.rindex(b'"marker":3')
        file.write_bytes(content[: place + 40])

    for _ in range(6):
        bench.second()
    bench.restart(cut)
    found = bench.second()
    left = bench.stored()
    assert left.marker < 3
    assert found == Forgotten(((left.covered_until_ms - LAG_MS, bench.now_ms + LAG_MS),))
    bench.open_gaps()
    assert bench.second() is None
    assert bench.stored().marker == 7, "never one that was there before"


def test_an_old_copy_is_put_back(bench: Bench, tmp_path: Path) -> None:
    """As by a failover to a replica that lagged; also one of an earlier run."""
    for _ in range(3):
        bench.second()
    early_ms = bench.now_ms
    wait_until_on_disk(bench.client)
    shutil.copytree(bench.server.folder / "appendonlydir", tmp_path / "copy")

    def put_back(folder: Path) -> None:
        shutil.rmtree(folder / "appendonlydir")
        shutil.copytree(tmp_path / "copy", folder / "appendonlydir")

    for run in ("r1", "r2"):
        if run == "r2":
            bench.mark = bench.new(run)
        for _ in range(5):
            assert bench.second() is None
        bench.restart(put_back)
        assert bench.second() == Forgotten(((early_ms - LAG_MS, bench.now_ms + LAG_MS),))
        bench.open_gaps()
        assert bench.second() is None


def test_old_trades_that_were_handed_over_since_are_lost_too(bench: Bench) -> None:
    """What a backfill brought for a gap of yesterday, and gaps themselves: each stretch is told."""
    yesterday_ms = T0 - 86_400_000
    bench.hand(from_ms=yesterday_ms - 5_000)
    for _ in range(3):
        bench.second()
    for from_ms in (yesterday_ms, yesterday_ms + 30, yesterday_ms + 90_000):
        bench.hand(from_ms=from_ms)
    covered_ms = bench.now_ms
    bench.restart()
    assert bench.second() == Forgotten(
        (
            (yesterday_ms, yesterday_ms + 80),
            (yesterday_ms + 90_000, yesterday_ms + 90_050),
            (covered_ms - LAG_MS, bench.now_ms + LAG_MS),
        )
    )


def test_a_killed_redis_whose_file_had_nothing_yet(bench: Bench) -> None:
    """A busy disk: what Redis took is lost with the statuses, old trades of the whole run too."""
    yesterday_ms = T0 - 86_400_000
    bench.hand(from_ms=yesterday_ms)
    for _ in range(3):
        bench.second()
    bench.hand(from_ms=yesterday_ms + 90_000)

    def empty(folder: Path) -> None:
        (file,) = folder.glob("appendonlydir/*.incr.aof")
        file.write_bytes(b"")

    bench.restart(empty)
    assert bench.second() == Forgotten(
        (
            (yesterday_ms, yesterday_ms + 50),
            (yesterday_ms + 90_000, yesterday_ms + 90_050),
            (BEGAN_MS, bench.now_ms + LAG_MS),
        )
    )


def test_a_status_of_which_nobody_knows_whether_it_was_written(bench: Bench) -> None:
    """The answer got lost: it may be there or not, and neither is a loss."""
    bench.second()
    write = bench.mark._store.write
    for is_done in (True, False):

        def broken(*arguments: object, is_done: bool = is_done) -> None:
            if is_done:
                write(*arguments)  # type: ignore[arg-type]
            raise BrokerUnavailable("no answer")

        bench.mark._store.write = broken  # type: ignore[assignment, method-assign]
        for _ in range(3):
            with pytest.raises(BrokerUnavailable):
                bench.second()
        bench.mark._store.write = write  # type: ignore[method-assign]
        assert bench.second() is None
        assert bench.second() is None


def test_another_listener_has_taken_over(bench: Bench) -> None:
    """Nothing is lost, and nothing of it is overwritten until that one is gone."""
    bench.second()
    first, bench.mark = bench.mark, bench.new("r2")
    for _ in range(3):
        assert bench.second() is None
    bench.mark, second = first, bench.mark
    assert bench.second() is None
    assert bench.stored().run == "r2"
    bench.mark = second
    assert bench.second() is None
