"""A day of all markets in the archive: its size, the time of typical queries, the cost of keeping it up.

    .venv/bin/python -m benchmarks.archive --markets 500 --trades 3000000

Rows are made directly, one hour at a time, with the numbers of `benchmarks.frames`: what is measured is the
archive, not the way there. The hours are compacted into a day as the product does it. Then one more hour is
put into Redis and archived, which is what a worker does every few minutes.

A regression would show as a query that no longer reads one market's row groups alone (seconds instead of a
tenth), or as a run that takes a share of its interval worth mentioning.
"""

import argparse
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import SecretStr

from benchmarks.frames import market_names
from collector.analytics.completeness import NO_LOSSES
from collector.analytics.dedup import Row
from collector.archive import library, parquet
from collector.archive.archiver import Archiver
from collector.archive.files import Files
from collector.archive.merge import candle_of
from collector.archive.partitions import FOLDER, HOUR_MS, day_of
from collector.archive.schema import (
    BOOKS,
    CANDLES,
    TABLES,
    TICKERS,
    TRADES,
    BookRecord,
    Rows,
    Table,
    TickerRecord,
    candle_record,
    trade_records,
)
from collector.archive.source import ArchiveSource
from collector.archive.sql import QuerySession
from collector.host.redis_server import PrivateRedis
from collector.model import Side, Trade
from collector.settings import RedisSettings, Settings
from collector.store.redis_client import connect
from collector.store.store import Store
from collector.util.korean_time import DAY_MS

#: 2026-09-21, UTC.
DAY_START_MS = 1_789_948_800_000
SAMPLE_MS = 300_000

QUERIES = {
    "5-minute candles of one market": """
        select open_ms // 300000 * 300000 t, arg_min(open, open_ms), max(high), min(low),
            arg_max(close, open_ms), sum(base_volume)
        from candles where market = 'KRW-M007' group by 1 order by 1""",
    "VWAP by hour of one market, from trades": """
        select hour(time) h, sum(price * volume) / sum(volume)
        from trades where market = 'KRW-M007' group by 1 order by 1""",
    "busiest ten of all markets, from candles": """
        select market, sum(quote_volume) v from candles group by 1 order by 2 desc limit 10""",
    "buy and sell volume of all markets, from trades": """
        select market, side, sum(volume), count(*) from trades group by 1, 2 order by 1, 2""",
    "mean spread of all markets, from books": """
        select market, avg(spread_bps) from books group by 1 order by 2""",
    "large trades of all markets": """
        select market, max(price * volume) from trades group by 1 order by 2 desc limit 10""",
}


class Maker:
    """Invents what the markets do; a few of them do most of it."""

    def __init__(self, markets: int, trades_per_hour: int, seed: int = 1) -> None:
        self._draw = random.Random(seed)
        self._names = market_names(markets)
        self._prices = {name: Decimal(self._draw.randint(10, 99_999)) for name in self._names}
        self._weights = [1 / (number + 1) ** 0.8 for number in range(markets)]
        self._per_hour = trades_per_hour

    def trades(self, hour_ms: int) -> dict[str, dict[int, Rows]]:
        """Return an hour's trades by market and minute."""
        found: dict[str, dict[int, Rows]] = {}
        for name in self._draw.choices(self._names, self._weights, k=self._per_hour):
            ms = hour_ms + self._draw.randrange(HOUR_MS)
            price = self._prices[name] + self._draw.randint(-5, 5)
            volume = Decimal(self._draw.randint(1, 10**9)).scaleb(-8)
            side = Side.BUY if self._draw.random() < 0.5 else Side.SELL
            row = Row((ms << 20) + self._draw.getrandbits(20), price, volume, side, 0, ms + 60, 1)
            found.setdefault(name, {}).setdefault(ms - ms % 60_000, {}).setdefault(ms, []).append(row)
        return found

    def tickers(self, hour_ms: int) -> Iterator[TickerRecord]:
        """Yield an hour's samples."""
        for name in self._names:
            for ms in range(hour_ms, hour_ms + HOUR_MS, SAMPLE_MS):
                price, volume = self._prices[name], self._uniform(10, 9999, 8)
                yield TickerRecord(
                    name, ms, ms + 60, price, "rise", Decimal(5), Decimal("0.00011655"), price, price, price,
                    price, volume, self._uniform(1e6, 1e10, 12),
                )  # fmt: skip

    def books(self, hour_ms: int) -> Iterator[BookRecord]:
        """Yield an hour's samples, 15 levels a side."""
        for name in self._names:
            for ms in range(hour_ms, hour_ms + HOUR_MS, SAMPLE_MS):
                best = int(self._prices[name])
                bids = [self._level(best - step) for step in range(15)]
                asks = [self._level(best + 1 + step) for step in range(15)]
                ratio, micro = self._uniform(0, 1, 28), Decimal(f"{best}.{self._draw.getrandbits(60)}")
                yield BookRecord(
                    name, ms, ms + 60, bids, asks, Decimal(1), ratio, Decimal(f"{best}.5"), micro,
                    ratio, self._uniform(0, 999, 4), self._uniform(0, 999, 4),
                )  # fmt: skip

    def _level(self, price: int) -> dict[str, Decimal]:
        return {"price": Decimal(max(price, 1)), "size": self._uniform(0, 100, 4)}

    def _uniform(self, low: float, high: float, places: int) -> Decimal:
        return Decimal(f"{self._draw.uniform(low, high):.{places}f}")


def main() -> None:
    """Make the day, then measure."""
    options = _options()
    _say(f"{options.markets} markets, {options.trades:,} trades a day, books and tickers every 5 minutes")
    with ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        settings = Settings(data_dir=folder, redis=RedisSettings(max_memory_mb=2048))
        files = Files(settings.data_dir / FOLDER)
        maker = Maker(options.markets, options.trades // 24)
        if not files.days(TRADES):
            _make_day(files, maker)
            compacted = _timed(lambda: [files.compact(table, day_of(DAY_START_MS)) for table in TABLES])
            _say(f"{compacted}  24 hours into a day")
        _say(f"one day {_megabytes(_bytes(files))}")
        for table in (TRADES, CANDLES, TICKERS, BOOKS):
            _say_size(files, table)
        _measure_queries(files)
        _measure_run(settings, files, maker)


def _make_day(files: Files, maker: Maker) -> None:
    for hour_ms in range(DAY_START_MS, DAY_START_MS + DAY_MS, HOUR_MS):
        trades = maker.trades(hour_ms)
        for table, rows in (
            (TRADES, [row for market, minutes in trades.items() for some in minutes.values()
                      for row in trade_records(market, some)]),
            (CANDLES, list(_candles(trades))),
            (TICKERS, list(maker.tickers(hour_ms))),
            (BOOKS, list(maker.books(hour_ms))),
        ):  # fmt: skip
            files.write(table, files.place(table, hour_ms), [parquet.with_rows(table, None, rows)])


def _candles(trades: dict[str, dict[int, Rows]]) -> Iterator[Any]:
    for market, minutes in trades.items():
        for open_ms, rows in minutes.items():
            minute = candle_of(market, rows)
            assert minute is not None
            yield candle_record((market, open_ms), minute, NO_LOSSES)


def _measure_queries(files: Files) -> None:
    _say(f"{_timed(lambda: QuerySession(files).__exit__())}  opening (views, footers)")
    with QuerySession(files) as session:
        for name, sql in QUERIES.items():
            runs = [_timed(lambda: session.rows(sql)) for _ in range(3)]  # noqa: B023
            _say(f"{min(runs, key=lambda run: run.wall_s)}  {name}")


def _measure_run(settings: Settings, files: Files, maker: Maker) -> None:
    """One hour through Redis: the first run, a run with five new minutes, a run with nothing new."""
    hour_ms = DAY_START_MS + DAY_MS
    hour = [
        Trade(market, row.id, row.price, row.volume, row.side, ms, ms + 60)
        for market, minutes in maker.trades(hour_ms).items()
        for some in minutes.values()
        for ms, rows in some.items()
        for row in rows
    ]
    hour.sort(key=lambda trade: trade.exchange_ms)
    with _redis(settings) as client:
        store, archive = (
            Store(client, settings.store),
            Archiver(files, ArchiveSource(client, settings), settings.archive),
        )
        early = [trade for trade in hour if trade.exchange_ms < hour_ms + HOUR_MS - SAMPLE_MS]
        for rows, name in (
            (early, "archiving 55 minutes that only Redis has"),
            (hour[len(early):], "archiving 5 further minutes: a usual run"),
            ([], "archiving nothing new"),
        ):  # fmt: skip
            for start in range(0, len(rows), 500):
                store.put_trades(rows[start : start + 500])
            _say(f"{_timed(archive.run)}  {name}")


@contextmanager
def _redis(settings: Settings) -> Iterator[Any]:
    with PrivateRedis(settings) as server:
        ours = settings.model_copy(update={"redis_url": SecretStr(server.url)})
        with connect(server.url, ours) as client:
            yield client


def _say_size(files: Files, table: Table) -> None:
    paths = files.within(table, None, None)
    size = sum(path.stat().st_size for path in paths)
    rows = sum(library("pyarrow.parquet").read_metadata(path).num_rows for path in paths)
    _say(f"  {table.name:8} {rows:>10,} rows {_megabytes(size):>10}  {size / max(rows, 1):6.1f} bytes a row")


def _bytes(files: Files) -> int:
    return sum(path.stat().st_size for path in files.root.rglob("*.parquet"))


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


class Took(NamedTuple):
    """Seconds by the clock, and of the processor (other programs may have the rest)."""

    wall_s: float
    processor_s: float

    def __str__(self) -> str:
        return f"{self.wall_s:7.2f} s {self.processor_s:7.2f} s"


def _timed(work: Callable[[], object]) -> Took:
    start_s, processor_s = time.perf_counter(), time.process_time()
    work()
    return Took(time.perf_counter() - start_s, time.process_time() - processor_s)


def _say(text: str) -> None:
    print(text, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--markets", type=int, default=500)
    parser.add_argument("--trades", type=int, default=3_000_000, help="in the day")
    parser.add_argument("--folder", type=Path, help="make the day there, or use the one that is there")
    return parser.parse_args()


if __name__ == "__main__":
    main()
