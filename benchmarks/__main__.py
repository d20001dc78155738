"""`make bench`: the listener's bars as ratios measured in one run, method and machine printed.

Longer measurements have commands of their own: `benchmarks.overload`, `benchmarks.pressure_simulation`,
`benchmarks.reliability`, `benchmarks.archive`.
"""

import os
import platform
from pathlib import Path

from benchmarks.listener import compare

ROUNDS = 3


def main() -> None:
    """Print the table."""
    print(
        f"{platform.processor() or platform.machine()}, {cpu_model()}, {os.cpu_count()} cores, load {load()}"
    )
    print(f"Python {platform.python_version()}; medians of {ROUNDS} alternating runs, one core a side\n")
    trades = compare("trade", 60_000, ROUNDS, 493)
    books = compare("orderbook", 20_000, ROUNDS, 493)
    few = compare("trade", 60_000, ROUNDS, 5)
    rows = (
        ("1 trades: socket to Redis over a bare websockets + json.loads loop", trades["ratio"], ">= 0.6"),
        ("2 books of 15 levels, all different, the same", books["ratio"], ">= 0.5"),
        ("9 CPU per trade at 493 markets over that at 5", trades["cpu_us"] / few["cpu_us"], "<= 1.15"),
    )
    for name, ratio, bar in rows:
        print(f"{name:<72} {ratio:5.2f}   bar {bar}")
    print(
        f"\ntrades/s ours {trades['ours']:,.0f} bare {trades['bare']:,.0f}; "
        f"books/s ours {books['ours']:,.0f} bare {books['bare']:,.0f}; CPU us a trade {trades['cpu_us']:.1f}"
    )


def cpu_model() -> str:
    """Return the processor's name where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "unknown processor"
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, "unknown processor")


def load() -> str:
    """Return the machine's load over the last minute: above 1, the figures are of a busy machine."""
    return f"{os.getloadavg()[0]:.1f}"


if __name__ == "__main__":
    main()
