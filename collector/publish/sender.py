"""Hand batches to Celery. The only module of the listener that imports it.

One thread, `retry=False`, short socket timeouts: a send ends within seconds, one way or the other, and what
follows a failure is the publisher's business. A send that fails may have arrived all the same; workers are
idempotent.
"""

import os
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
import redis
from celery import Celery
from kombu import compression
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from collector import routing
from collector.batch import Kind
from collector.clock import SystemClock
from collector.errors import BrokerUnavailable
from collector.util.compression import zstd
from collector.util.lua import read_script

#: The fastest level: half the time of kombu's, and the result is no larger.
_ZSTD_LEVEL = 1
compression.register(
    lambda body: zstd.compress(body, _ZSTD_LEVEL), zstd.decompress, "application/zstd", aliases=["zstd"]
)
_encode = msgspec.json.Encoder().encode
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


class Names(NamedTuple):
    """The three keys of the in-flight log (`collector.publish.in_flight`)."""

    bodies: str
    due: str
    from_: str


class Note(NamedTuple):
    """What the in-flight log writes down of one batch."""

    names: Names
    body: bytes
    id: str
    due_ms: int
    from_ms: int


class Sender:
    """Puts batches into the queues of Celery's workers.

    What Celery and kombu would do for each batch is done once: a message differs from the last only in its
    batch, its id and a few headers, so it is made from a template and put into its list by a script of ours,
    with other messages and the notes of the in-flight log, in one round trip.

    Args:
        client: the Redis of the queues, with a `socket_timeout` and without retries.
        state_expires_s: a ticker or book batch older than this is dropped by the worker that receives it;
            None = never.
        now_ms: the time by the clock that workers compare with, Redis'; may raise `redis.RedisError`.
            None = this machine's.
    """

    def __init__(
        self,
        client: redis.Redis,
        state_expires_s: int | None,
        now_ms: Callable[[], int] | None = None,
    ) -> None:
        self._app = Celery("collector", config_source="collector.broker.config")
        # `retry=False` is for the publish alone: a lost connection would be tried again for 4 s or longer.
        self._app.conf.broker_transport_options = {**self._app.conf.broker_transport_options, **_ONE_CONNECT}
        self._state_expires_s = state_expires_s
        self._now_ms = now_ms or SystemClock().now_ms
        self._templates: dict[Kind, _Template] = {}
        self._client = client
        self._script = client.register_script(read_script("collector.publish", "send"))

    def send(self, *envelopes: Envelope) -> None:
        """Publish batches, all or none of them.

        Raises:
            BrokerUnavailable: Redis refuses, is full or does not answer in time.
        """
        self.send_noted(envelopes, {})

    def send_noted(self, envelopes: Sequence[Envelope], notes: Mapping[str, Note]) -> None:
        """Publish batches after the notes of them, by batch id, in one step; errors as of `send`."""
        names = next((note.names for note in notes.values()), ())
        keys = [*(envelope.queue for envelope in envelopes), *names]
        arguments: list[str | bytes | int] = []
        try:
            for envelope in envelopes:
                note = notes.get(envelope.id)
                arguments.append(self._message(envelope))
                arguments += ("", "", 0, 0) if note is None else note[1:]
            self._script(keys=keys, args=arguments)
        except (RedisError, OSError) as error:
            raise BrokerUnavailable(f"Redis did not take a batch: {error}") from error

    def _message(self, envelope: Envelope) -> bytes:
        """Return a batch as kombu's Redis transport writes it into a queue."""
        template = self._templates.get(envelope.kind)
        if template is None:
            template = self._templates[envelope.kind] = _template(self._app, TASKS[envelope.kind])
        headers = {
            **template.headers,
            "id": envelope.id,
            "root_id": envelope.id,
            "argsrepr": f"({envelope.rows} rows, {len(envelope.text)} bytes)",
            "expires": self._expires(envelope.kind),
            **own_headers(envelope),
        }
        properties = {
            **template.properties,
            "correlation_id": envelope.id,
            "delivery_info": {"exchange": "", "routing_key": envelope.queue},
            "delivery_tag": os.urandom(16).hex(),
        }
        body = zstd.compress(_encode(((envelope.text,), {}, template.embed)), _ZSTD_LEVEL)
        return _encode(
            {
                "body": b64encode(body).decode(),
                "content-encoding": "utf-8",
                "content-type": "application/json",
                "headers": headers,
                "properties": properties,
            }
        )

    def _expires(self, kind: Kind) -> str | None:
        if kind in FACTS or self._state_expires_s is None:
            return None
        return datetime.fromtimestamp(self._now_ms() / 1000 + self._state_expires_s, UTC).isoformat()

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
        self._client.connection_pool.disconnect(inuse_connections=True)
        pool: Any = self._app.producer_pool
        for producer in list(pool._dirty):  # those in use
            channel = producer._channel
            if not callable(channel):  # else it is still being connected
                channel.pool.disconnect(inuse_connections=True)

    def close(self) -> None:
        """Let go of Celery's connections."""
        self._app.close()


class _Template(NamedTuple):
    """What all messages of a task have in common."""

    headers: dict[str, Any]
    properties: dict[str, Any]
    #: The third part of a body.
    embed: Any


def _template(app: Celery, task: str) -> _Template:
    """Return what Celery and kombu's virtual transports write for a task whatever its batch."""
    message = app.amqp.as_task_v2("", task, args=("",), argsrepr="", kwargsrepr="{}", ignore_result=True)
    *_, embed = message.body
    headers = {**message.headers, "compression": "application/zstd"}
    properties = {"delivery_mode": 2, "priority": 0, "body_encoding": "base64", **message.properties}
    return _Template(headers, properties, embed)
