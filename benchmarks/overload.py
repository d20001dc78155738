"""Ten times what the workers sustain: `python -m benchmarks.overload [--seconds N]`, half an hour.

In pieces, each of some minutes: `--part NAME --keep FOLDER` for each of PARTS in turn. What is kept in FOLDER
is not measured again, so the same without `--part` shows all of it and draws the picture.

Two workers, slowed down to a share of a core so that the rest of the machine is never the limit; first it is
measured what they sustain. Then trades at that very rate and nine times the books they could take on top, for
N seconds, in three variants. Settings are the defaults. A regression here means that the listener loses
trades, grows, shows old books, or never comes back to FLOW.

Last, what a flood of books does to the trades beside it: the 99th percentile of their age, each queue with a
worker of its own.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from math import nan
from pathlib import Path
from typing import TypeVar

import msgspec
import redis

from benchmarks.flood import Pace
from benchmarks.overload_run import Run, Sample
from benchmarks.rig import ALL_QUEUES, Rig, sustained
from collector.errors import CollectorError
from collector.listener.health import percentile
from collector.model import MINUTE_MS
from collector.settings import Settings
from tests.acceptance.scenarios.truth import compare_all

TIMES = 10
SHARE = 0.06
TICKERS_PER_S = 100.0
#: What is left of books and tickers after the load: so little that braked workers can take it in FLOW.
AFTER = 0.001
CALIBRATION_S = 5.0
SAMPLE_S = 0.5
DRAIN_LIMIT_S = 300.0
BOOK_COUNTERS = ("books_stored", "books_merged", "books_stale")
TRADE_COUNTERS = ("trades_counted", "trades_duplicate")
PICTURE = Path(__file__).resolve().parent.parent / "docs" / "images" / "overload.png"

#: For the age of trades: trades far below what a worker takes, books up to ten times of it.
AGE_TRADES_PER_S = 100.0
AGE_POLL_S = 0.002
AGE_BAR = 1.5


@dataclass(frozen=True)
class Capacity:
    """Rows a second that the workers sustain, each kind alone."""

    trades: float
    books: float


@dataclass(frozen=True)
class Ages:
    """How old trades were, flooded or not: one measurement."""

    flooded: bool
    books_per_s: float
    p50_ms: float
    p99_ms: float
    trades: int
    #: Share of the time in each mode.
    modes: dict[str, float]


@dataclass(frozen=True)
class Variant:
    """A part of the benchmark, its title, and what is done at which share of the load: (share, deed)."""

    part: str
    name: str
    deeds: tuple[tuple[float, Callable[[Rig], None]], ...] = ()


def _pause(rig: Rig) -> None:
    rig.pause_redis(paused=True)


def _resume(rig: Rig) -> None:
    rig.pause_redis(paused=False)


VARIANTS = (
    Variant("steady", "two workers"),
    Variant("killed", "one of two workers killed half-way", ((0.5, Rig.kill_worker),)),
    # Thirty bursts: Redis stands still for half of the time between a fifth and four fifths of the load.
    Variant(
        "slowed",
        "Redis slowed by SIGSTOP bursts",
        tuple(
            step
            for number in range(30)
            for step in ((0.2 + number * 0.02, _pause), (0.21 + number * 0.02, _resume))
        ),
    ),
)


def measure_capacity(folder: Path) -> Capacity:
    """Return what two slowed-down workers sustain."""
    for_ever = 1e6
    books = sustained(folder / "books", 2, SHARE, Pace(0, 5000, 0, for_ever, 1), BOOK_COUNTERS, CALIBRATION_S)
    trades = sustained(
        folder / "trades", 2, SHARE, Pace(4000, 50, 0, for_ever, 1), TRADE_COUNTERS, CALIBRATION_S
    )
    return Capacity(trades, books)


def overload(variant: Variant, capacity: Capacity, seconds: float, folder: Path) -> Run:
    """Run one variant to its end, until all is stored and the mode is FLOW again."""
    folder.mkdir()
    run = Run(variant.name)
    pace = Pace(capacity.trades, capacity.books * (TIMES - 1), TICKERS_PER_S, seconds, AFTER)
    run.trades_planned, run.books_planned = pace.trades * seconds, pace.books * seconds
    since_ms = int(time.time() * 1000) // MINUTE_MS * MINUTE_MS
    with Rig(folder, [ALL_QUEUES] * 2, (0, 1), SHARE) as rig:
        rig.start_load(pace)
        started = time.monotonic()
        due = [(share * seconds, deed) for share, deed in variant.deeds]
        next_s = 0.0
        while (now_s := time.monotonic() - started) < seconds + DRAIN_LIMIT_S:
            while due and due[0][0] <= now_s:
                due.pop(0)[1](rig)
            if now_s >= next_s:
                next_s = now_s + SAMPLE_S
                run.samples.append(look(rig, now_s))
                if now_s < seconds:
                    run.load_average = os.getloadavg()[0]
                if now_s > seconds and _is_over(run, now_s - seconds):
                    break
            time.sleep(0.05)
        run.load_s = seconds
        _judge(run, rig, since_ms)
    return run


def look(rig: Rig, now_s: float) -> Sample:
    """Return all figures of the moment."""
    sample = Sample(now_s, rig.memory_mb())
    made = rig.truth.read()
    with suppress(redis.RedisError, CollectorError):
        counted = int(rig.redis.hget(rig.keys.counters, "trades_counted") or 0)
        reader = rig.reader
        tickers, books = reader.ticker(), reader.book()
        now_ms = time.time() * 1000
        sample.ticker_age_s = max((now_ms - row.exchange_ms for row in tickers), default=0) / 1000
        ages_ms = [now_ms - row.exchange_ms for row in books]
        sample.book_age_s = max(ages_ms, default=0) / 1000
        sample.newest_book_age_s = min(ages_ms, default=0) / 1000
        sample.queues = reader.queues()
        sample.trades_behind = made - counted
        for listener in reader.listeners():
            sample.mode, sample.spool_bytes = listener["mode"], listener["spool_bytes"]
    return sample


def _is_over(run: Run, after_s: float) -> bool:
    """Note when the trades were all stored; tell whether all is as it was before the load."""
    last = run.samples[-1]
    if last.trades_behind == 0 and not run.drained_s:
        run.drained_s = after_s
    is_idle = last.queues is not None and sum(last.queues.values()) < 10 and not last.spool_bytes
    if last.mode == "flow" and is_idle and run.drained_s:
        run.flow_s = after_s
        return True
    return False


def _judge(run: Run, rig: Rig, since_ms: int) -> None:
    """Collect what the listener said; compare with the truth, candle by candle."""
    # First, since the comparing keeps the brake from letting the workers go on.
    run.mode_log = rig.mode_log()
    rig.truth.read()
    verdict = compare_all(rig.truth, rig.reader, since_ms)
    run.trades_sent, run.trades_lost, run.trades_doubled = verdict.sent, verdict.lost, verdict.doubled
    run.wrong = verdict.wrong
    run.counters = dict(rig.reader.health().counters)


def trade_age(folder: Path, *, flooded: bool, books_per_s: float, seconds: float) -> Ages:
    """Return the ages of trades in ms, from the exchange to the store, and the share of time in each mode.

    One worker takes trades, one, slowed down, books and tickers: the routing the documentation recommends.
    """
    folder.mkdir()
    with Rig(folder, ["trade", "orderbook,ticker"], (1,), SHARE) as rig:
        rig.start_load(Pace(AGE_TRADES_PER_S, books_per_s, 0, 1e6, 1))
        time.sleep(3)
        ages: list[float] = []
        modes: list[str] = []
        counted = rig.truth.read()
        ends = time.monotonic() + seconds
        looked_s = 0.0
        while (now_s := time.monotonic()) < ends:
            found = int(rig.redis.hget(rig.keys.counters, "trades_counted") or 0)
            now_ms = time.time() * 1000
            if found > counted:
                rig.truth.read()
                ages += [now_ms - trade.ms for trade in rig.truth.trades[counted:found]]
                counted = found
            if now_s - looked_s > SAMPLE_S:
                looked_s = now_s
                modes += [str(row["mode"]) for row in rig.reader.listeners()]
            time.sleep(AGE_POLL_S)
    shares = {mode: modes.count(mode) / len(modes) for mode in sorted(set(modes))}
    return Ages(
        flooded, books_per_s, percentile(ages, 0.5) or nan, percentile(ages, 0.99) or nan, len(ages), shares
    )


def measure_ages(folder: Path, books_per_s: float, seconds: float, rounds: int) -> list[Ages]:
    """Measure both sides in turns."""
    folder.mkdir()
    return [
        trade_age(
            folder / f"{number}{flooded}",
            flooded=flooded,
            books_per_s=books_per_s if flooded else 0.0,
            seconds=seconds,
        )
        for number in range(rounds)
        for flooded in (False, True)
    ]


def print_ages(measured: Sequence[Ages]) -> None:
    """Print each measurement and the ratio of the medians of the 99th percentiles."""
    print(f"\nage of trades, {AGE_TRADES_PER_S:g} a second, from exchange to store, a worker per kind")
    for ages in measured:
        print(
            f"  {'flooded' if ages.flooded else 'unloaded':9} {ages.books_per_s:6.0f} books/s: "
            f"p50 {ages.p50_ms:5.1f} ms, p99 {ages.p99_ms:5.1f} ms, {ages.trades} trades, "
            + ", ".join(f"{mode} {share:.0%}" for mode, share in ages.modes.items())
        )
    flooded, unloaded = (
        statistics.median(ages.p99_ms for ages in measured if ages.flooded is side) for side in (True, False)
    )
    print(f"  p99 flooded / unloaded = {flooded / unloaded:.2f} (bar: {AGE_BAR})")


def print_runs(runs: Sequence[Run]) -> None:
    """Print the table, then each mode log."""
    limit = Settings().pressure.memory_limit_mb
    merged = [run.counters.get("orderbook_merged", 0) for run in runs]
    taken_back = [run.counters.get("orderbook_rows_taken_back", 0) for run in runs]
    rows: list[tuple[str, list[str]]] = [
        ("trades sent", [f"{run.trades_sent:,}" for run in runs]),
        ("trades lost", [f"{run.trades_lost}" for run in runs]),
        ("trades counted twice", [f"{run.trades_doubled}" for run in runs]),
        ("candles that are wrong", [f"{len(run.wrong)}" for run in runs]),
        ("books received", [f"{run.counters.get('orderbook_rows', 0):,}" for run in runs]),
        ("… of those planned", [f"{_share(run):.0%}" for run in runs]),
        ("load, times what two workers sustain", [f"{_times(run):.1f}" for run in runs]),
        ("books merged by the listener", [f"{number:,}" for number in merged]),
        ("books taken back from their queue", [f"{number:,}" for number in taken_back]),
        ("trades put on disk", [f"{run.counters.get('trade_rows_spooled', 0):,}" for run in runs]),
        (
            f"listener memory, most (limit {limit} MB)",
            [f"{r.worst(lambda s: s.memory_mb):.0f} MB" for r in runs],
        ),
        ("trade queue, most", [f"{r.worst(lambda s: _queue(s, 'trade')):.0f}" for r in runs]),
        ("book queue, most", [f"{r.worst(lambda s: _queue(s, 'orderbook')):.0f}" for r in runs]),
        ("oldest ticker of 100, median, worst", [_ages(r, lambda s: s.ticker_age_s) for r in runs]),
        ("oldest book of 100, median, worst", [_ages(r, lambda s: s.book_age_s) for r in runs]),
        ("newest book, median, worst", [_ages(r, lambda s: s.newest_book_age_s) for r in runs]),
        ("all trades stored after the load", [_after(run.drained_s) for run in runs]),
        ("FLOW and idle after the load", [_after(run.flow_s) for run in runs]),
        ("load average of the machine", [f"{run.load_average:.1f}" for run in runs]),
    ]
    print(f"\n{'':42}" + "".join(f"{run.name:>37}" for run in runs))
    for label, values in rows:
        print(f"{label:42}" + "".join(f"{value:>37}" for value in values))
    for run in runs:
        print(f"\nmode log, {run.name}:")
        print("\n".join(f"  {line}" for line in run.mode_log))
        print("\n".join(f"  WRONG {line}" for line in run.wrong[:5]))


def _queue(sample: Sample, name: str) -> float | None:
    return None if sample.queues is None else float(sample.queues[name])


def _ages(run: Run, figure: Callable[[Sample], float | None]) -> str:
    return f"{run.at_most(figure, 0.5):.1f} s, {run.worst(figure):.1f} s"


def _share(run: Run) -> float:
    """Return how much of the planned load the machine carried: the rest was left out by the exchange."""
    return run.counters.get("orderbook_rows", 0) / run.books_planned


def _times(run: Run) -> float:
    """Return the load that arrived, in times of what the workers sustain."""
    return run.trades_sent / run.trades_planned + (TIMES - 1) * _share(run)


def _after(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds else f"not within {DRAIN_LIMIT_S:g} s"


PARTS = ("capacity", *(variant.part for variant in VARIANTS), "ages")
Figures = TypeVar("Figures")


class Kept:
    """The folder in which each part leaves what it measured, for the next call."""

    def __init__(self, folder: Path, only: str | None) -> None:
        self._folder = folder
        self._only = only
        folder.mkdir(parents=True, exist_ok=True)

    def get(self, part: str, form: type[Figures], measure: Callable[[], Figures]) -> Figures | None:
        """Return what is kept, else measure it; None where another part is asked for."""
        file = self._folder / f"{part}.json"
        if not file.exists():
            if self._only not in (None, part):
                return None
            file.write_bytes(msgspec.json.encode(measure()))
        return msgspec.json.decode(file.read_bytes(), type=form)


def main() -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=180, help="length of the load in each variant")
    parser.add_argument("--age-seconds", type=float, default=20, help="length of each measurement of ages")
    parser.add_argument("--age-rounds", type=int, default=3)
    parser.add_argument("--picture", type=Path, default=PICTURE)
    parser.add_argument("--part", choices=PARTS, help="measure only this one")
    parser.add_argument("--keep", type=Path, help="folder for what was measured; what is there is not again")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        _main(chosen, Path(name), Kept(chosen.keep or Path(name) / "kept", chosen.part))


def _main(chosen: argparse.Namespace, folder: Path, kept: Kept) -> None:
    capacity = kept.get("capacity", Capacity, lambda: measure_capacity(folder))
    if capacity is None:
        raise SystemExit("first --part capacity")
    print(
        f"two workers at {SHARE:.0%} of a core each sustain {capacity.trades:.0f} trades/s or "
        f"{capacity.books:.0f} books/s; load: {capacity.trades:.0f} trades/s and "
        f"{capacity.books * (TIMES - 1):.0f} books/s for {chosen.seconds:g} s",
        flush=True,
    )
    runs = []
    for variant in VARIANTS:
        measure = partial(overload, variant, capacity, chosen.seconds, folder / variant.part)
        runs.append(kept.get(variant.part, Run, measure))
    done = [run for run in runs if run is not None]
    if done:
        print_runs(done)
    if len(done) == len(VARIANTS):
        from benchmarks.overload_plot import draw  # matplotlib takes its time

        draw(done, chosen.picture)
    measure_all = partial(
        measure_ages,
        folder / "ages",
        capacity.books / 2 * TIMES,
        chosen.age_seconds,
        chosen.age_rounds,
    )
    if ages := kept.get("ages", list[Ages], measure_all):
        print_ages(ages)


if __name__ == "__main__":
    main()
