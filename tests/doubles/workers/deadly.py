"""The workers' app with markets that end their worker: `celery -A tests.doubles.workers.deadly worker`.

KRW-KILL   the process that stores it is killed, every time
KRW-HALF   killed once, after a part of the batch was stored
KRW-HANG   storing it does not end
KRW-BUG    an error nobody foresaw
"""

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from collector.model import Trade
from collector.store.store import Store
from tasks.app import app

__all__ = ["app"]

_put_trades = Store.put_trades


def _deadly(self: Store, trades: Sequence[Trade], sent_ms: int = 0) -> None:
    markets = {trade.market for trade in trades}
    if "KRW-KILL" in markets:
        os.kill(os.getpid(), signal.SIGKILL)
    if "KRW-HANG" in markets:
        time.sleep(600)
    if "KRW-BUG" in markets:
        raise ZeroDivisionError("nobody foresaw this")
    if "KRW-HALF" in markets and not _happened("half"):
        _put_trades(self, trades[: len(trades) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    _put_trades(self, trades, sent_ms)


def _happened(name: str) -> bool:
    mark = Path(os.environ["DEADLY_DIR"]) / name
    if mark.exists():
        return True
    mark.touch()
    return False


Store.put_trades = _deadly  # type: ignore[method-assign]
