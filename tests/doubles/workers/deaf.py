"""The workers' app, deaf once the file in DEAF_MARK is there: `celery -A tests.doubles.workers.deaf worker`.

It stays connected and reports, but asks Redis for no further batch, as after celery#10205. The watch over it
is as in production, only faster.
"""

import os
from pathlib import Path
from typing import Any

from kombu.transport.redis import Channel

from tasks import consumer_watchdog
from tasks.app import app

__all__ = ["app"]

consumer_watchdog.LOOK_S, consumer_watchdog.DEAF_AFTER_S = 0.2, 2.0
_brpop_start = Channel._brpop_start


def _deaf(self: Channel, *args: Any, **options: Any) -> None:
    if not Path(os.environ["DEAF_MARK"]).exists():
        _brpop_start(self, *args, **options)


Channel._brpop_start = _deaf
