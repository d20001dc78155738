"""SQL over archive and Redis: every row once, and nothing but reading."""

import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import redis
from msgspec.structs import replace

from collector.archive import ArchiveUnavailable, parquet
from collector.archive.files import Files
from collector.archive.keeper import Archive
from collector.archive.layout import HOUR_MS
from collector.archive.records import CANDLES, TRADES, TradeRecord
from collector.archive.sql import Session, open_session
from collector.errors import ConfigurationError
from collector.model import Channel, Gap, Source, Trade
from collector.settings import Settings
from collector.store.read import Reader
from collector.store.store import Store
from tests.tasks.making import BTC, T0, book, ticker, trade

#: Fields of a ticker that follow from a previous close.
FIRST_DAY: dict[str, Any] = dict.fromkeys(("change", "change_price", "change_rate", "prev_closing_price"))
Ask = Callable[[str], list[tuple[Any, ...]]]


@pytest.fixture
def ask(settings: Settings, client: redis.Redis) -> Iterator[Ask]:
    """A function that answers one query with a session of its own."""

    def query(sql: str) -> list[tuple[Any, ...]]:
        with open_session(settings, client) as session:
            return session.rows(sql)

    return query


def counted(reader: Reader) -> int:
    """Return the number of executions in Redis."""
    return sum(len(reader.trades(market)) for market in reader.markets())


# -- each row once


@pytest.mark.parametrize("archived", [0, 1, 400, 100_000])
def test_views_are_whole_wherever_the_archive_stands(
    store: Store, reader: Reader, archive: Archive, ask: Ask, truth: list[Trade], archived: int
) -> None:
    """With none, some or all of the trades archived, the views give each once."""
    store.put_trades(truth[:archived])
    archive.run(everything=True)
    store.put_trades(truth)
    ((trades,),) = ask("SELECT count(DISTINCT (market, id)) FROM trades")
    assert len(truth) == trades == counted(reader) == ask("SELECT count(*) FROM trades")[0][0]
    ((candles, summed),) = ask("SELECT count(*), sum(trade_count) FROM candles")
    assert (len({(t.market, t.minute_ms) for t in truth}), len(truth)) == (candles, summed)


def test_what_redis_forgot_is_answered_from_the_archive(
    client: redis.Redis, store: Store, archive: Archive, ask: Ask, truth: list[Trade]
) -> None:
    """After Redis lost everything, the archive answers the same; new trades come on top."""
    store.put_trades(truth)
    archive.run(everything=True)
    before = ask("SELECT * FROM candles ORDER BY market, open_ms")
    client.flushall()
    assert before == ask("SELECT * FROM candles ORDER BY market, open_ms")
    store.put_trades([trade(7, exchange_ms=truth[-1].exchange_ms + HOUR_MS)])
    assert len(truth) + 1 == ask("SELECT count(*) FROM trades")[0][0]


def test_a_late_trade_replaces_the_archived_candle(store: Store, archive: Archive, ask: Ask) -> None:
    """A minute that changed since it was archived is answered from Redis, as a whole."""
    store.put_trades([trade(1, 100, 1), trade(2, 90, 1, exchange_ms=T0 + 60_000)])
    archive.run()
    store.put_trades([trade(3, 95, "0.5", exchange_ms=T0 + 5)])
    assert [(Decimal(100), Decimal(95), Decimal("1.5")), (Decimal(90), Decimal(90), Decimal(1))] == ask(
        "SELECT open, close, base_volume FROM candles ORDER BY open_ms"
    )
    assert ask("SELECT id FROM trades ORDER BY exchange_ms, id") == [(1,), (3,), (2,)]


def test_copies_are_left_out_and_states_come_once(store: Store, archive: Archive, ask: Ask) -> None:
    """A second numbering of a trade, and a state that is both archived and in Redis, are one row."""
    store.put_trades([trade(1), trade(71, source=Source.REST)])
    store.put_tickers([ticker()])
    store.put_books([book()])
    store.put_gaps([Gap(BTC, Channel.TRADE, T0, T0 + 5, "stalled")])
    for _ in range(2):
        for view in ("trades", "tickers", "books", "gaps"):
            assert ask(f"SELECT count(*) FROM {view}") == [(1,)]  # noqa: S608
        archive.run()
    store.put_gaps([Gap(BTC, Channel.TRADE, T0, T0 + 5, "stalled", recovered=True)])
    assert ask("SELECT recovered FROM gaps") == [(True,)]
    assert ask("SELECT complete FROM candles") == [(True,)]


# -- exact


def test_what_the_exchange_did_not_give_is_null(store: Store, archive: Archive, ask: Ask) -> None:
    """A market's first day, in Redis or archived."""
    store.put_tickers([replace(ticker(), **FIRST_DAY)])
    for _ in range(2):
        assert ask("SELECT change, change_rate, prev_closing_price, price FROM tickers") == [
            (None, None, None, Decimal(100))
        ]
        archive.run()


def test_numbers_keep_every_digit(store: Store, archive: Archive, ask: Ask) -> None:
    """Dust and fortunes in one column, archived or not, come back as they went in."""
    numbers = ["728107452.06423197609921044", "1.4E-7", "116208000", "0.10"]
    store.put_trades([trade(n, number, number, exchange_ms=T0 + n) for n, number in enumerate(numbers)])
    store.put_books([book(bids=[("0.00000021", "9999999999.12345678")])])
    for _ in range(2):
        assert [(Decimal(n), Decimal(n)) for n in numbers] == ask(
            "SELECT price, volume FROM trades ORDER BY id"
        )
        ((bids,),) = ask("SELECT bids FROM books")
        assert [{"price": Decimal("0.00000021"), "size": Decimal("9999999999.12345678")}] == bids
        archive.run()


def test_a_number_beyond_every_decimal_type_is_text(store: Store, archive: Archive, ask: Ask) -> None:
    """Where 38 digits are not enough for a column, it is text and nothing is rounded."""
    store.put_trades([trade(1, "1e-29", 1), trade(2, "1e20", 1, exchange_ms=T0 + 1)])
    archive.run()
    assert ask("SELECT price FROM trades ORDER BY id") == [("0." + "0" * 28 + "1",), ("1" + "0" * 20,)]


# -- nothing but reading


@pytest.mark.parametrize(
    "sql",
    [
        "DROP VIEW trades",
        "INSERT INTO recent.trades SELECT * FROM recent.trades",
        "COPY (SELECT 1) TO '{path}'",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{path}'",
        "SELECT * FROM read_text('/etc/hostname')",
        "SELECT * FROM '/etc/hostname'",
        "SELECT * FROM read_csv('http://127.0.0.1:9/x')",
        "SELECT * FROM glob('/*')",
        "SELECT * FROM sql",
        "ATTACH '{path}'",
        "SET enable_external_access = true",
        "INSTALL httpfs",
        "SELECT 1; SELECT 2",
        "",
        "selec 1",
        "SELECT nope FROM trades",
    ],
)
def test_anything_but_one_select_is_refused_in_one_line(ask: Ask, tmp_path: Path, sql: str) -> None:
    """No writing, no other files, no network, no settings, no variables of ours."""
    path = tmp_path / "out"
    with pytest.raises(ConfigurationError) as refused:
        ask(sql.format(path=path))
    assert "\n" not in str(refused.value)
    assert not path.exists()


@pytest.mark.parametrize(
    "sql", ["SHOW TABLES", "DESCRIBE trades", "FROM candles", "WITH a AS (SELECT 1) FROM a"]
)
def test_every_way_to_read_is_open(ask: Ask, sql: str) -> None:
    """What DuckDB counts as a SELECT is answered."""
    ask(sql)


def test_ctrl_c_ends_a_long_query(settings: Settings, client: redis.Redis) -> None:
    """A query that would take hours is stopped at once, and the session can be used again."""
    with open_session(settings, client) as session:
        timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            session.rows("SELECT count(*) FROM range(1000000000000) AS r(n) WHERE n % 7 = 3")
        assert session.rows("SELECT 1") == [(1,)]


# -- damage


def test_a_file_without_its_end_is_named_and_left_out(
    store: Store, archive: Archive, files: Files, ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    """A torn file costs its own rows, is named, and stays where it is: reading repairs nothing."""
    store.put_trades([trade(1, exchange_ms=T0 - 3 * HOUR_MS), trade(2)])
    archive.run(everything=True)
    path = files.within(TRADES, None, None)[0]
    path.write_bytes(path.read_bytes()[:50])
    assert ask("SELECT id FROM trades") == [(2,)]
    assert f"{path} is damaged and left out" in caplog.text
    assert path.exists()


def test_a_large_answer_comes_in_batches(settings: Settings, client: redis.Redis) -> None:
    """Each of the size that was asked for, the last with what is left."""
    with open_session(settings, client) as session:
        result = session.select("SELECT n FROM range(8) AS r(n)", batch_rows=3)
        assert [[n for (n,) in rows] for rows in result.batches()] == [[0, 1, 2], [3, 4, 5], [6, 7]]


@pytest.fixture
def damaged(store: Store, archive: Archive, files: Files) -> Path:
    """The file of one of two trades: its footer is right and its first page is not."""
    store.put_trades([trade(1, exchange_ms=T0 - 3 * HOUR_MS), trade(2)])
    archive.run(everything=True)
    path = files.within(TRADES, None, None)[0]
    start = pq.read_metadata(path).row_group(0).column(0).dictionary_page_offset
    content = bytearray(path.read_bytes())
    content[start : start + 30] = b"\xff" * 30
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("streamed", [False, True])
def test_a_damaged_page_is_found_when_the_query_meets_it(
    damaged: Path, settings: Settings, client: redis.Redis, caplog: pytest.LogCaptureFixture, streamed: bool
) -> None:
    """It is left out, whether DuckDB speaks of it before the rows or at the first of them."""
    sql = "SELECT market, id FROM trades"
    with open_session(settings, client) as session:
        rows = list(chain.from_iterable(session.select(sql).batches())) if streamed else session.rows(sql)
    assert rows == [(BTC, 2)]
    assert f"{damaged} is damaged and left out" in caplog.text


@pytest.mark.parametrize("changes", [25, pytest.param(1500, marks=pytest.mark.soak)])
def test_a_changed_bit_gives_no_wrong_row(files: Files, changes: int) -> None:
    """Wherever a bit of a file is changed, its rows are right or the file is left out."""
    dice = random.Random(changes)
    rows = [
        TradeRecord(
            BTC,
            T0 + second,
            T0 + second,
            str(dice.randrange(10**6)),
            str(dice.random()),
            "buy",
            0,
            T0,
            1,
            True,
        )
        for second in range(500)
    ]
    path = files.place(TRADES, T0)
    files.write(TRADES, path, parquet.to_arrow(TRADES, rows))
    sql = f"SELECT * FROM trades WHERE market = '{BTC}' AND exchange_ms < {T0 + 300} ORDER BY id"  # noqa: S608
    with Session(files) as session:
        whole = session.rows(sql)
    assert len(whole) == 300
    right, content = 0, path.read_bytes()
    for _ in range(changes):
        changed = bytearray(content)
        changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
        path.write_bytes(changed)
        with Session(files) as session:
            found = session.rows(sql)
            assert found == whole or (found == [] and path in session.damaged)
            right += found == whole
    assert right < changes / 2


#: A million numbers; the archive is read only when all of them were given, by however many threads.
NUMBERS_THEN_TRADES = """
    WITH RECURSIVE answer(n) AS (
        SELECT n FROM range(1000000) AS r(n)
        UNION ALL SELECT id FROM raw.trades WHERE market LIKE 'KRW%' AND (SELECT max(n) FROM answer) = 999999
    ) SELECT n FROM answer
"""


def test_a_damaged_page_met_behind_given_rows_is_an_error(
    damaged: Path, settings: Settings, client: redis.Redis
) -> None:
    """What was given can't be taken back: the answer is said to lack rows, the next one is whole."""
    with open_session(settings, client) as session:
        batches = session.select(NUMBERS_THEN_TRADES).batches()
        assert len(next(batches)) == 10_000
        with pytest.raises(
            ArchiveUnavailable, match=f"rows are missing .*{damaged} is damaged; move it away"
        ):
            list(batches)
        assert len(session.rows(NUMBERS_THEN_TRADES)) == 1_000_001


def test_a_file_gone_behind_given_rows_is_an_error(
    store: Store, archive: Archive, files: Files, settings: Settings, client: redis.Redis
) -> None:
    """Compaction while a large answer is read: it is said to lack rows."""
    store.put_trades([trade(1, exchange_ms=T0 - 3 * HOUR_MS), trade(2)])
    archive.run(everything=True)
    with open_session(settings, client) as session:
        batches = session.select(NUMBERS_THEN_TRADES).batches()
        next(batches)
        files.within(TRADES, None, None)[0].unlink()
        with pytest.raises(ArchiveUnavailable, match=r"rows are missing .* has changed; ask again"):
            list(batches)


def test_a_file_replaced_or_removed_under_a_session_is_read_again(
    store: Store, archive: Archive, files: Files, settings: Settings, client: redis.Redis
) -> None:
    """Compaction while a session is open: the next query finds the rows in their new file."""
    hours = [T0 - number * HOUR_MS for number in range(3, 6)]
    store.put_trades([trade(1), *(trade(ms, exchange_ms=ms) for ms in hours)])
    archive.run(everything=True)
    client.flushall()
    with open_session(settings, client) as session:
        for table in (TRADES, CANDLES):
            for day in files.days(table):
                files.compact(table, day)
        assert session.rows("SELECT count(*) FROM trades") == [(4,)]


def test_an_empty_archive_has_empty_views(ask: Ask, settings: Settings, client: redis.Redis) -> None:
    """Before anything is stored, queries are answered with nothing."""
    assert ask("SELECT count(*) FROM trades") == [(0,)]
    with open_session(settings, client) as session:
        assert session.is_empty
