"""Batches that could not be stored: kept with their reason, listed, sent again or dropped by hand."""

from typing import Any, Protocol

import msgspec
import redis
from msgspec import Struct

from collector.counters import Counter
from collector.settings import StoreSettings
from collector.store.keys import Keys
from collector.store.redis_client import translated


class Sends(Protocol):
    """What `retry` needs of a Celery app."""

    def send_task(self, name: str, **options: Any) -> Any:  # noqa: ANN401 - as Celery has it
        """Send the task of that name."""


class DeadLetter(Struct, frozen=True):
    """A batch that was given up, with the text a retry sends again."""

    id: str
    task: str
    queue: str
    reason: str
    attempts: int
    failed_ms: int
    body: str
    #: What its headers said: when it was made, and from when to when its trades are; epoch ms, 0 = nothing.
    created_ms: int = 0
    from_ms: int = 0
    to_ms: int = 0
    #: Whether it left a gap of every market, because its own could not be read.
    everywhere: bool = False


#: Headers of a batch, written by a listener (`collector.publish.sender`).
HEADERS = ("created_ms", "from_ms", "to_ms")
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(DeadLetter).decode


class DeadLetters:
    """The list in Redis. Every method raises `BrokerUnavailable` where Redis does not answer.

    Args:
        client: the Redis that holds the list.
        settings: the store's.
        sender: the Celery app that `retry` sends with; without one nothing can be sent again.
    """

    def __init__(self, client: redis.Redis, settings: StoreSettings, sender: Sends | None = None) -> None:
        self._redis = client
        self._sender = sender
        self._keys = Keys(settings.key_prefix)
        self._kept = settings.dead_letters_max

    def bury(self, letter: DeadLetter, *, invalid: bool = False) -> None:
        """Keep `letter`; beyond the bound the oldest go, and are counted."""
        with translated():
            pipeline = self._redis.pipeline(transaction=True)
            pipeline.lpush(self._keys.dead_letters, _encode(letter))
            pipeline.ltrim(self._keys.dead_letters, 0, self._kept - 1)
            pipeline.hincrby(self._keys.counters, Counter.BATCHES_DEAD, 1)
            if invalid:
                pipeline.hincrby(self._keys.counters, Counter.BATCHES_INVALID, 1)
            length = pipeline.execute()[0]
            if length > self._kept:
                self._redis.hincrby(self._keys.counters, Counter.DEAD_LETTERS_DROPPED, length - self._kept)

    def list(self, limit: int | None = None) -> list[DeadLetter]:
        """Return the newest `limit` letters, oldest first."""
        with translated():
            texts = self._redis.lrange(self._keys.dead_letters, 0, -1 if limit is None else limit - 1)
        return [_decode(text) for text in reversed(texts)]

    def drop(self, letter_id: str | None = None) -> int:
        """Forget the letter of that id, or all; return how many there were."""
        dropped = 0
        for text in self._texts(letter_id):
            dropped += self._remove(text)
        return dropped

    def retry(self, letter_id: str | None = None) -> int:
        """Send the letter of that id, or all, to the workers again; return how many.

        A letter leaves the list only after it was sent: cut off in between, it is sent twice, which is safe.
        It keeps its id, by which its gap is closed.
        """
        if self._sender is None:
            raise TypeError("DeadLetters.retry needs a sender")
        sent = 0
        for text in self._texts(letter_id):
            letter = _decode(text)
            self._sender.send_task(
                letter.task,
                args=(letter.body,),
                kwargs={"retried": True, "everywhere": letter.everywhere},
                task_id=letter.id,
                headers={name: getattr(letter, name) for name in HEADERS},
                queue=letter.queue,
                ignore_result=True,
                argsrepr=f"({len(letter.body)} bytes)",
            )
            sent += self._remove(text)
        return sent

    def _texts(self, letter_id: str | None) -> tuple[str, ...]:
        with translated():
            texts = self._redis.lrange(self._keys.dead_letters, 0, -1)
        found = (str(text, "utf-8") for text in reversed(texts) if isinstance(text, bytes))
        return tuple(text for text in found if letter_id in (None, _decode(text).id))

    def _remove(self, text: str) -> int:
        with translated():
            return int(self._redis.lrem(self._keys.dead_letters, 1, text))
