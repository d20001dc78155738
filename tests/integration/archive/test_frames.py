"""Frames beside an independent computation: polars over the simulator's own account of what it made."""

from decimal import Context, Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from collector.archive import frames
from collector.archive.archiver import Archiver
from collector.archive.partitions import HOUR_MS
from collector.errors import NoData
from collector.model import Trade
from collector.settings import Settings
from collector.store.store import Store
from tests.samples.rows import BTC, T0, trade

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
def stored(store: Store, archive: Archiver, truth: list[Trade]) -> None:
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
    assert expected["quote"].to_list() == [exactly(n, ATOMS * ATOMS) for n in found["quote_volume"]]
    assert expected["count"].to_list() == found["trade_count"].to_list()
    begun = dict(made.group_by("market").agg(pl.col("exchange_ms").min() // 60_000 * 60_000).rows())
    whole = [row["open_ms"] >= begun[row["market"]] for row in found.to_dicts()]
    assert found["complete"].to_list() == whole
    assert found["verified"].is_null().all()


def exactly(number: Decimal, times: int) -> int:
    """Multiply without the 28 digits of Python's default context."""
    return int(Context(prec=80).multiply(number, times))


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
    found: Any = frames.candles(settings=settings)
    assert found.height == 0
    assert "quote_volume" in found.columns


# -- one type, one order, one zone


def test_hours_put_together_keep_every_digit(store: Store, settings: Settings) -> None:
    """The types of a frame do not depend on its data."""
    store.put_trades(
        [trade(1, "116208000", "1343.75"), trade(2, "0.00000021", "4.12345678", exchange_ms=T0 + HOUR_MS)]
    )
    hours = [
        frames.trades(from_ms=T0 + n * HOUR_MS, to_ms=T0 + (n + 1) * HOUR_MS - 1, settings=settings)
        for n in (0, 1)
    ]
    assert hours[0].schema == hours[1].schema
    for one, other in (hours, hours[::-1]):
        assert set(pl.concat([one, other])["volume"]) == {Decimal("1343.75"), Decimal("4.12345678")}
        assert set(one.vstack(other)["price"]) == {Decimal("116208000"), Decimal("0.00000021")}


@pytest.mark.parametrize("interval", ["1m", "5m", "1d"])
def test_types_of_candles_are_the_same_for_every_interval(
    store: Store, settings: Settings, interval: str
) -> None:
    """Sums have the type of what is summed, with dust and without; empty ones too."""
    store.put_trades(
        [trade(1, "116208000", "1343.75"), trade(2, "1E-29", "4.123456", exchange_ms=T0 + HOUR_MS)]
    )
    whole = frames.candles(interval=interval, settings=settings)
    assert whole.schema == frames.candles(to_ms=T0, settings=settings).schema
    assert whole.schema == frames.candles(interval=interval, from_ms=T0 * 2, settings=settings).schema
    assert whole.schema["quote_volume"] == pl.Decimal(37, 21)
    assert whole.schema["time"] == pl.Datetime("us", "Asia/Seoul")
    assert whole["base_volume"].sum() == Decimal("1347.873456")


def test_longer_candles_name_what_is_rounded_in_their_minutes(store: Store, settings: Settings) -> None:
    """By column, sorted; nothing where every number fits."""
    store.put_trades(
        [
            trade(1, 5, 1),
            trade(2, 5, "1E-29", exchange_ms=T0 + 60_000),
            trade(3, "1E-11", 1, exchange_ms=T0 + 120_000),
            trade(4, 5, 1, exchange_ms=T0 + HOUR_MS),
        ]
    )
    found = frames.candles(interval="1h", settings=settings)
    assert found["rounded"].to_list() == [
        '["base_volume","buy_volume","close","high","low","open","quote_volume"]',
        None,
    ]


def test_trades_of_one_millisecond_are_in_the_order_of_the_exchange(
    store: Store, archive: Archiver, settings: Settings
) -> None:
    """By arrival where it is known, whatever the ids; as the candle has it; archived or not."""
    store.put_trades([trade(100, 5, order=2), trade(900, 7, order=1), trade(50, 6, exchange_ms=T0 + 1)])
    for _ in range(2):
        assert frames.trades(BTC, settings=settings)["id"].to_list() == [900, 100, 50]
        assert frames.trades(settings=settings)["exchange_order"].to_list() == [1, 2, 0]
        candle = frames.candles(BTC, settings=settings)
        assert candle.select("open", "close").row(0) == (7, 6)
        first_last = frames.query(
            "SELECT first(price ORDER BY exchange_ms, exchange_order, id) AS open,"
            " last(price ORDER BY exchange_ms, exchange_order, id) AS close FROM trades",
            settings=settings,
        )
        assert first_last.row(0) == (7, 6)
        archive.run()


def test_markets_are_named_as_people_write_them(store: Store, archive: Archiver, settings: Settings) -> None:
    """In any stretch; what is no market is the error that `Reader` raises."""
    store.put_trades([trade(1), trade(2, market="KRW-ETH", exchange_ms=T0 + HOUR_MS)])
    archive.run(everything=True)
    for name in ("KRW-BTC", "krw-btc", "BTC", "btc/krw", "KRW_BTC"):
        assert frames.trades(name, settings=settings)["market"].to_list() == ["KRW-BTC"]
        assert frames.candles(name, interval="1h", settings=settings).height == 1
        later = frames.trades(name, from_ms=T0 + HOUR_MS, settings=settings)
        assert (later.height, later.columns) == (0, frames.trades(settings=settings).columns)
    for wrong in ("KRW-BTX", "NOPE"):
        with pytest.raises(NoData, match=f"{wrong} is not a market we have data of"):
            frames.candles(wrong, settings=settings)


def test_times_of_frames_have_the_zone_in_force(store: Store, settings: Settings) -> None:
    """And are the same instants in any."""
    store.put_trades([trade(1)])
    for zone in ("Asia/Seoul", "UTC"):
        ours = settings.model_copy(update={"time_zone": zone})
        found = frames.trades(settings=ours)
        assert found.schema["time"] == pl.Datetime("us", zone)
        assert found["time"].dt.epoch("ms").to_list() == [T0]


def test_columns_of_one_name_make_a_frame(settings: Settings) -> None:
    """Named apart."""
    assert frames.query("SELECT 1 AS a, 2 AS a", settings=settings).to_dicts() == [{"a": 1, "a_1": 2}]
