"""What a listener covers of its share of the markets, in Redis: written by it, again and again.

coverage                 HASH    shard -> `collector.analytics.completeness.Status`, JSON
                                 `{shard}:markets` -> list of its markets, JSON
coverage-alive:{shard}   STRING  expires shortly after the last status
"""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import msgspec
import redis

from collector.analytics.completeness import Status
from collector.store import scripts
from collector.store.keys import SHARD_MARKETS, Keys
from collector.store.redis_client import translated

_decode = msgspec.json.Decoder(Status).decode
encode = msgspec.json.encode


class Reply(NamedTuple):
    """What became of a status: whether it was written, by which process of Redis, and what was there."""

    is_written: bool
    run_id: str
    found: bytes


class CoverageStore:
    """The status of one share.

    Every method raises:
        BrokerUnavailable: Redis refuses or does not answer in time.
    """

    def __init__(self, client: redis.Redis, keys: Keys, shard: str, alive_s: float) -> None:
        self._redis = client
        self._key = keys.coverage
        self._alive_key = keys.coverage_alive(shard)
        self._shard = shard
        self._alive_ms = round(alive_s * 1000)

    def read(self) -> bytes:
        """Return the status as it is written, empty where there is none."""
        with translated():
            found: Any = self._redis.hget(self._key, self._shard)
        return found or b""

    def write(self, status: bytes, expected: Collection[bytes], run_id: str) -> Reply:
        """Write `status` where one of `expected` is there (empty = none), and Redis is still `run_id`."""
        with translated():
            pipeline = self._redis.pipeline(transaction=False)
            keys = (self._key, self._alive_key)
            scripts.COVERAGE.queue(pipeline, keys, (self._shard, run_id, status, self._alive_ms, *expected))
            is_written, found_id, found = scripts.run(self._redis, pipeline)[0]
        return Reply(bool(is_written), found_id.decode(), found)

    def write_markets(self, markets: Sequence[str]) -> None:
        """Write which markets the share has."""
        with translated():
            self._redis.hset(self._key, self._shard + SHARD_MARKETS, encode(markets))

    def leave(self) -> None:
        """Let everybody know at once that nobody listens any more."""
        with translated():
            self._redis.delete(self._alive_key)


def decode(text: bytes) -> Status | None:
    """Return the status in `text`, None where there is none, or one that can't be read.

    One that can't be read is treated like none: more is fetched again than was lost.
    """
    try:
        return _decode(text) if text else None
    except (msgspec.MsgspecError, UnicodeError):
        return None
