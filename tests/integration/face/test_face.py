"""`import bithumb_collector as bc`: what a quant types first."""

from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import redis
from msgspec import structs

import bithumb_collector as bc
from bithumb_collector.functions import TRADES
from bithumb_collector.result import Result
from collector.model import MINUTE_MS, Channel, Gap
from collector.settings import Settings
from collector.store.store import Store
from tests.samples.rows import T0, book, ticker, trade

PRICE = "116208000.123456789"
OPEN = datetime.fromtimestamp(T0 / 1000, UTC)


@pytest.fixture(autouse=True)
def filled(store: Store) -> None:
    """Two minutes of KRW-BTC, a ticker, a book and a gap."""
    store.put_trades(
        [
            trade(1, PRICE, "0.00000001"),
            trade(2, 101, "0.5", exchange_ms=T0 + 10),
            trade(3, 102, 2, exchange_ms=T0 + MINUTE_MS),
        ]
    )
    store.put_tickers([ticker(101)])
    store.put_books([book()])
    store.put_gaps([Gap("KRW-BTC", Channel.TRADE, T0 - 5_000, T0 - 1_000, "cut", True)])


@pytest.mark.parametrize("name", ["btc", "KRW-BTC", "BTC/KRW", "krw_btc"])
def test_markets_are_named_as_people_write_them(name: str) -> None:
    """Candles of a market come whichever way it is written, oldest first, exact."""
    candles = bc.candles(name)
    assert [candle.open for candle in candles] == [Decimal(PRICE), Decimal(102)]
    assert [candle.market for candle in candles.rows()] == ["KRW-BTC", "KRW-BTC"]
    assert candles[0].open_time == OPEN


def test_an_unknown_market_is_an_error_that_names_what_was_meant() -> None:
    """No silence: the message asks whether a known market was meant."""
    with pytest.raises(bc.NoData, match="KRW-BTX is not a market we have data of: did you mean KRW-BTC"):
        bc.candles("KRW-BTX")


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (T0 + MINUTE_MS, None, 1),
        (None, datetime.fromtimestamp(T0 / 1000, UTC), 1),
        ("2026-09-21 22:34", None, 1),
        ("2026-09-21T13:33:00Z", "2026-09-21 22:34", 2),
        (datetime(2026, 9, 21, 22, 34), None, 1),  # without a zone: Korea
    ],
)
def test_times_without_a_zone_are_those_of_korea(start: object, end: object, expected: int) -> None:
    """`start` and `end` are milliseconds, datetimes or text; both are included."""
    assert len(bc.candles("btc", start=start, end=end)) == expected


def test_what_is_no_time_is_an_error() -> None:
    """The message names the argument and what can be written."""
    with pytest.raises(bc.ConfigurationError, match="start 'soon' is not a time: write"):
        bc.candles("btc", start="soon")


def test_pandas_has_ohlc_first_and_a_korean_index() -> None:
    """Floats by default, and an index with the zone of Korea."""
    frame = bc.candles("btc", "1m").pandas()
    assert list(frame.columns[:4]) == ["open", "high", "low", "close"]
    assert isinstance(frame.index, pd.DatetimeIndex)
    assert str(frame.index.tz) == "Asia/Seoul"
    assert frame.index[0] == pd.Timestamp(OPEN)
    assert frame["open"].dtype == float
    assert frame["close"].iloc[0] == 101
    assert frame.resample("5min")["base_volume"].sum().iloc[0] == pytest.approx(2.50000001)


def test_exact_frames_keep_every_digit() -> None:
    """`exact=True` gives decimals in all three."""
    candles = bc.candles("btc")
    assert candles.pandas(exact=True)["open"].iloc[0] == Decimal(PRICE)
    assert candles.polars(exact=True)["open"][0] == Decimal(PRICE)
    assert candles.arrow(exact=True)["open"][0].as_py() == Decimal(PRICE)


def test_types_of_exact_frames_do_not_depend_on_the_rows() -> None:
    """Put together, they keep every digit; they are the types of SQL and of `tasks.frames`."""
    for frames in (
        [bc.candles("btc"), bc.candles("btc", end=1)],
        [bc.trades("btc"), bc.trades("btc", end=1)],
    ):
        first, second = (frame.polars(exact=True) for frame in frames)
        assert first.schema == second.schema
        assert pl.concat([second, first]).equals(first)
        assert frames[0].arrow(exact=True).schema == frames[1].arrow(exact=True).schema
    types = bc.candles("btc").polars(exact=True).schema
    assert (types["open"], types["base_volume"]) == (pl.Decimal(21, 9), pl.Decimal(28, 12))
    assert (types["quote_volume"], types["vwap"]) == (pl.Decimal(37, 21), pl.Float64())


def test_a_number_that_does_not_fit_is_whole_in_rounded() -> None:
    """Its neighbours keep their type and their digits."""
    rows = [structs.replace(bc.trades("btc")[0], volume=Decimal(text)) for text in ("1E-29", "0.25")]
    trades = Result(rows, TRADES, ZoneInfo("Asia/Seoul"))
    for found in (trades.polars(exact=True).to_dicts(), trades.arrow(exact=True).to_pylist()):
        assert [(row["volume"], row["rounded"]) for row in found] == [
            (0, '{"volume":"0.00000000000000000000000000001"}'),
            (Decimal("0.25"), None),
        ]
    assert trades.pandas(exact=True)["volume"].tolist() == [Decimal("1E-29"), Decimal("0.25")]


def test_polars_and_arrow_have_zones_and_floats() -> None:
    """Types do not depend on the data: also without rows."""
    for candles in (bc.candles("btc"), bc.candles("btc", end=1)):
        assert candles.polars().schema["open_time"] == pl.Datetime("ms", "Asia/Seoul")
        assert candles.polars().schema["open"] == pl.Float64
        assert candles.arrow().schema.field("open_time").type == pa.timestamp("ms", "Asia/Seoul")
        assert candles.arrow().schema.field("open").type == pa.float64()


def test_trades_are_in_the_order_of_the_exchange() -> None:
    """Rows, frames and the newest so many."""
    assert [row.id for row in bc.trades("btc")] == [1, 2, 3]
    assert bc.trades("btc").pandas()["side"].tolist() == ["buy"] * 3
    assert [row.id for row in bc.trades("btc", limit=1)] == [3]


def test_one_ticker_one_book_and_lists() -> None:
    """One thing for one market; patterns give several."""
    assert bc.ticker("btc").price == 101
    assert [row.market for row in bc.tickers("KRW-*")] == ["KRW-BTC"]
    assert bc.tickers().polars()["price"].to_list() == [101.0]
    assert bc.orderbook("btc").bids[0] == (Decimal(99), Decimal(1))
    assert bc.markets() == ["KRW-BTC"]


def test_windows_and_gaps() -> None:
    """Volume, changes and gaps are results as well."""
    assert bc.volume("btc").polars()["window"].to_list() == ["1m", "5m", "15m", "1h", "24h"]
    assert bc.changes("btc").pandas()["window"].tolist()[-1] == "prev_close"
    gaps = bc.gaps("btc").pandas()
    assert gaps["reason"].tolist() == ["cut"]
    assert str(gaps.index.tz) == "Asia/Seoul"


def test_json_is_that_of_the_command() -> None:
    """Decimals are strings without exponent."""
    assert f'"open":"{PRICE}"' in bc.candles("btc").json()
    assert '"base_volume":"0.50000001"' in bc.candles("btc").json()


def test_a_slice_is_a_result() -> None:
    """It can be turned into a frame as well."""
    assert len(bc.candles("btc")[-1:].pandas()) == 1


async def test_the_loop_goes_on_while_redis_is_read(client: redis.Redis, settings: Settings) -> None:
    """The asynchronous twin gives the same rows, and leaves a lent client open."""
    async with bc.AsyncReader(client, settings) as reader:
        assert await reader.markets() == ["KRW-BTC"]
        assert [candle.close for candle in await reader.candles("btc")] == [101, 102]
        assert (await reader.ticker("btc")).price == 101
        assert (await reader.orderbook("btc")).market == "KRW-BTC"
        assert [row.id for row in await reader.trades("btc", limit=2)] == [2, 3]
        assert len(await reader.volume("btc")) == 5
        assert len(await reader.changes("btc")) == 6
        assert len(await reader.gaps()) == 1
        assert (await reader.health()).listeners == []
    assert client.ping()


def test_zone_of_frames_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """`COLLECTOR_TIME_ZONE` decides, as it does for tables."""
    from collector import settings as settings_module

    monkeypatch.setenv("COLLECTOR_TIME_ZONE", "UTC")
    settings_module.current.cache_clear()
    assert bc.candles("btc").polars().schema["open_time"] == pl.Datetime("ms", ZoneInfo("UTC").key)
