"""The workers' app on a machine whose clock is `AHEAD_S` ahead."""

import datetime as real
import os
import time
from typing import Any

from celery.worker import request

from collector.clock import SystemClock
from tasks.app import app

__all__ = ["app"]

AHEAD_S = int(os.environ["AHEAD_S"])


class _Ahead(real.datetime):
    @classmethod
    def now(cls, tz: real.tzinfo | None = None) -> Any:
        return super().now(tz) + real.timedelta(seconds=AHEAD_S)


request.datetime = _Ahead
SystemClock.now_ms = lambda _: time.time_ns() // 1_000_000 + AHEAD_S * 1000
