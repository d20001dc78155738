"""What every table says first: the machine, and how busy it was."""

import os
import platform
from pathlib import Path


def describe() -> str:
    """Return one line: processor, cores, load over the last minute (above 1: a busy machine), Python."""
    return (
        f"{platform.machine()}, {cpu_model()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, "
        f"Python {platform.python_version()}"
    )


def cpu_model() -> str:
    """Return the processor's name where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "unknown processor"
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, "unknown processor")
