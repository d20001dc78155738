"""`python -m benchmarks.top`: what `collector top` costs beside the exchange's mix.

Starts `collector simulate` with 493 markets, `collector up`, and `collector top` on a terminal of 160 x 50;
after a minute it prints the CPU that `top` took, in per cent of a core.
"""

import os
import pty
import select
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ

import psutil

from benchmarks.machine import describe
from tests.doubles.ports import free_port

WARM_S, SECONDS = 20, 60
MARKETS, RATE = 493, 300
COLUMNS, LINES = 160, 50


def main() -> None:
    """Print one line."""
    folder, exchange = Path(tempfile.mkdtemp()), free_port()
    env = {
        **os.environ,
        "TERM": "xterm-256color",
        "COLLECTOR_DATA_DIR": str(folder),
        "COLLECTOR_EXCHANGE__WEBSOCKET_URL": f"ws://127.0.0.1:{exchange}/websocket/v1",
        "COLLECTOR_EXCHANGE__REST_URL": f"http://127.0.0.1:{exchange}",
        "COLLECTOR_MARKETS": "*",
    }
    program = [sys.executable, "-m", "collector"]
    options = ["--port", str(exchange), "--markets", str(MARKETS), "--rate", str(RATE)]
    with (folder / "log").open("wb") as log:
        running = [
            subprocess.Popen([*program, "simulate", *options], stdout=log, stderr=log),
            subprocess.Popen([*program, "up", "--no-serve"], env=env, stdout=log, stderr=log),
        ]
        try:
            time.sleep(WARM_S)
            print(describe())
            print(f"collector top: {_share(program, env):.1%} of a core over {SECONDS} s")
        finally:
            for process in reversed(running):
                process.terminate()
                process.wait(30)


def _share(program: list[str], env: Mapping[str, str]) -> float:
    ours, theirs = pty.openpty()
    ioctl(ours, TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    with subprocess.Popen([*program, "top"], env=env, stdin=theirs, stdout=theirs, stderr=theirs) as top:
        os.close(theirs)
        _drain(ours, WARM_S)
        process = psutil.Process(top.pid)
        before_s = sum(process.cpu_times()[:2])
        _drain(ours, SECONDS)
        share = (sum(process.cpu_times()[:2]) - before_s) / SECONDS
        os.write(ours, b"q")
        _drain(ours, 2)
        top.wait(10)
    os.close(ours)
    return share


def _drain(terminal: int, seconds: float) -> None:
    """Take what is drawn, as a terminal does."""
    end_s = time.monotonic() + seconds
    while (left_s := end_s - time.monotonic()) > 0:
        if select.select([terminal], [], [], left_s)[0]:
            try:
                os.read(terminal, 65_536)
            except OSError:
                return  # it has ended


if __name__ == "__main__":
    main()
