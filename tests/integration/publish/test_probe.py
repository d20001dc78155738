"""The probe: the broker's figures in one round trip, against a real Redis and real Celery messages."""

import socket
from collections.abc import Iterator

import pytest
import redis
from celery import Celery
from redis.backoff import NoBackoff
from redis.retry import Retry

from collector.clock import ManualClock
from collector.errors import BrokerUnavailable
from collector.publish.probe import Probe

pytestmark = pytest.mark.server

NOW_MS = 1_790_000_000_000
QUEUES = ("trade", "trade.0", "orderbook")


def connected(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, socket_timeout=0.5, retry=Retry(NoBackoff(), 0))


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with connected(redis_url) as client:
        yield client


def probe_of(client: redis.Redis, **changes) -> Probe:
    options = {"queues": QUEUES, "aged": ("trade", "trade.0"), "clock": ManualClock(NOW_MS)}
    return Probe(client, **{**options, **changes})


def celery_app(url: str, **transport_options) -> Celery:
    app = Celery(broker=url, set_as_current=False)
    app.conf.broker_transport_options = {"queue_order_strategy": "priority", **transport_options}
    return app


class TestProbe:
    def test_empty(self, client):
        """Queues that do not exist have no length and no age."""
        reading = probe_of(client).read()
        assert reading.queue_lengths == {"trade": 0, "trade.0": 0, "orderbook": 0}
        assert reading.ages_ms == {"trade": 0, "trade.0": 0}
        assert (reading.unacked, reading.trade_backlog, reading.send_failing) == (0, 0, False)

    def test_what_celery_sent(self, client, redis_url):
        """Lengths include messages with a priority; the age is that of the oldest batch."""
        with celery_app(redis_url) as app:
            for age_ms in (700, 300):
                headers = {"created_ms": NOW_MS - age_ms}
                app.send_task("t", args=("x" * 5000,), queue="trade", compression="zstd", headers=headers)
            app.send_task("t", queue="trade.0", headers={"created_ms": NOW_MS - 40})
            for priority in (3, 6, 9):
                app.send_task("t", queue="orderbook", priority=priority)
        reading = probe_of(client).read()
        assert reading.queue_lengths == {"trade": 2, "trade.0": 1, "orderbook": 3}
        assert reading.ages_ms == {"trade": 700, "trade.0": 40}
        assert (reading.trade_backlog, reading.state_backlog, reading.trade_age_ms) == (3, 3, 700)

    def test_key_prefix(self, client, redis_url):
        """With kombu's `global_keyprefix`, all keys are found behind the prefix and no others."""
        with celery_app(redis_url, global_keyprefix="mine:") as app:
            app.send_task("t", queue="trade", headers={"created_ms": NOW_MS - 5})
        client.hset("mine:unacked", "tag", "message")
        reading = probe_of(client, key_prefix="mine:").read()
        assert (reading.queue_lengths["trade"], reading.ages_ms["trade"], reading.unacked) == (1, 5, 1)
        assert probe_of(client).read().trade_backlog == 0

    def test_unacked(self, client):
        """What workers hold is counted over all queues."""
        client.hset("unacked", mapping={"a": "1", "b": "2"})
        assert probe_of(client).read().unacked == 2

    def test_memory(self, client):
        """The share of `maxmemory` in use lies between nothing and all."""
        used, limit = (client.info("memory")[name] for name in ("used_memory", "maxmemory"))
        assert probe_of(client).read().redis_memory == pytest.approx(used / limit, rel=0.2)

    def test_no_memory_limit(self, client):
        """A Redis without a limit is never full."""
        limit = client.config_get("maxmemory")["maxmemory"]
        client.config_set("maxmemory", 0)
        try:
            assert probe_of(client).read().redis_memory == 0
        finally:
            client.config_set("maxmemory", limit)

    @pytest.mark.parametrize(
        "message",
        [b"", b"{}", b"\xff\xfe", b'{"headers": {}}', b'{"headers": {"created_ms": "x"}}', b"[" * 9999],
    )
    def test_foreign_message_has_no_age(self, client, message):
        """A message without our header, or no message at all, counts but tells no age."""
        client.lpush("trade", message)
        reading = probe_of(client).read()
        assert (reading.trade_backlog, reading.trade_age_ms) == (1, 0)

    def test_clock_behind_the_sender(self, client):
        """A batch from the future is of age 0: another listener's clock may be ahead."""
        client.lpush("trade", b'{"headers": {"created_ms": %d}}' % (NOW_MS + 9999))
        assert probe_of(client).read().trade_age_ms == 0

    def test_one_round_trip(self, client, redis_url):
        """All figures cost one request, however many queues there are."""
        probe = probe_of(client, queues=[f"trade.{n}" for n in range(64)], aged=[])
        probe.read()
        connection = client.connection_pool.get_connection()
        sent: list[bytes] = []
        connection.send_packed_command = lambda command, check_health=True: sent.append(command)
        client.connection_pool.release(connection)
        with pytest.raises(BrokerUnavailable):
            probe.read()
        assert len(sent) == 1

    def test_nobody_listens(self):
        """A Redis that is gone is a BrokerUnavailable, at once."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            client = connected(f"redis://127.0.0.1:{taken.getsockname()[1]}")
            with client, pytest.raises(BrokerUnavailable, match="queue lengths"):
                probe_of(client).read()

    def test_silence(self):
        """A Redis that accepts and says nothing is a BrokerUnavailable within the socket timeout."""
        with socket.create_server(("127.0.0.1", 0)) as silent:
            client = connected(f"redis://127.0.0.1:{silent.getsockname()[1]}")
            with client, pytest.raises(BrokerUnavailable):
                probe_of(client).read()

    def test_refused_command(self, client):
        """A key of another type, like any refusal, is a BrokerUnavailable and not a foreign error."""
        client.set("trade", "not a list")
        with pytest.raises(BrokerUnavailable, match="WRONGTYPE"):
            probe_of(client).read()
