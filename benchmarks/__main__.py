"""`make bench`: the eleven bars, ratios measured in one run, method and machine printed; about ten minutes.

Each part has a command of its own, for longer runs: `benchmarks.listener`, `benchmarks.peers`,
`benchmarks.system`, `benchmarks.obvious`, `benchmarks.totals`; and there are `benchmarks.overload`,
`benchmarks.workers`, `benchmarks.pressure_simulation`, `benchmarks.reliability`, `benchmarks.archive`,
`benchmarks.archive_memory`, `benchmarks.backfill`, `benchmarks.stages`. With `--against DIR` another
checkout is the rival: see `benchmarks.against`; `benchmarks.upgrade DIR` goes on with its data.
"""

import argparse
from pathlib import Path

from benchmarks import against, obvious, peers, totals
from benchmarks.listener import compare
from benchmarks.machine import describe
from benchmarks.store_rounds import SHAPES
from benchmarks.system import mix, print_mix, print_sustained, sustained

ROUNDS = 5
#: Trades a second that the whole system is given for bars 5 and 10: the first at which the backlog is flat.
RATES = (20_000.0, 13_000.0)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="length of each run of the whole system")
    parser.add_argument("--against", type=Path, metavar="DIR", help="another checkout, with its own .venv")
    chosen = parser.parse_args()
    seconds = chosen.seconds
    if chosen.against:
        against.run(chosen.against.resolve(), against.PARTS, ROUNDS, seconds / 6, tuple(SHAPES))
        return
    print(f"{describe()}; bars 1, 2, 9: medians of {ROUNDS} alternating runs, the listener on one core\n")
    _listener()
    peers.main()
    for rate in RATES:
        found = sustained(rate, seconds)
        print_sustained(found, seconds)
        if found.is_flat:
            break
    alone = obvious.rate(15)
    print(f"10 over one task per message: {found.per_s / alone:.0f}   bar >= 20   ({alone:,.0f} trades/s)")
    found_mix = mix(seconds, {})
    print_mix(found_mix)
    totals.main(found_mix.cpu["listener"] * 1000)


def _listener() -> None:
    trades, few = compare("trade", 150_000, ROUNDS, 493), compare("trade", 150_000, ROUNDS, 5)
    books = compare("orderbook", 60_000, ROUNDS, 493)
    for name, found, bar in (("1 trades", trades, 0.6), ("2 books of 15 levels", books, 0.5)):
        print(
            f"{name}: socket to Redis over a bare websockets + json.loads loop: {found['ratio']:.2f}, "
            f"by CPU {found['cpu_ratio']:.2f}   bar >= {bar}   ({found['ours']:,.0f} and "
            f"{found['bare']:,.0f}/s; {found['cpu_us']:.1f} and {found['bare_cpu_us']:.1f} us)"
        )
    print(
        f"9 CPU per trade at 493 markets over that at 5: {trades['cpu_us'] / few['cpu_us']:.2f}   bar <= 1.15"
    )


if __name__ == "__main__":
    main()
