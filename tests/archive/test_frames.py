"""Frames beside an independent computation: polars over the simulator's own account of what it made."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from collector.archive import frames
from collector.archive.keeper import Archive
from collector.model import Trade
from collector.settings import Settings
from collector.store.store import Store

KST_MS = 9 * 3_600_000
INTERVALS = {"1m": 60_000, "5m": 300_000, "1h": 3_600_000, "1d": 86_400_000}
#: The simulator's numbers have 8 places: in atoms they are integers.
ATOMS = 10**8


def in_atoms(column: str) -> pl.Expr:
    """Return a column of decimal texts in atoms, exactly."""
    whole = pl.col(column).str.extract(r"^(\d+)").cast(pl.Int128)
    part = pl.col(column).str.extract(r"\.(\d+)$").fill_null("").str.pad_end(8, "0").cast(pl.Int128)
    return whole * ATOMS + part


@pytest.fixture
def stored(store: Store, archive: Archive, truth: list[Trade]) -> None:
    """Half of the trades archived, the rest in Redis alone."""
    store.put_trades(truth[: len(truth) // 2])
    archive.run(everything=True)
    store.put_trades(truth[len(truth) // 2 :])


@pytest.fixture
def made(truth_file: Path) -> pl.DataFrame:
    """The simulator's truth, price, volume and value in atoms."""
    said = pl.read_ndjson(truth_file)
    columns = {"p": in_atoms("price"), "v": in_atoms("volume")}
    return said.with_columns(**columns).with_columns(q=pl.col("p") * pl.col("v"))


@pytest.mark.parametrize("interval", INTERVALS)
@pytest.mark.usefixtures("stored")
def test_candles_are_those_of_polars_to_the_last_digit(
    settings: Settings, made: pl.DataFrame, interval: str
) -> None:
    """Open, high, low, close, volumes and counts of every market and interval."""
    length = INTERVALS[interval]
    start = (pl.col("exchange_ms") + KST_MS) // length * length - KST_MS
    buys = pl.col("side") == "buy"
    expected = (
        made.sort("exchange_ms", "id")
        .group_by("market", start.alias("open_ms"), maintain_order=True)
        .agg(
            pl.col("p").first().alias("open"), pl.col("p").max().alias("high"),
            pl.col("p").min().alias("low"), pl.col("p").last().alias("close"),
            pl.col("v").sum().alias("base"), pl.col("q").sum().alias("quote"),
            pl.col("v").filter(buys).sum().alias("buy"), pl.len().alias("count"),
        )
        .sort("open_ms", "market")
    )  # fmt: skip
    found = frames.candles(interval=interval, settings=settings).sort("open_ms", "market")
    assert expected.select("market", "open_ms").rows() == found.select("market", "open_ms").rows()
    for ours, theirs in {"open": "open", "high": "high", "low": "low", "close": "close",
                         "base_volume": "base", "buy_volume": "buy"}.items():  # fmt: skip
        assert expected[theirs].to_list() == [int(n * ATOMS) for n in found[ours]]
    assert expected["quote"].to_list() == [int(exactly(n, ATOMS * ATOMS)) for n in found["quote_volume"]]
    assert expected["count"].to_list() == found["trade_count"].to_list()
    assert found["complete"].all()


def exactly(number: Decimal, times: int) -> Decimal:
    """Multiply without the 28 digits of Python's default context."""
    sign, digits, exponent = number.as_tuple()
    scaled = Decimal((sign, digits, 0)).to_integral_value()
    shift = int(exponent) + len(str(times)) - 1
    assert shift >= 0
    return Decimal(int(scaled) * 10**shift)


@pytest.mark.usefixtures("stored")
def test_trades_are_those_of_the_simulator(settings: Settings, made: pl.DataFrame) -> None:
    """One market's executions, in the order of the exchange, as polars and as Arrow."""
    expected = made.filter(market="KRW-BTC").sort("exchange_ms", "id")
    found = frames.trades("KRW-BTC", settings=settings)
    assert (
        expected.select("id", "exchange_ms", "side").rows()
        == found.select("id", "exchange_ms", "side").rows()
    )
    assert expected["p"].to_list() == [int(price * ATOMS) for price in found["price"]]
    assert expected["v"].to_list() == [int(volume * ATOMS) for volume in found["volume"]]
    assert found.rows() == pl.from_arrow(frames.trades("KRW-BTC", kind="arrow", settings=settings)).rows()


@pytest.mark.usefixtures("stored")
def test_frames_are_cut_to_the_millisecond(settings: Settings, made: pl.DataFrame) -> None:
    """`from_ms` and `to_ms` are both included."""
    times = made.sort("exchange_ms")["exchange_ms"]
    first, last = times[50], times[-50]
    expected = made.filter(pl.col("exchange_ms").is_between(first, last)).height
    assert expected == frames.trades(from_ms=first, to_ms=last, settings=settings).height


@pytest.mark.usefixtures("stored")
def test_query_gives_a_frame(settings: Settings, made: pl.DataFrame) -> None:
    """Any SELECT becomes a frame."""
    expected = made.group_by("market").len().sort("market").rows()
    sql = "SELECT market, count(*) FROM trades GROUP BY market ORDER BY market"
    assert expected == frames.query(sql, settings=settings).rows()


def test_nothing_is_an_empty_frame_with_its_columns(settings: Settings) -> None:
    """Where nothing was stored, the columns are there all the same."""
    found: Any = frames.candles("KRW-BTC", settings=settings)
    assert found.height == 0
    assert "quote_volume" in found.columns
