"""`collector stream`: live events as lines of JSON, for pipes."""

import select
import sys

from collector.clock import SystemClock
from collector.host.redis_server import find_url
from collector.live.events import Selection
from collector.live.follow import Follower
from collector.live.start import begin_at
from collector.settings import Settings

#: How often it is looked whether the output is still read.
_LOOK_S = 0.5


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
        while not (limit and count >= limit):
            event = events.wait(_LOOK_S)
            if event is not None:
                print(event.text, flush=True)
                count += 1
            elif _is_unread():
                break
    return 0


def _is_unread() -> bool:
    """Tell whether nobody reads our output any more: `collector stream trade | head`."""
    look = select.poll()
    look.register(sys.stdout.fileno(), 0)
    return bool(look.poll(0))
