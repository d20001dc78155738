"""What is complete and verified, in files, SQL, frames and exports: as the reader has it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import redis

from collector.archive import frames, manifest, parquet
from collector.archive.archiver import Archiver
from collector.archive.files import Files
from collector.archive.schema import CANDLES
from collector.archive.sql import open_session
from collector.model import MINUTE_MS, Channel, Gap
from collector.settings import Settings
from collector.store.keys import Keys
from collector.store.read import Reader
from collector.store.store import Store
from tests.integration.cli.conftest import Run
from tests.integration.tasks.conftest import Compare, Cover
from tests.samples.rows import BTC, T0, ticker, trade

Rows = list[tuple[Any, ...]]
#: As `shown` has them.
SELECTED = f"""
    SELECT (open_ms - {T0}) // 60000, trade_count, complete, verified, open IS NULL
    FROM candles WHERE market = 'KRW-BTC' ORDER BY open_ms
"""  # noqa: S608 - of ours


@pytest.fixture
def ask(settings: Settings, client: redis.Redis) -> Callable[..., Rows]:
    """A function that answers one query with a session of its own, with what Redis has or without."""

    def query(sql: str, *, alone: bool = False) -> Rows:
        with open_session(settings, None if alone else client) as session:
            return session.rows(sql)

    return query


def fill(store: Store, *minutes: int, market: str = BTC) -> None:
    store.put_trades([trade(n, 100 + n, market=market, exchange_ms=T0 + n * MINUTE_MS) for n in minutes])


def lose(store: Store, first: int, last: int, *, recovered: bool = False, market: str = BTC) -> None:
    from_ms, to_ms = T0 + first * MINUTE_MS + 5, T0 + last * MINUTE_MS + 5
    store.put_gaps([Gap(market, Channel.TRADE, from_ms, to_ms, "stalled", recovered)])


def shown(reader: Reader, interval: str = "1m") -> Rows:
    """Return the reader's candles of KRW-BTC as `SELECTED` has them."""
    return [
        ((row.open_ms - T0) // MINUTE_MS, row.trade_count, row.complete, row.verified, row.prices is None)
        for row in reader.candles(BTC, interval)
    ]


def test_sql_has_the_rows_of_the_reader(
    store: Store, reader: Reader, archive: Archiver, ask: Callable[..., Rows], compare: Compare
) -> None:
    """Missing minutes, completeness and verdicts: archived or not, and from the archive alone."""
    fill(store, 0, 1, 6, 7)
    fill(store, 0, 3, market="KRW-ETH")
    lose(store, 1, 3)
    compare(0, 7)
    compare(6, equal=False)
    expected = shown(reader)
    assert expected == [
        (0, 1, True, True, False), (1, 1, False, None, False), (2, 0, False, None, True),
        (3, 0, False, None, True), (6, 1, True, False, False), (7, 1, True, True, False),
    ]  # fmt: skip
    assert ask(SELECTED) == expected
    archive.run()
    assert ask(SELECTED) == ask(SELECTED, alone=True) == expected
    assert ask("SELECT count(*) FROM candles WHERE market = 'KRW-ETH'") == [(2,)]
    lose(store, 1, 3, recovered=True)
    assert ask(SELECTED) == shown(reader)
    assert len(shown(reader)) == 4
    archive.run()
    assert ask(SELECTED, alone=True) == shown(reader)


def test_verdicts_follow_into_the_files(
    client: redis.Redis,
    keys: Keys,
    store: Store,
    archive: Archiver,
    ask: Callable[..., Rows],
    compare: Compare,
) -> None:
    """A comparison comes minutes after its candle; a late trade takes it back; what Redis forgets stays."""
    fill(store, 0, 1)
    archive.run()
    assert [row[3] for row in ask(SELECTED, alone=True)] == [None, None]
    compare(0, 1)
    archive.run()
    assert [row[3] for row in ask(SELECTED, alone=True)] == [True, True]
    store.put_trades([trade(50, 7, exchange_ms=T0 + 5)])
    archive.run()
    assert [row[3] for row in ask(SELECTED, alone=True)] == [None, True]
    client.delete(keys.verified(BTC, T0))
    archive.run()
    assert [row[3] for row in ask(SELECTED, alone=True)] == [None, True]


def test_where_nothing_is_new_no_file_is_written(
    store: Store, archive: Archiver, compare: Compare, cover: Cover, snapshot: Callable[[], object]
) -> None:
    """Verdicts and losses that last included."""
    fill(store, 0, 1)
    compare(0)
    cover(outage_since_ms=T0 + MINUTE_MS)
    archive.run()
    before = snapshot()
    archive.run(everything=True)
    assert snapshot() == before


def test_a_loss_that_lasts_is_in_sql_while_it_lasts(
    store: Store, reader: Reader, archive: Archiver, ask: Callable[..., Rows], cover: Cover
) -> None:
    """Archived or not."""
    fill(store, 0, 1)
    fill(store, 4, market="KRW-ETH")
    cover(covered_until_ms=T0 + MINUTE_MS + 30_000, outage_since_ms=T0 + MINUTE_MS + 30_000)
    expected = [(0, 1, True, None, False), (1, 1, False, None, False)]
    expected += [(number, 0, False, None, True) for number in (2, 3, 4)]
    assert ask(SELECTED) == shown(reader) == expected
    archive.run()
    assert ask(SELECTED) == expected
    cover(covered_until_ms=T0 + 4 * MINUTE_MS)
    archive.run()
    assert ask(SELECTED, alone=True) == shown(reader) == [
        (0, 1, True, None, False), (1, 1, True, None, False),
    ]  # fmt: skip


@pytest.mark.parametrize("interval", ["1m", "3m", "5m", "1h"])
def test_frames_are_as_the_reader(
    store: Store, reader: Reader, settings: Settings, compare: Compare, interval: str
) -> None:
    """Of every interval: what is missing, what is verified, and where the data begin."""
    fill(store, 0, 1, 2, 3, 4, 8, 9, 10, 11)
    lose(store, 6, 7)
    compare(0, 1, 2, 3, 8)
    compare(9, equal=False)
    frame = frames.candles("btc", interval=interval, settings=settings)
    rows = [
        ((row["open_ms"] - T0) // MINUTE_MS, row["trade_count"], row["complete"], row["verified"],
         row["open"] is None)
        for row in frame.to_dicts()
    ]  # fmt: skip
    assert rows == shown(reader, interval)
    assert {row[3] for row in rows} >= {False}
    assert {row[2] for row in rows} >= {False}


def test_a_candle_that_is_cut_is_not_complete(store: Store, settings: Settings) -> None:
    """By the end that was asked for, not by its own."""
    fill(store, *range(12))

    def complete(**span: int) -> list[bool]:
        return list(frames.candles(BTC, interval="3m", settings=settings, **span)["complete"])

    assert complete() == [True] * 4
    assert complete(from_ms=T0 + MINUTE_MS) == [False, True, True, True]
    assert complete(from_ms=T0 + 3 * MINUTE_MS, to_ms=T0 + 7 * MINUTE_MS) == [True, False]
    assert complete(to_ms=T0 + 6 * MINUTE_MS - 1) == [True, True]


@pytest.mark.usefixtures("redis_in_force")
def test_exports_have_missing_minutes_and_verdicts(
    store: Store, run: Run, compare: Compare, tmp_path: Path
) -> None:
    """As `collector show --json` has them."""
    fill(store, 0, 4)
    lose(store, 1, 2)
    compare(0)
    expected = run("show", "candles", BTC, "--json").json
    assert [row["trade_count"] for row in expected] == [1, 0, 0, 1]
    assert run("export", "candles", BTC, "--out", "out.jsonl").code == 0
    assert [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()] == expected
    assert run("export", "candles", BTC, "--out", "out.csv").code == 0
    assert (tmp_path / "out.csv").read_text().splitlines()[2].endswith(",,0,false,")


def test_files_of_earlier_versions_were_never_compared(
    store: Store, archive: Archiver, files: Files, ask: Callable[..., Rows]
) -> None:
    """The column is null for them: it is not in the file."""
    fill(store, 0, 1)
    archive.run()
    (path,) = files.within(CANDLES, None, None)
    older = pq.ParquetFile(path).read().drop_columns(["verified"])
    pq.write_table(older.replace_schema_metadata({parquet.ROUNDED_KEY: "{}"}), path)
    (path.parent / manifest.NAME).unlink()  # there was none
    assert "verified" not in pq.read_schema(path).names
    assert [row[3] for row in ask(SELECTED, alone=True)] == [None, None]


def test_markets_are_a_view(store: Store, ask: Callable[..., Rows], client: redis.Redis, keys: Keys) -> None:
    """What the exchange says of them; without Redis nobody knows."""
    fill(store, 0)
    store.put_tickers([ticker(market="KRW-ETH", trading_suspended=True, market_warning="CAUTION")])
    client.hset(keys.listings, BTC, "[false]")
    sql = "SELECT market, state, warning, delisting_date, last_trade_ms FROM markets ORDER BY market"
    assert ask(sql) == [(BTC, "unlisted", None, None, T0), ("KRW-ETH", "suspended", "caution", None, None)]
    assert ask("SELECT epoch_ms(last_trade_time) FROM markets WHERE market = 'KRW-BTC'") == [(T0,)]
    assert ask(sql, alone=True) == []


def test_a_loss_that_began_before_the_stretch_asked_for_reaches_into_it(
    store: Store, archive: Archiver, settings: Settings, client: redis.Redis
) -> None:
    """Its record is in a file of another hour."""
    fill(store, 0, 3)
    lose(store, -50, 1)
    archive.run()
    client.flushall()
    found = frames.candles(BTC, from_ms=T0, to_ms=T0 + 5 * MINUTE_MS, settings=settings)
    rows = [(row["trade_count"], row["complete"]) for row in found.to_dicts()]
    assert rows == [(1, False), (0, False), (1, True)]
