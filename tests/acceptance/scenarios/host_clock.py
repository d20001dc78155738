"""The clocks of the host of the listeners: wrong, stepped, or standing still while the host sleeps.

The product has no such switch: `on_host_clock/sitecustomize.py` is on the path of the listeners alone.
"""

import os
import struct
from pathlib import Path

FOLDER = Path(__file__).parent / "on_host_clock"


class HostClock:
    """What the listeners' clocks are ahead of this machine's, in a file that they map."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.set(0.0, 0.0)

    def set(self, wall_s: float, monotonic_s: float) -> None:
        """Let wall time and monotonic time be so many seconds ahead."""
        self.wall_s, self.monotonic_s = wall_s, monotonic_s
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT)
        try:
            os.pwrite(descriptor, struct.pack("dd", wall_s, monotonic_s), 0)
        finally:
            os.close(descriptor)

    def step(self, seconds: float) -> None:
        """Step wall time, as NTP does."""
        self.set(self.wall_s + seconds, self.monotonic_s)

    def put_right(self) -> None:
        """Let wall time be right."""
        self.set(0.0, self.monotonic_s)

    def stood_still(self, seconds: float) -> None:
        """Take from monotonic time what the host has slept."""
        self.set(self.wall_s, self.monotonic_s - seconds)

    def environment(self) -> dict[str, str]:
        """Return the variables of a process that has these clocks."""
        paths = [str(FOLDER), os.environ.get("PYTHONPATH", "")]
        return {"HOST_CLOCK": str(self._path), "PYTHONPATH": os.pathsep.join(filter(None, paths))}
