"""The measures of `docs/research.md`, beside independent computations in polars over the same rows."""

import math
from decimal import Decimal
from random import Random

import polars as pl
import pytest

from collector.archive import frames
from collector.archive.archiver import Archiver
from collector.errors import ConfigurationError
from collector.model import Side
from collector.settings import Settings
from collector.store.store import Store
from tests.samples.rows import BTC, T0, book, trade

TOLERANCE = 1e-9
MIDS = "select exchange_ms, mid::double mid from books order by exchange_ms"
MINUTES = 90


@pytest.fixture
def settings_with_data(settings: Settings, store: Store, archive: Archiver) -> Settings:
    """An hour and a half of trades and books that wander."""
    draw, price, trades = Random(7), 1000, []
    for second in range(0, MINUTES * 60, 3):
        side = Side.BUY if draw.random() < 0.55 else Side.SELL
        price += (1 if side is Side.BUY else -1) * draw.randint(0, 2)
        size = Decimal(draw.randint(1, 500)) / 100
        trades.append(trade(second + 1, price, size, side=side, exchange_ms=T0 + second * 1000 + 7))
        if second % 90 == 0:
            sizes = [Decimal(draw.randint(1, 90)) for _ in range(4)]
            bids = ((price - 1, sizes[0]), (price - 2, sizes[1]))
            asks = ((price + 1, sizes[2]), (price + 3, sizes[3]))
            store.put_books([book(bids=bids, asks=asks, exchange_us=(T0 + second * 1000) * 1000)])
            archive.run()
    store.put_trades(trades)
    return settings


def signed(settings: Settings) -> pl.DataFrame:
    """Return trades in order, doubles, with their sign."""
    sign = pl.when(pl.col("side") == "buy").then(1.0).otherwise(-1.0)
    return frames.trades(BTC, settings=settings).select(
        "exchange_ms", pl.col("price").cast(pl.Float64), pl.col("volume").cast(pl.Float64), sign=sign
    )


def intervals(settings: Settings, length_ms: int) -> pl.DataFrame:
    """Return close, flow and turnover by interval, out of trades."""
    return (
        signed(settings)
        .group_by(pl.col("exchange_ms") // length_ms, maintain_order=True)
        .agg(
            close=pl.col("price").last(),
            flow=(pl.col("sign") * pl.col("volume")).sum(),
            turnover=(pl.col("price") * pl.col("volume")).sum(),
        )
    )


def only(settings: Settings, sql: str) -> dict[str, float]:
    (row,) = frames.query(sql, settings=settings).to_dicts()
    return row


def test_kyle_lambda_is_the_slope_of_least_squares(settings_with_data: Settings) -> None:
    """Of price changes on signed volume."""
    found = only(settings_with_data, "from kyle_lambda('btc', '5m')")
    rows = intervals(settings_with_data, 300_000).with_columns(change=pl.col("close").diff()).drop_nulls()
    x, y = rows["flow"], rows["change"]
    covariance = ((x - x.mean()) * (y - y.mean())).sum()
    slope = covariance / ((x - x.mean()) ** 2).sum()
    assert found["intervals"] == rows.height > 10
    assert found["lambda"] == pytest.approx(slope, rel=TOLERANCE)
    assert found["intercept"] == pytest.approx(y.mean() - slope * x.mean(), rel=TOLERANCE)
    r2 = covariance**2 / ((x - x.mean()) ** 2).sum() / ((y - y.mean()) ** 2).sum()
    assert found["r2"] == pytest.approx(r2, rel=TOLERANCE)


def test_amihud_is_the_mean_of_return_by_turnover(settings_with_data: Settings) -> None:
    """Of each interval but the first."""
    found = only(settings_with_data, "from amihud('btc', '15m')")
    rows = intervals(settings_with_data, 900_000)
    each = (rows["close"].pct_change().abs() / rows["turnover"]).drop_nulls()
    assert found == {"intervals": len(each), "illiquidity": pytest.approx(each.mean(), rel=TOLERANCE)}


def test_sign_autocorrelation(settings_with_data: Settings) -> None:
    """In the exchange's order."""
    found = frames.query("from sign_autocorrelation('btc', lags := 4)", settings=settings_with_data)
    signs = signed(settings_with_data)["sign"]
    centred = signs - signs.mean()
    expected = [(centred * centred.shift(-lag)).sum() / (centred**2).sum() for lag in range(1, 5)]
    assert found["lag"].to_list() == [1, 2, 3, 4]
    assert found["autocorrelation"].to_list() == pytest.approx(expected, rel=TOLERANCE)
    assert found["pairs"].to_list() == [len(signs) - lag for lag in range(1, 5)]


def test_effective_and_realised_spread(settings_with_data: Settings) -> None:
    """By the mid before a trade, and after the horizon."""
    found = only(settings_with_data, "from spreads('btc', horizon_s := 60)")
    books = frames.query(MIDS, settings=settings_with_data)
    last = books["exchange_ms"].max()
    rows = (
        signed(settings_with_data)
        .join_asof(books, on="exchange_ms")
        .with_columns(later_ms=pl.col("exchange_ms") + 60_000)
        .join_asof(books, left_on="later_ms", right_on="exchange_ms", suffix="_later")
        .filter(pl.col("later_ms") <= last)
        .drop_nulls()
    )
    volume = rows["volume"].sum()

    def mean(ahead: str, behind: str) -> float:
        each = 2 * rows["sign"] * (rows[ahead] - rows[behind]) / rows["mid"] * rows["volume"]
        return 10_000 * each.sum() / volume

    assert found["trades"] == rows.height > 1000
    assert found["effective_bps"] == pytest.approx(mean("price", "mid"), rel=TOLERANCE)
    assert found["realised_bps"] == pytest.approx(mean("price", "mid_later"), rel=TOLERANCE)
    assert found["impact_bps"] == pytest.approx(mean("mid_later", "mid"), rel=TOLERANCE)


@pytest.mark.parametrize("levels", [1, 2])
def test_imbalance_series(settings_with_data: Settings, levels: int) -> None:
    """A row for each sampled book."""
    found = frames.query(f"from imbalance_series('btc', levels := {levels})", settings=settings_with_data)
    books = frames.query("select exchange_ms, bids, asks from books order by 1", settings=settings_with_data)
    expected = []
    for row in books.to_dicts():
        bids, asks = (float(sum(level["size"] for level in row[side][:levels])) for side in ("bids", "asks"))
        expected.append((bids - asks) / (bids + asks))
    assert found["exchange_ms"].to_list() == books["exchange_ms"].to_list()
    assert found["imbalance"].to_list() == pytest.approx(expected, rel=TOLERANCE)


def test_seasonality_by_hour_of_the_zone(settings_with_data: Settings) -> None:
    """Shares add up to one."""
    found = frames.query("from seasonality('btc', 'UTC')", settings=settings_with_data)
    minutes = frames.candles(BTC, settings=settings_with_data).with_columns(
        hour=(pl.col("open_ms") // 3_600_000 % 24).cast(pl.Int64),
        turnover=pl.col("quote_volume").cast(pl.Float64),
        squared=(pl.col("close").cast(pl.Float64) / pl.col("open").cast(pl.Float64)).log() ** 2,
    )
    expected = (
        minutes.group_by("hour")
        .agg(
            share=pl.col("turnover").sum() / minutes["turnover"].sum(),
            volatility=pl.col("squared").mean().sqrt(),
            trades=pl.col("trade_count").mean(),
        )
        .sort("hour")
    )
    names = {
        "hour": "hour",
        "turnover_share": "share",
        "minute_volatility": "volatility",
        "trades_per_minute": "trades",
    }
    for ours, theirs in names.items():
        assert found[ours].to_list() == pytest.approx(expected[theirs].to_list(), rel=TOLERANCE)
    assert math.isclose(found["turnover_share"].sum(), 1)


def test_premium_against_a_series_of_the_users(settings_with_data: Settings) -> None:
    """The newest price that is not later, and not older than a candle, is the reference."""
    minutes = frames.candles(BTC, settings=settings_with_data)
    opens = minutes["open_ms"].to_list()
    reference = pl.DataFrame({"open_ms": [opens[0], opens[1] + 1, opens[4]], "price": [500.0, 800.0, 1000.0]})
    found = frames.premium("btc", reference, settings=settings_with_data)
    closes = minutes["close"].cast(pl.Float64).to_list()
    assert found.select("open_ms", "reference").rows() == [
        (opens[0], 500.0), (opens[2], 800.0), (opens[4], 1000.0),
    ]  # fmt: skip
    expected = [closes[0] / 500 - 1, closes[2] / 800 - 1, closes[4] / 1000 - 1]
    assert found["premium"].to_list() == pytest.approx(expected, rel=TOLERANCE)
    with pytest.raises(ConfigurationError, match="no column price"):
        frames.premium("btc", reference.drop("price"), settings=settings_with_data)
