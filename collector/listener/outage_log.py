"""Log lines about the sockets and the host's clock, looked at again and again; in the event loop.

What is logged is decided in `collector.listener.outages`.
"""

import asyncio
import logging
from collections.abc import Callable

from collector.feed.backfill import Backfill
from collector.feed.connection_group import ConnectionGroup
from collector.listener.maintenance import MAINTENANCE
from collector.listener.outages import Outages, Socket, View
from collector.listener.pipeline import EventPipeline
from collector.stream.exchange_time import ExchangeClock

log = logging.getLogger(__name__)

_LOOK_S = 0.1


class OutageLog:
    """Follows the sockets of a listener.

    Args:
        recovered: returns how many trades only backfills brought; None while that can't be asked.
    """

    def __init__(
        self,
        clock: ExchangeClock,
        connections: ConnectionGroup,
        pipeline: EventPipeline,
        backfill: Backfill,
        recovered: Callable[[], int | None],
    ) -> None:
        self._clock = clock
        self._connections = connections
        self._pipeline = pipeline
        self._backfill = backfill
        self._recovered = recovered
        self._is_clock_wrong = False

    async def run(self) -> None:
        """Log what there is to log until cancelled."""
        outages = Outages(self._clock.monotonic())
        while True:
            await asyncio.sleep(_LOOK_S)
            self._look_at_clock()
            for line in outages.look(self._view()):
                log.log(line.level, line.text)

    def _view(self) -> View:
        sockets = {
            connection.number: Socket(connection.streaming.is_set(), connection.last_loss or "")
            for connection in self._connections.connections
        }
        outage = self._pipeline.outage()
        return View(
            now_s=self._clock.monotonic(),
            sockets=sockets,
            fetched=self._pipeline.counts["trades_backfilled"],
            waiting=len(self._backfill) + (outage is not None),
            given_up=self._backfill.counts["backfills_given_up"],
            recovered=self._recovered(),
            is_maintenance=outage is not None and outage[1] == MAINTENANCE,
        )

    def _look_at_clock(self) -> None:
        """Log once that the host's clock is wrong, and once that it is right again."""
        ahead_ms = self._clock.host_is_ahead_ms
        if bool(ahead_ms) == self._is_clock_wrong:
            return
        self._is_clock_wrong = bool(ahead_ms)
        if ahead_ms:
            log.warning(
                "this host's clock is %.0f s %s the exchange's time; that is taken instead",
                abs(ahead_ms) / 1000,
                "ahead of" if ahead_ms > 0 else "behind",
            )
        else:
            log.warning("this host's clock is right again")
