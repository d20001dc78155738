"""Take back what still waits for a worker: tickers and books that newer ones replace.

A worker would have to do them one by one before it comes to the newest. Only messages of our own are taken,
known by their task ids, and only those that no worker has yet; the newest of each market is to follow.

Works on the lists that kombu's Redis transport keeps, see `collector.publish.probe`.
"""

from collections.abc import Collection
from typing import Any, NamedTuple

import redis

from collector.errors import BrokerUnavailable
from collector.publish.probe import PRIORITY_SUFFIXES
from collector.util.lua import read_script


class Revoked(NamedTuple):
    """The task ids of what was taken back, and how many messages of others are left in the queue."""

    ids: list[str]
    left: int


class Revoker:
    """Removes our messages from a queue.

    Args:
        client: connection to the broker, with a `socket_timeout`.
        key_prefix: the `global_keyprefix` of the broker's transport options.
    """

    def __init__(self, client: redis.Redis, *, key_prefix: str = "") -> None:
        self._script = client.register_script(read_script("collector.publish", "revoke"))
        self._prefix = key_prefix

    def revoke(self, queue: str, ids: Collection[str]) -> Revoked:
        """Remove the messages with these task ids from `queue`.

        Raises:
            BrokerUnavailable: Redis refuses or does not answer in time; they may be removed all the same.
        """
        keys = [f"{self._prefix}{queue}{suffix}" for suffix in PRIORITY_SUFFIXES]
        try:
            reply: Any = self._script(keys=keys, args=list(ids))
        except redis.RedisError as error:
            raise BrokerUnavailable(f"Redis does not give batches back: {error}") from error
        taken, left = reply
        return Revoked([id.decode() for id in taken], left)
