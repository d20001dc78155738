"""`collector stream`: live events as lines of JSON, for pipes."""

import sys

from collector.clock import SystemClock
from collector.host.redis_server import find_url
from collector.live.events import Selection
from collector.live.follow import Follower
from collector.live.start import begin_at
from collector.settings import Settings


def stream(settings: Settings, channels: str, markets: str, start: str, limit: int | None) -> int:
    """Print events until SIGINT, or `limit` of them; return the exit code.

    Raises:
        ConfigurationError: no such channel, or no time.
        NoData: no such market.
        BrokerUnavailable: Redis does not answer at the start.
    """
    selection = Selection.of(channels, markets)
    after = begin_at(start, settings.zone, SystemClock().now_ms())
    count = 0
    with Follower(find_url(settings), settings, selection, after) as events:
        for event in events:
            print(event.text, flush=True)
            count += 1
            if limit and count >= limit:
                break
    sys.stdout.flush()
    return 0
