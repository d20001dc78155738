"""Handling of a batch that cannot be stored at once: retry, return it to the queue, or a dead letter.

    it can't be read, or breaks the contract      → dead letter, at once
    Redis is away, or others were always faster   → again after a growing pause, for `PATIENCE`;
                                                    then back to its queue, unacknowledged till then
    it ended its worker `attempts_max` times      → dead letter
    any other error                               → dead letter

A batch of trades or gaps that is buried leaves a gap: of its markets where it can be read, also if another
version wrote it; else of every market, for the time that its headers name. The listener has it fetched again,
and a retry from the dead letters that succeeds marks it as recovered.
"""

import logging
import random
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from celery.exceptions import Reject
from celery.worker import state
from msgspec import structs

from collector import routing
from collector.batch import TradeBatch, decode, stretches
from collector.clock import SystemClock
from collector.errors import BrokerUnavailable, InvalidBatch, StoreConflict
from collector.model import Channel, Gap
from collector.settings import current
from collector.store.dead_letters import HEADERS, DeadLetter, DeadLetters
from collector.store.keys import Keys
from collector.store.redis_client import client, translated
from collector.store.store import Memory, Store
from tasks.expiry import Task

log = logging.getLogger(__name__)

T = TypeVar("T")
#: Market -> from when to when, epoch ms.
Stretches = dict[str, tuple[int, int]]
#: How long a task waits for Redis before it gives its batch back, as a share of the visibility timeout: below
#: 1, since after that Redis hands the batch to another worker while this one still waits. A batch given back
#: while Redis is away returns only after that timeout, so waiting is the faster way.
PATIENCE = 0.75
PAUSE_FIRST_S = 0.1
PAUSE_MAX_S = 5.0
STOP_LOOK_S = 0.1
ATTEMPTS_KEPT_S = 86_400

REASON = "dead_letter"
#: Batches that must not be lost in silence.
FACTS = frozenset({routing.INGEST_TRADES, routing.INGEST_GAPS})

#: What this process has stored last.
_memory = Memory()


class IngestTask(Task):
    """A task whose batch is stored, given back or buried, but never lost."""

    abstract = True
    ignore_result = True
    acks_late = True
    reject_on_worker_lost = True
    store_errors_even_if_ignored = False
    #: Whether the listener keeps its batches in mind until they are stored (`collector.publish.in_flight`).
    carries_facts = True

    def on_failure(self, exc: Exception, task_id: str, args: tuple[object, ...], *_: object) -> None:
        """Bury what failed in a way nobody foresaw; called by Celery before the batch is acknowledged."""
        log.error("task %s failed", task_id, exc_info=exc)
        self.bury(str(args[0]) if args else "", f"{type(exc).__name__}: {exc}", self._attempts())

    def deliver(self, text: str, work: Callable[[Store, str], None]) -> None:
        """Do `work` with the batch `text` under the rules above.

        Raises:
            Reject: Redis stayed away, or the worker is to stop; Celery puts the batch back.
        """
        attempts = self._attempts()
        if attempts > current().worker.attempts_max:
            self.bury(text, f"it ended its worker {attempts - 1} times", attempts)
            return
        try:
            patiently(lambda: work(Store(client(), current().store, _memory), text), until_stop=True)
            if self.carries_facts or attempts > 1:
                self._settle(attempts)
        except InvalidBatch as error:
            self.bury(text, str(error), attempts, invalid=True)
        except (BrokerUnavailable, StoreConflict) as error:
            log.warning("batch returns to its queue: %s", error)
            raise Reject(error, requeue=True) from error

    def bury(self, text: str, reason: str, attempts: int, *, invalid: bool = False) -> None:
        """Make a gap of what is in the batch, and a dead letter of the batch."""
        log.error("batch becomes a dead letter: %s", reason)
        settings = current()
        # Reading it may be what ends workers: after one more death it is buried unread.
        stretches = _stretches(text) if attempts <= settings.worker.attempts_max + 1 else {}
        created_ms, from_ms, to_ms = (int(self.request.get(name) or 0) for name in HEADERS)
        is_lost = self.name in FACTS
        everywhere = is_lost and not stretches and from_ms > 0
        letter = DeadLetter(
            id=str(self.request.id),
            task=str(self.name),
            queue=str((self.request.delivery_info or {}).get("routing_key") or routing.TRADE),
            reason=reason,
            attempts=attempts,
            failed_ms=SystemClock().now_ms(),
            body=text,
            created_ms=created_ms,
            from_ms=from_ms,
            to_ms=to_ms,
            everywhere=everywhere,
        )

        def bury() -> None:
            store = Store(client(), settings.store)
            if everywhere:
                stretches.update(dict.fromkeys(store.markets(), (from_ms, to_ms)))
            if is_lost:
                store.put_gaps(_gaps(letter.id, stretches), found=True)
            DeadLetters(client(), settings.store).bury(letter, invalid=invalid)

        patiently(bury)
        patiently(lambda: self._settle(attempts))

    def _attempts(self) -> int:
        """Return which delivery this is, from 1; only those that came back are counted in Redis."""
        if not (self.request.delivery_info or {}).get("redelivered"):
            return 1
        key = Keys(current().store.key_prefix).attempts(str(self.request.id))
        return 1 + patiently(lambda: _increment(key))

    def _settle(self, attempts: int) -> None:
        """Tell the listener that this batch needs no second sending, and forget its attempts."""
        keys, batch_id = Keys(current().store.key_prefix), str(self.request.id)
        with translated():
            pipeline = client().pipeline(transaction=True)
            pipeline.zrem(keys.unconfirmed_due, batch_id)
            pipeline.zrem(keys.unconfirmed_from, batch_id)
            pipeline.hdel(keys.unconfirmed, batch_id)
            if attempts > 1:
                pipeline.delete(keys.attempts(batch_id))
            pipeline.execute()


def patiently(work: Callable[[], T], *, until_stop: bool = False) -> T:
    """Return what `work` returns, repeating it with growing pauses while Redis is away or contended.

    Args:
        until_stop: give up at once when this process has to stop.

    Raises:
        BrokerUnavailable, StoreConflict: still so after `PATIENCE` of the visibility timeout.
    """
    deadline = time.monotonic() + PATIENCE * current().worker.visibility_timeout_s
    for pause_s in _pauses():
        try:
            return work()
        except (BrokerUnavailable, StoreConflict):
            if time.monotonic() + pause_s > deadline or not _paused(pause_s, until_stop=until_stop):
                raise
    raise AssertionError("pauses never end")


def _paused(seconds: float, *, until_stop: bool) -> bool:
    """Wait; False as soon as this process has to stop. Pool processes are killed instead."""
    ends_s = time.monotonic() + seconds
    while (left_s := ends_s - time.monotonic()) > 0:
        if until_stop and state.should_stop is not None:
            return False
        time.sleep(min(left_s, STOP_LOOK_S))
    return True


def recover(store: Store, id: str, text: str, *, everywhere: bool) -> None:
    """Mark the gaps that the buried batch `id` left as recovered: it is stored now."""
    if everywhere:
        store.put_gaps([structs.replace(gap, recovered=True) for gap in store.open_gaps(f"{REASON}:{id}")])
    else:
        store.put_gaps(_gaps(id, _stretches(text), recovered=True))


def _increment(key: str) -> int:
    with translated():
        pipeline = client().pipeline()
        pipeline.incr(key)
        pipeline.expire(key, ATTEMPTS_KEPT_S)
        return int(pipeline.execute()[0])


def _pauses() -> Iterator[float]:
    """Yield pauses in seconds: doubling to `PAUSE_MAX_S`, each between half and all of it."""
    ceiling_s = PAUSE_FIRST_S
    while True:
        yield random.uniform(ceiling_s / 2, ceiling_s)
        ceiling_s = min(2 * ceiling_s, PAUSE_MAX_S)


def _stretches(text: str) -> Stretches:
    """Return what stretch of time the batch covers, by market; empty where it can't be read."""
    try:
        trades = decode(text, TradeBatch).rows
    except InvalidBatch:
        return stretches(text)
    found: Stretches = {}
    for trade in trades:
        from_ms, to_ms = found.get(trade.market, (trade.exchange_ms, trade.exchange_ms))
        found[trade.market] = min(from_ms, trade.exchange_ms), max(to_ms, trade.exchange_ms)
    return found


def _gaps(id: str, of: Stretches, *, recovered: bool = False) -> list[Gap]:
    """Return the gaps that the batch `id` leaves."""
    return [
        Gap(market, Channel.TRADE, from_ms, to_ms, f"{REASON}:{id}", recovered)
        for market, (from_ms, to_ms) in of.items()
    ]
