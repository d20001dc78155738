"""kombu's Redis transport, with less to do for a message.

kombu makes a Redis client for every operation, several a batch, and that takes longer than most of the
operations. A client is no more than a way to its connection pool, so one is enough for as long as there is
that pool.

kombu writes down each message that a worker takes, and crosses it out once it is acknowledged, so that
another worker gets it should this one die. Facts need that. A batch of tickers or books does not: the newest
of each market follows. It is kept in the worker's memory alone, and a worker that starts has the listeners
send what was newest once more (`tasks.heartbeat`), since one that died may have taken some along.
"""

from contextlib import suppress
from typing import Any

from kombu import transport
from kombu.transport import redis, virtual
from redis.exceptions import OutOfMemoryError

from collector.routing import ORDERBOOK, TICKER

#: Queues of what the newest replaces.
STATE_QUEUES = frozenset({TICKER, ORDERBOOK})


class QoS(redis.QoS):
    """The messages that a worker holds; those of states are not in Redis."""

    def append(self, message: Any, delivery_tag: str) -> None:  # noqa: ANN401 - kombu's
        """Take note of a message that was taken."""
        if message.delivery_info["routing_key"] in STATE_QUEUES:
            virtual.QoS.append(self, message, delivery_tag)
        else:
            super().append(message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """Forget a message that is done."""
        if self._state(delivery_tag) is None:
            super().ack(delivery_tag)
        else:
            virtual.QoS.ack(self, delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Forget a message, or put it back into its queue."""
        if requeue or self._state(delivery_tag) is None:
            super().reject(delivery_tag, requeue=requeue)
        else:
            virtual.QoS.ack(self, delivery_tag)

    def restore_by_tag(self, tag: str, client: Any = None, leftmost: bool = False) -> None:  # noqa: ANN401
        """Put a message back into its queue."""
        message = self._state(tag)
        if message is None:
            super().restore_by_tag(tag, client, leftmost)
            return
        channel: Any = self.channel
        with channel.conn_or_acquire(client) as connection:
            queue = message.delivery_info["routing_key"]
            channel._do_restore_message(message._raw, "", queue, connection, leftmost)

    def restore_visible(self, start: int = 0, num: int = 10, interval: int = 10) -> None:
        """Put back what a worker has held for too long; a Redis that is full is asked again later.

        kombu asks as it connects as well, and what is raised there would end the worker.
        """
        with suppress(OutOfMemoryError):
            super().restore_visible(start, num, interval)

    def _state(self, delivery_tag: str) -> Any:  # noqa: ANN401 - kombu's message
        """Return the message if it is one of states that is held, else None."""
        held: Any = self._delivered
        message = held.get(delivery_tag)
        if message is None or message.delivery_info["routing_key"] not in STATE_QUEUES:
            return None
        return message


class Channel(redis.Channel):
    """A channel to the server of the address."""

    QoS = QoS
    _kept: Any = None

    def _create_client(self, asynchronous: bool = False) -> Any:  # noqa: ANN401 - kombu's
        if asynchronous:  # has a connection of its own, and is kept by kombu
            return super()._create_client(asynchronous)  # type: ignore[misc] # not in its stubs
        if self._kept is None or self._kept.connection_pool is not self.pool:
            self._kept = super()._create_client()  # type: ignore[misc]
        return self._kept


class SentinelChannel(Channel, redis.SentinelChannel):
    """A channel to the master that Sentinels name."""

    QoS = QoS


class Transport(redis.Transport):
    """`redis://` and `rediss://`."""

    Channel = Channel


class SentinelTransport(redis.SentinelTransport):
    """`sentinel://`."""

    Channel = SentinelChannel


def register() -> None:
    """Have kombu take these for its own, under the names that addresses begin with.

    A process that has opened a connection before goes on with kombu's, which does the same, only slower.
    """
    for name, kind in (("redis", Transport), ("rediss", Transport), ("sentinel", SentinelTransport)):
        transport.TRANSPORT_ALIASES[name] = f"{__name__}:{kind.__name__}"
