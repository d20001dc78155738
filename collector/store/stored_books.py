"""The newest order books as Redis keeps them, of either layout (`collector.store.book_layout`)."""

from collections.abc import Iterable, Iterator
from itertools import islice

import redis

from collector.analytics.depth import Book
from collector.model import Channel
from collector.store.book_layout import FIELDS, read_book
from collector.store.keys import Keys
from collector.store.redis_client import translated

#: Books in one round trip.
AT_ONCE = 500


def read_books(client: redis.Redis, keys: Keys, markets: Iterable[str]) -> Iterator[Book]:
    """Yield the newest book of those of `markets` that have one.

    Raises:
        BrokerUnavailable: Redis does not answer.
    """
    left = iter(markets)
    while some := list(islice(left, AT_ONCE)):
        with translated():
            pipeline = client.pipeline(transaction=False)
            for market in some:
                pipeline.hmget(keys.state(Channel.ORDERBOOK, market), FIELDS)
            replies = pipeline.execute()
        for market, fields in zip(some, replies, strict=True):
            book = read_book(market, fields)
            if book is not None:
                yield book
