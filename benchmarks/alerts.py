"""`python -m benchmarks.alerts`: what alert rules cost, and how soon a receiver on loopback has a firing.

A whole `collector up` at the exchange's mix over 493 markets, with 1,000 rules on their prices, changes,
volumes, spreads and trades, two or three on each market. Printed: CPU of the worker that evaluates and
delivers, with the rules and without any, and the time from a trade's commit and from its stamp at the
exchange to the receiver.

    python -m benchmarks.alerts [SECONDS]
"""

import sys
import tempfile
import time
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path

from benchmarks.frames import MARKETS, market_names
from benchmarks.machine import describe
from benchmarks.system import MIX_OPTIONS, QUICK_START, WARM_UP_S, System, exchange_running
from collector.alerts.ledger import Ledger
from collector.alerts.rules import parse
from collector.listener.health import percentile
from collector.settings import Settings
from tests.doubles.receiver import Receiver, receiving

RULES = 1000
#: Conditions that are rarely true, as those of people are; the first kind fires often enough to be measured.
CONDITIONS = (
    "trade {} above 1 cooldown 30s",
    "price {} above 900,000,000,000",
    "change {} above 20% in 10m",
    "volume {} above 500x in 5m",
    "price {} below 0.0000001",
    "spread {} above 5000bps",
    "trade {} above 900,000,000,000",
    "change {} below -20% in 1h",
)


def main() -> None:
    """Print the figures."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    print(f"{describe()}; {RULES:,} rules over {MARKETS} markets, {seconds:g} s each\n")
    names = market_names()
    texts = [
        condition.format(market)
        for _, condition, market in zip(range(RULES), cycle(CONDITIONS), cycle(names), strict=False)
    ]
    with ExitStack() as stack:
        receiver = stack.enter_context(receiving())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        place = stack.enter_context(exchange_running(MIX_OPTIONS, folder))
        environment = {
            **QUICK_START,
            "COLLECTOR_ALERT__RULES": "none",
            "COLLECTOR_ALERT__RATE_LIMIT": "1000/s",
            "COLLECTOR_ALERT__CHANNELS": f"ops={receiver.url}",
        }
        system = System(folder, place, environment)
        stack.enter_context(system.running())
        time.sleep(WARM_UP_S)
        system.settle()
        print(f"without rules: {_share(system, seconds):.1%} of a core")
        ledger = Ledger(system.redis, Settings())
        for text in texts:
            ledger.add(parse(text))
        time.sleep(WARM_UP_S)
        receiver.received.clear()
        print(f"with rules:    {_share(system, seconds):.1%} of a core   bar <= 5 %")
        _print_delays(receiver, seconds)


def _share(system: System, seconds: float) -> float:
    """Return the CPU of the worker of the queue `alert`, in cores."""
    before = system.cpu_s()["alerts worker"]
    time.sleep(seconds)
    return (system.cpu_s()["alerts worker"] - before) / seconds


def _print_delays(receiver: Receiver, seconds: float) -> None:
    got = list(receiver.received)
    of_trades = [each for each in got if each.body["event_id"]]
    for name, sent_ms in (
        ("commit to receiver", lambda each: int(each.body["event_id"].split("-")[0])),
        ("trade to receiver", lambda each: each.body["ms"]),
    ):
        delays = [each.at_s * 1000 - sent_ms(each) for each in of_trades]
        found = ", ".join(
            f"p{share * 100:g} {percentile(delays, share):.0f} ms" for share in (0.5, 0.9, 0.99)
        )
        rate = f"{len(delays):,} firings, {len(delays) / seconds:.1f} a second"
        print(f"{name}: {found} of {rate}   bar p99 <= 1 s")


if __name__ == "__main__":
    main()
