"""SQL over archive and Redis: every row once, and nothing but reading."""

import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from datetime import date
from decimal import Context, Decimal
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import redis
from msgspec.structs import replace

from collector.archive import ArchiveUnavailable, parquet
from collector.archive.archiver import Archiver
from collector.archive.files import Files
from collector.archive.partitions import HOUR_MS
from collector.archive.schema import CANDLES, TRADES, CandleRecord, TradeRecord
from collector.archive.sql import QuerySession, open_session
from collector.errors import ConfigurationError, PipelineError
from collector.model import Channel, Gap, Side, Source, Trade
from collector.settings import ArchiveSettings, Settings
from collector.store.read import Reader
from collector.store.store import Store
from tests.samples.rows import BTC, T0, book, ticker, trade

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
    store: Store, reader: Reader, archive: Archiver, ask: Ask, truth: list[Trade], archived: int
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
    client: redis.Redis, store: Store, archive: Archiver, ask: Ask, truth: list[Trade]
) -> None:
    """After Redis lost everything, the archive answers the same; new trades come on top."""
    store.put_trades(truth)
    archive.run(everything=True)
    before = ask("SELECT * FROM candles ORDER BY market, open_ms")
    client.flushall()
    assert before == ask("SELECT * FROM candles ORDER BY market, open_ms")
    store.put_trades([trade(7, exchange_ms=truth[-1].exchange_ms + HOUR_MS)])
    assert len(truth) + 1 == ask("SELECT count(*) FROM trades")[0][0]


def test_a_late_trade_replaces_the_archived_candle(store: Store, archive: Archiver, ask: Ask) -> None:
    """A minute that changed since it was archived is answered from Redis, as a whole."""
    store.put_trades([trade(1, 100, 1), trade(2, 90, 1, exchange_ms=T0 + 60_000)])
    archive.run()
    store.put_trades([trade(3, 95, "0.5", exchange_ms=T0 + 5)])
    assert [(Decimal(100), Decimal(95), Decimal("1.5")), (Decimal(90), Decimal(90), Decimal(1))] == ask(
        "SELECT open, close, base_volume FROM candles ORDER BY open_ms"
    )
    assert ask("SELECT id FROM trades ORDER BY exchange_ms, id") == [(1,), (3,), (2,)]


def test_copies_are_left_out_and_states_come_once(store: Store, archive: Archiver, ask: Ask) -> None:
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


def test_what_the_exchange_did_not_give_is_null(store: Store, archive: Archiver, ask: Ask) -> None:
    """A market's first day, in Redis or archived."""
    store.put_tickers([replace(ticker(), **FIRST_DAY)])
    for _ in range(2):
        assert ask("SELECT change, change_rate, prev_closing_price, price FROM tickers") == [
            (None, None, None, Decimal(100))
        ]
        archive.run()


@pytest.mark.parametrize("archived", [False, True])
def test_numbers_keep_every_digit(store: Store, archive: Archiver, ask: Ask, archived: bool) -> None:
    """Dust and fortunes in one column, archived or not, come back as they went in."""
    numbers = ["728107452.064231976", "1.4E-7", "116208000", "0.10", "0.000000000001"]
    store.put_trades([trade(n, 1, number, exchange_ms=T0 + n) for n, number in enumerate(numbers)])
    store.put_tickers([ticker(quote_volume_24h=Decimal("9728107452.064231976099210440001"))])
    store.put_books([book(bids=[("0.00000021", "9999999999.12345678")])])
    if archived:
        archive.run()
    assert [(Decimal(number), None) for number in numbers] == ask(
        "SELECT volume, rounded FROM trades ORDER BY id"
    )
    assert ask("SELECT quote_volume_24h FROM tickers") == [(Decimal("9728107452.064231976099210440001"),)]
    ((bids,),) = ask("SELECT bids FROM books")
    assert [{"price": Decimal("0.00000021"), "size": Decimal("9999999999.12345678")}] == bids


#: A turnover of 30 digits: 116208000.000000001 * 2.469135600001 + 1 * 1.5.
QUOTE = "286933311.304916210469135600001"


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("greatest(buy_volume, sell_volume)", "2.469135600001"),
        ("greatest(buy_volume, quote_volume)", QUOTE),
        ("coalesce(nullif(buy_volume, buy_volume), quote_volume, close)", QUOTE),
        ("CASE WHEN trade_count > 1 THEN quote_volume ELSE open END", QUOTE),
        ("if(complete, quote_volume, open)", QUOTE),
        ("[open, base_volume, quote_volume][3]", QUOTE),
        ("map {'b': base_volume, 'q': quote_volume}['q']", QUOTE),
        (
            "(SELECT max(n) FROM (SELECT open n UNION ALL SELECT base_volume UNION ALL SELECT quote_volume))",
            QUOTE,
        ),
        ("coalesce(sum(quote_volume) OVER (), 0)", QUOTE),
        ("greatest(sum(quote_volume) OVER (), quote_volume, base_volume, open)", QUOTE),
        ("max_by(quote_volume, open_ms) OVER ()", QUOTE),
        ("quote_volume + open - open", QUOTE),
        ("high * buy_volume + low * sell_volume", QUOTE),
        ("sum(high * buy_volume + low * sell_volume) OVER ()", QUOTE),
    ],
)
def test_what_meets_in_a_query_keeps_its_digits(
    store: Store, archive: Archiver, ask: Ask, expression: str, expected: str
) -> None:
    """Nothing is rounded where columns of different kinds meet, archived or not."""
    store.put_trades([trade(1, "116208000.000000001", "2.469135600001"), trade(2, 1, "1.5", side=Side.SELL)])
    for _ in range(2):
        assert ask(f"SELECT {expression} FROM candles") == [(Decimal(expected),)]  # noqa: S608
        archive.run()


def test_sums_of_the_busiest_markets_do_not_overflow(files: Files) -> None:
    """A year of days as large as those of all markets together, of everything that is added up."""
    size, turnover = Decimal("9876543210123.123456789012"), Decimal("9876543210123.123456789012345678901")
    record = CandleRecord(
        BTC, 0, *[Decimal("999999999.9")] * 4, size, turnover, Decimal(9999), size, 1, True, 1
    )
    rows = [record._replace(open_ms=minute * 60_000) for minute in range(366)]
    files.write(CANDLES, files.place(CANDLES, 0), [parquet.to_arrow(CANDLES, rows)])
    with QuerySession(files) as session:
        sums = "sum(base_volume), sum(quote_volume), sum(quote_volume + quote_volume), sum(open * buy_volume)"
        (found,) = session.rows(f"SELECT {sums} FROM candles")  # noqa: S608
    wide = Context(prec=60)
    assert found == (
        wide.multiply(size, 366),
        wide.multiply(turnover, 366),
        wide.multiply(turnover, 732),
        wide.multiply(Decimal("999999999.9"), 366 * 9999),
    )


# -- the rare number that does not fit


@pytest.mark.parametrize("archived", [False, True])
def test_one_number_that_does_not_fit_changes_no_other(
    store: Store, archive: Archiver, ask: Ask, archived: bool
) -> None:
    """Its column is rounded in its own row alone, keeps order and sums, and `rounded` has every digit."""
    store.put_trades(
        [
            trade(1, "116208000", "0.1"),
            trade(2, "116208000", "1E-29", exchange_ms=T0 + 1),
            trade(3, "1E-29", "4.12345678", exchange_ms=T0 + 2),
            trade(4, "1E+20", "1343.75", exchange_ms=T0 + 3),
        ]
    )
    turnovers = ["728107452.06423197609921044", "1.5", "9E+15", "1E+25", "3.1234567890123456789012"]
    store.put_tickers(
        [ticker(market=f"KRW-M{n}", quote_volume_24h=Decimal(number)) for n, number in enumerate(turnovers)]
    )
    if archived:
        archive.run()
    largest = Decimal("999999999999.999999999")
    assert ask("SELECT price, volume, rounded FROM trades ORDER BY id") == [
        (Decimal(116208000), Decimal("0.1"), None),
        (Decimal(116208000), 0, '{"volume":"0.00000000000000000000000000001"}'),
        (0, Decimal("4.12345678"), '{"price":"0.00000000000000000000000000001"}'),
        (largest, Decimal("1343.75"), '{"price":"100000000000000000000"}'),
    ]
    assert ask("SELECT market FROM tickers ORDER BY quote_volume_24h DESC") == [
        (f"KRW-M{n}",) for n in (3, 2, 0, 4, 1)
    ]
    assert ask("SELECT sum(quote_volume_24h) > 1.8e16, max(price) FROM tickers") == [(True, 100)]
    assert ask("SELECT high, low, trade_count, json_keys(rounded) FROM candles") == [
        (largest, 0, 4, ["high", "low", "close", "base_volume", "quote_volume", "buy_volume"])
    ]


def test_the_types_are_the_same_whatever_the_data_are(store: Store, archive: Archiver, ask: Ask) -> None:
    """With nothing, with dust in Redis, with a fortune in the archive."""
    sql = " UNION ALL ".join(
        f"SELECT '{view}', column_name, column_type FROM (DESCRIBE {view})"  # noqa: S608
        for view in ("trades", "candles", "tickers", "books")
    )
    empty = ask(sql)
    store.put_trades([trade(1, "1E-29", "1E-30")])
    store.put_tickers([ticker(quote_volume_24h=Decimal("1E+22"))])
    assert ask(sql) == empty
    archive.run()
    store.put_trades([trade(2, "1E+20", "0.5", exchange_ms=T0 + 1)])
    assert ask(sql) == empty
    assert {
        ("trades", "price", "DECIMAL(21,9)"),
        ("trades", "volume", "DECIMAL(28,12)"),
        ("trades", "time", "TIMESTAMP WITH TIME ZONE"),
        ("candles", "quote_volume", "DECIMAL(37,21)"),
        ("candles", "vwap", "DOUBLE"),
        ("tickers", "change_rate", "DECIMAL(21,12)"),
        ("books", "bids", "STRUCT(price DECIMAL(21,9), size DECIMAL(28,12))[]"),
    } <= set(empty)


def test_rounded_numbers_are_counted(
    settings: Settings, client: redis.Redis, store: Store, archive: Archiver
) -> None:
    """By column, from the footers and from what is newer."""
    store.put_trades([trade(1, 1, "1E-29"), trade(2, 1, "1E-13", exchange_ms=T0 + HOUR_MS)])
    archive.run(everything=True)
    store.put_trades([trade(3, 1, "0.1234567890123", exchange_ms=T0 + HOUR_MS + 1)])
    with open_session(settings, client) as session:
        assert session.rounded["trades.volume"] >= 3
        assert "trades.price" not in session.rounded


# -- time


@pytest.mark.parametrize("zone", ["Asia/Seoul", "America/New_York"])
def test_times_have_a_zone_and_are_read_in_it(
    store: Store, settings: Settings, client: redis.Redis, zone: str
) -> None:
    """Days, hours and texts without an offset are those of the setting; an instant is the same everywhere."""
    store.put_trades(
        [trade(1, exchange_ms=T0), trade(2, exchange_ms=T0 + 2 * HOUR_MS)]
    )  # 22:33, 00:33 in Seoul
    settings = settings.model_copy(update={"time_zone": zone})
    sql = """
        SELECT epoch_ms(time), CAST(time AT TIME ZONE 'Asia/Seoul' AS DATE), hour(time),
            time >= '2026-09-22', time < now() - INTERVAL 1 hour, CAST(date_trunc('day', time) AS VARCHAR)
        FROM trades ORDER BY id"""
    here = {
        "Asia/Seoul": [(22, False, "2026-09-21 00:00:00+09"), (0, True, "2026-09-22 00:00:00+09")],
        "America/New_York": [(9, False, "2026-09-21 00:00:00-04"), (11, False, "2026-09-21 00:00:00-04")],
    }[zone]
    with open_session(settings, client) as session:
        assert session.rows(sql) == [
            (T0 + back, date(2026, 9, day), hour, today, True, midnight)
            for (back, day), (hour, today, midnight) in zip([(0, 21), (2 * HOUR_MS, 22)], here, strict=True)
        ]
        assert (
            str(session.arrow("SELECT time FROM trades").schema.field("time").type)
            == f"timestamp[us, tz={zone}]"
        )


# -- what a query may take


def test_memory_and_threads_of_a_query_are_bounded(settings: Settings, client: redis.Redis) -> None:
    """By settings, whatever the machine has; a query that needs more ends in one line."""
    rules = ArchiveSettings(query_memory_mb=64, query_threads=3)
    with open_session(settings.model_copy(update={"archive": rules}), client) as session:
        assert session.rows("SELECT current_setting('memory_limit'), current_setting('threads')") == [
            ("61.0 MiB", 3)
        ]
        with pytest.raises(PipelineError, match="COLLECTOR_ARCHIVE__QUERY_MEMORY_MB"):
            session.rows("SELECT list(n) FROM range(100000000) AS r(n)")
        assert session.rows("SELECT 1") == [(1,)]


# -- names


def test_columns_of_one_name_are_named_apart(ask: Ask, settings: Settings, client: redis.Redis) -> None:
    """In rows and in Arrow tables, as DuckDB does in a subquery."""
    sql = "SELECT 1 AS t, 2 AS t, 3 AS T, 4 AS t_1"
    with open_session(settings, client) as session:
        assert session.select(sql).columns == ["t", "t_2", "T_3", "t_1"]
        assert session.arrow(sql).to_pylist() == [{"t": 1, "t_2": 2, "T_3": 3, "t_1": 4}]


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
    store: Store, archive: Archiver, files: Files, ask: Ask, caplog: pytest.LogCaptureFixture
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
def damaged(store: Store, archive: Archiver, files: Files) -> Path:
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
            Decimal(dice.randrange(10**6)),
            Decimal(f"{dice.random():.12f}"),
            "buy",
            0,
            T0,
            1,
            True,
        )
        for second in range(500)
    ]
    path = files.place(TRADES, T0)
    files.write(TRADES, path, [parquet.to_arrow(TRADES, rows)])
    sql = f"SELECT * FROM trades WHERE market = '{BTC}' AND exchange_ms < {T0 + 300} ORDER BY id"  # noqa: S608
    with QuerySession(files) as session:
        whole = session.rows(sql)
    assert len(whole) == 300
    right, content = 0, path.read_bytes()
    for _ in range(changes):
        changed = bytearray(content)
        changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
        path.write_bytes(changed)
        with QuerySession(files) as session:
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
    store: Store, archive: Archiver, files: Files, settings: Settings, client: redis.Redis
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
    store: Store, archive: Archiver, files: Files, settings: Settings, client: redis.Redis
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
