"""`python -m benchmarks.live_faults [WORDS]`: what consumers of the event stream get while things fail.

Each row is a scenario of `tests/acceptance/scenarios`, played with two consumers that are killed and slowed
at random and resume by the id of their last event: one straight from Redis, one through `collector serve`.
What they received is compared with what the simulated exchange made. Prints the table of docs/live.md; the
exit code is 1 where anything was missing, doubled or out of order without an announcement.
"""

import sys
import tempfile
from pathlib import Path

from tests.acceptance.scenarios.catalog import EACH
from tests.acceptance.scenarios.consumer import Streamed, streamed
from tests.acceptance.scenarios.system import System

NAMES = (
    "all sockets cut at once, three times",
    "frames doubled and shuffled",
    "listener killed, twice",
    "every worker killed, three times",
    "a batch redelivered after the visibility timeout while its worker still has it",
    "Redis paused for 5 s",
    "Redis killed, restarted after 3 s",
    "Redis flushed",
    "Redis flushed while the listener is down",
    "Redis killed, the last 60 KB of its file cut off",
)


def main(words: str) -> int:
    """Play and print."""
    failed = False
    print("| fault | made | consumer | received | pieces | missing | doubled | out of order | announced |")
    print("|---|---:|---|---:|---:|---:|---:|---:|---|")
    with tempfile.TemporaryDirectory() as folder, System(Path(folder), workers=2) as system:
        for scenario in EACH:
            if scenario.name in NAMES and words in scenario.name:
                for way, found in zip(("Redis", "server"), streamed(system, scenario), strict=True):
                    failed = failed or bool(found.complaints())
                    print(_row(scenario.name, way, found), flush=True)
    return int(failed)


def _row(name: str, way: str, found: Streamed) -> str:
    announced = ", ".join(dict.fromkeys(found.announced)) or "–"
    return (
        f"| {name} | {found.made:,} | {way} | {found.received:,} | {found.pieces} | {found.missing:,} "
        f"| {found.twice:,} | {len(found.disorder)} | {announced} |"
    )


if __name__ == "__main__":
    sys.exit(main(" ".join(sys.argv[1:])))
