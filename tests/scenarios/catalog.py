"""The scenarios: what goes wrong, when, and what is expected. Short ones for every run, long ones to soak.

Where nothing is said, the expectation is that every trade is there once and every candle exact and complete.
"""

import random
from collections.abc import Callable
from dataclasses import replace

from tests.scenarios.play import Act, Scenario


def _often(deed: str, times: tuple[float, ...], for_s: float = 0.3) -> tuple[Act, ...]:
    return tuple(Act(at_s, deed, for_s) for at_s in times)


#: A few seconds each; where it stays telling, several faults in one run.
SHORT = (
    Scenario(
        name="sockets cut every 3,000 frames, garbage, duplicates, shuffled frames, an error frame",
        faults="cut-every:3000,garbage:0.02,duplicate:0.05,shuffle:0.05,error@6s",
        seconds=9,
        seen=("rejected:", "server_errors", "frame_copies"),
    ),
    Scenario(
        name="all sockets cut again and again",
        faults="cut@4s/1500ms",
        seconds=9,
        seen=("trades_backfilled",),
    ),
    Scenario(
        name="one socket stalls, then all",
        faults="stall@4s:3s!one,stall@8s:4s",
        faults_over_s=12,
        seconds=14,
        seen=("stalls:", "trades_backfilled"),
    ),
    Scenario(
        name="half-open connections: packets vanish",
        acts=(Act(1.5, "black hole", 4),),
        proxied=True,
        seconds=10,
        seen=("stalls:", "trades_backfilled"),
    ),
    Scenario(
        name="handshakes answered with 429, with 503, and accepted only to hang up",
        faults="cut@4s,reject429@4s:2s,cut@7s,reject503@7s:2s,cut@10s,accept-close@10s:2s",
        faults_over_s=12,
        seconds=14,
        seen=("trades_backfilled",),
    ),
    Scenario(
        name="listener killed, killed again, stopped and started",
        acts=(*_often("kill listener", (1, 3.5)), Act(6.5, "stop listener", 0.3)),
        seconds=11,
    ),
    Scenario(
        name="every worker killed, again and again, pool processes too",
        acts=(*_often("kill workers", (1, 4.5)), *_often("kill worker children", (7.5, 8, 8.5), 0)),
        seconds=11,
    ),
    Scenario(name="Redis paused for 5 s", acts=(Act(2, "pause redis", 5),), seconds=11),
    Scenario(name="Redis killed and restarted", acts=(Act(2, "kill redis", 2),), seconds=9, deaths=True),
    Scenario(
        name="Redis out of memory",
        acts=(Act(2, "fill redis", 3),),
        seconds=9,
        deaths=True,
        seen=("send_failures", "trade_rows_spooled"),
    ),
    Scenario(
        name="a worker stops longer than the visibility timeout",
        acts=(Act(2, "pause worker", 7),),
        seconds=10,
        seen=("trades_duplicate",),
    ),
    Scenario(
        name="two listeners for the same share, the active one killed",
        listeners=2,
        acts=(Act(2.5, "kill first listener"),),
        seconds=11,
    ),
)

DISK_FULL = Scenario(
    name="disk full under the spool while Redis is away",
    acts=(Act(2, "pause redis", 6),),
    spool_kb=64,
    rate=300,
    seconds=11,
    seen=("trade_rows_lost", "trade_rows_spooled"),
)

#: As long as on the live exchange, with the times of production.
LONG = (
    Scenario(
        name="one socket stalls for 40 s",
        faults="stall@15s:40s!one",
        faults_over_s=55,
        seconds=75,
        settle_s=90,
    ),
    Scenario(
        name="all sockets stall for 40 s", faults="stall@15s:40s", faults_over_s=55, seconds=75, settle_s=90
    ),
    Scenario(name="Redis paused for 60 s", acts=(Act(10, "pause redis", 60),), seconds=85, settle_s=90),
    Scenario(
        name="handshakes answered with 429 for a minute",
        faults="cut@10s,reject429@10s:60s",
        faults_over_s=70,
        seconds=160,
        settle_s=90,
    ),
    Scenario(
        name="handshakes answered with 503 for a minute",
        faults="cut@10s,reject503@10s:60s",
        faults_over_s=70,
        seconds=130,
        settle_s=90,
    ),
)

_SIMULATED: tuple[Callable[[random.Random, str], str], ...] = (
    lambda dice, at: f"cut@{at}!{dice.choice(('one', 'all'))}",
    lambda dice, at: f"close@{at}!{dice.choice(('one', 'all'))}",
    lambda dice, at: f"error@{at}!{dice.choice(('one', 'all'))}",
    lambda dice, at: f"stall@{at}:{dice.uniform(1, 5):.1f}s!{dice.choice(('one', 'all'))}",
    lambda dice, at: f"cut@{at},reject503@{at}:{dice.uniform(0.5, 3):.1f}s",
    lambda dice, at: f"cut@{at},accept-close@{at}:{dice.uniform(0.5, 3):.1f}s",
    lambda dice, at: f"rest503@{at}:{dice.uniform(0.5, 3):.1f}s",
    lambda dice, at: f"garbage:{dice.uniform(0.01, 0.1):.2f}@{at}",
    lambda dice, at: f"duplicate:{dice.uniform(0.01, 0.3):.2f}@{at}",
    lambda dice, at: f"shuffle:{dice.uniform(0.01, 0.3):.2f}@{at}",
)
_DEEDS = (
    ("kill redis", 3.0),
    ("pause redis", 4.0),
    ("kill workers", 1.0),
    ("kill worker children", 0.0),
    ("kill listener", 1.0),
    ("stop listener", 1.0),
    ("pause worker", 6.0),
)


def at_random(seed: int) -> Scenario:
    """Make a schedule of several faults, some of them at the same time; the same seed makes the same."""
    dice = random.Random(seed)
    faults = [dice.choice(_SIMULATED)(dice, f"{dice.uniform(3, 11):.1f}s") for _ in range(dice.randint(2, 4))]
    acts = []
    for _ in range(dice.randint(1, 3)):
        deed, longest_s = dice.choice(_DEEDS)
        acts.append(Act(round(dice.uniform(0.5, 9), 1), deed, round(dice.uniform(0, longest_s), 1)))
    return Scenario(
        name=f"seed {seed}",
        seed=seed,
        seconds=13,
        faults=",".join(faults),
        acts=tuple(acts),
        deaths=True,
        settle_s=60,
    )


def scaled(scenario: Scenario, factor: float) -> Scenario:
    """Return `scenario` with `factor` times the trades a second."""
    return replace(scenario, rate=scenario.rate * factor)
