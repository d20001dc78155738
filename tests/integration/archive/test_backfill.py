"""`collector backfill candles`: the exchange's own candles in the archive, beside ours."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from collector.archive import frames
from collector.archive.exchange_candles import ExchangeCandles, Stretch, subtract, union
from collector.cli import backfill
from collector.clock import SystemClock
from collector.feed.rest_client import PAGE_CANDLES
from collector.model import MINUTE_MS, Trade
from collector.settings import Settings
from collector.store.store import Store
from collector.util.korean_time import DAY_MS
from tests.doubles.candles import BTC, Exchange
from tests.integration.cli.conftest import ROOT, Run

SETTLED_MS = 3 * MINUTE_MS
MINUTES = "select * from exchange_candles where interval = '1m' order by market, open_ms"


@pytest.fixture
def exchange(redis_in_force: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Exchange]:
    """A simulated exchange with some hours of history, in force."""
    with Exchange() as simulated:
        monkeypatch.setenv("COLLECTOR_EXCHANGE__REST_URL", simulated.url)
        monkeypatch.setenv("COLLECTOR_EXCHANGE__REST_REQUESTS_PER_S", "100")
        yield simulated


def minutes_of(trades: list[Trade]) -> list[tuple[str, int, Decimal, Decimal, Decimal, Decimal, Decimal]]:
    """Compute market, open, OHLC and base volume of every minute."""
    minutes: dict[tuple[str, int], list[Trade]] = {}
    for trade in trades:
        minutes.setdefault((trade.market, trade.minute_ms), []).append(trade)
    found = []
    for (market, open_ms), some in sorted(minutes.items()):
        prices = [trade.price for trade in some]
        volume = sum((trade.volume for trade in some), Decimal(0))
        found.append((market, open_ms, prices[0], max(prices), min(prices), prices[-1], volume))
    return found


def fetched(run: Run) -> list[tuple[object, ...]]:
    """Return the fetched minutes in the same form."""
    names = ("open", "high", "low", "close", "base_volume")
    return [
        (row["market"], row["open_ms"], *(Decimal(row[name]) for name in names))
        for row in run("query", MINUTES, "--json").json
    ]


def settled(exchange: Exchange) -> list[Trade]:
    """Return the trades of minutes that a backfill surely had."""
    newest = max(trade.minute_ms for trade in exchange.trades)
    return [trade for trade in exchange.trades if trade.minute_ms < newest - SETTLED_MS]


def calls_of_two_days(now_ms: int) -> int:
    """Return how many pages of three markets two days fill at the most: a page ends with its month, UTC."""
    first_ms = -(-(now_ms - 2 * DAY_MS) // MINUTE_MS) * MINUTE_MS
    end_ms = (now_ms - backfill.SETTLE_MS) // MINUTE_MS * MINUTE_MS
    month = datetime.fromtimestamp(now_ms / 1000, UTC).replace(
        day=1, hour=0, minute=0, second=0, microsecond=0
    )
    cut_ms = min(max(int(month.timestamp()) * 1000, first_ms), end_ms)
    return 3 * sum(
        -(-minutes // PAGE_CANDLES)
        for minutes in ((cut_ms - first_ms) // MINUTE_MS, (end_ms - cut_ms) // MINUTE_MS)
    )


def test_every_minute_is_fetched_once(run: Run, exchange: Exchange) -> None:
    """Digit by digit as the trades were; the second time nothing is asked for."""
    begun = calls_of_two_days(SystemClock().now_ms())
    ended = run("backfill", "candles", "KRW-*", "--from", "-2d")
    calls = {begun, calls_of_two_days(SystemClock().now_ms())}
    assert ended.code == 0, ended
    assert any(f"at most {most} calls" in ended.err for most in calls), (calls, ended)
    assert "history begins: " in ended.out
    found = fetched(run)
    expected = minutes_of(settled(exchange))
    assert found[: len(expected)][0] == expected[0]
    assert set(expected) <= set(found)
    assert {row[0] for row in found} == {trade.market for trade in exchange.trades}
    pages = exchange.pages(BTC)
    again = run("backfill", "candles", "KRW-*", "--from", "-2d", "--json").json
    assert again["had"] >= 2
    assert exchange.pages(BTC) <= pages + 1, "at most the minute that has ended meanwhile"


def test_fetched_minutes_have_neither_sides_nor_a_count(run: Run, exchange: Exchange) -> None:
    """Null, not zero, in minutes and in longer candles; tradeless minutes are no rows."""
    assert run("backfill", "candles", "btc", "--from", "-2d").code == 0
    row = run("query", "select * from candles order by open_ms limit 1", "--json").json[0]
    unknown = {name: row[name] for name in ("buy_volume", "sell_volume", "trade_count", "verified")}
    assert set(unknown.values()) == {None}
    assert (row["source"], row["complete"]) == ("exchange", True)
    hours = frames.candles("btc", "1h")
    assert hours["trade_count"].null_count() == hours.height
    assert hours["complete"].to_list()[-1] is False, "the hour that is not over"
    assert all(hours["complete"].to_list()[1:-1])
    minutes = run("query", "select open_ms from candles", "--json").json
    traded = {trade.minute_ms for trade in settled(exchange) if trade.market == BTC}
    assert traded <= {row["open_ms"] for row in minutes}
    stretch = run("query", "select from_ms, to_ms from fetched", "--json").json
    assert len(stretch) == 1, "a minute in it without a candle had no trade"
    assert stretch[0]["from_ms"] < min(traded)


def test_our_minutes_stay_and_differences_are_reported(run: Run, store: Store, exchange: Exchange) -> None:
    """Ours are in `candles`, the exchange's in `exchange_candles`."""
    trades = settled(exchange)
    spoiled = trades[len(trades) // 2]
    more = Exchange.another(spoiled.market, spoiled.minute_ms)
    store.put_trades([*trades, more])
    report = run("backfill", "candles", "KRW-*", "--from", "-2d", "--json").json
    assert report["differing"] == {spoiled.market: 1}
    found = run("query", "select market, open_ms, source from candles where low = 1", "--json").json
    assert found == [{"market": spoiled.market, "open_ms": spoiled.minute_ms, "source": "own"}]
    counts = run("query", "select source, count(*) n from candles group by 1", "--json").json
    ours = len(minutes_of(trades))
    assert {row["source"]: row["n"] for row in counts}["own"] == ours


#: A process that kills itself when it has written one page.
KILLED = """
import os
from collector.archive.exchange_candles import ExchangeCandles
from collector.cli import backfill
from collector.clock import SystemClock
from collector.feed.rest_client import PAGE_CANDLES
from collector.settings import current
backfill.PAGES_AT_ONCE, backfill.AT_ONCE = 1, 1
put, done = ExchangeCandles.put, []
def once(self, *arguments):
    if done:
        os.kill(os.getpid(), 9)
    done.append(put(self, *arguments))
ExchangeCandles.put = once
backfill.candles(current(), "btc", 1_600_000_000_000, None)
"""


def test_a_killed_backfill_goes_on_where_it_was(
    run: Run, exchange: Exchange, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`kill -9` between two stretches: what was written is not fetched again, the rest is."""
    argv = [sys.executable, "-c", KILLED]
    killed = subprocess.run(argv, cwd=ROOT, env=dict(os.environ), timeout=60, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    before = fetched(run)
    assert 0 < len(before) < len(minutes_of([t for t in settled(exchange) if t.market == BTC]))
    report = run("backfill", "candles", "btc", "--from", "-2d", "--json").json
    assert report["candles"] < len(minutes_of([t for t in exchange.trades if t.market == BTC]))
    found = fetched(run)
    assert set(before) <= set(found)
    assert set(minutes_of([t for t in settled(exchange) if t.market == BTC])) <= set(found)


def test_a_damaged_file_is_fetched_again(run: Run, exchange: Exchange, settings: Settings) -> None:
    """It is put aside, and answers leave it out until then."""
    assert run("backfill", "candles", "btc", "--from", "-2d").code == 0
    whole = fetched(run)
    for path in (settings.data_dir / "archive").rglob("interval=1m/market=*/*.parquet"):
        data = bytearray(path.read_bytes())
        data[len(data) // 3] ^= 1
        path.write_bytes(data)
    assert fetched(run) == []
    assert run("backfill", "candles", "btc", "--from", "-2d").code == 0
    assert fetched(run)[: len(whole)] == whole


def test_rest_that_goes_half_way_keeps_what_it_gave(
    run: Run, exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 1 and the reason; the same command goes on."""
    for name in ("FIRST_RETRY_S", "LONGEST_RETRY_S"):
        monkeypatch.setattr(backfill, name, 0.01)
    exchange.candle_calls_left = 1
    ended = run("backfill", "candles", "btc", "--from", "-2d")
    assert (ended.code, "failed: KRW-BTC" in ended.out, "goes on" in ended.out) == (1, True, True)
    before = fetched(run)
    assert before
    exchange.candle_calls_left = None
    assert run("backfill", "candles", "btc", "--from", "-2d").code == 0
    found = fetched(run)
    assert set(before) < set(found)
    assert set(minutes_of([t for t in settled(exchange) if t.market == BTC])) <= set(found)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("candles", "btc", "--from", "-2d", "--interval", "7m"), "no candles of '7m'"),
        (("candles", "nothing", "--from", "-2d"), "nothing"),
        (("candles", "btc", "--from", "2099-01-01"), "no whole candle"),
        (("candles", "KRW-GONE", "--from", "-2d"), "404 Code not found"),
        (("candles", "btc"), "--from"),
    ],
)
def test_a_backfill_that_cannot_be_is_one_line(
    run: Run, exchange: Exchange, arguments: tuple[str, ...], said: str
) -> None:
    """With what to do."""
    ended = run("backfill", *arguments)
    assert ended.code in (1, 2)
    assert said in ended.err + ended.out


def test_longer_candles_come_from_the_exchange_too(run: Run, exchange: Exchange) -> None:
    """As it computes them, aligned to Korean midnight."""
    for interval in ("1m", "1h"):
        assert run("backfill", "candles", "btc", "--from", "-2d", "--interval", interval).code == 0
    sql = "select open_ms, close, base_volume from exchange_candles where interval = '1h' order by 1"
    theirs = run("query", sql, "--json").json
    hours = frames.candles("btc", "1h").filter(pl.col("open_ms") <= theirs[-1]["open_ms"])
    ours = hours.select("open_ms", "close", "base_volume").rows()
    assert [(row["open_ms"], Decimal(row["close"]), Decimal(row["base_volume"])) for row in theirs] == ours


def test_stretches_are_joined_and_subtracted() -> None:
    """Ends are not part of them."""
    parts = [Stretch(5, 7), Stretch(0, 2), Stretch(2, 3), Stretch(6, 9)]
    assert union(parts) == [(0, 3), (5, 9)]
    assert list(subtract(Stretch(1, 12), parts)) == [(3, 5), (9, 12)]
    assert list(subtract(Stretch(5, 9), parts)) == []


def test_a_month_is_one_file(tmp_path: Path) -> None:
    """A stretch over two months is fetched as two, the newest first."""
    archive = ExchangeCandles(tmp_path, "1m")
    month_ms = 1_793_491_200_000  # 2026-11-01 UTC
    with archive.locked():
        found = archive.lacking(BTC, Stretch(month_ms - 120_000, month_ms + 180_000), 120_000)
    assert [(some.from_ms - month_ms, some.end_ms - month_ms) for some in found] == [
        (120_000, 180_000),
        (0, 120_000),
        (-120_000, 0),
    ]
