"""Bars 3 and 4: our listener beside cryptofeed and ccxt, in turns in one run: `python -m benchmarks.peers`.

The peers are measured by the scripts in `SHARED_DIR/bench/peers`, each in a virtual environment of its own
under `build/peers`. ccxt gets the same books as we do; cryptofeed the recorded trades of the legacy socket,
the only one it knows, with 1.75 trades a frame: its rate is told in frames and in trades. Theirs is without
the socket, ours with it. Skipped aloud where the scripts or the packages are not to be had.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import redis

from benchmarks.frames import MARKETS
from benchmarks.listener import make_frames, median_ratio, ours_once
from benchmarks.machine import describe
from collector.host.redis_server import find_binary
from tests.acceptance.scenarios.waits import until
from tests.doubles.ports import free_port

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {"cryptofeed": ("cryptofeed==2.4.1", "redis", "hiredis"), "ccxt": ("ccxt",)}
TRADES, BOOKS, ROUNDS = 30_000, 10_000, 5
_INSTALL_LIMIT_S, _RUN_LIMIT_S = 600, 300


@dataclass(frozen=True)
class Found:
    """Frames a second of ours, and what a peer does in a second, by what is counted: one value a round."""

    ours: list[float]
    theirs: dict[str, list[float]]


class Unavailable(Exception):
    """A peer that can't be measured here."""


def scripts() -> Path:
    """Return where the measuring scripts are."""
    folder = Path(os.environ.get("SHARED_DIR", ROOT.parent / "shared")) / "bench" / "peers"
    if not folder.is_dir():
        raise Unavailable(f"no {folder.name} scripts: set SHARED_DIR")
    return folder


def interpreter(peer: str) -> str:
    """Return the interpreter that has `peer`, installing it the first time."""
    home = ROOT / "build" / "peers" / peer
    python = home / "bin" / "python"
    if not (home / "installed").exists():
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True, timeout=120)
        command = [str(python), "-m", "pip", "install", "--quiet", *PACKAGES[peer]]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_LIMIT_S)
        if done.returncode:
            raise Unavailable(f"{peer} can't be installed: {done.stderr.strip().splitlines()[-1]}")
        (home / "installed").touch()
    return str(python)


def peer_rows(peer: str, script: str, *arguments: str) -> list[dict[str, object]]:
    """Run one of the scripts; return the rows it printed."""
    command = [interpreter(peer), str(scripts() / script), *arguments, "--runs", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_RUN_LIMIT_S)
    if done.returncode:
        raise Unavailable(f"{script} failed: {done.stderr.strip().splitlines()[-1]}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


@contextmanager
def plain_redis(folder: Path) -> Iterator[str]:
    """Yield the address of a server without password, persistence or limit; the scripts know no password."""
    port = free_port()
    options = ("--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
    server = subprocess.Popen(
        [find_binary(), *options, "--dir", str(folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        with redis.Redis(port=port) as client:
            until(lambda: _answers(client), 10, "Redis answers")
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.terminate()
        server.wait(10)


def _answers(client: redis.Redis) -> bool:
    with suppress(redis.ConnectionError):
        return bool(client.ping())
    return False


def trades_beside_cryptofeed(folder: Path, url: str) -> Found:
    """Compare with the trades of its capture of the legacy socket, into its Redis stream."""
    capture = scripts().parent.parent / "data" / "cryptofeed-bithumb-legacy-2021-06-02" / "BITHUMB.ws.1.0"
    if not capture.exists():
        raise Unavailable("no recording of the legacy socket: set SHARED_DIR")
    lines = (line.partition(": ")[2] for line in capture.read_text().splitlines())
    file = folder / "trades.jsonl"
    file.write_text("\n".join(line for line in lines if line.startswith('{"type":"transaction"')))
    port = url.rsplit(":", 1)[1].split("/")[0]
    options = ("--redis-port", port, "--redis-count", str(TRADES), "--only", "redis-stream")
    frames, trades, ours = [], [], []
    for _ in range(ROUNDS):
        rows = peer_rows("cryptofeed", "bench_cryptofeed.py", "--frames", str(file), *options)
        frames.append(max(float(str(row["frames_per_s"])) for row in rows))
        trades.append(max(float(str(row["records_per_s"])) for row in rows))
        ours.append(ours_once("trade", TRADES * 4, MARKETS, url))
    return Found(ours, {"frames": frames, "trades": trades})


def books_beside_ccxt(folder: Path, url: str) -> Found:
    """Compare with ccxt's book path to a callback, on the same books."""
    frames = make_frames("orderbook", BOOKS, MARKETS)
    file = folder / "books.jsonl"
    file.write_text("\n".join(frame.decode() for frame in frames))
    theirs, ours = [], []
    for _ in range(ROUNDS):
        rows = peer_rows("ccxt", "bench_ccxt.py", "--frames", str(file), "--count", str(BOOKS))
        theirs.append(max(float(str(row["frames_per_s"])) for row in rows if "text" in str(row["case"])))
        ours.append(ours_once("orderbook", BOOKS * 10, MARKETS, url))
    return Found(ours, {"books": theirs})


def main() -> None:
    """Print both bars."""
    print(describe())
    comparisons = (
        ("3 trades to Redis, ours with the socket, over cryptofeed's Redis stream", trades_beside_cryptofeed),
        ("4 books to Redis, ours with the socket, over ccxt to a callback", books_beside_ccxt),
    )
    with tempfile.TemporaryDirectory() as name:
        for label, compare in comparisons:
            try:
                with plain_redis(Path(name)) as url:
                    found = compare(Path(name), url)
            except (Unavailable, subprocess.SubprocessError) as error:
                print(f"{label}: SKIPPED, {error}", flush=True)
                continue
            ratios = ", ".join(
                f"{median_ratio(found.ours, rates):.2f} ({median(rates):,.0f} {unit}/s)"
                for unit, rates in found.theirs.items()
            )
            print(f"{label}: {ratios}   bar >= 3   (ours {median(found.ours):,.0f}/s)", flush=True)


if __name__ == "__main__":
    main()
