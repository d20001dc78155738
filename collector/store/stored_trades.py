"""The trades of minutes as Redis keeps them, of either layout (`collector.store.minute_layout`)."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import redis
from redis.exceptions import ResponseError

from collector.analytics.dedup import Row
from collector.store import minute_layout
from collector.store.keys import Keys
from collector.store.redis_client import translated

#: Minutes in one round trip: the replies fit into memory easily.
AT_ONCE = 500
_WRONG_TYPE = "WRONGTYPE"


def read_rows(
    client: redis.Redis, keys: Keys, minutes: Iterable[tuple[str, int]]
) -> Iterator[dict[int, list[Row]]]:
    """Yield the rows by epoch ms of each (market, minute's open); empty where none are kept.

    Raises:
        BrokerUnavailable: Redis does not answer.
    """
    left = iter(minutes)
    while some := list(islice(left, AT_ONCE)):
        with translated():
            pipeline = client.pipeline(transaction=False)
            for market, minute_ms in some:
                pipeline.lrange(keys.trades(market, minute_ms), 0, -1)
            replies = pipeline.execute(raise_on_error=False)
        for (market, minute_ms), reply in zip(some, replies, strict=True):
            if isinstance(reply, ResponseError) and _WRONG_TYPE in str(reply):
                yield _old_rows(client, keys.trades(market, minute_ms))
                continue
            with translated():
                if isinstance(reply, Exception):
                    raise reply
            yield minute_layout.read_chunks(minute_ms, reply)


def _old_rows(client: redis.Redis, key: str) -> dict[int, list[Row]]:
    with translated():
        stored: dict[Any, Any] = client.hgetall(key)
    return minute_layout.read_old_rows(stored)
