"""Tables fit the terminal: what is shown is whole, what is left out is named."""

from collections.abc import Callable
from decimal import Decimal
from io import StringIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from collector.analytics.candles import Candle
from collector.analytics.depth import Book
from collector.analytics.volume import Volume
from collector.cli.render import results
from collector.cli.render.moments import moments
from collector.cli.render.table import COMPACT, TIGHT, USUAL, Column, Layout, RenderedTable, laid_out
from collector.model import Channel, Side
from collector.store.dead_letters import DeadLetter
from collector.store.rows import GapRow, TickerRow, TradeRow
from tests.doubles.command_line import MINUTE, T0

D = Decimal
WIDTHS = (80, 100, 140)
LEFT_OUT = "columns left out: "


def lines(sheet: RenderedTable, width: int) -> list[str]:
    """Return a sheet as it stands on a terminal of that width."""
    console = Console(file=StringIO(), width=width, highlight=False)
    console.print(sheet)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def candle(number: int, price: str = "116207000", **fields: object) -> Candle:
    values = {
        "market": "KRW-BTC", "interval": "1m", "open_ms": T0 + number * MINUTE, "open_time": None,
        "open": D(price), "high": D(price) + 4000, "low": D(price) - 1000, "close": D(price) + 1000,
        "base_volume": D("0.89757548"), "quote_volume": D("104305622.61"), "buy_volume": D("0.5"),
        "sell_volume": D("0.39757548"), "vwap": D("116208190.7672"), "trade_count": 368, "complete": True,
    }  # fmt: skip
    return Candle(**values | fields)  # type: ignore[arg-type]


# -- the rule


@st.composite
def columns(draw: st.DrawFn) -> list[Column]:
    """Draw columns of two cells; each cell is a word of its own, so that it can be found."""
    shapes = draw(
        st.lists(st.tuples(st.integers(1, 24), st.integers(0, 4), st.booleans()), min_size=1, max_size=8)
    )
    found = []
    for number, (size, rank, has_brief) in enumerate(shapes):
        letter = "abcdefgh"[number]
        cells = [f"{letter}{row}" + "x" * size for row in range(2)]
        brief = [cell[:2] for cell in cells] if has_brief else []
        found.append(Column(letter.upper(), cells, rank=rank, brief=brief))
    return found


@settings(max_examples=60, deadline=None)
@given(columns(), st.integers(30, 140))
def test_every_column_is_whole_or_named(drawn: list[Column], width: int) -> None:
    """No line is too wide; each cell stands there in full or in brief, or its column is named."""
    printed = lines(RenderedTable("title", drawn), width)
    assert max(map(len, printed)) <= width
    text = " ".join(word for line in printed for word in line.split())
    words = set(text.split())
    left_out = set(text.partition(LEFT_OUT)[2].split(", "))
    for column in drawn:
        full, brief = set(column.cells) <= words, bool(column.brief) and set(column.brief) <= words
        assert (full or brief) is not (column.title in left_out)
        assert column.rank or column.title not in left_out


@settings(max_examples=60, deadline=None)
@given(columns(), st.integers(5, 140))
def test_ranks_leave_in_their_order(drawn: list[Column], width: int) -> None:
    """Columns of one rank stay or leave together, and one that leaves would not have fitted."""
    layout = laid_out(drawn, width)
    if layout.are_records:
        return
    kept = {column.rank for column in layout.columns}
    gone = {column.rank for column in drawn if column not in layout.columns}
    assert not kept & gone
    for rank in gone:
        more = [
            column
            for column in drawn
            if (column.rank < rank and column in layout.columns) or column.rank == rank
        ]
        assert Layout(more, TIGHT, is_brief=True).width > width


def test_it_gives_way_in_steps() -> None:
    """Brief cells, then closer columns, then columns left out, then records; a compact one has no records."""
    given = [
        Column("time", ["2026-12-01"], brief=["12-01"]),
        Column("price", ["1" * 20]),
        Column("more", ["2" * 20], rank=1),
    ]
    steps = [laid_out(given, width) for width in (58, 57, 52, 49, 28, 26)]
    assert [(each.is_brief, each.gaps, len(each.columns), each.are_records) for each in steps] == [
        (False, USUAL, 3, False),
        (True, USUAL, 3, False),
        (True, TIGHT, 3, False),
        (True, TIGHT, 3, False),
        (True, TIGHT, 2, False),
        (False, USUAL, 3, True),
    ]
    assert laid_out(given, 5, compact=True) == Layout(given[:2], COMPACT, is_brief=True)


def test_records_name_every_column() -> None:
    """One column a line, an empty line between two rows, a long value folded whole."""
    sheet = RenderedTable(
        "", [Column("name", ["a", "b"]), Column("value", ["x" * 50, ""]), Column("n", ["1", "2"], rank=1)]
    )
    assert [line.strip() for line in lines(sheet, 40)] == [
        "name  a",
        f"value  {'x' * 33}",
        "x" * 17,
        "n  1",
        "",
        "name  b",
        "n  2",
    ]


def test_marks_without_a_mark_take_no_room() -> None:
    """A column without a title and without a word is no column."""
    assert lines(RenderedTable("", [Column("a", ["1"]), Column("", [""])]), 80)[0] == " a"


# -- times


def test_times_of_one_day_move_it_to_the_title() -> None:
    """And those of one year the year; where there is room they stand in full."""
    wide = [Column("x", ["y" * 60] * 3)]
    same = RenderedTable("T", [moments("at", [T0, T0 + MINUTE, T0], "second"), *wide])
    assert lines(same, 140)[0] == "T, times in KST"
    assert lines(same, 140)[3].startswith(" 2026-09-21 23:13:00 ")
    assert lines(same, 75)[0] == "T, times in KST on 2026-09-21"
    assert lines(same, 75)[3].startswith(" 23:13:00 ")
    days = RenderedTable("T", [moments("at", [T0, T0 + 2880 * MINUTE, None], "minute"), *wide])
    assert lines(days, 77)[0] == "T, times in KST of 2026"
    assert [line.split()[:2] for line in lines(days, 77)[3:5]] == [["09-21", "23:13"], ["09-23", "23:13"]]
    years = RenderedTable("T", [moments("at", [T0, T0 + 600_000 * MINUTE, T0], "minute"), *wide])
    assert "times in KST" in lines(years, 78)[0]
    assert "2027-11-12 15:13" in " ".join(lines(years, 78))


def test_times_are_in_the_zone_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    """`COLLECTOR_TIME_ZONE`, named in the title."""
    monkeypatch.setattr(
        "collector.cli.render.values.zone", lambda: __import__("zoneinfo").ZoneInfo("Europe/Berlin")
    )
    printed = lines(RenderedTable("T", [moments("at", [T0 + 7], "millisecond")]), 80)
    assert (printed[0], printed[3].strip()) == ("T, times in Europe/Berlin", "2026-09-21 16:13:00.007")


# -- the tables of the product


@pytest.mark.parametrize("width", WIDTHS)
def test_candles_show_their_prices_at_every_width(width: int) -> None:
    """Time, open, high, low, close; a mark where trades may be missing, explained below."""
    sheet = results.candles([candle(0), candle(1, complete=False)])
    printed = lines(sheet, width)
    assert printed[0].startswith("KRW-BTC, 1m candles, times in KST")
    assert printed[1].split()[:5] == ["time", "open", "high", "low", "close"]
    row = printed[4].split()
    assert {"23:14", "116,207,000", "116,211,000", "116,206,000", "116,208,000"} <= set(row)
    assert row[-1] in ("*", "incomplete")
    assert any("incomplete (*)" in line for line in printed)
    assert max(map(len, printed)) <= width


def test_candles_at_80_columns_to_the_letter() -> None:
    """What the README promises."""
    assert lines(results.candles([candle(0), candle(1)]), 80) == [
        "KRW-BTC, 1m candles, times in KST on 2026-09-21",
        "time          open         high          low        close      volume  trades",
        "─" * 77,
        "23:13  116,207,000  116,211,000  116,206,000  116,208,000  0.89757548     368",
        "23:14  116,207,000  116,211,000  116,206,000  116,208,000  0.89757548     368",
        "  columns left out: buy %, vwap",
    ]


def test_daily_candles_have_days() -> None:
    """A day of Korea begins at midnight there: its hour tells nothing."""
    midnight = T0 - (23 * 60 + 13) * MINUTE
    assert " 2026-09-21 " in lines(results.candles([candle(0, interval="1d", open_ms=midnight)]), 140)[3]


def _tickers() -> RenderedTable:
    names = ("KRW-BTC", "BTC-ETH", "KRW-PEPE")
    prices = (D("116207000"), D("0.03196855"), D("0.0088"))
    return results.tickers(
        [
            TickerRow(
                name, price, "rise", price / 100, D("0.0117"), price, price, price * 2, price / 2,
                D("1247512.035"), D("3100000000.5"), T0 + 5, T0 + 9,
            )
            for name, price in zip(names, prices, strict=True)
        ]
    )  # fmt: skip


def _books() -> RenderedTable:
    side = tuple((D("116207000") + n, D("0.12345678")) for n in range(3))
    figures = (D(1000), D("0.09"), D(1), D(1), D("0.1"), D("137837.567"), D("137837.567"), 30, ((), ()), T0)
    return results.books([Book(name, T0, side, side, *figures) for name in ("KRW-BTC", "KRW-ETH")])


def _volumes() -> RenderedTable:
    base, quote, half = D("1234.56789012"), D("104305622612.61"), D("617.28394506")
    return results.volumes(
        [Volume("KRW-BTC", "24h", base, quote, half, half, D("116208190.7672"), 12_345, T0, False)]
    )


def _trades() -> RenderedTable:
    price, volume = D("116207000"), D("0.00015371")
    return results.trades([TradeRow("KRW-BTC", 1279443984229336530, price, volume, Side.BUY, T0, T0)])


def _letters() -> RenderedTable:
    letter_id = "0ed2f9e4-9a53-4b9c-8f6c-0c9f8d1f5a55"
    reason = "InvalidBatch: " + "word " * 40
    return results.dead_letters(
        [DeadLetter(letter_id, "tasks.ingest.trades", "trade", reason, 5, T0, "x" * 2000)]
    )


def _refused() -> RenderedTable:
    detail, raw = "trade_price: " + "word " * 30, '{"ty": "trade"' * 9
    return results.rejected([{"at_ms": T0, "reason": "invalid_field", "detail": detail, "raw": raw}])


def _gaps() -> RenderedTable:
    return results.gaps([GapRow("KRW-BTC", Channel.ORDERBOOK, T0, T0 + 25_700, "spool_damaged", False)] * 2)


TABLES: dict[str, Callable[[], RenderedTable]] = {
    "tickers": _tickers,
    "books": _books,
    "volumes": _volumes,
    "trades": _trades,
    "gaps": _gaps,
    "dead letters": _letters,
    "refused": _refused,
}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", TABLES)
def test_tables_fit(name: str, width: int) -> None:
    """No line is too wide, and nothing but an excerpt of raw bytes is cut."""
    printed = lines(TABLES[name](), width)
    assert max(map(len, printed)) <= width
    text = "\n".join(printed)
    cut = text.replace("last …", "")
    assert ("…" not in cut) or (name == "refused" and cut.count("…") == 1)
    assert "┃" not in text


def test_long_reasons_are_wrapped_whole() -> None:
    """A reason is read to its end."""
    assert " ".join(lines(TABLES["dead letters"](), 80)).count("word") == 40
