"""One listener per share: a lease in Redis that a standby takes over when its holder dies.

Two listeners on one share would do no harm to the data (trades are recognised, states are compared), only
twice the work; so the lease is advice, not a lock. A holder that can't reach Redis goes on: nobody else can
take the lease there either.
"""

import redis

from collector.errors import BrokerUnavailable
from collector.util.lua import read_script


class Lease:
    """The right to serve one share, renewed by whoever holds it.

    Args:
        key: the Redis key; a STRING that holds the owner's name and expires.
        owner: unique name of this listener.
        ttl_s: how long it lasts without renewal.
    """

    def __init__(self, client: redis.Redis, key: str, owner: str, ttl_s: float) -> None:
        self._client = client
        self._key = key
        self._owner = owner
        self._ttl_ms = round(ttl_s * 1000)
        self._release = client.register_script(read_script("collector.publish", "release"))

    def take(self) -> str | None:
        """Take or renew the lease; return None, or the name of the listener that has it.

        A full Redis refuses new keys: then the lease counts as taken, because nobody can hold it.

        Raises:
            BrokerUnavailable: Redis refuses or does not answer in time.
        """
        try:
            holder = self._holder()
            if holder == self._owner:
                self._client.pexpire(self._key, self._ttl_ms)
                return None
            if holder is None and self._client.set(self._key, self._owner, nx=True, px=self._ttl_ms):
                return None
            return holder or self._holder()
        except redis.exceptions.OutOfMemoryError:
            return None
        except redis.RedisError as error:
            raise BrokerUnavailable(f"Redis does not answer: {error}") from error

    def give_up(self) -> None:
        """Let a standby take over at once; a lease that is somebody else's by now stays as it is.

        Raises:
            BrokerUnavailable: Redis refuses or does not answer in time.
        """
        try:
            self._release(keys=[self._key], args=[self._owner])
        except redis.RedisError as error:
            raise BrokerUnavailable(f"Redis does not answer: {error}") from error

    def _holder(self) -> str | None:
        holder = self._client.get(self._key)
        return holder.decode() if isinstance(holder, bytes) else None
