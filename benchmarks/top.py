"""`python -m benchmarks.top`: what `collector top` costs beside the exchange's mix.

Runs `collector up` at the exchange's mix and `collector top` on a terminal of 160 x 50 beside it; after a
minute it prints the CPU that `top` took, in per cent of a core.
"""

import os
import pty
import select
import struct
import subprocess
import sys
import tempfile
import time
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ

import psutil

from benchmarks.machine import describe
from benchmarks.system import MIX_OPTIONS, QUICK_START, System

WARM_S, SECONDS = 20, 60
COLUMNS, LINES = 160, 50


def main() -> None:
    """Print two lines."""
    with tempfile.TemporaryDirectory() as name:
        system = System(Path(name), MIX_OPTIONS, QUICK_START)
        with system.running():
            system.settle()
            print(describe())
            print(f"collector top: {_share(system.data_dir):.1%} of a core over {SECONDS} s")


def _share(data_dir: Path) -> float:
    ours, theirs = pty.openpty()
    ioctl(ours, TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    argv = [sys.executable, "-m", "collector", "top"]
    env = {**os.environ, "TERM": "xterm-256color", "COLLECTOR_DATA_DIR": str(data_dir)}
    with subprocess.Popen(argv, env=env, stdin=theirs, stdout=theirs, stderr=theirs) as top:
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
