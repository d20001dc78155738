"""kombu's transport with channels that keep their client."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest
import redis
from celery import Celery
from kombu import Connection, Consumer, Exchange, Producer, Queue
from kombu.transport import redis as kombus

from collector.broker import transport


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://127.0.0.1:1/0", transport.Transport),
        ("rediss://127.0.0.1:1/0", transport.Transport),
        ("redis+socket:///no/such.sock", transport.Transport),
        ("sentinel://127.0.0.1:1/0", transport.SentinelTransport),
    ],
)
def test_every_address_gets_it_under_its_own_name(
    url: str, expected: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Banners, logs and Flower show the address as it was given."""
    monkeypatch.setattr("kombu.transport._transport_cache", {})  # what tests before have looked up
    transport.register()
    with Connection(url) as connection:
        assert type(connection.transport) is expected
        assert issubclass(expected.Channel, transport.Channel)
        assert connection.as_uri().partition("://")[0] == url.partition("://")[0]


def test_a_client_is_made_once_for_a_pool(redis_url: str) -> None:
    """A channel that has lost its connections makes a new one, with a new pool."""
    with Connection(redis_url, transport=transport.Transport) as connection:
        channel = connection.default_channel
        with channel.conn_or_acquire() as first, channel.conn_or_acquire() as second:
            assert first is second
        channel._disconnect_pools()
        with channel.conn_or_acquire() as third:
            assert third is not first
            assert third.ping()


def test_sending_makes_no_client(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where kombu alone makes one for each message."""
    made = mock.Mock(side_effect=redis.Redis)
    monkeypatch.setattr(kombus.Channel, "_get_client", lambda _: made)
    with Celery("sends", broker=redis_url, set_as_current=False) as app:
        app.conf.broker_transport = transport.Transport
        app.send_task("nothing")
        before = made.call_count
        for _ in range(5):
            app.send_task("nothing")
        assert (before >= 1, made.call_count - before) == (True, 0)


STATES = ("ticker", "orderbook")


@pytest.mark.parametrize(
    ("queue", "is_noted"), [("trade", True), ("analysis", True), *((q, False) for q in STATES)]
)
def test_what_a_worker_holds_is_in_redis_but_for_states(
    redis_url: str, queue: str, is_noted: bool, client: redis.Redis
) -> None:
    """A worker that is killed takes a batch of states along; acknowledged, none leaves anything behind."""
    with held(redis_url, queue) as message:
        assert client.hexists("unacked", message.delivery_tag) == is_noted
        assert client.llen(queue) == 0
        message.ack()
        assert not client.exists("unacked", "unacked_index", queue)


@pytest.mark.parametrize("queue", ["trade", *STATES])
def test_what_is_given_back_is_in_its_queue_again(redis_url: str, queue: str, client: redis.Redis) -> None:
    """Rejected for another try, by a worker that goes on."""
    with held(redis_url, queue) as message:
        message.reject(requeue=True)
        again = json.loads(client.lindex(queue, 0))
        assert (again["headers"]["id"], again["headers"]["redelivered"]) == ("b1", True)
        assert not client.exists("unacked", "unacked_index")


@pytest.mark.parametrize("queue", ["trade", *STATES])
def test_what_is_refused_for_good_is_gone(redis_url: str, queue: str, client: redis.Redis) -> None:
    """Rejected without another try."""
    with held(redis_url, queue) as message:
        message.reject(requeue=False)
        assert not client.exists("unacked", "unacked_index", queue)


@pytest.mark.parametrize("queue", ["trade", *STATES])
def test_a_worker_that_stops_gives_back_what_it_holds(
    redis_url: str, queue: str, client: redis.Redis
) -> None:
    """Whatever it is of."""
    with held(redis_url, queue):
        pass
    assert client.llen(queue) == 1
    assert not client.exists("unacked", "unacked_index")


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as it:
        yield it


@contextmanager
def held(url: str, queue: str) -> Iterator[Any]:
    """Take a message from a queue as a worker does; the channel is closed at the end."""
    with Connection(url, transport=transport.Transport) as connection:
        Producer(connection).publish({}, routing_key=queue, headers={"id": "b1"}, serializer="json")
        with connection.channel() as channel:
            channel.do_restore = True
            taken: list[Any] = []
            consumer = Consumer(
                channel, Queue(queue, Exchange(queue), routing_key=queue), on_message=taken.append
            )
            with consumer:
                connection.drain_events(timeout=5)
                yield taken[0]


def test_a_worker_that_connects_to_a_full_redis_goes_on(redis_url: str) -> None:
    """It asks for messages that others held for too long, which writes a lock: later, when there is room."""
    with redis.Redis.from_url(redis_url) as client:
        before = client.config_get("maxmemory")["maxmemory"]
        with Connection(redis_url, transport=transport.Transport) as connection:
            qos = connection.default_channel.qos
            client.config_set("maxmemory", client.info("memory")["used_memory"] // 2)
            try:
                qos._vrestore_count = 0
                qos.restore_visible()
                assert client.exists(qos.unacked_mutex_key) == 0
            finally:
                client.config_set("maxmemory", before)
