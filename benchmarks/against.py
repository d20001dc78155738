"""Ratios of this checkout to another one, measured in alternation: `python -m benchmarks.against DIR`.

DIR is a clone with its own `.venv` (`make install` there). What changes with the host changes for both sides,
so only ratios are worth keeping.

    store       batches of trades and books into a private Redis, a process a round and side: CPU of the
                worker's code and of Redis, memory and append-only file of Redis, a row
    drain       a queue of trade batches drained by one worker (`-P solo`): wall time, CPU of the worker
    listener    CPU of a listener a frame, socket to Redis (bars 1 and 2)
    mix         whole systems side by side at the exchange's mix: CPU of all processes, by role, bytes of
                Redis' file, and milliseconds from the exchange to what can be read
"""

import argparse
import asyncio
import json
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from math import nan
from pathlib import Path
from statistics import median

from benchmarks.listener import make_frames, other_core, run_once
from benchmarks.machine import describe
from benchmarks.store_rounds import SHAPES
from benchmarks.system import MIX_OPTIONS, Beside, beside
from benchmarks.workers import Case, measure
from collector.host.redis_server import PrivateRedis
from collector.listener.health import percentile
from collector.settings import Settings

HERE = Path(__file__).resolve().parent.parent
FIGURES = ("worker_us", "redis_us", "memory_bytes", "file_bytes")
FRAMES = {"trade": 60_000, "orderbook": 20_000}
PARTS = ("store", "drain", "listener", "mix")
DRAINS = (Case(1, 1, 1, 500, 80), Case(1, 1, 1, 50, 400))
Round = Mapping[str, float]


def python_of(checkout: Path) -> str:
    """Return the interpreter of a checkout.

    Raises:
        SystemExit: it has none.
    """
    found = checkout / ".venv" / "bin" / "python"
    if not found.exists():
        raise SystemExit(f"{checkout} has no .venv: run `make install` there")
    return str(found)


def commit_of(checkout: Path) -> str:
    """Return the short name of the commit that is checked out."""
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--exclude=*"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def ratios(ours: Sequence[Round], theirs: Sequence[Round]) -> dict[str, float]:
    """Return the median over the rounds of ours over theirs, of every figure that theirs has above zero."""
    return {
        name: median(one[name] / other[name] for one, other in zip(ours, theirs, strict=True))
        for name in theirs[0]
        if all(name in each and each[name] > 0 for each in (*ours, *theirs))
    }


def store(rival: Path, rounds: int, shapes: Sequence[str]) -> None:
    """Print a line for each shape of batches."""
    with tempfile.TemporaryDirectory() as name, PrivateRedis(Settings(data_dir=Path(name))) as server:
        for shape in shapes:
            found: dict[Path, list[Round]] = {HERE: [], rival: []}
            for number in range(rounds):
                for checkout in (HERE, rival) if number % 2 else (rival, HERE):
                    found[checkout].append(_store_once(checkout, server.url, shape))
            ratio = ratios(found[HERE], found[rival])
            parts = ", ".join(
                f"{figure} {ratio[figure]:.2f} "
                f"({median(each[figure] for each in found[HERE]):.1f} / "
                f"{median(each[figure] for each in found[rival]):.1f})"
                for figure in FIGURES
                if figure in ratio
            )
            print(f"store, {shape} {SHAPES[shape][1:]}: {parts}", flush=True)


def _store_once(checkout: Path, url: str, shape: str) -> Round:
    command = [python_of(checkout), str(HERE / "benchmarks" / "store_rounds.py"), str(checkout), url, shape]
    done = subprocess.run(command, capture_output=True, text=True, timeout=170, check=False, cwd=checkout)
    if done.returncode:
        raise RuntimeError(f"{checkout}: {done.stderr[-2000:]}")
    found: Round = json.loads(done.stdout.splitlines()[-1])
    return found


def drain(rival: Path, rounds: int) -> None:
    """Print a line for each size of batch."""
    for case in DRAINS:
        found: dict[Path, list[Round]] = {HERE: [], rival: []}
        for number in range(rounds):
            for checkout in (HERE, rival) if number % 2 else (rival, HERE):
                with tempfile.TemporaryDirectory() as folder:
                    per_s, cpu_s = measure(case, Path(folder), python_of(checkout))
                found[checkout].append({"wall": 1 / per_s, "cpu": cpu_s})
        ratio = ratios(found[HERE], found[rival])
        rows = f"{case.batches} batches of {case.rows} trades"
        print(f"drain, {rows}: wall {ratio['wall']:.2f}, worker's CPU {ratio['cpu']:.2f}", flush=True)


def listener(rival: Path, rounds: int) -> None:
    """Print CPU a frame of both listeners, trades and books."""
    for kind, count in FRAMES.items():
        frames = make_frames(kind, count, 493)
        found: dict[Path, list[Round]] = {HERE: [], rival: []}
        with (
            tempfile.TemporaryDirectory() as name,
            other_core(),
            PrivateRedis(Settings(data_dir=Path(name))) as server,
        ):
            for number in range(rounds):
                for checkout in (HERE, rival) if number % 2 else (rival, HERE):
                    run = run_once("ours", frames, 493, server.url, python_of(checkout), checkout)
                    found[checkout].append(asyncio.run(run))
        ratio = ratios(found[HERE], found[rival])
        ours, theirs = (median(each["cpu"] for each in found[one]) / count * 1e6 for one in (HERE, rival))
        print(f"listener, {kind}: CPU {ratio['cpu']:.2f} ({ours:.1f} / {theirs:.1f} us a frame)", flush=True)


def mix(rival: Path, rounds: int, seconds: float) -> None:
    """Print CPU by role of both systems at the same time, bytes of Redis' file and latencies, as ratios."""
    found = beside(seconds, rounds, ["", str(rival)], {str(rival): python_of(rival)}, look_s=seconds)
    ours, theirs = found[""], found[str(rival)]
    both = [
        [
            {**cpu, "together": sum(cpu.values()), "file": size}
            for cpu, size in zip(side.cpu, side.file_bytes, strict=True)
        ]
        for side in (ours, theirs)
    ]
    shares = [median(cpu["together"] for cpu in side) for side in both]
    parts = ", ".join(f"{role} {value:.2f}" for role, value in sorted(ratios(*both).items()))
    print(
        f"mix {' '.join(MIX_OPTIONS[1:])}, {rounds} x {seconds:g} s: {parts} "
        f"({shares[0]:.0%} / {shares[1]:.0%} of a core)",
        flush=True,
    )
    for kind in (*ours.latency_ms, "all"):
        print(f"mix, exchange to readable, {kind}: {_compared(ours, theirs, kind)}", flush=True)


def _compared(ours: Beside, theirs: Beside, kind: str) -> str:
    parts = []
    for share in (0.5, 0.99):
        pair = []
        for side in (ours, theirs):
            values = [ms for name, some in side.latency_ms.items() if kind in (name, "all") for ms in some]
            pair.append(percentile(values, share) or nan)
        parts.append(f"p{share * 100:.0f} {pair[0] / pair[1]:.2f} ({pair[0]:.1f} / {pair[1]:.1f} ms)")
    return ", ".join(parts)


def run(rival: Path, parts: Sequence[str], rounds: int, seconds: float, shapes: Sequence[str]) -> None:
    """Measure and print."""
    python_of(rival)
    print(f"{describe()}; {commit_of(HERE)} over {commit_of(rival)}, medians of {rounds} alternating rounds")
    if "store" in parts:
        store(rival, rounds, shapes)
    if "drain" in parts:
        drain(rival, rounds)
    if "listener" in parts:
        listener(rival, rounds)
    if "mix" in parts:
        mix(rival, rounds, seconds)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rival", type=Path, help="another checkout, with its own .venv")
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--shapes", nargs="*", choices=tuple(SHAPES), default=tuple(SHAPES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10, help="a round of the mix")
    chosen = parser.parse_args()
    run(chosen.rival.resolve(), chosen.parts, chosen.rounds, chosen.seconds, chosen.shapes)


if __name__ == "__main__":
    main()
