"""The publisher's thread: takes batches from the handoff queue, sends them, or keeps trades on disk.

It carries out the last `Decision` of the pressure policy and decides nothing itself. Everything that
touches the broker or the spool happens in this thread. Batches come through the handoff queue, which is
locked, and losses go back through a `deque`, whose two ends are safe to use from two threads. What other
threads read beside that (`decision`, `reading`, `counts`) is replaced whole or copied in one step.
"""

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Protocol

from collector import batch as batches
from collector.batch import Batch, GapBatch, Kind
from collector.clock import Clock
from collector.errors import BrokerUnavailable, InvalidBatch, SpoolFull
from collector.publish.handoff import HandoffQueue
from collector.publish.revoke import Revoked
from collector.publish.sender import FACTS, Envelope
from collector.publish.spool import LONG_MS, Spool, Times
from collector.settings import Settings
from collector.stream.batcher import STATES, partition_of
from collector.stream.pressure import PressurePolicy, PressureSample, PressureState

log = logging.getLogger(__name__)

_IDLE_WAIT_S = 0.05
#: What the thread may take to notice that its time for sending is over.
_GRACE_S = 0.1
#: Trades that wait longer for a worker are not stored in time to be compared.
_BEHIND_MS = 2_000
_REPEAT_EVERY_S = 30.0
#: So many batches, or bytes of their texts, are sent in one round trip.
_TOGETHER_MAX, _TOGETHER_BYTES = 16, 1 << 20


class Loss(NamedTuple):
    """Trades that were on disk and can't be read any more: of one market, or of all where that is None.

    With a `reason` it is a gap that was recovered, as far as is known: it is open again.
    """

    market: str | None
    from_ms: int
    to_ms: int
    reason: str = ""


class Transport(Protocol):
    """Where envelopes go: `Sender` in production."""

    def send(self, *envelopes: Envelope) -> None:
        """Publish batches or raise BrokerUnavailable."""
        ...

    def limit_rates(self, limits: Mapping[str, str]) -> None:
        """Set task rate limits on all workers or raise BrokerUnavailable."""
        ...


class Handing:
    """A transport that reports each batch that another one has sent."""

    def __init__(self, transport: Transport, on_sent: Callable[[Envelope], None]) -> None:
        self._transport = transport
        self._on_sent = on_sent

    def send(self, *envelopes: Envelope) -> None:
        """Send them, then report them."""
        self._transport.send(*envelopes)
        for envelope in envelopes:
            self._on_sent(envelope)

    def limit_rates(self, limits: Mapping[str, str]) -> None:
        """Pass it on."""
        self._transport.limit_rates(limits)


class Publisher:
    """Moves batches from the handoff queue to the broker, by way of the disk if need be.

    Args:
        probe: reads the broker's half of a pressure reading; raises BrokerUnavailable.
        take_back: removes the batches with these ids from a queue where they still wait; raises
            BrokerUnavailable.
        housekeeping: called after each probe with this publisher (lease, health, rate limits); it writes to
            the broker or raises BrokerUnavailable.
        on_batch_lost: called with a batch of facts that could neither be sent nor kept, and a reason.
        interrupt: ends what this thread is waiting for in Redis with an error; called by another thread, when
            a stop takes too long.
    """

    def __init__(
        self,
        settings: Settings,
        handoff: HandoffQueue,
        spool: Spool,
        sender: Transport,
        probe: Callable[[], PressureSample],
        revoke: Callable[[str, Collection[str]], Revoked],
        clock: Clock,
        *,
        housekeeping: Callable[["Publisher", PressureSample], None],
        on_batch_lost: Callable[[Batch, str], None],
        interrupt: Callable[[], None] = lambda: None,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.policy = PressurePolicy(settings.pressure)
        self.reading = PressureSample()
        self.decision = self.policy.decide(self.reading, PressureState(), clock.monotonic())
        self._settings = settings
        self._handoff = handoff
        self._spool = spool
        self._sender = sender
        self._probe = probe
        self._revoke = revoke
        self._clock = clock
        self._housekeeping = housekeeping
        self._on_batch_lost = on_batch_lost
        self._interrupt = interrupt
        #: Batches that wait on disk, known once the thread has ended.
        self.left_on_disk = 0
        self._failing = False
        self._failed_since_probe = False
        self._rows_refused = 0
        self._probed_s = float("-inf")
        self._states_since_probe: Counter[str] = Counter()
        #: Batches of tickers and of books that no worker may have yet, oldest first: id -> rows.
        self._in_queue: dict[str, dict[str, int]] = {kind: {} for kind in STATES}
        #: Kinds whose queue has been emptied by us since the last look.
        self._emptied: set[str] = set()
        #: The count of workers' starts, and from when on states may be repeated for one more.
        self._workers_started, self._repeat_ready_s = 0, 0.0
        #: Tickers and books may have grown so old in their queues that the workers dropped them.
        self._states_expired = False
        self._drain_ready_s = 0.0
        self._losses: deque[Loss] = deque()
        #: So many of the oldest records were written before it was known that others are damaged.
        self._doubted = 0
        self._note_damage()
        self._stop_by_s: float | None = None
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
        self.failure: BaseException | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """Send or spool what is left, then end; False if that took longer than `timeout_s`.

        Half of the time is for sending. A Redis that hangs then is given up, and the rest goes to disk.
        """
        self._stop_by_s = self._clock.monotonic() + timeout_s / 2
        self._handoff.wake()
        self._thread.join(timeout_s / 2 + _GRACE_S)
        if self._thread.is_alive():
            self._interrupt()
            self._thread.join(max(0.0, timeout_s / 2 - _GRACE_S))
        return not self._thread.is_alive()

    @property
    def is_failing(self) -> bool:
        """Whether Redis did not take or answer what it was last asked."""
        return self._failing

    @property
    def spool_folder(self) -> Path:
        """Where batches wait on disk."""
        return self._spool.directory

    @property
    def spool_bytes(self) -> int:
        """Bytes that wait on disk."""
        return self._spool.bytes_pending

    @property
    def is_behind(self) -> bool:
        """Whether trades wait on their way to the store for longer than usual."""
        return self.decision.trades_to_disk or self.spool_bytes > 0 or self.reading.trade_age_ms > _BEHIND_MS

    def take_losses(self) -> list[Loss]:
        """Return what of the spool turned out to be lost since the last call."""
        losses = []
        while self._losses:
            losses.append(self._losses.popleft())
        return losses

    @property
    def spool_id(self) -> str:
        """Name of what waits on disk."""
        return self._spool.id

    @property
    def spool_mark_ms(self) -> int | None:
        """Time of the oldest fact, epoch ms, that is only on disk."""
        return self._spool.oldest_mark_ms

    @property
    def is_alive(self) -> bool:
        """Whether the thread still works."""
        return self._thread.is_alive()

    def _run(self) -> None:
        try:
            while not self._is_over():
                self._turn()
            # Late in a stop, or without a broker: the disk is fast, and states are too old tomorrow.
            while batch := self._handoff.take(0, states=STATES):
                if batch.channel in STATES:
                    self.counts[f"{batch.channel}_rows_dropped"] += len(batch.rows)
                else:
                    self._keep(batch, envelope_of(batch, self._settings.batch.trade_queues))
        except BaseException as error:
            self.failure = error
            raise
        finally:
            self._close_spool()

    def _is_over(self) -> bool:
        if self._stop_by_s is None:
            return False
        return self._failing or not len(self._handoff) or self._clock.monotonic() >= self._stop_by_s

    def _turn(self) -> None:
        self._probe_if_due()
        batch = self._handoff.take(self._wait_s(), states=self._sendable_states())
        if batch is not None:
            self._deliver(self._with_others(batch))
        self._drain()
        self._sync()

    def _sendable_states(self) -> Collection[str]:
        """Return the kinds of states that may be handed on now."""
        if self._failing:
            return ()
        sendable, most = self.decision.send_states | self._emptied, self.decision.states_at_once
        return sendable if most is None else [k for k in sendable if self._states_since_probe[k] < most]

    def _wait_s(self) -> float:
        """Idle until the next probe at the most; less while the spool is being drained."""
        if self._may_drain():
            return max(0.0, min(_IDLE_WAIT_S, self._drain_ready_s - self._clock.monotonic()))
        return min(_IDLE_WAIT_S, self._settings.publish.probe_interval_s)

    def _with_others(self, first: Batch) -> list[tuple[Batch, Envelope]]:
        """Return a batch and those that wait behind it, each as it is to be sent, in one round trip."""
        taken: list[tuple[Batch, Envelope]] = []
        size, batch = 0, first
        while True:
            envelope = envelope_of(batch, self._settings.batch.trade_queues)
            taken.append((batch, envelope))
            self._states_since_probe[envelope.kind] += 1
            size += len(envelope.text)
            if len(taken) >= _TOGETHER_MAX or size >= _TOGETHER_BYTES:
                return taken
            following = self._handoff.take(0, states=self._sendable_states())
            if following is None:
                return taken
            batch = following

    def _deliver(self, taken: list[tuple[Batch, Envelope]]) -> None:
        if self.decision.trades_to_disk or self._failing:
            for batch, envelope in taken:
                if batch.channel not in STATES:
                    self._keep(batch, envelope)
            taken = [each for each in taken if each[0].channel in STATES]
        if not taken:
            return
        try:
            self._send(*(envelope for _, envelope in taken))
        except BrokerUnavailable as error:
            self._note_failure(error)
            for batch, _ in reversed(taken):
                if batch.channel in STATES:
                    self._handoff.put_back(batch)
            for batch, envelope in taken:
                if batch.channel not in STATES:
                    self._keep(batch, envelope)
            return
        for batch, _ in taken:
            if batch.channel not in STATES:
                self._tell_refused()
            self._handoff.done(batch)

    def _send(self, *envelopes: Envelope) -> None:
        for envelope in envelopes:
            if envelope.kind in STATES:  # also if it fails: it may have arrived all the same
                self._in_queue[envelope.kind][envelope.id] = envelope.rows
        self._sender.send(*envelopes)
        for envelope in envelopes:
            self.counts["batches_sent"] += 1
            self.counts[f"{envelope.kind}_batches_sent"] += 1
            self.counts[f"{envelope.kind}_rows_sent"] += envelope.rows

    def _keep(self, batch: Batch, envelope: Envelope) -> None:
        """Put facts on disk; if even that fails, log an error."""
        try:
            self._spool.append(pack(envelope), Times(envelope.from_ms, envelope.to_ms, envelope.mark_ms))
        except SpoolFull as error:
            if not self._rows_refused:
                log.error("%d %s rows could not be kept: %s", envelope.rows, envelope.kind, error)
            self._rows_refused += envelope.rows
            self.counts[f"{envelope.kind}_rows_lost"] += envelope.rows
            self._on_batch_lost(batch, "spool_full")  # out of danger once that is noted
            return
        self._tell_refused()
        self._handoff.done(batch)
        self.counts[f"{envelope.kind}_rows_spooled"] += envelope.rows

    def _tell_refused(self) -> None:
        """Log how many rows a spell without room on disk has cost, once it is over."""
        if self._rows_refused:
            log.warning("batches are kept again; %d rows were lost and lie in gaps", self._rows_refused)
            self._rows_refused = 0

    def _may_drain(self) -> bool:
        return bool(len(self._spool)) and self.decision.drain_spool and not self._failing

    def _drain(self) -> None:
        """Bring back one spooled batch if its turn has come."""
        now_s = self._clock.monotonic()
        if not self._may_drain() or now_s < self._drain_ready_s:
            return
        self._drain_ready_s = now_s + 1 / self._settings.spool.drain_batches_per_s
        try:
            payload = self._spool.peek()
            self._note_damage()
            if payload is not None:
                self._send_spooled(payload)
                self._spool.ack()
                self._doubted = max(self._doubted - 1, 0)
        except BrokerUnavailable as error:
            self._note_failure(error)
        except SpoolFull as error:
            log.error("the spool cannot be read: %s", error)
            self._drain_ready_s = now_s + 1

    def _send_spooled(self, payload: bytes) -> None:
        try:
            envelope = at_home(unpack(payload), self._settings.batch.trade_queues)
        except InvalidBatch as error:  # sound by its checksum: another version wrote it
            log.error("a spooled batch is given up, and what it held is fetched again: %s", error)
            self._losses.extend(_losses_of(payload, self._clock.now_ms()))
            self._doubted = len(self._spool)
            self.counts["spool_batches_unreadable"] += 1
            return
        if self._doubted and envelope.kind is Kind.GAP:
            envelope = self._without_recoveries(envelope)
        if envelope.rows:
            self._send(envelope)
        self.counts["spool_batches_drained"] += 1

    def _note_damage(self) -> None:
        """Take note of what of the spool is lost; trades that closed a gap may have been in it."""
        damage = self._spool.take_damage()
        if damage:
            self._losses.extend(Loss(None, each.from_ms, each.to_ms) for each in damage)
            self._doubted = len(self._spool)

    def _without_recoveries(self, envelope: Envelope) -> Envelope:
        """Return the gaps of a envelope that open; those that were recovered are to be fetched again."""
        try:
            batch = batches.decode(envelope.text, GapBatch)
        except InvalidBatch:
            return envelope  # the worker makes a gap of it
        self._losses.extend(
            Loss(gap.market, gap.from_ms, gap.to_ms, gap.reason) for gap in batch.rows if gap.recovered
        )
        batch.rows = [gap for gap in batch.rows if not gap.recovered]
        return replace(envelope, text=batches.encode(batch), rows=len(batch.rows))

    def _sync(self) -> None:
        try:
            self._spool.sync_if_due()
        except SpoolFull as error:
            log.error("the spool cannot be synced: %s", error)
            self.counts["spool_sync_errors"] += 1

    def _probe_if_due(self) -> None:
        now_s = self._clock.monotonic()
        if now_s - self._probed_s < self._settings.publish.probe_interval_s:
            return
        self._probed_s = now_s
        self._states_since_probe.clear()
        self._emptied.clear()
        reading = PressureSample()
        try:
            reading = self._probe()
            self._housekeeping(self, reading)  # it writes: a Redis that only answers reads is not healthy
            if self._failing:
                log.warning("Redis takes batches again")
                self._states_expired = True
            self._failing = False
            self._forget_taken(reading)
        except BrokerUnavailable as error:
            self._note_failure(error)
        self.reading = self._complete(reading)
        self.decision = self.policy.decide(self.reading, self.decision.state, self._clock.monotonic())
        self._handoff.conflating = self.decision.conflate_states
        self._repeat_states()
        self._replace_states()
        if self.decision.changed:
            log.warning("mode %s: %s [%s]", self.decision.mode, self.decision.reason, self.reading)
            self.counts[f"mode_changes_to_{self.decision.mode}"] += 1

    def _forget_taken(self, reading: PressureSample) -> None:
        """Forget what workers have taken: what still waits is at most the newest of what we sent."""
        for kind, sent in self._in_queue.items():
            for id in list(sent)[: max(0, len(sent) - reading.queue_lengths.get(kind, 0))]:
                del sent[id]

    def _replace_states(self) -> None:
        """Take back the tickers and books that grow old in a queue; the newest of each market follow."""
        for kind in self.decision.replace_states:
            sent = self._in_queue[kind]
            try:
                recalled = self._revoke(kind, sent)
            except BrokerUnavailable as error:
                self._states_expired = True  # they may be gone
                self._note_failure(error)
                return
            if recalled.ids:
                self.counts["state_batches_taken_back"] += len(recalled.ids)
                self.counts[f"{kind}_rows_taken_back"] += sum(sent.pop(id) for id in recalled.ids)
                self._handoff.repeat_states(self._clock.now_ms(), (kind,))
            if not recalled.left:
                self._emptied.add(kind)

    def _on_worker_started(self) -> None:
        """Have states sent once more where a worker has started: one that died took along what it held.

        Not more often than every 30 s, so that a row that ends workers does not end one after the other.
        """
        started, now_s = self.reading.workers_started, self._clock.monotonic()
        if started > self._workers_started and now_s >= self._repeat_ready_s:
            self._repeat_ready_s = now_s + _REPEAT_EVERY_S
            self._workers_started = started
            self._states_expired = True

    def _repeat_states(self) -> None:
        """Send the newest tickers and books once more if those that were sent grew too old on the way."""
        self._on_worker_started()
        if self.reading.state_age_ms >= self._settings.publish.state_expires_s * 1000:
            self._states_expired = True
        elif self._states_expired and not self._failing:
            self._states_expired = False
            self._handoff.repeat_states(self._clock.now_ms(), STATES)
            self.counts["states_repeated"] += 1

    def _complete(self, reading: PressureSample) -> PressureSample:
        """Add the figures of this process to those of the broker."""
        sent_trades = self.counts["trade_batches_sent"] + self.counts["gap_batches_sent"]
        failed, self._failed_since_probe = self._failed_since_probe, False
        return PressureSample(
            queue_lengths=reading.queue_lengths,
            unacked=reading.unacked,
            ages_ms=reading.ages_ms,
            redis_memory=reading.redis_memory,
            workers_started=reading.workers_started,
            send_failing=self._failing or failed,
            local_fill=self._handoff.fill,
            memory_mb=resident_mb(),
            sent_trades=sent_trades,
            sent_states=self.counts["batches_sent"] - sent_trades - self.counts["state_batches_taken_back"],
        )

    def _note_failure(self, error: BrokerUnavailable) -> None:
        self.counts["send_failures"] += 1
        if not self._failing:
            log.warning("%s; trades go to disk until it answers", error)
        self._failing = self._failed_since_probe = True

    def _close_spool(self) -> None:
        self.left_on_disk = len(self._spool)
        try:
            self._spool.close()
        except SpoolFull as error:
            log.error("the spool could not be synced at the end: %s", error)


def times_of(payload: bytes) -> Times:
    """Return the times of a spooled payload; none where another version wrote it."""
    try:
        envelope = unpack(payload)
    except InvalidBatch:
        return Times()
    return Times(envelope.from_ms, envelope.to_ms, envelope.mark_ms)


def _losses_of(payload: bytes, now_ms: int) -> list[Loss]:
    """Return what is lost with a payload that has no address: what its rows show, else all of some time."""
    found = batches.stretches(payload.partition(b"\n")[2])
    return [Loss(market, *stretch) for market, stretch in found.items()] or [
        Loss(None, now_ms - LONG_MS, now_ms)
    ]


def envelope_of(batch: Batch, queues: int) -> Envelope:
    """Return `batch` in its wire form, addressed to its queue."""
    return Envelope(
        batch.channel,
        _queue(batch, queues),
        len(batch.rows),
        batch.created_ms,
        batch.id,
        batches.encode(batch),
        *batches.span_of(batch),
        batches.mark_of(batch),
    )


def _queue(batch: Batch, queues: int) -> str:
    if batch.channel is Kind.TRADE and queues > 1:
        return f"trade.{partition_of(batch.rows[0].market, queues)}"
    return "trade" if batch.channel is Kind.GAP else str(batch.channel)


def pack(envelope: Envelope) -> bytes:
    """Write a envelope as spool bytes: one line of address, then the batch."""
    times = f"{envelope.from_ms} {envelope.to_ms} {envelope.mark_ms}"
    address = f"{envelope.kind} {envelope.queue} {envelope.rows} {envelope.created_ms} {envelope.id} {times}"
    return f"{address}\n{envelope.text}".encode()


def unpack(payload: bytes) -> Envelope:
    """Read what `pack` wrote.

    Raises:
        InvalidBatch: another version wrote it.
    """
    try:
        address, _, text = payload.decode().partition("\n")
        kind, queue, rows, created_ms, id, *times = address.split(" ")
        envelope = Envelope(Kind(kind), queue, int(rows), int(created_ms), id, text, *map(int, times))
    except (ValueError, TypeError) as error:
        raise InvalidBatch(f"its address can't be read: {error}") from error
    return envelope if times else _timed(envelope)


def _timed(envelope: Envelope) -> Envelope:
    """Return a envelope that was packed before there were times in its address with those of its rows."""
    found = batches.stretches(envelope.text).values()
    if envelope.kind not in FACTS or not found:
        return envelope
    from_ms = min(from_ms for from_ms, _ in found)
    return replace(envelope, from_ms=from_ms, to_ms=max(to_ms for _, to_ms in found), mark_ms=from_ms)


def at_home(envelope: Envelope, queues: int) -> Envelope:
    """Return `envelope` with a queue that is served: one of a share that is no more goes to `trade`."""
    name, _, share = envelope.queue.partition(".")
    return envelope if not share or int(share) < queues > 1 else replace(envelope, queue=name)


def resident_mb() -> float:
    """Return this process's resident memory in MiB; 0 where the system does not report it."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[1]) * 4096 / (1 << 20)
    except (OSError, ValueError, IndexError):
        return 0.0
