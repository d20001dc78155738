"""The scenarios: what goes wrong, when, and what is expected. Combined ones for every run, the rest to soak.

Where nothing is said, the expectation is that every trade is there once and every candle exact and complete.
"""

import random
from collections.abc import Callable
from dataclasses import replace

from tests.acceptance.scenarios.play import Act, Scenario


def _often(deed: str, times: tuple[float, ...], for_s: float = 0.3) -> tuple[Act, ...]:
    return tuple(Act(at_s, deed, for_s) for at_s in times)


#: One fault each: the rows of docs/reliability.md.
EACH = (
    Scenario(
        name="every socket cut every 3,000 frames",
        faults="cut-every:3000",
        seconds=10,
        seen=("sockets_lost",),
    ),
    Scenario(
        name="all sockets cut at once, three times",
        faults="cut@4s,cut@6s,cut@8s",
        faults_over_s=8,
        seconds=11,
        seen=("trades_backfilled",),
    ),
    Scenario(
        name="half-open connections: packets vanish for 4 s",
        acts=(Act(1.5, "black hole", 4),),
        proxied=True,
        seconds=10,
        seen=("stalls:", "trades_backfilled"),
    ),
    Scenario(
        name="one socket silent for 4 s",
        faults="stall@4s:4s!one",
        faults_over_s=8,
        seconds=11,
        seen=("stalls:",),
    ),
    Scenario(
        name="all sockets silent for 4 s",
        faults="stall@4s:4s",
        faults_over_s=8,
        seconds=11,
        seen=("stalls:", "trades_backfilled"),
    ),
    Scenario(
        name="no trades for 5 s while books and tickers flow",
        faults="silent-channel=trade@4s:5s",
        faults_over_s=9,
        seconds=12,
        seen=("trades_backfilled",),
    ),
    Scenario(
        name="connections accepted, then closed, for 3 s",
        faults="cut@4s,accept-close@4s:3s",
        faults_over_s=7,
        seconds=11,
        seen=("trades_backfilled", "sockets_lost"),
    ),
    Scenario(
        name="handshakes answered with 429 for 3 s",
        faults="cut@4s,reject429@4s:3s",
        faults_over_s=7,
        seconds=11,
        seen=("trades_backfilled", "sockets_lost"),
    ),
    Scenario(
        name="handshakes answered with 503 for 3 s",
        faults="cut@4s,reject503@4s:3s",
        faults_over_s=7,
        seconds=11,
        seen=("trades_backfilled", "sockets_lost"),
    ),
    Scenario(
        name="one socket cut twice, REST gives all trades of a millisecond one id",
        faults="cut@4s,cut@6s",
        rules="rest-ids=shared",
        settings={"COLLECTOR_REDUNDANCY": "1"},
        faults_over_s=6,
        rate=600,
        seconds=9,
        seen=("trades_recovered",),
    ),
    Scenario(
        name="one socket cut twice, rows of REST without an id, pages end at midnight",
        faults="cut@4s,cut@6s",
        rules="rest-ids=none,midnight=ends",
        settings={"COLLECTOR_REDUNDANCY": "1"},
        faults_over_s=6,
        seconds=9,
        seen=("trades_recovered",),
    ),
    Scenario(
        name="one socket cut twice, the cursor shows its own row and all of its millisecond",
        faults="cut@4s,cut@6s",
        rules="rest-ids=shared,cursor=inclusive",
        settings={"COLLECTOR_REDUNDANCY": "1"},
        faults_over_s=6,
        rate=600,
        seconds=9,
        seen=("trades_recovered",),
    ),
    Scenario(
        name="one socket cut twice, the cursor is refused",
        faults="cut@4s,cut@6s",
        rules="cursor=refused",
        settings={"COLLECTOR_REDUNDANCY": "1"},
        faults_over_s=6,
        rate=600,
        seconds=9,
        seen=("trades_recovered",),
    ),
    Scenario(
        name="one socket cut twice, REST lags 6 s",
        faults="cut@4s,cut@6s",
        rules="rest-lag=6s",
        settings={"COLLECTOR_REDUNDANCY": "1", "COLLECTOR_EXCHANGE__REST_LAG_MAX_S": "8"},
        faults_over_s=6,
        seconds=9,
        settle_s=60,
        seen=("trades_recovered", "backfills_stale"),
    ),
    Scenario(
        name="sockets cut, REST calls are too many for 3 s, with HTTP 200",
        faults="cut@4s,rest-limit@4s:3s",
        rules="limit=error-text",
        faults_over_s=7,
        seconds=9,
        seen=("trades_recovered", "rest_limited:"),
    ),
    Scenario(
        name="one trade in a hundred reaches no socket",
        faults="leave-out:0.01",
        rate=200,
        seconds=10,
        after_s=75,
        seen=("trades_recovered",),
    ),
    Scenario(
        name="one trade in a hundred reaches no socket, REST lags 12 s, ids shared",
        faults="leave-out:0.01",
        rules="rest-lag=12s,rest-ids=shared,candle-volumes=rounded",
        settings={"COLLECTOR_EXCHANGE__REST_LAG_MAX_S": "15"},
        rate=200,
        seconds=10,
        after_s=100,
        settle_s=60,
        seen=("trades_recovered",),
    ),
    Scenario(
        name="one trade in a hundred reaches no socket, and REST has lost it too",
        faults="vanish:0.01",
        rate=200,
        seconds=10,
        after_s=75,
        losses=True,
        seen=("totals_lost",),
    ),
    Scenario(
        name="error frame, then close", faults="error@5s", faults_over_s=5, seconds=9, seen=("server_errors",)
    ),
    Scenario(
        name="garbage of every kind between good frames",
        faults="garbage:0.05@0s:9s",
        seconds=9,
        seen=("rejected:",),
    ),
    Scenario(
        name="frames doubled and shuffled",
        faults="duplicate:0.1,shuffle:0.1",
        seconds=9,
        seen=("trade_copies",),
    ),
    Scenario(name="listener killed, twice", acts=_often("kill listener", (1.5, 4.5)), seconds=10),
    Scenario(name="listener stopped and started", acts=(Act(2, "stop listener", 0.3),), seconds=8),
    Scenario(name="every worker killed, three times", acts=_often("kill workers", (1, 4, 7)), seconds=11),
    Scenario(
        name="pool processes killed, three times",
        acts=_often("kill worker children", (1, 3.5, 6), 0),
        seconds=10,
        deaths=True,
    ),
    Scenario(name="Redis paused for 5 s", acts=(Act(2, "pause redis", 5),), seconds=11),
    Scenario(
        name="Redis killed, restarted after 3 s", acts=(Act(2, "kill redis", 3),), seconds=10, deaths=True
    ),
    Scenario(
        name="Redis flushed",
        acts=(Act(4, "flush redis"),),
        seconds=9,
        deaths=True,
        seen=("redis_lost_writes",),
    ),
    Scenario(
        name="Redis flushed while the listener is down",
        acts=(Act(4, "kill listener", 2), Act(5, "flush redis")),
        seconds=9,
        deaths=True,
    ),
    Scenario(
        name="Redis killed, the last 60 KB of its file cut off",
        acts=(Act(4, "cut redis", 1),),
        seconds=9,
        deaths=True,
        seen=("redis_lost_writes",),
    ),
    Scenario(
        name="Redis set back by 3 s, as by a failover to a replica that lagged",
        acts=(Act(3, "set redis back", 3),),
        seconds=10,
        deaths=True,
        seen=("redis_lost_writes",),
    ),
    Scenario(
        name="Redis paused for 4 s, a third of what is on disk damaged; REST has the ids of the socket",
        acts=(Act(2, "pause redis", 4), Act(5, "damage spools")),
        rules="rest-ids=stream",
        seconds=10,
        seen=("trade_rows_spooled", "trades_backfilled"),
    ),
    Scenario(
        name="a third of the batches that wait are of another version; REST has the ids of the socket",
        acts=(Act(2, "pause workers", 3), Act(4, "age batches")),
        rules="rest-ids=stream",
        seconds=9,
        seen=("batches_dead", "gaps_found"),
    ),
    Scenario(
        name="a standby takes over while the disk of the listener that was killed is not empty",
        listeners=2,
        acts=(Act(1.5, "pause redis", 3), Act(5.5, "kill active listener")),
        settings={"COLLECTOR_SPOOL__DRAIN_BATCHES_PER_S": "1", "COLLECTOR_PUBLISH__LEASE_TTL_S": "5"},
        seconds=12,
        seen=("trades_backfilled",),
    ),
    Scenario(
        name="Redis paused for longer than a lease: the share changes hands, and a disk is sent from standby",
        listeners=2,
        acts=(Act(1.5, "pause redis", 4),),
        settings={"COLLECTOR_SPOOL__DRAIN_BATCHES_PER_S": "5"},
        seconds=10,
        seen=("trades_backfilled",),
    ),
    Scenario(
        name="a market in its first day: nulls in its frames",
        rules="first-day=2,snapshot-trades=5",
        acts=(Act(2, "stop listener", 0.3),),
        seconds=7,
        seen=("tolerated:",),
    ),
    Scenario(
        name="Redis out of memory for 3 s",
        acts=(Act(2, "fill redis", 3),),
        seconds=9,
        deaths=True,
        seen=("send_failures", "trade_rows_spooled"),
    ),
    Scenario(
        name="a batch redelivered after the visibility timeout while its worker still has it",
        acts=(Act(2, "pause worker", 7),),
        seconds=10,
        seen=("trades_duplicate",),
    ),
    Scenario(
        name="two listeners for one share, the active one killed",
        listeners=2,
        acts=(Act(2.5, "kill active listener"),),
        seconds=11,
    ),
)

#: What an exchange within its open rules, a host and a Redis may do; long enough to count what it costs.
OPEN = (
    Scenario(
        name="one trade in a hundred reaches no socket, for 35 s",
        faults="leave-out:0.01@5s:35s",
        rate=200,
        seconds=45,
        settle_s=90,
        seen=("totals_lost", "trades_recovered"),
    ),
    Scenario(
        name="the same, totals lag by the trade they name, volumes and turnover have four decimals",
        faults="leave-out:0.01@5s:35s",
        rules="totals=lagging,totals-decimals=4",
        rate=200,
        seconds=45,
        settle_s=90,
        seen=("trades_recovered",),
    ),
    Scenario(
        name="the same, REST 5 s behind, one id for a millisecond, cursor inclusive, pages end at midnight",
        faults="leave-out:0.01@5s:35s",
        rules="rest-lag=5s,rest-ids=shared,cursor=inclusive,midnight=strict,kst=ticker",
        settings={"COLLECTOR_EXCHANGE__REST_LAG_MAX_S": "8"},
        rate=200,
        seconds=45,
        settle_s=90,
        seen=("totals_lost", "trades_recovered"),
    ),
    Scenario(
        name="the host sleeps for 30 s, its sockets are dropped on waking",
        acts=(Act(4, "suspend host", 30),),
        clock_s=0,
        proxied=True,
        seconds=45,
        settle_s=90,
        seen=("trades_backfilled",),
    ),
    Scenario(
        name="the host sleeps for 20 s, its sockets live on",
        acts=(Act(4, "suspend host", 20),),
        clock_s=0,
        seconds=32,
        settle_s=90,
    ),
    Scenario(
        name="the host's clock is a minute slow, and the listener restarts",
        acts=(Act(3, "clock a minute slow", 9), Act(4, "stop listener", 1)),
        clock_s=0,
        seconds=14,
        settle_s=90,
        seen=("trades_backfilled",),
    ),
    Scenario(
        name="the host's clock is a minute fast, and the listener is killed",
        acts=(Act(3, "clock a minute fast", 9), Act(4, "kill listener", 1)),
        clock_s=0,
        seconds=14,
        settle_s=90,
        seen=("trades_backfilled",),
    ),
    Scenario(
        name="the host starts two days behind and is put right later",
        acts=(Act(4, "put clock right"),),
        clock_s=-2 * 86_400,
        seconds=16,
        settle_s=90,
    ),
    Scenario(
        name="Redis can't be read while a restarted listener asks where the last run ended",
        acts=(Act(2, "kill listener", 1), Act(2.5, "pause redis", 5)),
        seconds=12,
        deaths=True,
        settle_s=60,
        seen=("trades_backfilled",),
    ),
    Scenario(
        name="one trade stamped a day ahead, then the listener restarts",
        faults="ahead=trade@4s",
        acts=(Act(5, "stop listener", 1),),
        seconds=12,
        settle_s=60,
        seen=("trades_backfilled",),
    ),
    Scenario(
        name="one socket cut twice, REST 15 s behind",
        faults="cut@4s,cut@9s",
        rules="rest-lag=15s",
        settings={"COLLECTOR_REDUNDANCY": "1", "COLLECTOR_EXCHANGE__REST_LAG_MAX_S": "18"},
        faults_over_s=9,
        seconds=14,
        settle_s=90,
        seen=("trades_recovered", "backfills_stale"),
    ),
    Scenario(
        name="sockets refused for 5 s, REST 12 s behind",
        faults="cut@4s,reject503@4s:5s",
        rules="rest-lag=12s",
        settings={"COLLECTOR_EXCHANGE__REST_LAG_MAX_S": "15"},
        faults_over_s=9,
        seconds=14,
        settle_s=90,
        seen=("trades_recovered", "backfills_stale"),
    ),
    Scenario(
        name="one ticker and one book stamped a day ahead, then the listener is killed",
        faults="ahead=ticker@4s,ahead=orderbook@5s",
        acts=(Act(5, "kill listener", 1),),
        seconds=12,
        settle_s=60,
    ),
    Scenario(
        name="Redis can't be read at a start with a clock two days behind",
        acts=(Act(2, "stop listener", 1), Act(2.5, "pause redis", 4), Act(9, "put clock right")),
        clock_s=-2 * 86_400,
        seconds=14,
        deaths=True,
        settle_s=60,
        seen=("trades_backfilled",),
    ),
)

#: The second table of docs/reliability.md: what loses trades, or hides that they are lost, where a collector
#: believes what its sockets show it.
TABLE = (
    *OPEN,
    *(
        each
        for each in EACH
        if each.name.startswith(
            (
                "one socket cut twice, REST gives all trades of a millisecond one id",
                "a market in its first day",
                "Redis flushed",
                "Redis killed, the last 60 KB",
                "Redis set back",
                "a standby takes over while the disk",
                "Redis paused for 4 s, a third of what is on disk damaged",
                "a third of the batches that wait are of another version",
                "one trade in a hundred reaches no socket, and REST has lost it too",
            )
        )
    ),
)

DISK_FULL = Scenario(
    name="disk full under the spool while Redis is away for 6 s",
    acts=(Act(2, "pause redis", 6),),
    spool_kb=64,
    rate=300,
    seconds=11,
    seen=("trade_rows_lost", "trade_rows_spooled"),
)

#: The same faults, several in one run, for every run of the tests.
SHORT = (
    Scenario(
        name="sockets cut, garbage, doubled and shuffled frames, an error frame",
        faults="cut-every:3000,garbage:0.02@0s:10s,duplicate:0.05,shuffle:0.05,error@5s,cut@7s,cut@8s",
        seconds=10,
        seen=("rejected:", "server_errors", "frame_copies", "trades_backfilled", "sockets_lost"),
    ),
    Scenario(
        name="one socket silent, then all, then packets vanish",
        faults="stall@4s:3s!one,stall@8s:3500ms",
        acts=(Act(12, "black hole", 3),),
        proxied=True,
        seconds=18,
        seen=("stalls:", "trades_backfilled"),
    ),
    Scenario(
        name="one socket cut, refused, cut; REST lags 5 s, ids shared, too many calls",
        faults="cut@4s,reject503@4s:2s,cut@8s,rest-limit@8s:2s",
        rules="rest-lag=5s,rest-ids=shared,cursor=inclusive,midnight=ends,limit=error",
        settings={"COLLECTOR_REDUNDANCY": "1", "COLLECTOR_EXCHANGE__REST_LAG_MAX_S": "7"},
        rate=300,
        seconds=11,
        settle_s=60,
        seen=("trades_recovered", "backfills_stale", "rest_limited:"),
    ),
    Scenario(
        name="handshakes answered with 429, with 503, and accepted only to hang up",
        faults="cut@4s,reject429@4s:2s,cut@7s,reject503@7s:2s,cut@10s,accept-close@10s:2s",
        seconds=14,
        seen=("trades_backfilled",),
    ),
    Scenario(
        name="listener killed twice, workers killed, pool processes killed, listener stopped",
        acts=(
            *_often("kill listener", (1, 3.5)),
            Act(6.5, "kill workers", 0.3),
            Act(10, "kill worker children"),
            Act(11, "stop listener", 0.3),
        ),
        seconds=14,
        deaths=True,
    ),
    Scenario(
        name="Redis paused for 5 s, killed, out of memory",
        acts=(Act(1, "pause redis", 5), Act(9, "kill redis", 1.5), Act(15, "fill redis", 2)),
        seconds=19,
        deaths=True,
        seen=("send_failures", "trade_rows_spooled"),
    ),
    Scenario(
        name="a worker paused beyond the visibility timeout, one of two listeners killed",
        listeners=2,
        acts=(Act(1, "pause worker", 7), Act(3, "kill active listener")),
        seconds=11,
        seen=("trades_duplicate",),
    ),
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
    Scenario(
        name="all sockets silent for 2 s in a busy stream",
        faults="stall@45s:2s",
        faults_over_s=47,
        seconds=55,
        settle_s=90,
    ),
    Scenario(
        name="no trades for 8 s while books and tickers flow",
        faults="silent-channel=trade@10s:8s",
        faults_over_s=18,
        seconds=26,
        settle_s=90,
    ),
    Scenario(
        name="one socket cut twice, REST lags 15 s",
        faults="cut@10s,cut@20s",
        rules="rest-lag=15s",
        settings={"COLLECTOR_REDUNDANCY": "1"},
        faults_over_s=20,
        seconds=40,
        settle_s=120,
        seen=("trades_recovered", "backfills_stale"),
    ),
    Scenario(
        name="sockets refused for 5 s, REST lags 12 s",
        faults="cut@10s,reject503@10s:5s",
        rules="rest-lag=12s",
        faults_over_s=15,
        seconds=30,
        settle_s=120,
        seen=("trades_recovered", "backfills_stale"),
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
    # What is shorter than SHORT_TIMES calls a stall can't be told from a quiet market: docs/reliability.md.
    lambda dice, at: f"stall@{at}:{dice.uniform(1.7, 5):.1f}s!{dice.choice(('one', 'all'))}",
    lambda dice, at: f"cut@{at},reject503@{at}:{dice.uniform(0.5, 3):.1f}s",
    lambda dice, at: f"cut@{at},accept-close@{at}:{dice.uniform(0.5, 3):.1f}s",
    lambda dice, at: f"rest503@{at}:{dice.uniform(0.5, 3):.1f}s",
    # To the end of trading: junk in a quiet market is a gap that no later trade can close.
    lambda dice, at: f"garbage:{dice.uniform(0.01, 0.1):.2f}@{at}:{_left(at)}",
    lambda dice, at: f"duplicate:{dice.uniform(0.01, 0.3):.2f}@{at}:{_left(at)}",
    lambda dice, at: f"shuffle:{dice.uniform(0.01, 0.3):.2f}@{at}:{_left(at)}",
)
#: How the exchange may behave where that is not known: all of it, each one by chance.
_RULES = {
    "rest-lag": ("0s", "1s", "4s"),
    "rest-ids": ("own", "stream", "shared", "none"),
    "cursor": ("exclusive", "inclusive", "refused", "ignored"),
    "midnight": ("crosses", "ends", "strict"),
    "limit": ("429", "error", "error-text"),
    "first-day": ("0", "2"),
    "snapshot-trades": ("0", "1", "5"),
    "totals": ("included", "lagging"),
    "totals-decimals": ("all", "volumes", "4"),
    "kst": ("none", "trade", "ticker", "orderbook"),
    "candle-volumes": ("exact", "rounded"),
}
#: What else the exchange may do, and what a host and a Redis may do.
_SIMULATED_TOO: tuple[Callable[[random.Random, str], str], ...] = (
    lambda dice, at: f"leave-out:{dice.uniform(0.005, 0.03):.3f}@{at}:{_left(at)}",
    lambda dice, at: f"ahead={dice.choice(('trade', 'ticker', 'orderbook'))}@{at}",
    lambda dice, at: f"rest-limit@{at}:{dice.uniform(0.5, 2):.1f}s",
    lambda dice, at: f"halt=KRW-ETH@{at}:{dice.uniform(1, 4):.1f}s",
    lambda dice, at: f"unlist=KRW-ETH@{at}:{dice.uniform(1, 4):.1f}s",
    lambda dice, at: f"maintenance@{at}:{dice.uniform(1, 5):.1f}s",
)
_DEEDS_TOO = (
    ("suspend host", 8.0),
    ("clock a minute slow", 6.0),
    ("clock a minute fast", 6.0),
    ("put clock right", 0.0),
    ("flush redis", 0.0),
    ("cut redis", 2.0),
    ("set redis back", 3.0),
)
_WRONG_S = (0.0, 0.0, -60.0, 60.0, -2 * 86_400.0)
_SECONDS = 13
_DEEDS = (
    ("kill redis", 3.0),
    ("pause redis", 4.0),
    ("kill workers", 1.0),
    ("kill worker children", 0.0),
    ("kill listener", 1.0),
    ("stop listener", 1.0),
    ("pause worker", 6.0),
)


def _left(at: str) -> str:
    """Return how long the exchange of a random schedule trades on from `at`."""
    return f"{_SECONDS - float(at.rstrip('s')):.1f}s"


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
        seconds=_SECONDS,
        faults=",".join(faults),
        acts=tuple(acts),
        deaths=True,
        settle_s=60,
    )


def at_random_in_the_open(seed: int) -> Scenario:
    """Make the schedule of `at_random` under rules by chance, with faults of the host and of a Redis."""
    scenario, dice = at_random(seed), random.Random(f"open {seed}")
    faults = [
        dice.choice(_SIMULATED_TOO)(dice, f"{dice.uniform(3, 11):.1f}s") for _ in range(dice.randint(1, 2))
    ]
    acts = []
    for _ in range(dice.randint(1, 2)):
        deed, longest_s = dice.choice(_DEEDS_TOO)
        acts.append(Act(round(dice.uniform(1, 9), 1), deed, round(dice.uniform(0, longest_s), 1)))
    return replace(
        scenario,
        name=f"seed {seed} in the open",
        faults=",".join([scenario.faults, *faults]),
        rules=",".join(f"{name}={dice.choice(values)}" for name, values in _RULES.items()),
        settings={"COLLECTOR_EXCHANGE__REST_LAG_MAX_S": "6"},
        acts=(*scenario.acts, *acts),
        clock_s=dice.choice(_WRONG_S),
        proxied=dice.random() < 0.5,
        settle_s=120,
    )
