"""Consumers of the event stream: killed and slowed at random, they resume by the id of their last event."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal

from collector.cli.serve import listen, new_server
from collector.errors import CollectorError
from collector.live.events import NOTICE, Selection
from collector.live.follow import Follower
from collector.live.remote import RemoteFollower
from collector.live.waiting import Waiting
from collector.settings import Settings
from collector.store.event_log import Position
from tests.acceptance.scenarios.play import Scenario, play
from tests.acceptance.scenarios.system import System

QUIET_S = 3.0
RETRY_S = 0.2
TRADES = Selection.of("trade")
Fact = tuple[str, int, Decimal, Decimal, str]
#: Begins to follow after a position.
Follow = Callable[[Position], Waiting]


def from_redis(url: str) -> Follow:
    """Return what follows straight from Redis."""
    return lambda after: Follower(url, Settings(), TRADES, after)


def from_server(url: str) -> Follow:
    """Return what follows from `collector serve` at an address."""
    return lambda after: RemoteFollower(url, TRADES, str(after))


@contextmanager
def served(redis_url: str) -> Iterator[str]:
    """Run `collector serve`; return its address."""
    with listen("127.0.0.1", 0) as listening:
        server = new_server(redis_url, Settings())
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(15)


class Consumer(threading.Thread):
    """Takes all trades, with pauses and breaks by chance."""

    def __init__(self, follow: Follow, seed: int) -> None:
        super().__init__(daemon=True)
        self.facts: Counter[Fact] = Counter()
        self.reasons: list[str] = []
        self.breaks = 0
        self.disorder: list[str] = []
        self._follow = follow
        self._dice = random.Random(seed)
        self._ended = threading.Event()
        self._last = Position(0, 0)
        self._newest_s = time.monotonic()

    def run(self) -> None:
        """Follow until `finish`."""
        while not self._ended.is_set():
            try:
                with self._follow(self._last) as events:
                    self._take(events, time.monotonic() + self._dice.uniform(0.3, 3))
                self.breaks += 1
            except CollectorError:  # Redis is away: a consumer that was just started tries again
                self._ended.wait(RETRY_S)

    def finish(self) -> None:
        """End once nothing more comes."""
        while time.monotonic() - self._newest_s < QUIET_S:
            time.sleep(0.1)
        self._ended.set()
        self.join(20)
        assert not self.is_alive()

    def _take(self, events: Waiting, until_s: float) -> None:
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


@dataclass(frozen=True)
class Streamed:
    """What a consumer got, compared with what the exchange made."""

    made: int
    received: int
    pieces: int
    missing: int
    twice: int
    disorder: list[str]
    announced: list[str]

    def complaints(self) -> list[str]:
        """Return what must not be; an empty list if all is well."""
        found = [f"out of order: {each}" for each in self.disorder]
        if self.missing and not self.announced:
            found.append(f"{self.missing} missing, and nothing was announced")
        if self.twice and "store_lost" not in self.announced:
            found.append(f"{self.twice} more than once, and no loss of the store was announced")
        return found


def streamed(system: System, scenario: Scenario) -> tuple[Streamed, Streamed]:
    """Play a scenario with two consumers; return what came straight from Redis, and through the server.

    Raises:
        AssertionError: what is stored is not what the exchange made.
    """
    system.forget()
    with served(system.server.url) as url:
        consumers = [
            Consumer(follow, scenario.seed + place)
            for place, follow in enumerate((from_redis(system.server.url), from_server(url)))
        ]
        for consumer in consumers:
            consumer.start()
        try:
            assert play(scenario, system).complaints() == []
        finally:
            for consumer in consumers:
                consumer.finish()
    direct, remote = (_compared(system, consumer) for consumer in consumers)
    return direct, remote


def _compared(system: System, consumer: Consumer) -> Streamed:
    made = Counter((t.market, t.ms, t.price, t.volume, t.side) for t in system.truth.trades)
    return Streamed(
        made.total(), consumer.facts.total(), consumer.breaks + 1,
        (made - consumer.facts).total(), (consumer.facts - made).total(),
        consumer.disorder, consumer.reasons,
    )  # fmt: skip
