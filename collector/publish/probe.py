"""How full the broker is: one round trip for all queues, the unacknowledged tasks and Redis' memory.

Key schema of kombu's Redis transport, read here and written there; all keys carry its `global_keyprefix`:

    {queue}                     LIST    messages without priority, the newest on the left
    {queue}\\x06\\x16{3|6|9}      LIST    messages with one
    unacked                     HASH    delivery tag -> message a worker holds, over all queues
"""

from collections.abc import Iterator, Sequence
from typing import Any

import redis

from collector import batch
from collector.clock import Clock
from collector.errors import BrokerUnavailable
from collector.stream.pressure import PressureSample

PRIORITY_SUFFIXES = ("", "\x06\x163", "\x06\x166", "\x06\x169")
UNACKED = "unacked"


class Probe:
    """Reads the broker's half of a `PressureSample`.

    Args:
        client: connection to the broker, with a `socket_timeout`.
        queues: names of the queues to measure.
        aged: those of them whose oldest message is read; its header `created_ms` gives the age.
        key_prefix: the `global_keyprefix` of the broker's transport options.
        clock: now, for the ages.
        starts_key: where workers count their starts; '' = nowhere.
    """

    def __init__(
        self,
        client: redis.Redis,
        queues: Sequence[str],
        *,
        aged: Sequence[str] = (),
        key_prefix: str = "",
        clock: Clock,
        starts_key: str = "",
    ) -> None:
        self._client = client
        self._queues = tuple(queues)
        self._aged = tuple(aged)
        self._prefix = key_prefix
        self._clock = clock
        self._starts_key = starts_key

    def read(self) -> PressureSample:
        """Ask everything in one round trip.

        Raises:
            BrokerUnavailable: Redis refuses or does not answer in time.
        """
        try:
            replies = iter(self._ask())
        except redis.RedisError as error:
            raise BrokerUnavailable(f"Redis does not return its queue lengths: {error}") from error
        lengths = {queue: _total(replies) for queue in self._queues}
        now_ms = self._clock.now_ms()
        ages_ms = {queue: batch.waited_ms(next(replies), now_ms) for queue in self._aged}
        return PressureSample(
            queue_lengths=lengths,
            ages_ms=ages_ms,
            unacked=next(replies),
            redis_memory=_share(next(replies)),
            workers_started=int(next(replies, None) or 0),
        )

    def _ask(self) -> list[Any]:
        with self._client.pipeline(transaction=False) as pipe:
            for queue in self._queues:
                for suffix in PRIORITY_SUFFIXES:
                    pipe.llen(f"{self._prefix}{queue}{suffix}")
            for queue in self._aged:
                pipe.lindex(f"{self._prefix}{queue}", -1)
            pipe.hlen(f"{self._prefix}{UNACKED}")
            pipe.info("memory")
            if self._starts_key:
                pipe.get(self._starts_key)
            return pipe.execute()


def _total(lengths: Iterator[Any]) -> int:
    return sum(next(lengths) for _ in PRIORITY_SUFFIXES)


def _share(memory: dict[str, Any]) -> float:
    """Return the share of `maxmemory` in use; 0 where there is no limit."""
    limit = int(memory.get("maxmemory", 0))
    return memory["used_memory"] / limit if limit else 0.0
