"""The lease on a real Redis: taken, renewed, lost, given up; what happens where Redis is full or away."""

import time
from collections.abc import Callable, Iterator

import pytest
import redis

from collector.errors import BrokerUnavailable
from collector.publish.lease import Lease

KEY = "bithumb:lease:1of1"
TTL_S = 0.3
Eventually = Callable[..., None]


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """A client of the empty test server; `maxmemory` is put back afterwards."""
    with redis.Redis.from_url(redis_url, socket_timeout=2) as connected:
        limit = connected.config_get("maxmemory")["maxmemory"]
        yield connected
        connected.config_set("maxmemory", limit)


def lease(client: redis.Redis, owner: str, ttl_s: float = TTL_S) -> Lease:
    """Return the lease as `owner` sees it."""
    return Lease(client, KEY, owner, ttl_s)


def test_the_first_to_come_holds_it(client: redis.Redis) -> None:
    """The second is told who does."""
    assert lease(client, "one").take() is None
    assert lease(client, "two").take() == "one"


def test_a_holder_that_renews_keeps_it(client: redis.Redis) -> None:
    """Each look makes it last its full time again, so it outlives the time it was taken for."""
    one, two = lease(client, "one", 1), lease(client, "two", 1)
    answers = set()
    for _ in range(8):
        assert one.take() is None
        answers.add(two.take())
        time.sleep(0.2)
    assert answers == {"one"}


def test_a_holder_that_is_silent_loses_it(client: redis.Redis, eventually: Eventually) -> None:
    """It expires; the next to look has it, and the old holder is told so when it comes back."""
    one, two = lease(client, "one"), lease(client, "two")
    one.take()
    eventually(lambda: two.take() is None, 2, "the standby has it")
    assert one.take() == "two"


def test_a_restart_is_the_same_owner(client: redis.Redis) -> None:
    """A listener that was killed and starts again at once does not wait for its own lease."""
    lease(client, "one", 60).take()
    assert lease(client, "one", 60).take() is None


def test_what_is_given_up_is_free_at_once(client: redis.Redis) -> None:
    """A graceful stop costs a standby no waiting."""
    one, two = lease(client, "one", 60), lease(client, "two", 60)
    one.take()
    one.give_up()
    assert two.take() is None


def test_nobody_gives_up_what_another_holds(client: redis.Redis) -> None:
    """A listener on standby that stops does not touch the lease."""
    lease(client, "one", 60).take()
    lease(client, "two", 60).give_up()
    assert lease(client, "three", 60).take() == "one"


def test_one_of_many_gets_a_lease_that_expired(client: redis.Redis) -> None:
    """However many look at it at the same time."""
    answers = [lease(client, f"listener{number}", 60).take() for number in range(20)]
    assert answers == [None] + ["listener0"] * 19


def test_a_full_redis_lets_a_listener_work(client: redis.Redis) -> None:
    """New keys are refused, so nobody can hold it; a listener without lease is better than none."""
    client.config_set("maxmemory", 1 << 20)
    assert lease(client, "one").take() is None


def test_a_full_redis_still_renews(client: redis.Redis) -> None:
    """Expiry needs no memory: the holder stays the holder, others see it."""
    one = lease(client, "one", 60)
    one.take()
    client.config_set("maxmemory", 1 << 20)
    assert one.take() is None
    assert lease(client, "two", 60).take() == "one"


def test_a_redis_that_is_away_is_told_apart(client: redis.Redis) -> None:
    """Not to know is not to have lost it: the caller decides."""
    with redis.Redis.from_url("redis://127.0.0.1:1", socket_timeout=0.5) as nowhere:
        nobody = Lease(nowhere, KEY, "one", TTL_S)
        for ask in (nobody.take, nobody.give_up):
            with pytest.raises(BrokerUnavailable, match="Redis does not answer"):
                ask()
