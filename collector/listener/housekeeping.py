"""What the publisher's thread does at each look at the queues, beside sending.

It renews the lease, writes the coverage status, sends again what no worker has confirmed, paces the analyses
and reports health. The event loop reads `holder` alone, under the lock.
"""

import threading
from typing import Any

import msgspec
import redis

from collector.errors import BrokerUnavailable
from collector.listener.health import HealthReport
from collector.listener.loop_calls import LoopCalls
from collector.listener.pacing import AnalysisPacing
from collector.listener.rejections import KEPT_MAX, RejectionLog
from collector.listener.status import CoverageStatus
from collector.publish.in_flight import InFlightLog
from collector.publish.lease import Lease
from collector.publish.publisher import Publisher
from collector.store.keys import Keys
from collector.stream.pressure import PressureSample

_HEALTH_TTL_S = 15


class Housekeeping:
    """Keeps this listener's entries in Redis up to date."""

    def __init__(
        self,
        client: redis.Redis,
        keys: Keys,
        listener: str,
        *,
        lease: Lease,
        status: CoverageStatus,
        in_flight: InFlightLog,
        pacing: AnalysisPacing,
        report: HealthReport,
        rejections: RejectionLog,
        calls: LoopCalls,
    ) -> None:
        self._redis = client
        self._keys = keys
        self._listener = listener
        self._lease = lease
        self._status = status
        self._in_flight = in_flight
        self._pacing = pacing
        self._report = report
        self._rejections = rejections
        self._calls = calls
        self._lock = threading.Lock()
        self._holder: str | None = None

    @property
    def holder(self) -> str | None:
        """The other listener that serves our share now; None while we do. Any thread may ask."""
        with self._lock:
            return self._holder

    def keep(self, publisher: Publisher, sample: PressureSample) -> None:
        """Do it all; in the publisher's thread.

        Raises:
            BrokerUnavailable: Redis refuses or does not answer in time.
        """
        holder = self._lease.take()
        with self._lock:
            self._holder = holder
        if holder is None:
            self._status.write(publisher, self._in_flight, self._calls.call)
        publisher.counts["batches_sent_again"] += self._in_flight.send_again(sample.trade_age_ms)
        self._pacing.apply(publisher.decision.analysis_rate)
        self._write_report(publisher)

    def leave(self, publisher: Publisher) -> None:
        """Write the last status and report, and give the lease up; once the publisher's thread has ended.

        Raises:
            BrokerUnavailable: Redis refuses or does not answer in time.
        """
        if self.holder is None:
            self._status.write(publisher, self._in_flight, _not_any_more)
            self._status.leave()
        self._lease.give_up()
        self._write_report(publisher)

    def _write_report(self, publisher: Publisher) -> None:
        health = msgspec.json.encode(self._report.row(publisher))
        rejected = self._rejections.take()
        try:
            with self._redis.pipeline(transaction=False) as pipe:
                pipe.set(self._keys.listener(self._listener), health, ex=_HEALTH_TTL_S)
                if rejected:
                    pipe.lpush(self._keys.rejected_frames, *map(msgspec.json.encode, rejected))
                    pipe.ltrim(self._keys.rejected_frames, 0, KEPT_MAX - 1)
                pipe.execute()
        except redis.RedisError as error:
            self._rejections.put_back(rejected)
            raise BrokerUnavailable(f"Redis did not take the health report: {error}") from error


def _not_any_more(*_: Any) -> None:  # noqa: ANN401 - a call that is dropped
    """The event loop is at its end."""
