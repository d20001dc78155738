"""Faults as data: a market, a schedule of faults, and what must be true once all has settled."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.scenarios.system import System, wait_for_room_in_the_minute
from tests.scenarios.truth import Verdict, compare_all

POLL_S = 0.05
#: Nothing may be on its way for so long before a loss is believed.
QUIET_S = 3.0

#: What can be done to the system: name -> (begin, end).
DEEDS: dict[str, tuple[Callable[[System], None], Callable[[System], None]]] = {
    "kill redis": (System.kill_redis, System.restart_redis),
    "pause redis": (System.pause_redis, System.resume_redis),
    "fill redis": (System.fill_redis, System.empty_redis),
    "kill workers": (System.kill_workers, System.restart_workers),
    "kill worker children": (System.kill_worker_children, lambda _: None),
    "kill listener": (System.kill_listeners, System.restart_listeners),
    "black hole": (lambda s: s.proxy and s.proxy.blackhole(), lambda s: s.proxy and s.proxy.resume()),
    "cut": (lambda s: s.proxy and s.proxy.cut(), lambda _: None),
}


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
        faults: what the exchange does, in the words of `collector.simulator.faults`.
        acts: what is done to our own processes and to the network.
        over_s: when the last fault of the exchange is over, in seconds; None: they go on to the end, or
            there are only acts.
        losses: whether trades may be missing, if a gap admits it; else every trade must be there.
        settle_s: how long all may take to settle after the last trade.
        seen: counters that must be above zero, as proof that the fault has happened.
    """

    name: str
    seconds: float = 8
    rate: float = 150
    markets: int = 6
    seed: int = 1
    faults: str = ""
    acts: tuple[Act, ...] = ()
    over_s: float | None = None
    listeners: int = 1
    settings: Mapping[str, str] = field(default_factory=dict)
    proxied: bool = False
    losses: bool = False
    settle_s: float = 40
    seen: tuple[str, ...] = ()

    @property
    def trades(self) -> int:
        """How many trades the exchange makes."""
        return round(self.seconds * self.rate)


@dataclass
class Outcome:
    """What came of it."""

    scenario: Scenario
    verdict: Verdict
    longest_hole_s: float
    recovery_s: float | None
    settle_s: float
    counters: Mapping[str, int]
    #: What ended without our doing.
    deaths: list[str]

    def __str__(self) -> str:
        verdict = self.verdict
        recovery = "-" if self.recovery_s is None else f"{self.recovery_s:.1f} s"
        return (
            f"{self.scenario.name}: {verdict.sent} sent, {verdict.lost} lost ({verdict.admitted} admitted), "
            f"{verdict.doubled} doubled, longest hole {self.longest_hole_s:.1f} s, recovered after {recovery}"
        )


def play(scenario: Scenario, system: System) -> Outcome:
    """Run `scenario` to its end and compare; the system is left as it was found."""
    wait_for_room_in_the_minute(8)
    since_ms = int(time.time() // 60) * 60_000
    system.begin_run(
        exchange={
            "markets": str(scenario.markets),
            "rate": str(scenario.rate),
            "seed": str(scenario.seed),
            "stop-after": str(scenario.trades),
            **({"faults": scenario.faults} if scenario.faults else {}),
        },
        listeners=scenario.listeners,
        settings=scenario.settings,
        proxied=scenario.proxied,
    )
    try:
        watch = Watch(system, scenario)
        watch.run()
        verdict = compare_all(system.truth, system.reader, since_ms)
        health = system.health()
        counters = dict(health.counters) if health else {}
        return Outcome(
            scenario,
            verdict,
            watch.longest_hole_s,
            watch.recovery_s,
            watch.settled_s,
            counters,
            system.deaths,
        )
    finally:
        system.end_run()


class Watch:
    """Does the acts when they are due, and looks at the progress all the while."""

    def __init__(self, system: System, scenario: Scenario) -> None:
        self.longest_hole_s = 0.0
        self.recovery_s: float | None = None
        self.settled_s = 0.0
        self._system = system
        self._scenario = scenario
        self._started = time.monotonic()
        self._due = sorted(
            [(act.at_s, 0, number, DEEDS[act.deed][0]) for number, act in enumerate(scenario.acts)]
            + [
                (act.at_s + act.for_s, 1, number, DEEDS[act.deed][1])
                for number, act in enumerate(scenario.acts)
            ],
            key=lambda due: due[:3],
        )
        self._progress: list[tuple[float, int, int]] = []  # (seconds, made, counted)
        self._grew_s: float | None = None

    def run(self) -> None:
        """Watch until all has settled.

        Raises:
            AssertionError: it did not settle in time.
        """
        try:
            self._until(
                self._is_over, self._scenario.seconds * 4 + 60, "the exchange has made all its trades"
            )
            ended_s = self._now_s()
            self._until(self._is_settled, self._scenario.settle_s, "all has settled")
            self.settled_s = self._now_s() - ended_s
        finally:
            self._finish_acts()

    def _until(self, condition: Callable[[], bool], within_s: float, what: str) -> None:
        deadline = time.monotonic() + within_s
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"{self._scenario.name}: not within {within_s:g} s: {what}\n{self._system.report()}"
                )
            self._do_due()
            self._system.supervise()
            self._look()
            time.sleep(POLL_S)

    def _do_due(self) -> None:
        while self._due and self._due[0][0] <= self._now_s():
            self._due.pop(0)[3](self._system)

    def _finish_acts(self) -> None:
        """Undo what is still being done when a scenario fails."""
        for *_, is_end, _, deed in self._due:
            if is_end:
                deed(self._system)
        self._due.clear()

    def _look(self) -> None:
        """Note the progress: a hole lasts from one growth of the stored trades to the next."""
        now_s, made, counted = self._now_s(), self._system.made(), self._system.counted()
        if counted is None:
            return
        before = self._progress[-1][2] if self._progress else 0
        self._progress.append((now_s, made, counted))
        if counted > before:
            if self._grew_s is not None:
                self.longest_hole_s = max(self.longest_hole_s, now_s - self._grew_s)
            self._grew_s = now_s
        over_s = self._scenario.over_s
        if (
            self.recovery_s is None
            and over_s is not None
            and now_s >= over_s
            and counted >= self._made_at(now_s - 0.5)
        ):
            self.recovery_s = max(0.0, now_s - over_s - 0.5)

    def _made_at(self, moment_s: float) -> int:
        return max((made for at_s, made, _ in self._progress if at_s <= moment_s), default=0)

    def _is_over(self) -> bool:
        return self._system.made() >= self._scenario.trades and not self._due

    def _is_settled(self) -> bool:
        """All is counted, or nothing has been on its way for a while."""
        counted = self._system.counted()
        if counted is None or not self._system.is_quiet():
            self._quiet_s = None
            return False
        self._quiet_s = getattr(self, "_quiet_s", None) or self._now_s()
        patience_s = 0.5 if counted >= self._scenario.trades else QUIET_S
        return self._now_s() - self._quiet_s >= patience_s

    def _now_s(self) -> float:
        return time.monotonic() - self._started
