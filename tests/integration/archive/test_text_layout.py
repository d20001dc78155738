"""An archive of the layout before decimals, numbers as text: read with every digit, written anew in today's.

`text_layout/` was written by commit c869435: trades of 1e-29 and 1e20, a turnover of 26 digits, a size of 19
decimals, two trades of one millisecond whose order is known, over two hours.
"""

import shutil
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
import redis

from collector.archive import decimals, frames, legacy, parquet
from collector.archive.archiver import Archiver
from collector.archive.files import Files
from collector.archive.partitions import HOUR_MS
from collector.archive.schema import TABLES, TRADES, Kind, Table
from collector.archive.sql import QuerySession, open_session
from collector.settings import Settings
from collector.store.store import Store
from tests.samples.rows import T0, trade

OLD = Path(__file__).parent / "text_layout"
LARGEST_PRICE = Decimal("999999999999.999999999")
D = Decimal

Kept = Callable[[Table], list[dict[str, Any]]]


@pytest.fixture
def files(settings: Settings) -> Files:
    """That archive, in the data folder."""
    found = Files(settings.data_dir / "archive")
    shutil.copytree(OLD, found.root)
    return found


@pytest.fixture
def kept() -> Kept:
    """A function that gives the rows of the old files of a channel as they are, read without code of ours."""

    def rows(table: Table) -> list[dict[str, Any]]:
        paths = sorted((OLD / f"channel={table.name}").rglob("*.parquet"))
        return [row for path in paths for row in pq.read_table(path, partitioning=None).to_pylist()]

    return rows


def exactly(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows of a view with every digit, `rounded` in its place."""
    return [row | decimals.exact(row.pop("rounded", None)) for row in rows]


def as_numbers(row: dict[str, Any], table: Table) -> dict[str, Any]:
    """Return an old row with its texts as numbers."""

    def number(name: str, value: Any) -> Any:
        if isinstance(value, list):
            return [{part: D(text) for part, text in level.items()} for level in value]
        if table.kinds[name] is Kind.RATIO:
            return float(value)
        return D(value) if name in table.decimals else value

    later = {name: None for name in table.record._fields if name in legacy.LATER}
    return {name: number(name, value) for name, value in row.items()} | later


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_digit_of_old_files_is_answered(files: Files, kept: Kept, table: Table) -> None:
    """Rows and numbers are those of the files; types are those of today."""
    with QuerySession(files) as session:
        answer = session.arrow(f"SELECT * FROM raw.{table.name}")  # noqa: S608
    expected = [as_numbers(row, table) for row in kept(table)]
    assert in_order(expected) == in_order(exactly(answer.to_pylist()))
    assert answer.schema.equals(parquet.arrow_schema(table))


def in_order(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows in an order of their own."""
    return sorted(
        rows, key=lambda row: [str(value) for value in row.values() if not isinstance(value, Decimal)]
    )


def test_old_numbers_that_do_not_fit_keep_order_and_are_named(files: Files) -> None:
    """As those of new files."""
    with QuerySession(files) as session:
        assert session.rows("SELECT market, max(price) FROM trades GROUP BY 1 ORDER BY 2 DESC") == [
            ("KRW-DUST", LARGEST_PRICE), ("KRW-BTC", 116211000), ("BTC-ETH", D("0.03197421")),
        ]  # fmt: skip
        assert session.rows("SELECT id, rounded FROM trades WHERE rounded IS NOT NULL ORDER BY id") == [
            (5, '{"volume":"0.00000000000000000000000000001"}'),
            (6, '{"price":"0.00000000000000000000000000001"}'),
            (7, '{"price":"100000000000000000000"}'),
        ]


def test_old_and_new_files_and_redis_are_one_view(
    files: Files, archive: Archiver, store: Store, settings: Settings, client: redis.Redis
) -> None:
    """An hour of each, of one type, each row once; frames put together lose nothing."""
    store.put_trades([trade(11, "1343.75", "4.12345678", exchange_ms=T0 + 2 * HOUR_MS)])
    archive.run(everything=True)
    store.put_trades([trade(12, "0.00000021", "0.000000000001", exchange_ms=T0 + 2 * HOUR_MS + 1)])
    with open_session(settings, client) as session:
        ids = [
            row for (row,) in session.rows("SELECT id FROM trades ORDER BY exchange_ms, exchange_order, id")
        ]
        assert ids == [1, 2, 901, 900, 5, 6, 7, 8, 11, 12]
        assert session.rows("SELECT max(volume), sum(volume) FROM trades WHERE id IN (11, 12)") == [
            (D("4.12345678"), D("4.123456780001"))
        ]
    hours = [
        frames.trades(from_ms=T0 + n * HOUR_MS, to_ms=T0 + (n + 1) * HOUR_MS - 1, settings=settings)
        for n in (0, 1, 2)
    ]
    whole = frames.trades(settings=settings)
    assert pl.concat(hours).equals(whole)
    assert pl.concat(reversed(hours)).sort("exchange_ms", "exchange_order", "id").equals(whole)


def test_a_late_trade_turns_its_hour_into_todays_layout(
    files: Files, archive: Archiver, store: Store, kept: Kept
) -> None:
    """With every digit of what was there; other files stay as they are."""
    store.put_trades([trade(3, "116208000", "0.5", exchange_ms=T0 + 4, order=0)])
    assert archive.run(everything=True) == []
    path = files.place(TRADES, T0)
    assert not parquet.footer(TRADES, path).is_text
    assert parquet.footer(TRADES, files.place(TRADES, T0 + HOUR_MS)).is_text
    found = [row._asdict() for row in parquet.to_rows(TRADES, parquet.read(TRADES, path))]
    old = [as_numbers(row, TRADES) for row in kept(TRADES)[:7]]
    assert [row for row in found if row["id"] != 3] == sorted(
        old, key=lambda row: (row["market"], row["exchange_ms"], row["order"], row["id"])
    )


def test_a_compacted_day_has_every_digit(files: Files, kept: Kept) -> None:
    """Hours of text become one day of decimals."""
    for table in TABLES:
        assert files.compact(table, date(2026, 9, 21))
        (path,) = files.of_day(table, date(2026, 9, 21))
        assert (path.name, parquet.footer(table, path).is_text) == ("day.parquet", False)
        found = [row._asdict() for row in parquet.to_rows(table, parquet.read(table, path))]
        assert in_order([as_numbers(row, table) for row in kept(table)]) == in_order(found)


def test_a_damaged_old_file_is_left_out(files: Files) -> None:
    """As a new one."""
    path = files.place(TRADES, T0)
    start = pq.read_metadata(path).row_group(0).column(0).dictionary_page_offset
    content = bytearray(path.read_bytes())
    content[start : start + 30] = b"\xff" * 30
    path.write_bytes(content)
    with QuerySession(files) as session:
        assert session.rows("SELECT market, id FROM trades") == [("BTC-ETH", 8)]
        assert list(session.damaged) == [path]
