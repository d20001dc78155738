"""Hours of load against the real pressure policy in seconds, without I/O: what it merges, spools and keeps.

    python -m benchmarks.pressure_simulation            checks, a table, and docs/images/pressure.png
    python -m benchmarks.pressure_simulation --check    checks and table alone

The policy is the product's. The rest is a model in steps of one reading: a batcher that closes batches by age
or size, two queues, workers that take from both in turn at a cost per batch and per row, a disk. The costs
are of the order that was measured here (2-3 ms a task, 0.1 ms a row); the pictures show shapes, not speed.
"""

import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil, exp, log
from pathlib import Path

from benchmarks.pressure_trace import Scenario, Trace
from collector.settings import Settings
from collector.stream.pressure import (
    MEANS,
    RELAPSE_GROWTH,
    Decision,
    Mode,
    PressurePolicy,
    PressureSample,
    PressureState,
)

STEP_S = 0.5
MARKETS = 900  # tickers and books of 450 markets
CALM_TRADES, CALM_STATES = 150.0, 2_000.0  # rows a second on an ordinary day
BATCH_COST_S, TRADE_COST_S, STATE_COST_S = 0.003, 0.00015, 0.0001
WORKERS = 2.0  # seconds of work done in a second
STATE_AGE_MAX_S = 3.0
TRADE_BYTES, STATE_BYTES, MAXMEMORY = 60, 350, 1 << 30  # compressed rows in Redis
OUT = Path(__file__).resolve().parent.parent / "docs" / "images" / "pressure.png"


def between(start_min: float, end_min: float) -> Callable[[float], bool]:
    """Return whether a time in seconds lies between two minutes."""
    return lambda now_s: start_min * 60 <= now_s < end_min * 60


SCENARIOS = (
    Scenario("listing burst\n30 times the load, ebbing away", 0.75, lambda t: 1 + 29 * burst(t, 300, 240)),
    Scenario(
        "market crash\n12 times the load for 20 minutes", 1, lambda t: 12.0 if between(10, 30)(t) else 1.0
    ),
    Scenario("slow drift\nup to 14 times and back", 3, lambda t: 1 + 13 * max(0.0, 1 - abs(t / 5400 - 1))),
    Scenario(
        "dead workers\nnone for 30 minutes", 1.5, lambda _: 1.0, lambda t: float(not between(15, 45)(t))
    ),
    Scenario(
        "Redis away\nfor 15 minutes, at twice the load",
        1,
        lambda _: 2.0,
        redis=lambda t: not between(10, 25)(t),
    ),
)


def burst(now_s: float, start_s: float, ebb_s: float) -> float:
    """Return 1 at `start_s`, falling by half about every 0.7 `ebb_s`; 0 before."""
    return exp(-(now_s - start_s) / ebb_s) if now_s >= start_s else 0.0


@dataclass
class Pile:
    """Batches that wait, oldest first: in a queue of Redis or on disk."""

    cells: deque[list[float]] = field(default_factory=deque)  # [made at, batches, rows]
    batches: float = 0.0
    rows: float = 0.0

    def put(self, made_s: float, batches: float, rows: float) -> None:
        if batches > 0:
            self.cells.append([made_s, batches, rows])
            self.batches += batches
            self.rows += rows

    def take(self, batches: float) -> list[list[float]]:
        """Remove up to `batches` of the oldest."""
        taken = []
        while batches > 1e-9 and self.cells:
            made_s, had, rows = self.cells[0]
            share = 1.0 if batches > had - 1e-9 else batches / had
            taken.append([made_s, had * share, rows * share])
            batches -= had * share
            if share == 1.0:
                self.cells.popleft()
            else:
                self.cells[0] = [made_s, had * (1 - share), rows * (1 - share)]
        self.batches = max(0.0, self.batches - sum(cell[1] for cell in taken)) if self.cells else 0.0
        self.rows = max(0.0, self.rows - sum(cell[2] for cell in taken)) if self.cells else 0.0
        return taken

    def work(self, budget_s: float, row_cost_s: float) -> tuple[float, float]:
        """Let workers take the oldest; return the seconds left over and the rows done."""
        done = 0.0
        while budget_s > 1e-9 and self.cells:
            _, batches, rows = self.cells[0]
            cost_s = batches * BATCH_COST_S + rows * row_cost_s
            share = min(1.0, budget_s / cost_s)
            done += sum(cell[2] for cell in self.take(batches * share))
            budget_s -= cost_s * share
        return budget_s, done

    def age_s(self, now_s: float) -> float:
        return now_s - self.cells[0][0] if self.cells else 0.0


class Pipeline:
    """The model around the policy."""

    def __init__(self, scenario: Scenario, settings: Settings) -> None:
        self.scenario, self.settings = scenario, settings
        self.policy = PressurePolicy(settings.pressure)
        self.trades, self.states, self.spool = Pile(), Pile(), Pile()
        self.held_rows, self.state_shown_s = 0.0, 0.0
        self.sent_trades, self.sent_states = 0.0, 0.0
        self.offered_trades, self.done_trades = 0.0, 0.0
        self.decision: Decision = self.policy.decide(PressureSample(), PressureState(), 0.0)

    def run(self) -> Trace:
        """Play the scenario to its end."""
        trace = Trace(self.scenario)
        for step in range(1, round(self.scenario.hours * 3600 / STEP_S) + 1):
            now_s = step * STEP_S
            done = self.step(now_s)
            self.note(trace, now_s, done)
        waiting = self.trades.rows + self.spool.rows
        trace.missing_trades = self.offered_trades - self.done_trades - waiting
        return trace

    def step(self, now_s: float) -> float:
        """Let half a second pass; return the rows that workers did."""
        load, answers = self.scenario.load(now_s), self.scenario.redis(now_s)
        self.offer_trades(now_s, CALM_TRADES * load * STEP_S, answers)
        self.offer_states(now_s, CALM_STATES * load * STEP_S, answers)
        self.drain(answers)
        done = self.work(now_s) if answers else 0.0
        self.decision = self.policy.decide(self.reading(now_s, answers), self.decision.state, now_s)
        return done

    def offer_trades(self, now_s: float, rows: float, answers: bool) -> None:
        self.offered_trades += rows
        batches = self.batches_of(rows, self.decision.trade_batch_factor)
        if self.decision.trades_to_disk or not answers:
            self.spool.put(now_s, batches, rows)
        else:
            self.trades.put(now_s, batches, rows)
            self.sent_trades += batches

    def offer_states(self, now_s: float, rows: float, answers: bool) -> None:
        replaced = "orderbook" in self.decision.replace_states and answers
        if replaced:
            self.sent_states -= self.states.batches
            self.held_rows = newest(self.held_rows + self.states.rows)
            self.states = Pile()
        if not (answers and (replaced or "orderbook" in self.decision.send_states)):
            self.held_rows = newest(self.held_rows + rows)
            return
        batches = self.batches_of(rows, self.decision.state_batch_factor) + bool(self.held_rows)
        rows += self.held_rows
        if self.decision.states_at_once is not None:  # each of them takes all that waits
            batches = min(batches, self.decision.states_at_once)
            rows = newest(rows)
        self.states.put(now_s, batches, rows)
        self.sent_states += batches
        self.held_rows = 0.0

    def batches_of(self, rows: float, factor: float) -> float:
        """Return how many batches `rows` of half a second make: closed by age, or sooner by size."""
        limits = self.settings.batch
        by_age = STEP_S / (limits.max_age_ms / 1000 * factor)
        return max(min(by_age, rows), rows / (limits.max_rows * factor))

    def drain(self, answers: bool) -> None:
        if self.decision.drain_spool and answers:
            for made_s, batches, rows in self.spool.take(self.settings.spool.drain_batches_per_s * STEP_S):
                self.trades.put(made_s, batches, rows)
                self.sent_trades += batches

    def work(self, now_s: float) -> float:
        budget_s = WORKERS * self.scenario.workers(now_s) * STEP_S
        half_s = budget_s / 2  # two queues in turn; what one leaves over is the other's
        left_s, trades = self.trades.work(half_s, TRADE_COST_S)
        self.expire(now_s, budget_s)
        left_s, states = self.states.work(half_s + left_s, STATE_COST_S)
        trades += self.trades.work(left_s, TRADE_COST_S)[1]
        self.done_trades += trades
        if states:
            self.state_shown_s = self.states.cells[0][0] if self.states.cells else now_s
        return trades + states

    def expire(self, now_s: float, budget_s: float) -> None:
        """A worker drops what is too old unseen, which costs next to nothing."""
        while budget_s and self.states.age_s(now_s) > self.settings.publish.state_expires_s:
            self.states.take(self.states.cells[0][1])

    def reading(self, now_s: float, answers: bool) -> PressureSample:
        if not answers:
            return PressureSample(send_failing=True)
        return PressureSample(
            queue_lengths={"trade": round(self.trades.batches), "orderbook": round(self.states.batches)},
            ages_ms={
                "trade": round(self.trades.age_s(now_s) * 1000),
                "orderbook": round(self.states.age_s(now_s) * 1000),
            },
            redis_memory=self.redis_memory(),
            sent_trades=round(self.sent_trades),
            sent_states=round(self.sent_states),
        )

    def redis_memory(self) -> float:
        return (self.trades.rows * TRADE_BYTES + self.states.rows * STATE_BYTES) / MAXMEMORY

    def note(self, trace: Trace, now_s: float, done: float) -> None:
        trace.minutes.append(now_s / 60)
        trace.offered.append(self.scenario.load(now_s) * (CALM_TRADES + CALM_STATES))
        trace.done.append(done / STEP_S)
        trace.trades.append(self.trades.batches)
        trace.states.append(self.states.batches)
        trace.spooled.append(self.spool.batches)
        trace.trade_age_s.append(max(self.trades.age_s(now_s), self.spool.age_s(now_s)))
        trace.state_age_s.append(now_s - self.state_shown_s)
        trace.redis_memory.append(self.redis_memory())
        trace.modes.append(self.decision.mode)
        trace.reasons.append(self.decision.reason)


def newest(rows: float) -> float:
    """Return how many of `rows` are left when only the newest of each market counts."""
    return MARKETS * (1 - exp(-rows / MARKETS))


def check(trace: Trace, settings: Settings) -> None:
    """Fail where the policy did not keep its promises."""
    marks = settings.pressure
    slack = 2 * marks.queue_high  # what is sent between two readings
    assert abs(trace.missing_trades) < 1e-3, "a trade was lost"
    assert max(trace.trades) < marks.queue_max + slack, "the trade queue is not bounded"
    assert max(trace.states) < marks.queue_high + slack, "the queues of tickers and books are not bounded"
    assert max(_ages_in_health(trace)) < STATE_AGE_MAX_S, "tickers and books are old"
    assert max(trace.redis_memory) < marks.redis_memory_low, "the backlog comes near maxmemory"
    assert trace.modes[-1] is Mode.FLOW, "a mode was not left when its cause was gone"
    assert trace.spooled[-1] == 0, "the spool was not drained"
    assert busiest_hour(trace) <= changes_allowed(settings), f"it flaps: {trace.changes}"


def _ages_in_health(trace: Trace) -> list[float]:
    """Return how old the newest tickers and books were while workers and Redis were there for a minute."""
    scenario = trace.scenario
    rows = zip(trace.minutes, trace.state_age_s, strict=True)
    return [
        age_s
        for minute, age_s in rows
        if all(scenario.workers(t) and scenario.redis(t) for t in (minute * 60, minute * 60 - 60))
    ]


def busiest_hour(trace: Trace) -> int:
    """Return the most mode changes within an hour."""
    minutes = [minute for minute, _, _ in trace.changes]
    return max((sum(start <= minute < start + 60 for minute in minutes) for start in minutes), default=0)


def changes_allowed(settings: Settings) -> int:
    """Return how many changes an hour of lasting overload may bring, by the policy's own promise.

    Two for each longest hold time, and two for each relapse on the way to it.
    """
    hold_max = MEANS[Mode.MERGE].hold_max
    relapses = ceil(log(hold_max, RELAPSE_GROWTH)) + 1
    return 2 * ceil(3600 / (hold_max * settings.pressure.hold_s)) + 2 * relapses


def table(traces: list[Trace]) -> str:
    """Return the figures of all runs."""
    lines = ["scenario         lost  queue states   spool  redis  trade s state s changes  in an hour"]
    lines += [
        f"{trace.scenario.name.splitlines()[0]:16}{trace.missing_trades:5.0f}{max(trace.trades):7.0f}"
        f"{max(trace.states):7.0f}{max(trace.spooled):8.0f}{max(trace.redis_memory):7.1%}"
        f"{max(trace.trade_age_s):9.1f}{max(_ages_in_health(trace)):8.1f}{len(trace.changes):8}{busiest_hour(trace):12}"
        for trace in traces
    ]
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    """Run all scenarios, check them, print the figures, draw the picture."""
    settings = Settings()
    traces = [Pipeline(scenario, settings).run() for scenario in SCENARIOS]
    print(table(traces))
    for trace in traces:
        print(f"\n{trace.scenario.name.splitlines()[0]}")
        for minute, mode, reason in trace.changes:
            print(f"  {minute:7.2f} min  {mode:6} {reason}")
    for trace in traces:
        check(trace, settings)
    if "--check" not in arguments:
        from benchmarks.pressure_plot import draw

        draw(traces, settings, OUT)
        print(f"\n{OUT}")


if __name__ == "__main__":
    main(sys.argv[1:])
