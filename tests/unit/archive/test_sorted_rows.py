"""Rows in order of the key, a part at a time, are those of the whole."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from collector.archive import library, parquet
from collector.archive.files import Files
from collector.archive.parquet import Arrow
from collector.archive.partitions import HOUR_MS, day_of
from collector.archive.schema import TRADES, TradeRecord
from collector.archive.sorted_rows import Part, SortedRows, by_market, joined

T0 = 1_789_999_200_000
MARKETS = ("KRW-A", "KRW-B", "KRW-C")


def trade(market: str, exchange_ms: int) -> TradeRecord:
    return TradeRecord(market, exchange_ms, exchange_ms, Decimal(1), Decimal(2), "buy", 0, T0, 1, True)


ROWS = [trade(market, T0 + second * 1000) for market in MARKETS for second in range(10)]


def parts(rows: list[TradeRecord], size: int) -> Iterator[Part]:
    """Yield rows as a file of row groups of `size` gives them."""
    for start in range(0, len(rows), size):
        yield from by_market(parquet.to_arrow(TRADES, rows[start : start + size]))


def records(tables: Iterator[Arrow]) -> list[TradeRecord]:
    return [row for table in tables for row in parquet.to_rows(TRADES, table)]


@pytest.mark.parametrize("size", [1, 3, 7, 30])
def test_what_is_before_a_moment_and_the_rest_are_all_rows(size: int) -> None:
    """Wherever the groups end; markets before, and markets there are no rows of, are no obstacle."""
    rows = SortedRows(TRADES, parts(ROWS, size))
    taken = [
        records(rows.before(market, time_ms))
        for market, time_ms in (
            ("KRW-A", T0),
            ("KRW-A", T0 + 4000),
            ("KRW-AB", T0 + 4000),
            ("KRW-C", T0 + 1),
            ("KRW-C", T0 + 1),
        )
    ]
    assert [len(some) for some in taken] == [0, 4, 6, 11, 0]
    assert [*(row for some in taken for row in some), *records(rows.rest())] == ROWS
    assert records(rows.rest()) == []


@pytest.mark.parametrize("size", [2, 100])
def test_hours_become_a_day_in_order_of_the_key(size: int) -> None:
    """A market that one of the hours lacks is no obstacle."""
    late = [row._replace(exchange_ms=row.exchange_ms + HOUR_MS) for row in ROWS if row.market != "KRW-B"]
    found = records(joined([parts(ROWS, size), parts(late, size)]))
    assert found == sorted([*ROWS, *late], key=lambda row: (row.market, row.exchange_ms))


def test_a_day_of_many_parts_has_row_groups_of_the_usual_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However small the parts are that it was made of."""
    monkeypatch.setattr(parquet, "ROW_GROUP", 16)
    files = Files(tmp_path)
    for hour in range(2):
        late = [row._replace(exchange_ms=row.exchange_ms + hour * HOUR_MS) for row in ROWS]
        each = [parquet.to_arrow(TRADES, [row]) for row in late]
        files.write(TRADES, files.place(TRADES, T0 + hour * HOUR_MS), each)
    assert files.compact(TRADES, day_of(T0))
    (path,) = files.within(TRADES, None, None)
    groups = library("pyarrow.parquet").read_metadata(path)
    assert [groups.row_group(number).num_rows for number in range(groups.num_row_groups)] == [16, 16, 16, 12]
