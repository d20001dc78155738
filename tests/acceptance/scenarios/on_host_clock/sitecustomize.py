"""The clocks of one process of a test, wrong by what a file names; Python imports this before all else.

`HOST_CLOCK` is a file of two doubles: seconds that wall time and monotonic time are ahead of this machine's.
They are read at every call, so a test can step a clock while the process runs.
"""

import mmap
import os
import struct
import time
from pathlib import Path

_OFFSETS = struct.Struct("dd")


def _install(path: Path) -> None:
    with path.open("rb") as file:
        shared = mmap.mmap(file.fileno(), _OFFSETS.size, access=mmap.ACCESS_READ)
    real_time, real_time_ns = time.time, time.time_ns
    real_monotonic, real_monotonic_ns = time.monotonic, time.monotonic_ns

    def offset_s(place: int) -> float:
        offsets: tuple[float, float] = _OFFSETS.unpack(shared[:])
        return offsets[place]

    time.time = lambda: real_time() + offset_s(0)
    time.time_ns = lambda: real_time_ns() + int(offset_s(0) * 1e9)
    time.monotonic = lambda: real_monotonic() + offset_s(1)
    time.monotonic_ns = lambda: real_monotonic_ns() + int(offset_s(1) * 1e9)


if "HOST_CLOCK" in os.environ:
    _install(Path(os.environ["HOST_CLOCK"]))
