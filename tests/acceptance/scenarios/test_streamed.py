"""Consumers of the event stream under faults: each trade of the exchange once, or announced.

The consumer is killed and slowed at random, and resumes by the id of the last event that it has.
"""

import random
import threading
import time
from collections import Counter
from decimal import Decimal

import pytest

from collector.live.events import NOTICE, Selection
from collector.live.follow import Follower
from collector.settings import Settings
from collector.store.event_log import Position
from tests.acceptance.scenarios.catalog import at_random_in_the_open
from tests.acceptance.scenarios.play import Act, Scenario, play
from tests.acceptance.scenarios.system import System

QUIET_S = 3.0
RETRY_S = 0.2
Fact = tuple[str, int, Decimal, Decimal, str]


class Consumer(threading.Thread):
    """Takes all trades, with pauses and breaks by chance."""

    def __init__(self, url: str, seed: int) -> None:
        super().__init__(daemon=True)
        self.facts: Counter[Fact] = Counter()
        self.reasons: list[str] = []
        self.breaks = 0
        self.disorder: list[str] = []
        self._url = url
        self._dice = random.Random(seed)
        self._ended = threading.Event()
        self._last = Position(0, 0)
        self._newest_s = time.monotonic()

    def run(self) -> None:
        """Follow until `finish`."""
        while not self._ended.is_set():
            try:
                with Follower(self._url, Settings(), Selection.of("trade"), self._last) as events:
                    self._take(events, time.monotonic() + self._dice.uniform(0.3, 3))
                self.breaks += 1
            except Exception:  # noqa: BLE001 - Redis is away: a consumer that was just started tries again
                self._ended.wait(RETRY_S)

    def finish(self) -> None:
        """End once nothing more comes."""
        while time.monotonic() - self._newest_s < QUIET_S:
            time.sleep(0.1)
        self._ended.set()
        self.join(20)
        assert not self.is_alive()

    def _take(self, events: Follower, until_s: float) -> None:
        while time.monotonic() < until_s and not self._ended.is_set():
            event = events.wait(0.2)
            if event is None:
                continue
            self._newest_s = time.monotonic()
            if event.channel == NOTICE:
                self.reasons.append(event.row["reason"])
                continue
            position = Position.parse(event.id)
            if position <= self._last:
                self.disorder.append(f"{position} after {self._last}")
            self._last = position
            row = event.row
            self.facts[row.market, row.exchange_ms, row.price, row.volume, str(row.side)] += 1
            if self._dice.random() < 0.002:
                time.sleep(self._dice.uniform(0.1, 0.6))


def streamed(system: System, scenario: Scenario) -> Consumer:
    """Play a scenario with a consumer, and compare what it got with what the exchange made."""
    system.forget()
    consumer = Consumer(system.server.url, scenario.seed)
    consumer.start()
    try:
        assert play(scenario, system).complaints() == []
    finally:
        consumer.finish()
    made = Counter((t.market, t.ms, t.price, t.volume, t.side) for t in system.truth.trades)
    missing, twice = made - consumer.facts, consumer.facts - made
    print(
        f"{scenario.name}: {made.total()} made, {consumer.facts.total()} received in {consumer.breaks + 1}"
        f" pieces, {missing.total()} missing, {twice.total()} more than once, announced: {consumer.reasons}"
    )
    assert consumer.disorder == []
    assert missing == Counter() or consumer.reasons
    assert twice == Counter() or "store_lost" in consumer.reasons
    return consumer


@pytest.mark.timeout(180)
def test_a_consumer_gets_each_trade_once_whoever_dies(system: System) -> None:
    """Workers are killed, Redis stands still, sockets are cut; nothing has to be announced."""
    scenario = Scenario(
        name="streamed",
        faults="cut@3s,leave-out:0.02@2s:4s",
        acts=(Act(1.5, "kill workers", 1), Act(5, "pause redis", 2)),
        seconds=10,
    )
    consumer = streamed(system, scenario)
    assert consumer.reasons == []
    assert consumer.breaks


@pytest.mark.timeout(180)
def test_what_a_redis_that_lost_writes_had_pushed_is_announced(system: System) -> None:
    scenario = Scenario(
        name="streamed, the tail of Redis' file cut off",
        acts=(Act(4, "cut redis", 1),),
        seconds=9,
        deaths=True,
    )
    streamed(system, scenario)


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_consumers_under_many_random_schedules(system: System) -> None:
    """Ten schedules from a base that is printed."""
    base = random.SystemRandom().randrange(1_000_000)
    for seed in range(base, base + 10):
        streamed(system, at_random_in_the_open(seed))
