"""The in-flight log: what was sent and is not confirmed is sent again, in time and not too often."""

import zlib
from collections.abc import Iterator

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from collector.batch import Kind
from collector.clock import ManualClock
from collector.errors import BrokerUnavailable
from collector.publish.in_flight import AGAIN_MAX, InFlightLog
from collector.publish.sender import Envelope, Names

NOW_MS = 1_790_000_000_000
TIMEOUT_MS = 15_000
NAMES = Names("bithumb:unconfirmed", "bithumb:unconfirmed-due", "bithumb:unconfirmed-from")


class Wire:
    """A transport that keeps what it is given, or fails."""

    def __init__(self) -> None:
        self.sent: list[Envelope] = []
        self.fails = False

    def send(self, *letters: Envelope) -> None:
        if self.fails:
            raise BrokerUnavailable("away")
        self.sent += letters

    def limit_rates(self, limits) -> None:
        self.limits = limits


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url, socket_timeout=0.5, retry=Retry(NoBackoff(), 0)) as client:
        yield client


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW_MS)


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def unreadable() -> list[int]:
    """Times from which on trades are to be fetched again."""
    return []


@pytest.fixture
def in_flight(client: redis.Redis, wire: Wire, clock: ManualClock, unreadable: list[int]) -> InFlightLog:
    return InFlightLog(client, wire, NAMES, TIMEOUT_MS, clock.now_ms, unreadable.append)


def letter(id: str = "a1", kind: Kind = Kind.TRADE, created_ms: int = NOW_MS) -> Envelope:
    times = (created_ms - 900, created_ms - 100, created_ms - 500)
    return Envelope(kind, "trade", 2, created_ms, id, '{"rows":[["체결"]]}', *times)


def confirm(client: redis.Redis, id: str) -> None:
    """Do what a worker does once the batch is stored."""
    client.zrem(NAMES.due, id)
    client.zrem(NAMES.from_, id)
    client.hdel(NAMES.bodies, id)


class TestLedger:
    def test_confirmed(self, in_flight, wire, client, clock):
        """What a worker has stored is not sent again."""
        in_flight.send(letter())
        confirm(client, "a1")
        clock.advance(3600)
        assert in_flight.send_again(0) == 0
        assert wire.sent == [letter()]

    def test_overdue(self, in_flight, wire, clock):
        """What is not confirmed in time is sent again, the same to the letter."""
        in_flight.send(letter())
        clock.advance(TIMEOUT_MS / 1000 - 0.001)
        assert in_flight.send_again(0) == 0
        clock.advance(0.001)
        assert in_flight.send_again(0) == 1
        assert wire.sent == [letter(), letter()]

    def test_what_may_still_be_in_its_queue(self, in_flight, wire, clock):
        """A batch no older than the oldest in the queue is only waiting its turn."""
        in_flight.send(letter())
        clock.advance(60)
        assert in_flight.send_again(queue_age_ms=60_000) == 0
        assert in_flight.send_again(queue_age_ms=45_000) == 1

    def test_seldomer_and_seldomer(self, in_flight, wire, clock):
        """A batch that can't be stored comes again after 15 s, 30 s, 60 s …: it does not flood the queue."""
        in_flight.send(letter())
        for _ in range(3600):
            clock.advance(1)
            in_flight.send_again(0)
        assert len(wire.sent) == 1 + 8

    def test_a_machine_whose_clock_is_wrong(self, in_flight, wire, clock):
        """What its batches say of their age counts for nothing."""
        in_flight.send(letter(created_ms=NOW_MS - 172_800_000))
        for _ in range(60):
            clock.advance(1)
            in_flight.send_again(0)
        assert len(wire.sent) == 1 + 3

    @pytest.mark.parametrize("kind", [Kind.TICKER, Kind.ORDERBOOK])
    def test_states(self, in_flight, wire, client, kind):
        """Tickers and books are not kept in mind: the next one replaces them."""
        in_flight.send(letter(kind=kind))
        assert client.hlen(NAMES.bodies) == 0
        assert len(wire.sent) == 1

    def test_a_send_that_fails(self, in_flight, wire, clock):
        """It is in the in-flight log all the same: sent again later, beside the copy that went to disk."""
        wire.fails = True
        with pytest.raises(BrokerUnavailable):
            in_flight.send(letter())
        wire.fails = False
        clock.advance(60)
        assert in_flight.send_again(0) == 1

    def test_another_listener_takes_over(self, in_flight, client, clock):
        """The in-flight log is in Redis: whoever listens next sends what the dead one could not."""
        in_flight.send(letter())
        clock.advance(60)
        successor = Wire()
        assert InFlightLog(client, successor, NAMES, TIMEOUT_MS, clock.now_ms, print).send_again(0) == 1
        assert successor.sent == [letter()]

    def test_a_bounded_number_at_a_time(self, in_flight, clock):
        """A long list is worked off in steps."""
        for number in range(AGAIN_MAX + 1):
            in_flight.send(letter(f"b{number}"))
        clock.advance(60)
        assert [in_flight.send_again(0) for _ in range(3)] == [AGAIN_MAX, 1, 0]

    @pytest.mark.parametrize("body", [None, b"", b"nonsense", zlib.compress(b"of another version")])
    def test_what_cannot_be_read_is_to_be_fetched_again(
        self, in_flight, client, clock, unreadable, wire, body
    ):
        """The listener gets to know from when on; nothing of it stays, and what is sound is sent."""
        for id in ("a1", "b2"):
            in_flight.send(letter(id))
        client.hdel(NAMES.bodies, "b2")
        if body is not None:
            client.hset(NAMES.bodies, "b2", body)
        clock.advance(60)
        assert in_flight.send_again(0) == 1
        assert unreadable == [NOW_MS - 900]
        assert [letter.id for letter in wire.sent] == ["a1", "b2", "a1"]
        confirm(client, "a1")
        assert not any(map(client.exists, NAMES))

    def test_an_unreadable_one_of_an_earlier_version(self, in_flight, client, clock, unreadable):
        """There was no note of its times: long before it was sent is early enough."""
        client.hset(NAMES.bodies, "a1", b"?")
        client.zadd(NAMES.due, {"a1": NOW_MS})
        clock.advance(60)
        assert in_flight.send_again(0) == 0
        assert unreadable == [NOW_MS - TIMEOUT_MS - 600_000]

    def test_confirmed_between_two_looks(self, in_flight, client, unreadable):
        """What a worker crosses out while it is being looked at is not lost."""
        in_flight.send(letter())
        confirm(client, "a1")
        in_flight._give_up([b"a1"])
        assert unreadable == []

    def test_the_oldest_that_is_not_stored(self, in_flight, client, clock):
        """Only where something has been on its way for a while; a state is no part of it."""
        in_flight.send(letter("t1", Kind.TICKER, NOW_MS - 99_000))
        in_flight.send(letter("a1"))
        in_flight.send(letter("b2", created_ms=NOW_MS - 5_000))
        assert in_flight.oldest_ms(stuck_s=3) is None
        clock.advance(3)
        assert in_flight.oldest_ms(stuck_s=3) == NOW_MS - 5_900
        confirm(client, "b2")
        assert in_flight.oldest_ms(stuck_s=3) == NOW_MS - 900
        confirm(client, "a1")
        assert in_flight.oldest_ms(stuck_s=3) is None

    def test_redis_full(self, in_flight, wire, client):
        """A Redis without memory takes no note: the batch is not sent, and goes to disk."""
        client.config_set("maxmemory", 1)
        try:
            with pytest.raises(BrokerUnavailable, match="did not take a note"):
                in_flight.send(letter())
        finally:
            client.config_set("maxmemory", 256 << 20)
        assert wire.sent == []
