"""Decimal types of columns: what they hold, what is rounded, and that SQL and Python agree."""

from collections.abc import Callable
from decimal import ROUND_HALF_UP, Context, Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from collector.archive import decimals, legacy, parquet
from collector.archive.schema import (
    BOOKS,
    CANDLES,
    DECIMALS,
    TABLES,
    TRADES,
    BookRecord,
    Kind,
    Table,
    TradeRecord,
)

#: All a number of the exchange may be: 64 digits, magnitudes of 1e-40 to 1e31.
NUMBERS = st.builds(
    lambda sign, digits, exponent: Decimal((sign, tuple(map(int, str(digits))), exponent)),
    st.sampled_from([0, 0, 1]),
    st.one_of(st.integers(0, 10**6), st.integers(0, 10**25), st.integers(0, 10**64 - 1)),
    st.integers(-40, 0),
).filter(lambda number: abs(number) < Decimal("1E31"))
AMOUNTS = NUMBERS.map(abs)
EACH_KIND = pytest.mark.parametrize("kind", DECIMALS)


def test_the_types_fit_each_other() -> None:
    """Any two together need 38 digits at the most; a price times a size is a turnover; pyarrow can add."""
    whole, scale = (max(getattr(fixed, part) for fixed in DECIMALS.values()) for part in ("whole", "scale"))
    assert whole + scale <= 38
    assert DECIMALS[Kind.PRICE].scale + DECIMALS[Kind.VOLUME].scale == DECIMALS[Kind.TURNOVER].scale
    assert all(fixed.precision < 38 for fixed in DECIMALS.values())


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        (Kind.PRICE, "179734000"),
        (Kind.PRICE, "0.00001646"),
        (Kind.PRICE, "0.000000215"),
        (Kind.VOLUME, "1.4E-7"),
        (Kind.VOLUME, "42.0335581012"),
        (Kind.VOLUME, "99999999999999.123456789012"),
        (Kind.TURNOVER, "728107452.06423197609921044"),
        (Kind.TURNOVER, "1234567890.123456789012345678901"),
        (Kind.TURNOVER, "9999999999999.99"),
        (Kind.RATE, "-0.01165593"),
    ],
)
def test_what_the_exchange_has_shown_fits(kind: Kind, number: str) -> None:
    """Turnovers of 31 digits with 21 behind the point, fine sizes, the mean of two satoshi prices."""
    assert DECIMALS[kind].holds(Decimal(number))


@EACH_KIND
@given(number=NUMBERS, other=NUMBERS)
def test_a_fitted_number_is_the_nearest_one_and_keeps_the_order(
    kind: Kind, number: Decimal, other: Decimal
) -> None:
    """Rounded away from zero at the middle, never beyond the largest; order is never turned round."""
    fixed = DECIMALS[kind]
    near = fixed.fitted(number)
    wide = Context(prec=99, rounding=ROUND_HALF_UP)
    rounded = number.quantize(Decimal((0, (1,), -fixed.scale)), context=wide)
    assert near == (rounded if rounded.copy_abs() <= fixed.largest else fixed.largest.copy_sign(number))
    assert fixed.holds(near)
    assert fixed.holds(number) == (near == number)
    if number <= other:
        assert near <= fixed.fitted(other)


def drawn(kind: Kind, numbers: st.SearchStrategy[Decimal]) -> st.SearchStrategy[Any]:
    """Return values of a kind of column."""
    level = st.tuples(numbers, numbers).map(lambda pair: dict(zip(("price", "size"), pair, strict=True)))
    return {
        Kind.TEXT: st.sampled_from(["KRW-BTC", "KRW-ETH", 'a "word"\n한']),
        Kind.TIME: st.integers(0, 2**48),
        Kind.INTEGER: st.integers(0, 2**63 - 1),
        Kind.FLAG: st.booleans(),
        Kind.LEVELS: st.lists(level, max_size=3),
        Kind.RATIO: st.none() | numbers,
    }.get(kind, numbers)


def rows_of(table: Table, numbers: st.SearchStrategy[Decimal]) -> st.SearchStrategy[list[Any]]:
    """Return rows of a channel, of any numbers."""
    values = st.tuples(*(drawn(table.kinds[name], numbers) for name in table.record._fields))
    return st.lists(values.map(table.record._make), max_size=8)


def as_doubles(table: Table, row: Any) -> Any:
    """Return a row with its ratios as files have them."""
    found = {name: getattr(row, name) for name in table.of(Kind.RATIO)}
    return row._replace(**{name: None if ratio is None else float(ratio) for name, ratio in found.items()})


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
@given(data=st.data())
@hypothesis_settings(max_examples=60)
def test_rows_come_back_from_a_file_digit_by_digit(
    table: Table, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever the numbers are; the file's types are the same, and its footer counts what is rounded."""
    rows = data.draw(rows_of(table, NUMBERS))
    path = tmp_path_factory.getbasetemp() / f"{table.name}.parquet"
    with path.open("w+b") as file:
        parquet.write(table, [parquet.to_arrow(table, rows)], file)
    assert parquet.to_rows(table, parquet.read(table, path)) == [as_doubles(table, row) for row in rows]
    assert pq.read_schema(path).equals(parquet.arrow_schema(table))
    misfits = [
        name for row in rows for name, fixed in table.decimals.items() if not fixed.holds(getattr(row, name))
    ]
    counted = parquet.footer(table, path).rounded
    assert {name: counted.get(name, 0) for name in table.decimals} == {
        name: misfits.count(name) for name in table.decimals
    }


@pytest.mark.parametrize("table", [TRADES, CANDLES, BOOKS], ids=lambda table: table.name)
@given(data=st.data())
@hypothesis_settings(max_examples=12, deadline=None)
def test_rows_of_text_files_become_the_same_in_sql(table: Table, data: st.DataObject) -> None:
    """What SQL makes of the texts of an older file is what Python makes of the numbers."""
    later = {name: None for name in table.record._fields if name in legacy.LATER}
    rows = [row._replace(**later) for row in data.draw(rows_of(table, NUMBERS))]
    texts = pa.Table.from_pylist([as_texts(row) for row in rows], schema=legacy.arrow_schema(table))
    schema = parquet.arrow_schema(table)
    assert legacy.modern(table, texts).cast(schema).to_pylist() == parquet.to_arrow(table, rows).to_pylist()


def as_texts(row: Any) -> dict[str, Any]:
    """Return a row as older files have it."""

    def text(value: Any) -> Any:
        if isinstance(value, list):
            return [{part: text(number) for part, number in level.items()} for level in value]
        return format(value, "f") if isinstance(value, Decimal) else value

    return {name: text(value) for name, value in row._asdict().items()}


@given(st.lists(AMOUNTS, min_size=1, max_size=6))
@hypothesis_settings(max_examples=25, deadline=None)
def test_products_and_sums_in_sql_are_exact(numbers: list[Decimal]) -> None:
    """Of prices and sizes as they are in columns, for turnovers of up to a year of all markets."""
    price, volume = DECIMALS[Kind.PRICE], DECIMALS[Kind.VOLUME]
    prices = [price.fitted(number % 10**9) for number in numbers]
    volumes = [volume.fitted(number % 10**6) for number in reversed(numbers)]
    table = pa.table(
        {"p": pa.array(prices, pa.decimal128(*price)), "v": pa.array(volumes, pa.decimal128(*volume))}
    )
    with duckdb.connect() as connection:
        connection.register("rows", table)
        ((found,),) = connection.execute("SELECT sum(p * v) FROM rows").fetchall()
    wide = Context(prec=99)
    expected = Decimal(0)
    for one, other in zip(prices, volumes, strict=True):
        expected = wide.add(expected, wide.multiply(one, other))
    assert found == expected


def test_what_is_rounded_is_written_as_json() -> None:
    """By column, digit by digit, a side of a book as a whole; nothing where all fit."""
    level = {"price": Decimal("1E-29"), "size": Decimal("1E+3")}
    text = decimals.rounded_text({"price": Decimal("1E-10"), "bids": [level]})
    assert text == (
        '{"price":"0.0000000001","bids":[{"price":"0.00000000000000000000000000001","size":"1000"}]}'
    )
    assert decimals.exact(text) == {"price": Decimal("1E-10"), "bids": [level]}
    assert decimals.rounded_text({}) is None
    assert decimals.exact(None) == {}
    assert decimals.count([text, '{"price":"1"}']) == {"price": 2, "bids": 1}


def make_trade(price: str, volume: str, ms: int = 0) -> TradeRecord:
    """Return a trade of these numbers."""
    return TradeRecord("KRW-BTC", ms, 1, Decimal(price), Decimal(volume), "buy", 0, 0, 1, True)


@pytest.fixture
def put(tmp_path: Path) -> Callable[[str, Table, list[Any]], Path]:
    """A function that writes rows into a file of that name."""

    def write(name: str, table: Table, rows: list[Any]) -> Path:
        path = tmp_path / name
        with path.open("w+b") as file:
            parquet.write(table, [parquet.to_arrow(table, rows)], file)
        return path

    return write


def test_two_files_are_read_together_by_anyone(put: Callable[[str, Table, list[Any]], Path]) -> None:
    """With plain DuckDB, polars and pyarrow, in either order, every digit stays."""
    import polars as pl

    one = put("one.parquet", TRADES, [make_trade("116208000", "1343.75")])
    other = put(
        "other.parquet", TRADES, [make_trade("0.00000021", "4.12345678"), make_trade("1E-29", "1E+25")]
    )
    expected = {Decimal("1343.75"), Decimal("4.12345678"), DECIMALS[Kind.VOLUME].largest}
    types = {Kind.PRICE: "DECIMAL(21,9)", Kind.VOLUME: "DECIMAL(28,12)"}
    for paths in ([one, other], [other, one]):
        names = [str(path) for path in paths]
        relation = duckdb.sql(f"SELECT price, volume, rounded FROM read_parquet({names})")  # noqa: S608
        assert [str(type_) for type_ in relation.types] == [*types.values(), "VARCHAR"]
        assert {volume for _, volume, _ in relation.fetchall()} == expected
        frames = [pl.read_parquet(path) for path in paths]
        assert frames[0].schema == frames[1].schema
        assert frames[0].schema["volume"] == pl.Decimal(28, 12)
        assert set(pl.concat(frames)["volume"]) == expected
        assert set(pl.concat([pl.scan_parquet(path) for path in paths]).collect()["volume"]) == expected
        assert set(pl.scan_parquet(names).collect()["volume"]) == expected
        together = pa.concat_tables([pq.read_table(path) for path in paths])
        assert set(together.column("volume").to_pylist()) == expected


def test_a_book_reads_as_levels_of_decimals(put: Callable[[str, Table, list[Any]], Path]) -> None:
    """With plain DuckDB and polars."""
    import polars as pl

    levels = [{"price": Decimal("0.00000021"), "size": Decimal("9999999999.12345678")}]
    book = BookRecord("KRW-BTC", 1, 2, levels, [], None, None, None, None, None, Decimal(1), Decimal(0))
    path = put("books.parquet", BOOKS, [book])
    assert duckdb.sql(f"SELECT bids FROM '{path}'").fetchall() == [(levels,)]  # noqa: S608
    assert pl.read_parquet(path)["bids"].to_list() == [levels]
