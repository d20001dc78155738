"""Rows of a query at any width: whole columns, or records; never a part of a number."""

from decimal import Decimal
from io import StringIO

import pytest
from rich.console import Console

from collector.archive.files import Files
from collector.archive.parquet import to_arrow
from collector.archive.schema import CANDLES, TRADES, CandleRecord, TradeRecord
from collector.archive.sql import QuerySession
from collector.cli.query import _table
from collector.cli.render.table import RenderedTable
from collector.settings import Settings
from tests.samples.rows import T0

D = Decimal
PRICES = (D(116208000), D(116211000), D(116205000), D(116210000))
CANDLE = CandleRecord(
    "KRW-BTC", T0, *PRICES, D("12.34567891"), D("1434567890.12345678"), D("10.12345678"), D("2.22222213"),
    1234, True, 1234,
)  # fmt: skip
NUMBERS = (*map(str, PRICES), "12.34567891", "1434567890.12345678", "10.12345678", "2.22222213")


@pytest.fixture
def session(settings: Settings) -> QuerySession:
    """An archive of two candles and a trade."""
    files = Files(settings.data_dir / "archive")
    rows = [CANDLE, CANDLE._replace(open_ms=T0 + 60_000)]
    files.write(CANDLES, files.place(CANDLES, T0), [to_arrow(CANDLES, rows)])
    trade = TradeRecord("KRW-BTC", T0 + 7, 1, D(116208000), D("0.1"), "buy", 0, T0, 1, True)
    files.write(TRADES, files.place(TRADES, T0), [to_arrow(TRADES, [trade])])
    return QuerySession(files)


def printed(answer: RenderedTable, width: int) -> str:
    """Return what a terminal of that width shows."""
    console = Console(width=width, file=StringIO(), highlight=False)
    console.print(answer)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("width", "columns"),
    [
        (80, ["market", "time", "open", "high", "low", "close"]),
        (100, ["market", "time", "open", "high", "low", "close", "base_volume"]),
        (
            140,
            ["market", "time", "open", "high", "low", "close", "base_volume", "quote_volume", "buy_volume"],
        ),
    ],
)
def test_all_of_candles_is_whole_columns(session: QuerySession, width: int, columns: list[str]) -> None:
    """The README's first query: prices always, the others named."""
    out = printed(_table(session.select("select * from candles"), 200, vertical=False), width)
    lines = out.splitlines()
    assert lines[0].split()[: len(columns)] == columns
    assert max(map(len, lines)) <= width
    assert "…" not in out
    assert lines[2].split()[:7] == ["KRW-BTC", "2026-09-21", "22:33", *map(str, PRICES)]
    left_out = out[out.index("columns left out: ") :]
    assert "trade_count" in left_out or width == 140
    assert "open_ms" in left_out
    assert "(--vertical shows every column)" in " ".join(left_out.split())


@pytest.mark.parametrize("width", [40, 80, 140])
def test_records_have_every_column_and_digit(session: QuerySession, width: int) -> None:
    """One line a column, an empty line between two rows, long values folded; NULL is a value."""
    out = printed(_table(session.select("select * from candles"), 200, vertical=True), width)
    assert all(out.count(number) >= 2 for number in NUMBERS)
    assert out.count("NULL") == 4  # `verified` and `rounded`
    assert out.count("trade_count") == 2
    assert max(map(len, out.splitlines())) <= width


def test_a_single_wide_row_is_a_record(session: QuerySession) -> None:
    """At 80 columns; at 300 it is a table."""
    sql = "select * from candles limit 1"
    narrow = printed(_table(session.select(sql), 200, vertical=False), 80)
    assert "1434567890.12345678" in narrow
    assert "no room" not in narrow
    assert printed(_table(session.select(sql), 200, vertical=False), 300).split()[0:2] == ["market", "time"]


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("make_timestamptz(1789997580000000)", "2026-09-21 22:33"),
        ("make_timestamptz(1789997581000000)", "2026-09-21 22:33:01"),
        ("make_timestamptz(1789997580007000)", "2026-09-21 22:33:00.007"),
        ("make_timestamptz(1789997580000001)", "2026-09-21 22:33:00.000001"),
        ("TIMESTAMP '2026-09-21 22:33:00'", "2026-09-21 22:33"),
        ("1.50::DECIMAL(9, 4)", "1.5"),
        ("'a' || chr(10) || chr(27) || '한'", "a\\n\\x1b한"),
        ("true", "yes"),
    ],
)
def test_cells(session: QuerySession, expression: str, text: str) -> None:
    """Times as short as their column allows, numbers without zeros, nothing that moves the cursor."""
    out = printed(_table(session.select(f"SELECT {expression} AS x"), 200, vertical=False), 80)
    assert out.splitlines()[2].strip() == text
    assert ("times in KST" in out) == ("timestamptz" in expression)
