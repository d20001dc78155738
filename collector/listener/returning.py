"""What waits on the disk of a listener on standby: it is sent, and the gaps that it fills are closed.

Whoever took the share over had it fetched again from the exchange, as far as that could give it.
"""

import logging
from collections.abc import Sequence

import redis

from collector import batch as batches
from collector.batch import Kind
from collector.clock import SystemClock
from collector.host.redis_clock import RedisClock
from collector.listener.gap_tracker import HELD
from collector.listener.outbound import new_in_flight_log, new_probe, new_spool, spool_folder
from collector.listener.status import returned
from collector.model import Channel, Gap
from collector.publish.handoff import HandoffQueue
from collector.publish.publisher import Loss, Publisher, Transport
from collector.publish.revoke import Revoker
from collector.publish.sender import Sender
from collector.settings import Settings
from collector.store.store import Store
from collector.stream.coverage import LAG_MS

log = logging.getLogger(__name__)

_STOP_TIMEOUT_S = 4.0
_CAPACITY = 256


class Returning:
    """Sends what is on our disk.

    Args:
        client: the Redis of broker and store, with a `socket_timeout`.
        sender: what sends; None = Celery.

    Raises:
        ConfigurationError: the folder of the spool can't be used, or has an owner.
    """

    def __init__(self, settings: Settings, client: redis.Redis, sender: Transport | None = None) -> None:
        clock = SystemClock()
        spool = new_spool(settings, clock)
        self._clock = clock
        self._store = Store(client, settings.store)
        self._handoff = HandoffQueue(_CAPACITY)
        now_ms = RedisClock(client, clock).now_ms
        sender = sender or Sender(client, settings.publish.state_expires_s, now_ms)
        self._in_flight = new_in_flight_log(settings, client, sender, now_ms, self._on_unreadable)
        self._publisher = Publisher(
            settings,
            self._handoff,
            spool,
            self._in_flight,
            new_probe(settings, client, clock).read,
            Revoker(client).revoke,
            clock,
            housekeeping=lambda _decision, _reading: None,
            on_batch_lost=lambda batch, _: self._handoff.done(batch),
        )
        self._name = f"{HELD}:{spool.id}"
        log.warning("%d batches of an earlier run are sent from standby", len(spool))
        self._publisher.start()

    @staticmethod
    def is_needed(settings: Settings) -> bool:
        """Whether anything may wait on our disk."""
        return any(path.stat().st_size for path in spool_folder(settings).glob("*.spool"))

    def look(self) -> bool:
        """Do what is to be done by now; return whether nothing is left to do.

        Raises:
            BrokerUnavailable: Redis refuses or does not answer.
        """
        self._open([*self._publisher.take_losses()])
        gaps = self._store.open_gaps(self._name)
        self._put(returned(gaps, self._publisher, self._in_flight))
        return not (gaps or self._publisher.spool_bytes or len(self._handoff))

    def stop(self) -> None:
        """Let go of the disk."""
        if not self._publisher.stop(_STOP_TIMEOUT_S):
            log.error("what waits on disk is still being sent after %.0f s", _STOP_TIMEOUT_S)

    def _on_unreadable(self, from_ms: int) -> None:
        self._open([Loss(None, from_ms, self._clock.now_ms())])

    def _open(self, losses: Sequence[Loss]) -> None:
        """Open gaps for what could not be read; the listener at work has them fetched."""
        markets = self._store.markets() if losses else []
        self._put(
            [
                Gap(market, Channel.TRADE, loss.from_ms - LAG_MS, loss.to_ms, loss.reason or "spool_damaged")
                for loss in losses
                for market in ([loss.market] if loss.market else markets)
            ]
        )

    def _put(self, gaps: Sequence[Gap]) -> None:
        if gaps:
            now_ms = self._clock.now_ms()
            self._handoff.put(batches.make(Kind.GAP, gaps, listener="standby", now_ms=now_ms))
