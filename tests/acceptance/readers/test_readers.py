"""Exports, loaded by the libraries they are made for, each installed in an environment of its own."""

import json
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from collector.analytics.completeness import NO_LOSSES
from collector.archive import parquet
from collector.archive.files import Files
from collector.archive.merge import candle_of
from collector.archive.partitions import FOLDER
from collector.archive.schema import (
    BOOKS,
    CANDLES,
    TRADES,
    BookRecord,
    TradeRecord,
    candle_record,
    rows_of,
)
from collector.model import MINUTE_MS
from tests.acceptance.scenarios.processes import clean_environment

INSTALL_S, RUN_S = 600, 300
BTC = "KRW-BTC"
T0 = 1_789_999_200_000
MINUTES = 120

pytestmark = [pytest.mark.wheel, pytest.mark.server, pytest.mark.timeout(1200)]

BACKTESTING = """
import json, sys
import pandas as pd
from backtesting import Backtest, Strategy
from backtesting.lib import crossover
from backtesting.test import SMA
bars = pd.read_csv(sys.argv[1], index_col=0, parse_dates=True)
class Cross(Strategy):
    def init(self):
        self.fast, self.slow = self.I(SMA, self.data.Close, 3), self.I(SMA, self.data.Close, 9)
    def next(self):
        if crossover(self.fast, self.slow):
            self.position.close()
            self.buy(size=1)
        elif crossover(self.slow, self.fast):
            self.position.close()
found = Backtest(bars, Cross, cash=10**9, finalize_trades=True).run()
print(json.dumps({
    "bars": len(bars), "volume": float(bars.Volume.sum()), "high": float(bars.High.max()),
    "first": str(bars.index[0]), "trades": int(found["# Trades"]),
    "equity": float(found["Equity Final [$]"]),
}))
"""
FREQTRADE = """
import json, sys
from pathlib import Path
from freqtrade.data.history import load_pair_history
bars = load_pair_history(
    pair="BTC/KRW", timeframe="5m", datadir=Path(sys.argv[1]), data_format="feather",
    fill_up_missing=False, drop_incomplete=False,
)
print(json.dumps({
    "bars": len(bars), "volume": float(bars["volume"].sum()), "high": float(bars["high"].max()),
    "first": str(bars["date"].iloc[0]),
}))
"""
HFTBACKTEST = """
import json, sys
import numpy
from hftbacktest import BacktestAsset, HashMapMarketDepthBacktest
from hftbacktest.data import validate_event_order
validate_event_order(numpy.load(sys.argv[1])["data"])
asset = (
    BacktestAsset().data([sys.argv[1]]).linear_asset(1.0).constant_order_latency(1000, 1000)
    .risk_adverse_queue_model().no_partial_fill_exchange().trading_value_fee_model(0, 0)
    .tick_size(1.0).lot_size(1e-8).last_trades_capacity(100_000)
)
market = HashMapMarketDepthBacktest([asset])
count, volume, best = 0, 0.0, []
def look():
    global count, volume
    trades = market.last_trades(0)
    count, volume = count + len(trades), volume + float(trades["qty"].sum())
    market.clear_last_trades(0)
while market.elapse(60_000_000_000) == 0:
    look()
    depth = market.depth(0)
    best.append([depth.best_bid, depth.best_ask])
look()
market.close()
print(json.dumps({"trades": count, "volume": volume, "best": best}))
"""


def price(second: int) -> Decimal:
    """Return the price of a second: up and down, so that averages cross."""
    return Decimal(1000 + abs(second // 60 % 20 - 10) + second % 3)


MADE = [
    TradeRecord(
        BTC, T0 + second * 1000, second, price(second), Decimal(second % 7 + 1) / 8,
        "buy" if second % 2 else "sell", 0, T0 + second * 1000 + 40, 1, True,
    )
    for second in range(0, MINUTES * 60, 5)
]  # fmt: skip


def book_at(minute: int) -> BookRecord:
    """Return a book that has moved since the minute before: old levels have to go."""
    best, ms = 1000 + abs(minute % 20 - 10), T0 + minute * MINUTE_MS
    sides = [
        [{"price": Decimal(best + at), "size": Decimal(2)} for at in steps] for steps in ((0, -1), (1, 2))
    ]
    return BookRecord(BTC, ms, ms + 30, *sides, *[None] * 5, Decimal(4), Decimal(4))


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function that exports from an archive of two hours, and returns the file."""
    folder = tmp_path_factory.mktemp("data")
    files = Files(folder / FOLDER)
    minutes: dict[int, list[TradeRecord]] = {}
    for record in MADE:
        minutes.setdefault(record.exchange_ms // MINUTE_MS * MINUTE_MS, []).append(record)
    for hour_ms in {ms - ms % 3_600_000 for ms in minutes}:
        hour = range(hour_ms, hour_ms + 3_600_000)
        candles = []
        for open_ms, records in minutes.items():
            minute = candle_of(BTC, rows_of(records))
            if minute and open_ms in hour:
                candles.append(candle_record((BTC, open_ms), minute, NO_LOSSES))
        books = [book for book in map(book_at, range(MINUTES)) if book.exchange_ms in hour]
        for table, rows in (
            (TRADES, [row for row in MADE if row.exchange_ms in hour]), (CANDLES, candles), (BOOKS, books)
        ):  # fmt: skip
            files.write(table, files.place(table, hour_ms), [parquet.with_rows(table, None, rows)])

    def run_export(*arguments: str, out: str) -> Path:
        argv = [sys.executable, "-m", "collector", "export", *arguments, "--out", str(folder / out)]
        env = {**clean_environment(), "COLLECTOR_DATA_DIR": str(folder)}
        done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=RUN_S)
        assert done.returncode == 0, done.stderr
        return folder / out

    return run_export


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """A function that runs a program in a new environment with one package, and returns what it printed."""

    def in_its_own(package: str, program: str, path: Path) -> Any:
        folder = tmp_path_factory.mktemp(package)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=INSTALL_S)
        python = str(folder / "bin" / "python")
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", package]
        installed = subprocess.run(pip, capture_output=True, text=True, timeout=INSTALL_S)
        if installed.returncode:
            pytest.skip(f"{package} can't be installed here: {installed.stderr.strip().splitlines()[-1]}")
        argv = [python, "-c", program, str(path)]
        done = subprocess.run(
            argv, cwd=folder, env=clean_environment(), capture_output=True, text=True, timeout=RUN_S
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])

    return in_its_own


def volume() -> float:
    return float(sum(row.volume for row in MADE))


def test_backtesting_runs_a_strategy_over_the_candles(
    export: Callable[..., Path], read: Callable[..., Any]
) -> None:
    """Its figures are those of the trades; averages cross, so it buys and sells."""
    path = export("candles", "btc", "--for", "backtesting", out="btc.csv")
    found = read("backtesting", BACKTESTING, path)
    assert (found["bars"], found["first"]) == (MINUTES, "2026-09-21 14:00:00+00:00")
    assert found["volume"] == pytest.approx(volume(), rel=1e-12)
    assert found["high"] == max(row.price for row in MADE)
    assert found["trades"] > 3


def test_freqtrade_loads_the_candles(export: Callable[..., Path], read: Callable[..., Any]) -> None:
    """By the name of the pair and the interval, as its own downloads."""
    path = export("candles", "KRW-*", "--for", "freqtrade", "--interval", "5m", out="freqtrade")
    found = read("freqtrade", FREQTRADE, path)
    assert (found["bars"], found["first"]) == (MINUTES // 5, "2026-09-21 14:00:00+00:00")
    assert found["volume"] == pytest.approx(volume(), rel=1e-12)
    assert found["high"] == max(row.price for row in MADE)


def test_hftbacktest_replays_trades_and_books(export: Callable[..., Path], read: Callable[..., Any]) -> None:
    """Every trade once; the best prices of each minute are those of its book."""
    path = export("trades", "btc", "--for", "hftbacktest", out="btc.npz")
    found = read("hftbacktest", HFTBACKTEST, path)
    assert found["trades"] == len(MADE)
    assert found["volume"] == pytest.approx(volume(), rel=1e-12)
    bids = [float(book_at(minute).bids[0]["price"]) for minute in range(MINUTES)]
    seen = [bid for bid, _ in found["best"]]
    assert all(ask == bid + 1 for bid, ask in found["best"])
    assert set(bids) == set(seen)
    assert len(seen) >= MINUTES - 2
