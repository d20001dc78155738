"""The archive holds what Redis held: whatever the order, however often, wherever it was cut off."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow.parquet as pq
import pytest
import redis
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from collector.archive import ArchiveBusy, ArchiveUnavailable
from collector.archive import source as source_module
from collector.archive.archiver import Archiver
from collector.archive.files import Files
from collector.archive.partitions import FOLDER, HOUR_MS
from collector.archive.schema import BOOKS, CANDLES, GAPS, TABLES, TICKERS, TRADES, Table
from collector.model import Channel, Gap, Source, Trade
from collector.settings import ArchiveSettings, Settings
from collector.store.keys import Keys
from collector.store.read import Reader
from collector.store.store import Store
from collector.util.korean_time import DAY_MS
from tests.samples.rows import BTC, T0, batches, book, copies, ticker, trade

ROOT = Path(__file__).resolve().parents[3]
REAL_REDIS = hypothesis_settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
Look = Callable[[], dict[Path, tuple[int, int]]]


def rows(files: Files, table: Table) -> list[dict[str, Any]]:
    """Return every row of a channel, every digit, read without any code of ours."""
    return [
        row | exact(row.pop("rounded", None))
        for path in files.within(table, None, None)
        for row in pq.read_table(path, partitioning=None).to_pylist()
    ]


def exact(rounded: str | None) -> dict[str, Any]:
    """Return the numbers of a row that its columns can't hold."""

    def number(value: Any) -> Any:
        if isinstance(value, list):
            return [{part: Decimal(text) for part, text in level.items()} for level in value]
        return Decimal(value)

    return {name: number(value) for name, value in json.loads(rounded or "{}").items()}


def plain_trades(reader: Reader) -> list[tuple[Any, ...]]:
    """Return the executions in Redis."""
    found = [row for market in reader.markets() for row in reader.trades(market)]
    return sorted((row.market, row.exchange_ms, row.id, row.price, row.volume, row.side) for row in found)


def archived_trades(files: Files) -> list[tuple[Any, ...]]:
    """Return the executions in the archive."""
    names = ("market", "exchange_ms", "id", "price", "volume", "side")
    found = [row for row in rows(files, TRADES) if row["counted"]]
    return sorted(tuple(row[name] for name in names) for row in found)


def plain_candles(reader: Reader) -> list[tuple[Any, ...]]:
    """Return the candles in Redis."""
    found = [row for market in reader.markets() for row in reader.candles(market)]
    return sorted(
        (row.market, row.open_ms, *row.prices,
         row.base_volume, row.quote_volume, row.trade_count, row.complete)
        for row in found
        if row.prices
    )  # fmt: skip


def archived_candles(files: Files) -> list[tuple[Any, ...]]:
    """Return the candles in the archive."""
    names = ("market", "open_ms", "open", "high", "low", "close", "base_volume", "quote_volume")
    return sorted(
        tuple(row[name] for name in (*names, "trade_count", "complete")) for row in rows(files, CANDLES)
    )


@pytest.fixture
def fresh(client: redis.Redis, files: Files) -> Callable[[], None]:
    """A function that empties Redis and the archive, for the examples of one test."""

    def clear() -> None:
        client.flushall()
        for table in TABLES:
            for day in files.days(table):
                files.remove(table, day)

    return clear


# -- the same rows, whatever happens


@given(st.data(), copies())
@REAL_REDIS
def test_any_order_any_number_of_runs_gives_the_same_rows(
    fresh: Callable[[], None],
    store: Store,
    reader: Reader,
    files: Files,
    archive: Archiver,
    data: st.DataObject,
    shown: list[Trade],
) -> None:
    """Runs between batches in any order, the small and the large one, leave what one run at the end would."""
    fresh()
    for batch in batches(shown, data.draw):
        store.put_trades(batch)
        for everything in data.draw(st.lists(st.booleans(), max_size=2)):
            assert archive.run(everything=everything) == []
    archive.run(everything=True)
    assert plain_trades(reader) == archived_trades(files)
    assert plain_candles(reader) == archived_candles(files)


@given(st.data(), copies())
@REAL_REDIS
def test_a_run_cut_off_at_any_step_is_made_good_by_the_next(
    fresh: Callable[[], None],
    store: Store,
    reader: Reader,
    files: Files,
    archive: Archiver,
    data: st.DataObject,
    shown: list[Trade],
) -> None:
    """Ending before or after any file is put in place loses nothing and doubles nothing."""
    fresh()
    store.put_gaps([Gap(BTC, Channel.TRADE, T0, T0 + 5, "disconnected")])
    for batch in batches(shown, data.draw):
        store.put_trades(batch)
        after, done = data.draw(st.integers(0, 6)), data.draw(st.booleans())
        with cut_off(after, done=done), contextlib.suppress(CutOff):
            archive.run(everything=True)
    archive.run(everything=True)
    assert plain_trades(reader) == archived_trades(files)
    assert plain_candles(reader) == archived_candles(files)


class CutOff(BaseException):
    """The process ends here."""


def cut_off(after: int, *, done: bool) -> Any:
    """Let a run end at its write number `after`: just before it, or just after it."""
    write, left = Files.write, [after]

    def dying(self: Files, *arguments: Any) -> None:
        left[0] -= 1
        if left[0] >= 0:
            return write(self, *arguments)
        if done:
            write(self, *arguments)
        raise CutOff

    return mock.patch.object(Files, "write", dying)


def test_the_same_facts_make_the_same_bytes(
    client: redis.Redis, store: Store, files: Files, archive: Archiver, truth: list[Trade]
) -> None:
    """One run at the end and many on the way write files that are equal byte by byte."""
    for start in range(0, len(truth), 300):
        store.put_trades(truth[start : start + 300])
        archive.run()
    archive.run(everything=True)
    many = {path: path.read_bytes() for path in files.within(TRADES, None, None)}
    client.flushall()
    for path in many:
        path.unlink()
    store.put_trades(truth[::-1])
    archive.run(everything=True)
    assert many == {path: path.read_bytes() for path in files.within(TRADES, None, None)}


def test_a_run_with_nothing_new_touches_no_file(store: Store, archive: Archiver, snapshot: Look) -> None:
    """A redelivered task changes nothing, not even a file's time."""
    store.put_trades([trade(1), trade(2, exchange_ms=T0 + HOUR_MS)])
    store.put_tickers([ticker()])
    store.put_books([book()])
    store.put_gaps([Gap(BTC, Channel.TRADE, T0, T0 + 5, "disconnected")])
    archive.run(everything=True)
    before = snapshot()
    assert len(before) == 2 + 2 + 1 + 1 + 1
    archive.run(everything=True)
    archive.run()
    assert before == snapshot()


@pytest.mark.parametrize("point", ["before", "during", "after"])
def test_a_killed_writer_leaves_whole_files(
    store: Store, reader: Reader, files: Files, archive: Archiver, settings: Settings, point: str
) -> None:
    """`kill -9` before, in the middle of and after a write: readers see whole files, the next run repairs."""
    store.put_trades([trade(1)])
    archive.run()
    store.put_trades([trade(2), trade(3, exchange_ms=T0 + 60_000)])
    environment = {
        **os.environ,
        "REDIS_URL": settings.redis_url.get_secret_value(),
        "COLLECTOR_DATA_DIR": str(settings.data_dir),
    }
    argv = [sys.executable, "-c", DYING.format(point=point)]
    killed = subprocess.run(argv, cwd=ROOT, env=environment, timeout=60, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert all(pq.read_table(path).num_rows for path in files.within(TRADES, None, None))
    assert archive.run() == []
    assert list(files.root.rglob("*.tmp")) == []
    assert plain_trades(reader) == archived_trades(files)
    assert plain_candles(reader) == archived_candles(files)


#: A process that archives and kills itself at its first write.
DYING = """
import os
from tasks import archive_jobs as jobs; from collector.archive import parquet
from collector.archive.files import Files
write, put = parquet.write, Files.write
def during(table, rows, file):
    write(table, rows, file)
    file.truncate(file.tell() // 2)
    file.flush()
    os.kill(os.getpid(), 9)
def around(self, *arguments):
    if "{point}" == "before":
        os.kill(os.getpid(), 9)
    put(self, *arguments)
    os.kill(os.getpid(), 9)
if "{point}" == "during":
    parquet.write = during
else:
    Files.write = around
jobs.run()
"""


# -- what Redis forgets


def test_what_redis_forgot_stays_and_a_late_copy_joins_it(
    client: redis.Redis, store: Store, files: Files, archive: Archiver
) -> None:
    """A minute that Redis forgot and heard of again is the union of both, in trades and candle."""
    store.put_trades([trade(1, 100, 1), trade(2, 90, 2, exchange_ms=T0 + 1)])
    archive.run()
    client.flushall()
    again = trade(2, 90, 2, exchange_ms=T0 + 1)
    store.put_trades([again, trade(3, 120, 4, exchange_ms=T0 + 2)])
    archive.run()
    assert [row["id"] for row in rows(files, TRADES)] == [1, 2, 3]
    (candle,) = rows(files, CANDLES)
    assert tuple(candle[name] for name in ("open", "high", "low", "close")) == (100, 120, 90, 120)
    assert tuple(candle[name] for name in ("base_volume", "quote_volume", "trade_count")) == (7, 760, 3)


def test_the_candle_outlives_its_single_trades(
    client: redis.Redis, store: Store, files: Files, archive: Archiver, settings: Settings
) -> None:
    """Where the archive was off until the trades were gone, the candle still comes whole."""
    store.put_trades([trade(1, 100, 1), trade(2, 90, 2)])
    client.delete(Keys(settings.store.key_prefix).trades(BTC, T0))
    archive.run()
    assert rows(files, TRADES) == []
    assert [row["trade_count"] for row in rows(files, CANDLES)] == [2]


def test_copies_of_two_sources_count_once(store: Store, files: Files, archive: Archiver) -> None:
    """A trade the stream and REST number differently is archived with both numbers and counted once."""
    store.put_trades([trade(1)])
    archive.run()
    store.put_trades([trade(71, source=Source.REST)])
    archive.run()
    assert [(row["id"], row["counted"]) for row in rows(files, TRADES)] == [(1, True), (71, False)]


def test_a_recovered_gap_makes_its_candles_complete(
    client: redis.Redis, store: Store, files: Files, archive: Archiver
) -> None:
    """`complete` follows the gaps while they are known, and stays when Redis forgets them."""
    store.put_trades([trade(1), trade(2, exchange_ms=T0 + 60_000)])
    archive.run()
    assert [row["complete"] for row in rows(files, CANDLES)] == [True, True]
    store.put_gaps([Gap(BTC, Channel.TRADE, T0 + 5, T0 + 9, "stalled")])
    archive.run()
    assert [row["complete"] for row in rows(files, CANDLES)] == [False, True]
    client.delete("bithumb:gaps:KRW-BTC")
    archive.run()
    assert [row["complete"] for row in rows(files, CANDLES)] == [False, True]
    store.put_gaps([Gap(BTC, Channel.TRADE, T0 + 5, T0 + 9, "stalled", recovered=True)])
    archive.run()
    assert [row["complete"] for row in rows(files, CANDLES)] == [True, True]
    assert [row["recovered"] for row in rows(files, GAPS)] == [True]


def test_each_state_is_sampled_once(store: Store, files: Files, archive: Archiver) -> None:
    """A ticker or book that has not changed since the last sample is not written again."""
    for price in (100, 100, 101):
        store.put_tickers([ticker(price, exchange_ms=T0 + price)])
        store.put_books([book(bids=((price, "0.10"),), asks=(), exchange_us=(T0 + price) * 1000)])
        archive.run()
    assert [row["price"] for row in rows(files, TICKERS)] == [100, 101]
    assert [row["bids"] for row in rows(files, BOOKS)] == [
        [{"price": 100, "size": Decimal("0.1")}],
        [{"price": 101, "size": Decimal("0.1")}],
    ]


# -- days


@pytest.fixture
def compacting(files: Files, archive: Archiver, settings: Settings) -> Archiver:
    """An archive that compacts a day an hour after its end, and keeps three days."""
    rules = ArchiveSettings(compact_after_h=1, retention_days=3)
    return Archiver(files, archive._source, rules)


def test_hours_become_a_day_with_the_same_rows(
    store: Store, reader: Reader, files: Files, compacting: Archiver, archive: Archiver
) -> None:
    """Compaction changes neither rows nor their order by name; late trades still find their place."""
    store.put_trades([trade(number, exchange_ms=T0 + number * HOUR_MS) for number in range(4)])
    archive.run(everything=True)
    store.put_trades([trade(9, exchange_ms=T0 + DAY_MS)])
    compacting.run(everything=True)
    names = sorted(path.name for path in files.root.rglob("*.parquet") if "channel=trades" in str(path))
    assert names == ["13.parquet", "day.parquet"]
    assert plain_trades(reader) == archived_trades(files)
    store.put_trades([trade(10, exchange_ms=T0 + 2 * HOUR_MS + 1), trade(11, exchange_ms=T0 + 5 * HOUR_MS)])
    compacting.run(everything=True)
    assert plain_trades(reader) == archived_trades(files)
    assert plain_candles(reader) == archived_candles(files)


def test_a_compaction_cut_off_half_way_doubles_nothing(
    store: Store, reader: Reader, files: Files, compacting: Archiver, archive: Archiver
) -> None:
    """With the day written and its hours not yet removed, readers see each row once; the next run tidies."""
    store.put_trades([trade(number, exchange_ms=T0 + number * HOUR_MS) for number in range(4)])
    store.put_trades([trade(9, exchange_ms=T0 + DAY_MS)])
    archive.run(everything=True)
    with mock.patch.object(Path, "unlink", mock.Mock(side_effect=CutOff)), pytest.raises(CutOff):
        compacting.run(everything=True)
    compacting.run(everything=True)
    assert plain_trades(reader) == archived_trades(files)
    assert plain_candles(reader) == archived_candles(files)


def test_days_beyond_retention_go(store: Store, files: Files, compacting: Archiver) -> None:
    """Days older than `retention_days` before the newest data are removed, of every channel."""
    for day in range(6):
        store.put_trades([trade(day, exchange_ms=T0 + day * DAY_MS)])
        store.put_tickers([ticker(exchange_ms=T0 + day * DAY_MS)])
        compacting.run(everything=True)
    assert [day.isoformat() for day in files.days(TRADES)] == ["2026-09-24", "2026-09-25", "2026-09-26"]
    assert files.days(TRADES) == files.days(CANDLES) == files.days(TICKERS)


def test_a_state_older_than_retention_is_not_written_again(
    store: Store, files: Files, compacting: Archiver, snapshot: Look
) -> None:
    """A market that has said nothing for days keeps its old ticker in Redis; its day stays removed."""
    store.put_tickers([ticker(market="KRW-QUIET")])
    store.put_gaps([Gap(BTC, Channel.TRADE, T0, T0 + 5, "stalled")])
    compacting.run(everything=True)
    assert len(snapshot()) == 2
    store.put_trades([trade(1, exchange_ms=T0 + 4 * DAY_MS)])
    compacting.run(everything=True)
    compacting.run()
    assert sorted(path.parts[-3].removeprefix("channel=") for path in snapshot()) == ["candles", "trades"]


# -- trouble


def test_a_damaged_file_is_put_aside_and_made_again(
    store: Store, reader: Reader, files: Files, archive: Archiver, caplog: pytest.LogCaptureFixture
) -> None:
    """Half a file is named, kept under another name, and made again from what Redis has; the rest goes on."""
    store.put_trades([trade(1), trade(2, exchange_ms=T0 + HOUR_MS)])
    archive.run(everything=True)
    path = files.within(TRADES, None, None)[0]
    path.write_bytes(path.read_bytes()[:100])
    store.put_trades([trade(3, exchange_ms=T0 + HOUR_MS + 1)])
    assert archive.run(everything=True) == []
    assert plain_trades(reader) == archived_trades(files)
    assert path.with_name("13.parquet.damaged").exists()
    assert f"{path} is damaged" in caplog.text


def test_a_flipped_bit_is_found_before_the_file_is_built_upon(
    store: Store, reader: Reader, files: Files, archive: Archiver
) -> None:
    """Page checksums are verified whenever a file is read to be merged."""
    store.put_trades([trade(number, exchange_ms=T0 + number) for number in range(50)])
    archive.run()
    (path,) = files.within(TRADES, None, None)
    content = bytearray(path.read_bytes())
    content[60] ^= 1
    path.write_bytes(content)
    archive.run()
    assert plain_trades(reader) == archived_trades(files)
    assert path.with_name("13.parquet.damaged").exists()


def test_a_full_disk_is_one_sentence_and_loses_nothing(
    store: Store, reader: Reader, files: Files, archive: Archiver, settings: Settings
) -> None:
    """Where only small files have room, those are written, the others stay as they were, one line says so."""
    store.put_trades([trade(1)])
    store.put_tickers([ticker()])
    archive.run()
    many = [
        trade(number, number, f"0.{number * 7919}", exchange_ms=T0 + number) for number in range(2, 20_000)
    ]
    store.put_trades(many)
    store.put_tickers([ticker(101, exchange_ms=T0 + 1)])
    environment = {
        **os.environ,
        "REDIS_URL": settings.redis_url.get_secret_value(),
        "COLLECTOR_DATA_DIR": str(settings.data_dir),
    }
    argv = [sys.executable, "-c", FULL_DISK]
    ended = subprocess.run(argv, cwd=ROOT, env=environment, timeout=100, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout.count("\n")) == (1, 1), ended.stdout + ended.stderr
    assert "trades/date=2026-09-21/13.parquet can't be written (File too large): free some space" in (
        ended.stdout.replace("channel=", "")
    )
    assert [row["id"] for row in rows(files, TRADES)] == [1]
    assert [row["price"] for row in rows(files, TICKERS)] == [100, 101]
    assert list(files.root.rglob("*.tmp")) == []
    archive.run()
    assert plain_trades(reader) == archived_trades(files)


#: A process that may write files of 20,000 bytes at the most, as a quota would have it.
FULL_DISK = """
import resource, sys
from collector.archive import ArchiveUnavailable; from tasks import archive_jobs as jobs
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    jobs.run()
except ArchiveUnavailable as error:
    print(error)
    sys.exit(1)
"""


def test_a_second_writer_steps_aside(files: Files, archive: Archiver, store: Store) -> None:
    """While one process writes, another one leaves it the work, whatever it is."""
    store.put_trades([trade(1)])
    with files.locked(), pytest.raises(ArchiveBusy, match="another process is writing"):
        Archiver(Files(files.root), archive._source, ArchiveSettings()).run()
    assert archive.run() == []


def test_a_folder_that_cannot_be_made_is_said(source: source_module.ArchiveSource, tmp_path: Path) -> None:
    """A file in the way of the folder is one sentence."""
    (tmp_path / FOLDER).write_text("not a folder")
    with pytest.raises(ArchiveUnavailable, match="can't be written"):
        Archiver(Files(tmp_path / FOLDER), source, ArchiveSettings()).run()


def test_nothing_in_redis_is_nothing_to_do(archive: Archiver, snapshot: Look) -> None:
    """An empty Redis makes no file."""
    assert archive.run(everything=True) == []
    assert snapshot() == {}
