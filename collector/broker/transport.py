"""kombu's Redis transport, whose channels keep their Redis client.

kombu makes one for every operation, several a batch, and that takes longer than most of the operations. A
client is no more than a way to its connection pool, so one is enough for as long as there is that pool.
"""

from typing import Any

from kombu import transport
from kombu.transport import redis


class Channel(redis.Channel):
    """A channel to the server of the address."""

    _kept: Any = None

    def _create_client(self, asynchronous: bool = False) -> Any:  # noqa: ANN401 - kombu's
        if asynchronous:  # has a connection of its own, and is kept by kombu
            return super()._create_client(asynchronous)  # type: ignore[misc] # not in its stubs
        if self._kept is None or self._kept.connection_pool is not self.pool:
            self._kept = super()._create_client()  # type: ignore[misc]
        return self._kept


class SentinelChannel(Channel, redis.SentinelChannel):
    """A channel to the master that Sentinels name."""


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
