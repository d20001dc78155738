"""kombu's transport with channels that keep their client."""

from unittest import mock

import pytest
import redis
from celery import Celery
from kombu import Connection
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
