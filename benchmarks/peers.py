"""Bars 3 and 4: our listener beside cryptofeed and ccxt, in turns in one run: `python -m benchmarks.peers`.

The peers are measured by the scripts in `SHARED_DIR/bench/peers`, each in a virtual environment of its own
under `build/peers`, and get the same trades and books as we do: cryptofeed as frames of the legacy socket, the
only one it knows, one trade each. Theirs is without the socket, ours with it. Skipped aloud where the scripts or
the packages are not to be had.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median

import redis

from benchmarks.frames import MARKETS
from benchmarks.listener import make_frames, ours_once
from benchmarks.machine import describe
from collector.redis_server import find_binary
from tests.scenarios.system import free_port
from tests.scenarios.waits import until

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {"cryptofeed": ("cryptofeed==2.4.1", "redis", "hiredis"), "ccxt": ("ccxt",)}
TRADES, BOOKS, ROUNDS = 30_000, 10_000, 3
_INSTALL_LIMIT_S, _RUN_LIMIT_S = 600, 300


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


def legacy(frame: bytes) -> str:
    """Return a trade of the current socket as a frame of the legacy one."""
    trade = json.loads(frame)
    quote, base = trade["code"].split("-")
    row = {
        "symbol": f"{base}_{quote}",
        "buySellGb": "2" if trade["ask_bid"] == "BID" else "1",
        "contPrice": str(trade["trade_price"]),
        "contQty": f"{trade['trade_volume']:.8f}",
        "contAmt": f"{trade['trade_price'] * trade['trade_volume']:.4f}",
        "contDtm": f"2026-09-23 12:18:33.{trade['sequential_id'] % 1_000_000:06d}",
        "updn": "up",
    }
    return json.dumps({"type": "transaction", "content": {"list": [row]}}, separators=(",", ":"))


def trades_beside_cryptofeed(folder: Path, url: str) -> tuple[float, float]:
    """Return frames a second of cryptofeed into its Redis stream, and of ours."""
    frames = make_frames("trade", TRADES, MARKETS)
    file = folder / "trades.jsonl"
    file.write_text("\n".join(map(legacy, frames)))
    port = url.rsplit(":", 1)[1].split("/")[0]
    options = ("--redis-port", port, "--redis-count", str(TRADES), "--only", "redis-stream")
    theirs, ours = [], []
    for _ in range(ROUNDS):
        rows = peer_rows("cryptofeed", "bench_cryptofeed.py", "--frames", str(file), *options)
        theirs.append(max(float(str(row["frames_per_s"])) for row in rows))
        ours.append(ours_once("trade", TRADES * 4, MARKETS, url))
    return median(theirs), median(ours)


def books_beside_ccxt(folder: Path, url: str) -> tuple[float, float]:
    """Return frames a second of ccxt's book path to a callback, and of ours."""
    frames = make_frames("orderbook", BOOKS, MARKETS)
    file = folder / "books.jsonl"
    file.write_text("\n".join(frame.decode() for frame in frames))
    theirs, ours = [], []
    for _ in range(ROUNDS):
        rows = peer_rows("ccxt", "bench_ccxt.py", "--frames", str(file), "--count", str(BOOKS))
        theirs.append(max(float(str(row["frames_per_s"])) for row in rows if "text" in str(row["case"])))
        ours.append(ours_once("orderbook", BOOKS * 4, MARKETS, url))
    return median(theirs), median(ours)


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
                    theirs, ours = compare(Path(name), url)
            except (Unavailable, subprocess.SubprocessError) as error:
                print(f"{label}: SKIPPED, {error}", flush=True)
                continue
            print(f"{label}: {ours / theirs:.2f}   bar >= 3   ({ours:,.0f} and {theirs:,.0f}/s)", flush=True)


if __name__ == "__main__":
    main()
