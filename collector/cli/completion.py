"""What TAB completes: the markets in the store. Bounded, and without a word where there is none."""

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from collector import market_names, settings
from collector.errors import CollectorError
from collector.host.redis_server import find_url
from collector.store.read import Reader
from collector.store.redis_client import connect

#: Longest wait for one answer of Redis: somebody is at the keyboard.
WAIT_S = 0.5


def markets(incomplete: str) -> list[str]:
    """Return the stored markets that `incomplete` may become; none where no Redis answers in time."""
    try:
        loaded = settings.load()
        quick = loaded.publish.model_copy(update={"socket_timeout_s": WAIT_S})
        with connect(find_url(loaded), loaded.model_copy(update={"publish": quick})) as client:
            client.set_retry(Retry(NoBackoff(), 0))
            return market_names.complete(incomplete, Reader(client, loaded).markets())
    except (CollectorError, redis.RedisError, OSError):
        return []
