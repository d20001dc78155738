"""Taking batches back: ours alone, and only those that wait, from the lists Celery makes in a real Redis."""

from collections.abc import Iterator

import pytest
import redis
from celery import Celery

from collector.errors import BrokerUnavailable
from collector.publish.revoke import Revoker
from tests.integration.publish.test_probe import celery_app, connected

pytestmark = pytest.mark.server


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with connected(redis_url) as client:
        yield client


@pytest.fixture
def app(redis_url: str) -> Iterator[Celery]:
    with celery_app(redis_url) as app:
        yield app


def send(app: Celery, queue: str, *ids: str, **options) -> None:
    for id in ids:
        app.send_task("t", args=("x" * 5000,), task_id=id, queue=queue, compression="zstd", **options)


def waiting(client: redis.Redis, queue: str) -> list[str]:
    """Return the ids of what is in a queue, the next one first."""
    messages = client.lrange(queue, 0, -1)[::-1]
    return [message.split(b'"id": "')[1].split(b'"')[0].decode() for message in messages]


def test_ours_are_removed_and_the_rest_keeps_its_order(client, app):
    """Batches of others stay as they were, and so do other queues."""
    send(app, "orderbook", "a", "theirs-1", "b", "c", "theirs-2")
    send(app, "ticker", "b")
    recalled = Revoker(client).revoke("orderbook", ["a", "b", "c", "taken by a worker"])
    assert (sorted(recalled.ids), recalled.left) == (["a", "b", "c"], 2)
    assert waiting(client, "orderbook") == ["theirs-1", "theirs-2"]
    assert waiting(client, "ticker") == ["b"]


def test_nothing_of_ours(client, app):
    """An empty queue, no ids, or only those of others: nothing is touched."""
    recall = Revoker(client)
    assert recall.revoke("orderbook", ["a"]) == ([], 0)
    send(app, "orderbook", "theirs")
    assert recall.revoke("orderbook", ["a"]) == ([], 1)
    assert recall.revoke("orderbook", []) == ([], 1)
    assert waiting(client, "orderbook") == ["theirs"]


def test_what_a_worker_holds_stays_with_it(client, app):
    """A message that was taken is in `unacked`, not in its queue."""
    send(app, "ticker", "held", "waits")
    with app.connection() as connection, connection.SimpleQueue("ticker") as queue:
        message = queue.get(timeout=5)
        assert Revoker(client).revoke("ticker", ["held", "waits"]) == (["waits"], 0)
        message.ack()


def test_priorities_and_prefix(client, redis_url):
    """Lists with a priority belong to the queue; with a prefix, no others are looked at."""
    with celery_app(redis_url, global_keyprefix="mine:") as app:
        send(app, "ticker", "a")
        send(app, "ticker", "b", priority=3)
    assert Revoker(client).revoke("ticker", ["a", "b"]) == ([], 0)
    recalled = Revoker(client, key_prefix="mine:").revoke("ticker", ["a", "b"])
    assert (sorted(recalled.ids), recalled.left) == (["a", "b"], 0)


def test_what_is_not_celerys_is_left_alone(client, app):
    """Messages that cannot be read, or carry no headers, count as others'."""
    client.lpush("ticker", "no json", "7", '"text"', '{"headers": 1}', '{"headers": {}}', "null")
    send(app, "ticker", "a")
    assert Revoker(client).revoke("ticker", ["a"]) == (["a"], 6)


def test_a_redis_that_forgot_the_script(client, app):
    """After a restart the script is loaded again."""
    recall = Revoker(client)
    recall.revoke("ticker", [])
    client.script_flush()
    send(app, "ticker", "a")
    assert recall.revoke("ticker", ["a"]) == (["a"], 0)


def test_no_redis():
    """A Redis that is not there is told as such."""
    with connected("redis://127.0.0.1:1/0") as client, pytest.raises(BrokerUnavailable):
        Revoker(client).revoke("ticker", ["a"])
