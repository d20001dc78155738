"""Facts on their way: sent, and not known to be stored yet. What gets lost in between is sent again.

Celery's Redis transport takes a message out of its queue first and notes afterwards that a worker has it. A
worker or a Redis that is killed in between takes the message along, and so does a Redis without memory for
the note; with late acknowledgement, too. So each batch of facts is written down here before it is sent, and
the worker that has stored it crosses it out (`tasks.delivery`). Sending one too many times is harmless.

    unconfirmed        HASH   batch id -> the envelope, compressed
    unconfirmed-due    ZSET   batch id, by the epoch ms from which on it is worth sending again
    unconfirmed-from   ZSET   batch id, by the exchange's time of the oldest in it, epoch ms

An entry that can't be read (another version wrote it, or its envelope is gone) is given up, and its stretch
of time is for the listener to have fetched again.
"""

import logging
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import redis

from collector.errors import BrokerUnavailable, InvalidBatch
from collector.publish.publisher import Transport, pack, unpack
from collector.publish.sender import FACTS, Envelope, Names, Note
from collector.util import backoff

log = logging.getLogger(__name__)

#: Envelopes sent again at one look; the next look is half a second away.
AGAIN_MAX = 50
#: So many of them are counted, and the longest wait is the timeout doubled so often.
_SENT_AGAIN_MAX, _DOUBLINGS_MAX = 10_000, 12
#: Trades are so much older than their sending, at the most likely: where an entry has no time.
_OLDER_MS = 600_000
#: The fastest level: the text shrinks to a fifth within half a millisecond.
_LEVEL = 1


@runtime_checkable
class NotingTransport(Protocol):
    """A transport that takes notes in the step in which it sends."""

    def send_noted(self, envelopes: Sequence[Envelope], notes: Mapping[str, Note]) -> None:
        """Write down the notes, by batch id, and publish, or raise BrokerUnavailable."""
        ...


class InFlightLog:
    """A transport that keeps facts in mind until they are stored.

    Args:
        client: the Redis of the store, with a `socket_timeout`.
        transport: what really sends; into the same Redis, where it is a `NotingTransport`.
        names: the keys.
        timeout_ms: a batch that left its queue so long ago and is not stored is sent again.
        now_ms: the time of Redis, which no machine's clock can turn back; may raise `redis.RedisError`.
        on_unreadable: called with the oldest time, epoch ms, of each entry that can't be read.
    """

    def __init__(
        self,
        client: redis.Redis,
        transport: Transport,
        names: Names,
        timeout_ms: int,
        now_ms: Callable[[], int],
        on_unreadable: Callable[[int], None],
    ) -> None:
        self._client = client
        self._transport = transport
        self._names = names
        self._timeout_ms = timeout_ms
        self._ask_now_ms = now_ms
        self._on_unreadable = on_unreadable
        #: How often this process has sent batches again that are still not stored.
        self._sent_again: dict[str, int] = {}

    def send(self, *envelopes: Envelope) -> None:
        """Write down those that carry facts, then send all.

        Raises:
            BrokerUnavailable: Redis refuses or does not answer in time; notes may be taken all the same.
        """
        facts = [envelope for envelope in envelopes if envelope.kind in FACTS]
        due_ms = self._now_ms() + self._timeout_ms if facts else 0
        self._send(envelopes, [self._note(envelope, due_ms) for envelope in facts])

    def limit_rates(self, limits: Mapping[str, str]) -> None:
        """Pass it on; see `Sender.limit_rates`."""
        self._transport.limit_rates(limits)

    def send_again(self, queue_age_ms: int) -> int:
        """Send what should have been stored by now; return how many envelopes that were.

        Each further time comes after twice as long: one that can't be stored does not flood the queue.

        Args:
            queue_age_ms: age of the oldest batch in the queues: those that are no older may still be in one.

        Raises:
            BrokerUnavailable: Redis refuses or does not answer in time.
        """
        now_ms = self._now_ms()
        envelopes = self._overdue(now_ms - queue_age_ms)
        if len(self._sent_again) > _SENT_AGAIN_MAX:
            self._sent_again.clear()
        for envelope in envelopes:
            times = self._sent_again.get(envelope.id, 0)
            self._sent_again[envelope.id] = times + 1
            self._send([envelope], [self._note(envelope, now_ms + self._again_ms(times))])
        return len(envelopes)

    def _again_ms(self, times: int) -> int:
        """Return how long to wait for a worker's confirmation once a batch was sent again so often."""
        longest_ms = self._timeout_ms * 2**_DOUBLINGS_MAX
        return round(backoff.delay_s(times + 1, self._timeout_ms, longest_ms))

    def oldest_ms(self, stuck_s: float) -> int | None:
        """Return the oldest time in what is not stored yet, if some of it was sent `stuck_s` ago or earlier.

        Raises:
            BrokerUnavailable: Redis refuses or does not answer in time.
        """
        sent_ms = self._now_ms() - round(stuck_s * 1000)
        try:
            with self._client.pipeline(transaction=False) as pipe:
                pipe.zcount(self._names.due, "-inf", sent_ms + self._timeout_ms)
                pipe.zrange(self._names.from_, 0, 0, withscores=True)
                stuck, oldest = pipe.execute()
        except redis.RedisError as error:
            raise BrokerUnavailable(f"Redis does not return the unconfirmed batches: {error}") from error
        return int(oldest[0][1]) if stuck and oldest else None

    def is_stored(self, until_ms: int) -> bool:
        """Return whether nothing is on its way that has trades of `until_ms` or before.

        Raises:
            BrokerUnavailable: Redis refuses or does not answer in time.
        """
        try:
            return not self._client.zcount(self._names.from_, "-inf", until_ms)
        except redis.RedisError as error:
            raise BrokerUnavailable(f"Redis does not return the unconfirmed batches: {error}") from error

    def _now_ms(self) -> int:
        try:
            return self._ask_now_ms()
        except redis.RedisError as error:
            raise BrokerUnavailable(f"Redis does not return its time: {error}") from error

    def _note(self, envelope: Envelope, due_ms: int) -> Note:
        body = zlib.compress(pack(envelope), _LEVEL)
        return Note(self._names, body, envelope.id, due_ms, envelope.from_ms or envelope.created_ms)

    def _send(self, envelopes: Sequence[Envelope], notes: Sequence[Note]) -> None:
        if isinstance(self._transport, NotingTransport):
            self._transport.send_noted(envelopes, {note.id: note for note in notes})
            return
        self._write(notes)
        self._transport.send(*envelopes)

    def _write(self, notes: Sequence[Note]) -> None:
        try:
            with self._client.pipeline(transaction=True) as pipe:
                for note in notes:
                    pipe.hset(self._names.bodies, note.id, note.body)
                    pipe.zadd(self._names.due, {note.id: note.due_ms})
                    pipe.zadd(self._names.from_, {note.id: note.from_ms})
                pipe.execute()
        except redis.RedisError as error:
            raise BrokerUnavailable(f"Redis did not take a note of a batch: {error}") from error

    def _overdue(self, until_ms: int) -> list[Envelope]:
        try:
            ids: Any = self._client.zrange(
                self._names.due, "-inf", until_ms, byscore=True, offset=0, num=AGAIN_MAX
            )
            bodies: Any = self._client.hmget(self._names.bodies, ids) if ids else []
            envelopes = {id: _read(body) for id, body in zip(ids, bodies, strict=True)}
            self._give_up([id for id, envelope in envelopes.items() if envelope is None])
        except redis.RedisError as error:
            raise BrokerUnavailable(f"Redis does not return the unconfirmed batches: {error}") from error
        return [envelope for envelope in envelopes.values() if envelope is not None]

    def _give_up(self, ids: list[Any]) -> None:
        """Drop entries that can't be read, unless a worker has crossed them out just now."""
        for id in ids:
            with self._client.pipeline(transaction=True) as pipe:
                pipe.zscore(self._names.due, id)
                pipe.zscore(self._names.from_, id)
                pipe.zrem(self._names.due, id)
                pipe.zrem(self._names.from_, id)
                pipe.hdel(self._names.bodies, id)
                due_ms, from_ms, *_ = pipe.execute()
            if due_ms is not None:
                log.error("an unconfirmed batch can't be read; what it held is fetched again")
                self._on_unreadable(int(from_ms or due_ms - self._timeout_ms - _OLDER_MS))


def _read(body: bytes | None) -> Envelope | None:
    """Return the envelope in `body`; None where there is none, or one that another version wrote."""
    try:
        return unpack(zlib.decompress(body)) if body else None
    except (InvalidBatch, zlib.error) as error:
        log.error("an unconfirmed batch is given up: %s", error)
        return None
