"""Hand batches to Celery. The only module of the listener that imports it.

One thread, `retry=False`, short socket timeouts: a send ends within seconds, one way or the other, and what
follows a failure is the publisher's business. A send that fails may have arrived all the same; workers are
idempotent.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
from celery import Celery
from kombu import compression, serialization
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from collector import routing
from collector.batch import Kind
from collector.clock import SystemClock
from collector.errors import BrokerUnavailable
from collector.util.compression import zstd

#: The fastest level: half the time of kombu's, and the result is no larger.
_ZSTD_LEVEL = 1
compression.register(
    lambda body: zstd.compress(body, _ZSTD_LEVEL), zstd.decompress, "application/zstd", aliases=["zstd"]
)
#: Writes the same JSON as kombu's "json", which reads it, in a fifth of the time.
SERIALIZER = "json, by msgspec"
serialization.register(SERIALIZER, lambda body: msgspec.json.encode(body).decode(), None, "application/json")
_ONE_CONNECT = {"max_retries": 0, "interval_start": 0, "interval_step": 0, "interval_max": 0}
TASKS = {
    Kind.TRADE: routing.INGEST_TRADES,
    Kind.ORDERBOOK: routing.INGEST_ORDERBOOKS,
    Kind.TICKER: routing.INGEST_TICKERS,
    Kind.GAP: routing.INGEST_GAPS,
}
#: What must arrive, however late; of tickers and books the newest is enough.
FACTS = frozenset({Kind.TRADE, Kind.GAP})


@dataclass(frozen=True, slots=True)
class Envelope:
    """A batch in its wire form with its address."""

    kind: Kind
    queue: str
    rows: int
    created_ms: int
    #: The batch's, and of its Celery task.
    id: str
    text: str
    #: From when to when its trades or gaps are, epoch ms; zeros where that is not known.
    from_ms: int = 0
    to_ms: int = 0
    #: As `collector.batch.mark_of`.
    mark_ms: int = 0


def own_headers(envelope: Envelope) -> dict[str, int]:
    """Return the headers of a batch, so that it counts even where the batch can't be read."""
    if envelope.kind not in FACTS:
        return {"created_ms": envelope.created_ms, "rows": envelope.rows}
    return {"created_ms": envelope.created_ms, "from_ms": envelope.from_ms, "to_ms": envelope.to_ms}


class Sender:
    """A Celery producer.

    Args:
        state_expires_s: a ticker or book batch older than this is dropped by the worker that receives it;
            None = never.
        now_ms: the time by the clock that workers compare with, Redis'; may raise `redis.RedisError`.
            None = this machine's.
    """

    def __init__(self, state_expires_s: int | None, now_ms: Callable[[], int] | None = None) -> None:
        self._app = Celery("collector", config_source="collector.broker.config")
        # `retry=False` is for the publish alone: a lost connection would be tried again for 4 s or longer.
        self._app.conf.broker_transport_options = {**self._app.conf.broker_transport_options, **_ONE_CONNECT}
        self._state_expires_s = state_expires_s
        self._now_ms = now_ms or SystemClock().now_ms

    def send(self, envelope: Envelope) -> None:
        """Publish one batch.

        Raises:
            BrokerUnavailable: Redis refuses, is full or does not answer in time.
        """
        try:
            # As `send_task` does, which looks up again for each batch what never changes.
            message = self._app.amqp.as_task_v2(
                envelope.id,
                TASKS[envelope.kind],
                args=(envelope.text,),
                argsrepr=f"({envelope.rows} rows, {len(envelope.text)} bytes)",
                kwargsrepr="{}",
                ignore_result=True,
                expires=self._expires(envelope.kind),
            )
            with self._app.producer_pool.acquire(block=True) as producer:
                producer.publish(
                    message.body,
                    routing_key=envelope.queue,
                    headers={**message.headers, **own_headers(envelope)},
                    serializer=SERIALIZER,
                    compression="zstd",
                    retry=False,
                    **message.properties,
                )
        except (OperationalError, RedisError, OSError) as error:
            raise BrokerUnavailable(f"Redis did not take a batch: {error}") from error

    def _expires(self, kind: Kind) -> datetime | None:
        if kind in FACTS or self._state_expires_s is None:
            return None
        return datetime.fromtimestamp(self._now_ms() / 1000 + self._state_expires_s, UTC)

    def limit_rates(self, limits: Mapping[str, str]) -> None:
        """Broadcast task rate limits (name -> `50/s`) to all workers.

        Raises:
            BrokerUnavailable: Redis refuses or does not answer in time.
        """
        try:
            for name, limit in limits.items():
                self._app.control.rate_limit(name, limit)
        except (OperationalError, RedisError, OSError) as error:
            raise BrokerUnavailable(f"Redis did not take a rate limit: {error}") from error

    def interrupt(self) -> None:
        """End a send that another thread is waiting for: it raises `BrokerUnavailable` there, at once."""
        pool: Any = self._app.producer_pool
        for producer in list(pool._dirty):  # those in use
            channel = producer._channel
            if not callable(channel):  # else it is still being connected
                channel.pool.disconnect(inuse_connections=True)

    def close(self) -> None:
        """Let go of the connections."""
        self._app.close()
