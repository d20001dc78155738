"""What engines make of such columns: each line of the table in docs/archive.md, run.

Where a new version does otherwise, the line in the docs is no longer true.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from collector.archive.schema import DECIMALS, Kind

D = Decimal
PRICES = [D("116208000"), D("0.00000021")]
VOLUMES = [D("0.123456789012"), D("9999999.5")]
TURNOVERS = [D("14346666.562499136"), D("1.000000000000000000001")]
#: Twenty of these are more than 38 digits hold.
LARGEST = [DECIMALS[Kind.TURNOVER].largest] * 20


def column(kind: Kind, values: list[Decimal]) -> pa.Array:
    """Return values as a column of a kind."""
    return pa.array(values, pa.decimal128(*DECIMALS[kind]))


@pytest.fixture
def table() -> pa.Table:
    """A price, a volume and a turnover."""
    return pa.table(
        {
            "p": column(Kind.PRICE, PRICES),
            "v": column(Kind.VOLUME, VOLUMES),
            "q": column(Kind.TURNOVER, TURNOVERS),
        }
    )


# -- DuckDB


@pytest.fixture
def ask(table: pa.Table) -> Callable[[str], tuple[str, Any]]:
    """A function that gives type and value of an expression over the first row, or over all."""

    def answer(expression: str) -> tuple[str, Any]:
        with duckdb.connect() as connection:
            connection.register("rows", table)
            connection.register("large", pa.table({"q": column(Kind.TURNOVER, LARGEST)}))
            found = connection.execute(f"SELECT {expression} AS x FROM rows LIMIT 1")  # noqa: S608
            return str(found.description[0][1]), found.fetchone()[0]

    return answer


@pytest.mark.parametrize(
    ("expression", "type_", "value"),
    [
        ("p * v", "DECIMAL(38,21)", D("14346666.537506496")),
        ("p + q", "DECIMAL(38,21)", D("130554666.562499136")),
        ("p * 1.5", "DECIMAL(23,10)", D("174312000")),
        ("sum(q)", "DECIMAL(38,21)", D("14346667.562499136000000000001")),
        ("sum(p * v)", "DECIMAL(38,21)", D("14346668.637506391")),
        ("greatest(p, v, q)", "DECIMAL(37,21)", D("116208000")),
        ("p > 116207999.999999999", "BOOLEAN", True),
        ("q / v", "DOUBLE", 116208000.20244038),
        ("avg(p)", "DOUBLE", 58104000.000000104),
        ("greatest(sum(v), sum(q))", "DECIMAL(38,12)", D("14346667.562499136")),
        ("p // v", "DOUBLE", 941284808.4741989),
    ],
)
def test_duckdb(ask: Callable[[str], tuple[str, Any]], expression: str, type_: str, value: object) -> None:
    """Products, sums, comparisons and what meets are exact; quotients and means are doubles."""
    assert ask(expression) == (type_, value)


def test_duckdb_takes_medians_through_doubles(ask: Callable[[str], tuple[str, Any]]) -> None:
    """The type is a decimal, about fifteen of its digits are right."""
    type_, median = ask("median(q)")
    assert type_ == "DECIMAL(37,21)"
    assert D(0) < abs(median - D("7173333.7812495680000000000005")) < D("1E-8")


@pytest.mark.parametrize("expression", ["(SELECT sum(q) FROM large)", "q * q", "p * p * v * v"])
def test_duckdb_raises_where_38_digits_are_not_enough(
    ask: Callable[[str], tuple[str, Any]], expression: str
) -> None:
    """It never wraps and never cuts."""
    with pytest.raises(duckdb.Error, match=r"Overflow|too large|Could not cast|scale"):
        ask(expression)


# -- polars


@pytest.mark.parametrize(
    ("expression", "type_", "value"),
    [
        (pl.col("p") * pl.col("v"), pl.Decimal(38, 12), D("14346666.537506496")),
        (pl.col("p").cast(pl.Decimal(37, 21)) * pl.col("v"), pl.Decimal(38, 21), D("14346666.537506496")),
        (pl.col("q") + pl.col("p"), pl.Decimal(38, 21), D("130554666.562499136")),
        (pl.col("q").sum(), pl.Decimal(38, 21), D("14346667.562499136000000000001")),
        (pl.max_horizontal("p", "v", "q"), pl.Decimal(37, 21), D("116208000")),
        (pl.coalesce("v", "q"), pl.Decimal(37, 21), D("0.123456789012")),
        (pl.col("p") / pl.col("v"), pl.Decimal(38, 12), D("941284808.474198873732")),
        (pl.col("p") * 1.5, pl.Float64(), 174312000.0),
        (pl.col("p").mean(), pl.Float64(), 58104000.000000104),
        (pl.col("p").median(), pl.Float64(), 58104000.000000104),
        (pl.col("p") > 1.5, pl.Boolean(), True),
    ],
    ids=str,
)
def test_polars(table: pa.Table, expression: pl.Expr, type_: pl.DataType, value: object) -> None:
    """Sums and what meets are exact; products and quotients have the larger scale of the two."""
    found = pl.from_arrow(table).select(x=expression)["x"]
    assert (found.dtype, found[0]) == (type_, value)


def test_polars_cuts_small_products_and_quotients(table: pa.Table) -> None:
    """A product at the larger scale, unless one side is cast first; a small quotient is 0."""
    frame = pl.DataFrame(
        {
            "p": pl.Series([D("0.000000215")], dtype=pl.Decimal(21, 9)),
            "v": pl.Series([D("0.0000012")], dtype=pl.Decimal(28, 12)),
        }
    )
    cast = pl.col("p").cast(pl.Decimal(37, 21))
    found = frame.select(plain=pl.col("p") * pl.col("v"), cast=cast * pl.col("v"))
    assert (found["plain"][0], found["cast"][0]) == (D(0), D("0.000000000000258"))
    assert pl.from_arrow(table).select(pl.col("p") / pl.col("v"))["p"][1] == 0


def test_polars_raises_where_38_digits_are_not_enough() -> None:
    """In a sum."""
    frame = pl.from_arrow(pa.table({"q": column(Kind.TURNOVER, LARGEST)}))
    with pytest.raises(pl.exceptions.ComputeError, match="overflow"):
        frame.select(pl.col("q").sum())


# -- pyarrow


@pytest.mark.parametrize("names", ["pp", "vv", "qq", "pv", "pq", "vq"])
def test_pyarrow_adds_any_two(table: pa.Table, names: str) -> None:
    """Exactly, in 38 digits."""
    one, other = (table.column(name) for name in names)
    assert pc.add(one, other).to_pylist()[0] == one[0].as_py() + other[0].as_py()


def test_pyarrow_refuses_products_and_quotients(table: pa.Table) -> None:
    """They would need more than 38 digits: as doubles, or in 256 bits."""
    for function in (pc.multiply, pc.divide):
        with pytest.raises(pa.ArrowInvalid, match=r"precision out of range"):
            function(table.column("p"), table.column("v"))
    wide = (table.column(name).cast(pa.decimal256(*kind)) for name, kind in (("p", (21, 9)), ("v", (28, 12))))
    assert pc.multiply(*wide).to_pylist()[0] == D("14346666.537506496")


def test_pyarrow_sums_exactly_and_means_in_the_scale_of_the_column(table: pa.Table) -> None:
    """38 digits for a sum."""
    assert pc.sum(table.column("q")).as_py() == D("14346667.562499136000000000001")
    assert pc.mean(table.column("p")).as_py() == D("58104000.000000105")


# -- pandas


def test_pandas(table: pa.Table) -> None:
    """Objects follow Python's decimals, 28 digits by default; Arrow columns follow pyarrow."""
    pd = pytest.importorskip("pandas", reason="pandas is not installed here")
    objects, arrow = table.to_pandas(), table.to_pandas(types_mapper=pd.ArrowDtype)
    assert (objects.p * objects.v)[0] == D("14346666.537506496")
    assert (objects.q / objects.v)[0] == D("116208000.2024403858225303055")
    assert objects.p.mean() == 58104000.000000104
    with pytest.raises(TypeError):
        _ = objects.p * 1.5
    assert arrow.q.sum() == D("14346667.562499136000000000001")
    with pytest.raises(pa.ArrowInvalid):
        _ = arrow.p * arrow.v
