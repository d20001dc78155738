"""Faults as data: a market, a schedule of faults, and what must be true once all has settled."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.acceptance.scenarios.deeds import DEEDS
from tests.acceptance.scenarios.system import System, wait_for_room_in_the_minute
from tests.acceptance.scenarios.truth import Verdict, compare_all

POLL_S = 0.05
START_TIMEOUT_S = 30.0
#: Nothing may be on its way for so long before a loss is believed.
QUIET_S = 3.0
#: Every candle has to be exact so long after the fault: by then its minute is compared with the exchange's.
EXACT_WITHIN_S = 90.0
#: While nothing is traded, sockets are given up as silent again and again; each time there is an outage of
#: some seconds, which is a gap while it lasts. A gap that stays is open at every look, for so long.
LOOKS_S, LOOK_AGAIN_S = 30.0, 1.0
#: A batch is on its way for so long at the most while nothing is wrong.
USUAL_LAG_S = 0.5


@dataclass(frozen=True)
class Act:
    """One deed: from `at_s` after the first trade was stored, for `for_s`."""

    at_s: float
    deed: str
    for_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A source, a schedule, an expectation.

    Attributes:
        name: what goes wrong, in words.
        seconds, rate: how long the exchange trades, and how many trades a second.
        faults: what the exchange does, in the words of `collector.simulator.faults`, from its start.
        rules: how it behaves where that is not known, in the words of `collector.simulator.rules`.
        faults_over_s: when the last of `faults` is over; None where they go on to the end.
        acts: what is done to our own processes and to the network.
        listeners: how many, all for the same share, each with a data folder of its own.
        settings: of the listeners, beside those of the system.
        clock_s: by how much the clock of the listeners' host is ahead at the start; None where no act
            changes it.
        spool_kb: size of a file system for the spool alone; needs root.
        proxied: whether a TCP proxy stands before the socket.
        losses: whether trades may be missing, if a gap admits it; else every trade must be there.
        after_s: how long the exchange is quiet after its last trade before anything is judged.
        settle_s: how long all may take to settle after the last trade.
        seen: counters that must be above zero, as proof that the fault has happened.
        deaths: whether a process of ours may end by itself, to be started again by its supervisor.
    """

    name: str
    seconds: float = 8
    rate: float = 150
    markets: int = 6
    seed: int = 1
    faults: str = ""
    rules: str = ""
    faults_over_s: float | None = None
    acts: tuple[Act, ...] = ()
    listeners: int = 1
    settings: Mapping[str, str] = field(default_factory=dict)
    spool_kb: int | None = None
    clock_s: float | None = None
    proxied: bool = False
    losses: bool = False
    after_s: float = 0
    settle_s: float = 40
    seen: tuple[str, ...] = ()
    deaths: bool = False

    @property
    def trades(self) -> int:
        """How many trades the exchange makes."""
        return round(self.seconds * self.rate)


@dataclass
class Outcome:
    """What came of it.

    Attributes:
        longest_hole_s: longest time in which no further trade was stored, while the exchange traded.
        recovery_s: from the end of the last fault until the stored trades were as fresh as usual.
        settled_s: from the last trade until nothing was on its way any more.
        deaths: processes that ended without our doing.
        report: what the processes of ours logged, and how they were.
    """

    scenario: Scenario
    verdict: Verdict
    longest_hole_s: float
    recovery_s: float | None
    settled_s: float
    counters: Mapping[str, int]
    deaths: list[str]
    report: str

    def __str__(self) -> str:
        verdict = self.verdict
        recovery = "-" if self.recovery_s is None else f"{self.recovery_s:.1f} s"
        return (
            f"{self.scenario.name}: {verdict.sent} sent, {verdict.lost} lost ({verdict.admitted} admitted), "
            f"{verdict.doubled} doubled, longest hole {self.longest_hole_s:.1f} s, recovered after {recovery}"
        )

    def complaints(self) -> list[str]:
        """Return what is not as the scenario expects it."""
        scenario, found = self.scenario, list(self.verdict.wrong)
        if not scenario.losses and self.verdict.lost:
            found.append(f"{self.verdict.lost} trades lost, gaps: {self.verdict.open_trade_gaps[:3]}")
        if not scenario.losses and self.verdict.open_trade_gaps:
            found.append(f"gaps that stay open: {self.verdict.open_trade_gaps[:3]}")
        found += [f"{name} is 0: the fault did not happen" for name in scenario.seen if not self._seen(name)]
        if self.deaths and not scenario.deaths:
            found += self.deaths
        return found

    def _seen(self, name: str) -> int:
        """Return a counter, or the sum of its variants where the name ends with a colon."""
        if not name.endswith(":"):
            return self.counters.get(name, 0)
        return sum(number for counter, number in self.counters.items() if counter.startswith(name))


def play(scenario: Scenario, system: System) -> Outcome:
    """Run `scenario` to its end and compare; the system is left as it was found.

    Raises:
        AssertionError: it did not settle in time.
    """
    wait_for_room_in_the_minute(10)
    since_ms = int(time.time() // 60) * 60_000
    try:
        system.begin_run(
            exchange={
                "markets": str(scenario.markets),
                "rate": str(scenario.rate),
                "seed": str(scenario.seed),
                "stop-after": str(scenario.trades),
                **({"faults": scenario.faults} if scenario.faults else {}),
                **({"rules": scenario.rules} if scenario.rules else {}),
            },
            listeners=scenario.listeners,
            settings=scenario.settings,
            proxied=scenario.proxied,
            spool_kb=scenario.spool_kb,
            clock_s=scenario.clock_s,
        )
        watch = Watch(system, scenario)
        watch.run()
        return Outcome(
            scenario,
            _settled_verdict(watch, system, since_ms),
            watch.longest_hole_s,
            watch.recovery_s,
            watch.settled_s,
            system.counters(),
            system.deaths,
            system.report(),
        )
    finally:
        system.end_run()


def _settled_verdict(watch: "Watch", system: System, since_ms: int) -> Verdict:
    """Compare; a gap that opened meanwhile, in the silence after the last trade, gets time to be closed."""
    until_s = time.monotonic() + LOOKS_S
    while True:
        verdict = compare_all(system.truth, system.reader, since_ms)
        if not verdict.open_trade_gaps or time.monotonic() > until_s:
            return verdict
        time.sleep(LOOK_AGAIN_S)
        watch.settle()


class Watch:
    """Does the acts when they are due, and looks at the progress all the while."""

    def __init__(self, system: System, scenario: Scenario) -> None:
        self.longest_hole_s = 0.0
        self.recovery_s: float | None = None
        self.settled_s = 0.0
        self._system = system
        self._scenario = scenario
        self._started = time.monotonic()
        #: (seconds, made) and the last growth of what is counted: (seconds, counted).
        self._made: list[tuple[float, int]] = []
        self._grew = (0.0, 0)
        self._acts_from_s: float | None = None
        self._due: list[tuple[float, bool, Callable[[System], None]]] = []
        self._over_s = scenario.faults_over_s
        self._quiet_since_s: float | None = None

    def run(self) -> None:
        """Watch until all has settled."""
        scenario = self._scenario
        try:
            self._until(lambda: self._grew[1] > 0, START_TIMEOUT_S, "the first trade is stored")
            self._plan(self._now_s())
            self._until(self._is_over, scenario.seconds * 3 + 60, "the exchange has made all its trades")
            ended_s = self._now_s()
            self._until(
                lambda: self._now_s() >= ended_s + scenario.after_s, scenario.after_s + 10, "time has passed"
            )
            self.settle()
            self.settled_s = self._now_s() - ended_s
        finally:
            self._undo()

    def settle(self) -> None:
        """Watch until nothing is on its way."""
        self._quiet_since_s = None
        within_s = max(self._scenario.settle_s, EXACT_WITHIN_S + QUIET_S)
        self._until(self._is_settled, within_s, "all has settled")

    def _plan(self, start_s: float) -> None:
        for act in self._scenario.acts:
            begin, end = DEEDS[act.deed]
            self._due += [(start_s + act.at_s, False, begin), (start_s + act.at_s + act.for_s, True, end)]
            self._over_s = max(self._over_s or 0.0, start_s + act.at_s + act.for_s)
        self._due.sort(key=lambda due: due[0])

    def _undo(self) -> None:
        """End what is still being done when a scenario fails."""
        for _, is_end, deed in self._due:
            if is_end:
                deed(self._system)

    def _until(self, condition: Callable[[], bool], within_s: float, what: str) -> None:
        deadline_s = self._now_s() + within_s
        while not condition():
            if self._now_s() > deadline_s:
                report = self._system.report()
                raise AssertionError(f"{self._scenario.name}: not within {within_s:g} s: {what}\n{report}")
            while self._due and self._due[0][0] <= self._now_s():
                self._due.pop(0)[2](self._system)
            self._system.supervise()
            self._look()
            time.sleep(POLL_S)

    def _look(self) -> None:
        now_s, made, counted = self._now_s(), self._system.made(), self._system.counted()
        self._made.append((now_s, made))
        if counted is None:
            return
        if counted > self._grew[1]:
            if self._grew[1]:
                self.longest_hole_s = max(self.longest_hole_s, now_s - self._grew[0])
            self._grew = (now_s, counted)
        if self._over_s is None or now_s < self._over_s or self._due or self.recovery_s is not None:
            return
        if counted >= self._made_until(now_s - USUAL_LAG_S):
            self.recovery_s = max(0.0, now_s - USUAL_LAG_S - self._over_s)

    def _made_until(self, moment_s: float) -> int:
        return next((made for at_s, made in reversed(self._made) if at_s <= moment_s), 0)

    def _is_over(self) -> bool:
        return self._system.made() >= self._scenario.trades and not self._due

    def _is_settled(self) -> bool:
        """Whether all is counted and no gap is open, or nothing has been on its way for long enough."""
        if not self._system.is_quiet():
            self._quiet_since_s = None
            return False
        if self._quiet_since_s is None:
            self._quiet_since_s = self._now_s()
        is_done = self._grew[1] >= self._scenario.trades and not self._system.open_trade_gaps()
        longest_s = QUIET_S if self._scenario.losses else EXACT_WITHIN_S
        return is_done or self._now_s() - self._quiet_since_s >= longest_s

    def _now_s(self) -> float:
        return time.monotonic() - self._started
