"""Keys, counters, dead letters, heartbeat: the parts around the store."""

import time

import redis

from collector.clock import ManualClock
from collector.counters import MEANING, Counter
from collector.model import Channel
from collector.settings import StoreSettings
from collector.store.dead_letters import DeadLetter, DeadLetters
from collector.store.keys import Keys
from collector.store.read import Reader
from tasks import delivery
from tasks.heartbeat import BusyTime, Heartbeat, Report
from tests.samples.rows import T0


def letter(number: int) -> DeadLetter:
    """Return a dead letter of that id."""
    return DeadLetter(str(number), "tasks.ingest.trades", "trade", "why", 1, T0, "text")


def test_days_are_utc_days() -> None:
    """Midnight in Korea is the middle of the UTC afternoon."""
    keys = Keys("p:")
    assert keys.candle("KRW-BTC", 1_790_035_199_999) == "p:candle:KRW-BTC:20260921"
    assert keys.candle("KRW-BTC", 1_790_035_200_000) == "p:candle:KRW-BTC:20260922"
    assert keys.state(Channel.ORDERBOOK, "KRW-BTC") == "p:book:KRW-BTC"


def test_every_counter_says_what_it_means() -> None:
    """An operator can look it up."""
    assert set(MEANING) == set(Counter)


def test_dead_letters_are_bounded_and_the_dropped_ones_counted(client: redis.Redis, reader: Reader) -> None:
    """The oldest go first; the list is read oldest first."""
    letters = DeadLetters(client, StoreSettings(dead_letters_max=3))
    for number in range(5):
        letters.bury(letter(number))
    assert [found.id for found in letters.list()] == ["2", "3", "4"]
    assert [found.id for found in letters.list(2)] == ["3", "4"]
    assert (reader.counters()["batches_dead"], reader.counters()["dead_letters_dropped"]) == (5, 2)
    assert (letters.drop("3"), letters.drop("no such"), letters.drop()) == (1, 0, 2)
    assert letters.list() == []


def test_pauses_grow_to_their_ceiling_with_jitter() -> None:
    """Between half and all of 0.1 s, 0.2 s … 5 s."""
    pauses = delivery._pauses()
    ceilings = [min(0.1 * 2**n, 5.0) for n in range(12)]
    for ceiling in ceilings:
        assert ceiling / 2 <= next(pauses) <= ceiling


def test_busy_time_includes_tasks_that_run() -> None:
    """The sum over tasks; one that nobody saw begin adds nothing."""
    busy = BusyTime()
    busy.end("never begun")
    assert busy.ms() == 0
    busy.begin("a")
    busy.begin("b")
    time.sleep(0.05)
    assert busy.ms() >= 100
    busy.end("a")
    busy.end("b")
    done = busy.ms()
    time.sleep(0.02)
    assert busy.ms() == done >= 100


def test_a_heartbeat_outlives_its_worker_only_briefly(
    client: redis.Redis, keys: Keys, reader: Reader
) -> None:
    """The report has a time to live of a few intervals."""
    report = Report("w@host", ["trade"], ManualClock(T0))
    heartbeat = Heartbeat(client, keys.worker("w@host"), report, interval_s=0.02)
    heartbeat.start()
    heartbeat.join(0.2)
    heartbeat.stop()
    heartbeat.join(2)
    assert not heartbeat.is_alive()
    assert 0 < client.pttl(keys.worker("w@host")) <= 100
    (found,) = reader.health().workers
    assert (found["hostname"], found["started_ms"], found["tasks_done"]) == ("w@host", T0, 0)
