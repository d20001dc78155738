"""`python -m benchmarks.reliability`: what each fault costs, as the table of docs/reliability.md.

Every row is a scenario of `tests/acceptance/scenarios`: the simulated exchange writes down each trade it
makes, the system runs as in production (Redis, two workers, listener, each its own process), the fault is
done to it,
and what is stored is compared with what was made. Timeouts are scaled down, see `SHORT_TIMES`.

    python -m benchmarks.reliability            print the table
    python -m benchmarks.reliability --write    and put it into docs/reliability.md
    python -m benchmarks.reliability open [WORDS]    the second table, or its rows with these words
"""

import os
import platform
import sys
import tempfile
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from collector import __version__
from tests.acceptance.scenarios.catalog import DISK_FULL, EACH, TABLE
from tests.acceptance.scenarios.disk import can_mount
from tests.acceptance.scenarios.play import Act, Outcome, Scenario, play
from tests.acceptance.scenarios.system import SHORT_TIMES, System

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reliability.md"
BEGIN, END = "<!-- made by python -m benchmarks.reliability --write -->", "<!-- end of what is made -->"

TRADES_ONLY = {"COLLECTOR_CHANNELS": "trade"}
#: The two faults other software was measured under, at its rate and with the same numbers.
BESIDE = (
    Scenario(
        name="TCP cut every 3,000 frames",
        faults="cut-every:3000",
        seconds=13,
        rate=1000,
        settings=TRADES_ONLY,
        settle_s=60,
    ),
    Scenario(
        name="Redis restarted, away for 3 s",
        acts=(Act(3, "kill redis", 3),),
        seconds=12,
        rate=1000,
        settings=TRADES_ONLY,
        deaths=True,
        settle_s=60,
    ),
    Scenario(
        name="Redis stalled for 5 s",
        acts=(Act(3, "pause redis", 5),),
        seconds=12,
        rate=1000,
        settings=TRADES_ONLY,
        settle_s=60,
    ),
)
#: Measured with the scripts of shared/bench/peers, on two cores, 1,000 trades a second (shared/peers.md).
PEERS = {
    BESIDE[0].name: (
        "cryptofeed 2.4.1: 3,010 of 13,000 lost (23 %), holes of 1.0 s. "
        "ccxt 4.5.90: 8 to 17 lost, holes up to 0.09 s. pybithumb: the process dies, 77 % lost."
    ),
    BESIDE[1].name: "cryptofeed 2.4.1: 2,998 of 12,000 stored, its writer dead for good, its queue growing.",
    BESIDE[2].name: "cryptofeed 2.4.1: 2,999 stored, its writer dead for good.",
}


def main() -> int:
    """Play everything, print the table; 1 if anything was lost or doubled."""
    if sys.argv[1:2] == ["open"]:
        return _open(" ".join(sys.argv[2:]))
    beside = list(_outcomes(BESIDE, SHORT_TIMES))
    with tempfile.TemporaryDirectory() as folder:
        each = (*EACH, DISK_FULL) if can_mount(Path(folder)) else EACH
    alone = list(_outcomes(each, SHORT_TIMES))
    text = "\n".join([*_about(), *_beside(beside), *_table(alone)])
    print(text)
    if "--write" in sys.argv:
        _write(text)
    return 1 if any(outcome.complaints() for outcome in (*beside, *alone)) else 0


def _outcomes(scenarios: Iterable[Scenario], times: dict[str, str]) -> Iterator[Outcome]:
    with tempfile.TemporaryDirectory() as folder, System(Path(folder), workers=2, times=times) as system:
        for scenario in scenarios:
            outcome = play(scenario, system)
            print(f"{outcome} {outcome.complaints() or ''}", file=sys.stderr, flush=True)
            yield outcome


def _open(words: str) -> int:
    """Play the second table."""
    outcomes = list(_outcomes([each for each in TABLE if words in each.name], SHORT_TIMES))
    head = (
        "| the exchange, the host, Redis | sent | lost | doubled | wrong candles | of them called complete |"
    )
    print("\n".join([*_about(), f"{head} exact after |", "|---|---:|---:|---:|---:|---:|---:|"]))
    for outcome in outcomes:
        print(_open_row(outcome))
    return 1 if any(outcome.complaints() for outcome in outcomes) else 0


def _open_row(outcome: Outcome) -> str:
    verdict = outcome.verdict
    lost = f"{verdict.lost:,}" + (f", all said: {verdict.admitted:,}" if verdict.admitted else "")
    return (
        f"| {outcome.scenario.name} | {verdict.sent:,} | {lost} | {verdict.doubled:,} "
        f"| {len(verdict.wrong) + verdict.incomplete} | {len(verdict.wrong)} | {outcome.settled_s:.0f} s |"
    )


def _about() -> Iterator[str]:
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    load = f"load average {os.getloadavg()[0]:.1f} at the end"
    yield f"Version {__version__}, {datetime.now(UTC):%Y-%m-%d}, {machine}, {load}."
    yield "Times vary with the load, losses do not.\n"


def _beside(outcomes: list[Outcome]) -> Iterator[str]:
    yield "| fault, at 1,000 trades/s | sent | lost | doubled | longest hole | time to recover | others |"
    yield "|---|---:|---:|---:|---:|---:|---|"
    for outcome in outcomes:
        yield f"{_row(outcome)} {PEERS[outcome.scenario.name]} |"
    yield ""


def _table(outcomes: list[Outcome]) -> Iterator[str]:
    yield "| fault | sent | lost | doubled | longest hole | time to recover |"
    yield "|---|---:|---:|---:|---:|---:|"
    yield from map(_row, outcomes)


def _row(outcome: Outcome) -> str:
    verdict = outcome.verdict
    recovery = "–" if outcome.recovery_s is None else f"{outcome.recovery_s:.1f} s"
    wrong = f" **{len(verdict.wrong)} candles wrong**" if verdict.wrong else ""
    return (
        f"| {outcome.scenario.name} | {verdict.sent:,} | {verdict.lost:,}{wrong} | {verdict.doubled:,} "
        f"| {outcome.longest_hole_s:.1f} s | {recovery} |"
    )


def _write(text: str) -> None:
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
