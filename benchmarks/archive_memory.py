"""Memory of a worker that archives: the peak of its process, over that of one with nothing to archive.

    .venv/bin/python -m benchmarks.archive_memory --trades 1000000

An hour of trades of 493 markets is put into a private Redis, in the order of the exchange. Then processes
with the code of a worker archive it, each its own: nothing; 55 minutes that only Redis has (a worker that was
stopped); the five minutes after (as every five minutes); a sweep; and three such hours into one day.
The bar is 250 MB at a million trades an hour.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from pydantic import SecretStr

from benchmarks.archive import DAY_START_MS, SAMPLE_MS, Maker
from benchmarks.machine import describe
from collector.archive.files import Files
from collector.archive.partitions import FOLDER, HOUR_MS, day_of, folder_of, hour_name
from collector.archive.schema import TABLES
from collector.host.redis_server import PrivateRedis
from collector.model import Trade
from collector.settings import RedisSettings, Settings
from collector.store.redis_client import connect
from collector.store.store import Store

MARKETS = 493
BAR_MB = 250
#: What a worker runs, the peak of its memory in kB, and its CPU seconds. `ru_maxrss` would be our own peak.
RUN = """
import json, sys, time
from tasks import archive_jobs
from collector.archive import library
from collector.settings import current
library("pyarrow.parquet"), library("pyarrow.compute")
match sys.argv[1]:
    case "run": archive_jobs.run()
    case "sweep": archive_jobs.sweep()
    case "compact":
        from collector.archive.files import Files
        from collector.archive.partitions import FOLDER, day_of
        from collector.archive.schema import TABLES
        for table in TABLES:
            Files(current().data_dir / FOLDER).compact(table, day_of(int(sys.argv[2])))
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps([int(peak.split()[1]), time.process_time()]))
"""


def main() -> None:
    """Print a line for each step."""
    options = _options()
    print(f"{describe()}; {options.trades:,} trades an hour, {MARKETS} markets", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data_dir=Path(folder), redis=RedisSettings(max_memory_mb=2048))
        with PrivateRedis(settings) as server:
            ours = settings.model_copy(update={"redis_url": SecretStr(server.url)})
            with connect(server.url, ours) as client:
                idle_mb = _measure("nothing to archive", ours, "idle", 0.0)
                store, hour = Store(client, ours.store), _hour(options.trades)
                early = [trade for trade in hour if trade.exchange_ms < DAY_START_MS + HOUR_MS - SAMPLE_MS]
                late = hour[len(early) :]
                _put(store, early)
                _measure("55 minutes that only Redis has", ours, "run", idle_mb)
                _put(store, late)
                _measure("the five minutes after", ours, "run", idle_mb)
                _measure("a sweep", ours, "sweep", idle_mb)
        _copy_hour(Files(settings.data_dir / FOLDER), 3)
        _measure("three hours into a day", settings, "compact", idle_mb)


def _hour(trades: int) -> list[Trade]:
    made = Maker(MARKETS, trades).trades(DAY_START_MS)
    rows = [
        Trade(market, row.id, row.price, row.volume, row.side, ms, ms + 60)
        for market, minutes in made.items()
        for some in minutes.values()
        for ms, copies in some.items()
        for row in copies
    ]
    return sorted(rows, key=lambda trade: trade.exchange_ms)


def _put(store: Store, trades: list[Trade]) -> None:
    for start in range(0, len(trades), 2000):
        store.put_trades(trades[start : start + 2000])


def _copy_hour(files: Files, hours: int) -> None:
    """Have the same hour stand for several: what a file says of its hour is its name alone."""
    for table in TABLES:
        folder = files.root / folder_of(table, day_of(DAY_START_MS))
        first = folder / hour_name(DAY_START_MS)
        for number in range(1, hours if first.exists() else 0):
            (folder / hour_name(DAY_START_MS + number * HOUR_MS)).write_bytes(first.read_bytes())


def _measure(name: str, settings: Settings, step: str, idle_mb: float) -> float:
    environment = {
        **os.environ,
        "REDIS_URL": settings.redis_url.get_secret_value(),
        "COLLECTOR_DATA_DIR": str(settings.data_dir),
    }
    argv = [sys.executable, "-c", RUN, step, str(DAY_START_MS)]
    done = subprocess.run(argv, env=environment, check=True, capture_output=True, text=True, timeout=600)
    peak_kb, cpu_s = json.loads(done.stdout.splitlines()[-1])
    peak_mb = float(peak_kb) / 1024
    ratio = f"{peak_mb / idle_mb:5.2f} x idle" if idle_mb else "             "
    print(f"{name:32} peak {peak_mb:6.0f} MB {ratio}   {cpu_s:6.1f} s CPU   bar <= {BAR_MB} MB", flush=True)
    return peak_mb


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--trades", type=int, default=1_000_000, help="in the hour")
    return parser.parse_args()


if __name__ == "__main__":
    main()
