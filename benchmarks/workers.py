"""How fast workers store trades, by workers, shards and size of batch: `python -m benchmarks.workers`.

A queue is filled before the workers start, so nothing but they and Redis is measured; the clock runs from the
first stored batch to the last. All trades are of one minute, as they are when the market is busy, so workers
that share a queue share its candles. CPU is that of the workers' processes, Redis apart. A regression here
means that more machines are needed for the same market.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import count
from pathlib import Path
from statistics import median

import psutil

from benchmarks.machine import describe
from collector.batch import Kind, encode, make
from collector.host.redis_client import connect
from collector.host.redis_server import PrivateRedis
from collector.model import MINUTE_MS, Side, Trade
from collector.settings import Settings
from collector.store.read import Reader
from tests.acceptance.scenarios.processes import Process
from tests.acceptance.scenarios.waits import until

MARKETS = 450
ROUNDS = 3
START_MS = 1_790_000_040_000


@dataclass(frozen=True)
class Case:
    """So many workers with so many processes each, on so many shards, and the batches they find.

    One process is the worker itself (`-P solo`); more are a pool beside it.
    """

    workers: int
    processes: int
    shards: int
    rows: int
    batches: int


CASES = (
    Case(1, 1, 1, 500, 80),
    Case(1, 2, 1, 500, 80),
    Case(2, 1, 1, 500, 80),
    Case(2, 1, 2, 500, 80),
    Case(1, 1, 1, 50, 200),
    Case(1, 1, 1, 5, 400),
)


def letters(case: Case) -> Iterator[tuple[str, str]]:
    """Yield (queue, batch): trades of the markets of the queue's shard, spread as on a busy day."""
    ids = count(1)
    for batch in range(case.batches):
        shard = batch % case.shards
        rows = [_trade(next(ids), shard, case.shards) for _ in range(case.rows)]
        yield queue_of(shard, case), encode(make(Kind.TRADE, rows, listener="bench", now_ms=START_MS))


def queue_of(shard: int, case: Case) -> str:
    """Return the name of a shard's queue."""
    return f"trade.{shard}" if case.shards > 1 else "trade"


def _trade(number: int, shard: int, shards: int) -> Trade:
    spread = 10 if number % 3 == 0 else MARKETS  # a third of the trades are of ten markets
    market = number % spread // shards * shards + shard
    at_ms = START_MS + number % MINUTE_MS
    side = Side.BUY if number % 2 else Side.SELL
    price = Decimal(1000 + number % 50)
    return Trade(f"KRW-M{market:03}", number, price, Decimal("0.12345678"), side, at_ms, at_ms + 5)


def measure(case: Case, folder: Path, python: str = sys.executable) -> tuple[float, float]:
    """Return (batches/s, CPU seconds a batch) of one run; `python` runs the workers."""
    with (
        PrivateRedis(Settings(data_dir=folder / "data")) as server,
        connect(server.url, Settings()) as client,
    ):
        env = {
            "REDIS_URL": server.url,
            "COLLECTOR_DATA_DIR": str(folder / "data"),
            # A checkout from before has another name for it.
            **({"COLLECTOR_BATCH__TRADE_QUEUES": str(case.shards)} if case.shards > 1 else {}),
        }
        _fill(case, env, folder, python)
        workers = [_worker(number, case, env, folder, python).start() for number in range(case.workers)]
        try:
            return _watch(Reader(client, Settings()), case.batches, workers)
        finally:
            for worker in workers:
                worker.kill()


def _worker(number: int, case: Case, env: dict[str, str], folder: Path, python: str) -> Process:
    queue = queue_of(number % case.shards, case)
    pool = ("-P", "solo") if case.processes == 1 else ("-c", str(case.processes))
    argv = ("-m", "celery", "-A", "tasks", "worker", "-Q", queue, *pool)
    usual = ("-n", f"w{number}@%h", "--loglevel", "WARNING", "--without-gossip", "--without-mingle")
    return Process(f"w{number}", (*argv, *usual), env, folder, python)


def _fill(case: Case, env: dict[str, str], folder: Path, python: str) -> None:
    file = folder / "letters"
    file.write_text("\n".join(" ".join(letter) for letter in letters(case)))
    program = (
        "import sys; from tasks.app import app\n"
        "for line in open(sys.argv[1]):\n"
        "    queue, text = line.strip().split(' ', 1)\n"
        "    app.send_task('tasks.ingest.trades', args=(text,), queue=queue, argsrepr='-')\n"
    )
    with Process("fill", ("-c", program, str(file)), env, folder, python) as filling:
        until(lambda: not filling.is_alive, 120, "the queue is full", filling.output)
    if filling.status != 0:
        raise AssertionError(filling.output())


def _watch(reader: Reader, number: int, workers: list[Process]) -> tuple[float, float]:
    def stored() -> int:
        return reader.counters().get("batches", 0)

    until(stored, 60, "the first batch is stored", workers[0].output)
    before, before_s, cpu_before_s = stored(), time.monotonic(), _cpu_s(workers)
    until(lambda: stored() >= number, 300, "all batches are stored", workers[0].output)
    took_s = time.monotonic() - before_s
    return (number - before) / took_s, (_cpu_s(workers) - cpu_before_s) / (number - before)


def _cpu_s(workers: list[Process]) -> float:
    total = 0.0
    for worker in workers:
        if worker.pid is not None:
            parent = psutil.Process(worker.pid)
            total += sum(sum(p.cpu_times()[:2]) for p in (parent, *parent.children(recursive=True)))
    return total


def main() -> None:
    """Print the table."""
    print(f"{describe()}; medians of {ROUNDS} runs, {MARKETS} markets\n")
    print("| workers | processes each | shards | rows a batch | batches/s | trades/s | CPU µs a trade |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for case in CASES:
        runs = []
        for _ in range(ROUNDS):
            with tempfile.TemporaryDirectory() as folder:
                runs.append(measure(case, Path(folder)))
        per_s, cpu_s = median(run[0] for run in runs), median(run[1] for run in runs)
        figures = f"{per_s:,.0f} | {per_s * case.rows:,.0f} | {cpu_s / case.rows * 1e6:,.0f}"
        print(f"| {case.workers} | {case.processes} | {case.shards} | {case.rows} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
