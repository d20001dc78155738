"""The composition root of a listener: settings -> objects -> one task group -> a graceful stop.

connections -> Intake -> Outbox | publisher's thread -> Celery queues, or the spool
holes -> Backfill -> Intake
"""

import asyncio
import logging
import os
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import msgspec
import redis

from collector import counters
from collector.analyses.catalog import names
from collector.analytics.auditing import AUDIT
from collector.batch import Batch
from collector.clock import Clock, SystemClock
from collector.errors import (
    BrokerUnavailable,
    CollectorError,
    ConfigurationError,
    LeaseLost,
    PipelineError,
    RestError,
)
from collector.feed.arbitration import FeedArbiter
from collector.feed.backfill import Backfill
from collector.feed.backfill import MissingStretch as MarketHole
from collector.feed.connection import Connection
from collector.feed.connection_group import ConnectionGroup
from collector.feed.rest_client import PAGE_ROWS, RestClient
from collector.feed.session import MarketEvent, Session, SessionState
from collector.feed.watchdog import new_rhythms
from collector.host import redis_client
from collector.host.metrics import Snapshot
from collector.host.redis_clock import RedisClock
from collector.host.redis_server import find_url
from collector.host.web import Web
from collector.listener.auditor import Auditor
from collector.listener.gap_tracker import GapTracker
from collector.listener.hand_on import new_ledger, new_probe, new_spool
from collector.listener.health import FrameRate, added_up, connection_row, percentile, state_of
from collector.listener.maintenance import MAINTENANCE, RestQuiet
from collector.listener.market_states import MarketStates
from collector.listener.markets import choose, plain_names
from collector.listener.outages import Outages, Socket, View
from collector.listener.pipeline import EventPipeline
from collector.listener.refresh import Refresh
from collector.listener.status import CoverageStatus, returned
from collector.listener.witness import Witness
from collector.model import Channel, Gap
from collector.protocol.codec import Codec, Subscription
from collector.protocol.current import CurrentCodec, is_snapshot
from collector.protocol.legacy import LegacyCodec
from collector.protocol.repeats import RepeatedBooks
from collector.publish.handoff import HandoffQueue
from collector.publish.lease import Lease
from collector.publish.publisher import Handing, Publisher, Transport
from collector.publish.revoke import Revoker
from collector.publish.sender import Sender
from collector.routing import ANALYSES
from collector.settings import ExchangeSettings, Settings
from collector.store.keys import Keys
from collector.store.read import Reader
from collector.store.verified import Verified
from collector.stream.batcher import Batcher
from collector.stream.book import BookBuilder
from collector.stream.exchange_time import ExchangeClock, ExchangeTime
from collector.stream.pressure import Decision, PressureSample
from collector.stream.refused import RefusedTrades

log = logging.getLogger(__name__)

_TICK_S = 0.02
_OUTAGES_S = 0.1
_RECOVERED_S = 1.0
#: For the publisher to send or spool what is left, and then to give the lease up and report. With what
#: sockets take to close this stays below the time that `collector up` gives a listener.
_STOP_TIMEOUT_S = 1.6
#: Trades that wait longer for a worker are not stored in time to be compared.
_BEHIND_MS = 2_000
_LEAVE_TIMEOUT_S = 0.3
#: Delays between tries to read the market list: from the first, doubled up to the last.
_LIST_RETRY_S = (0.5, 10.0)
#: Delays between looks at the store for open gaps of an earlier run, likewise; and how often is asked whether
#: the workers found new ones.
_GAPS_AGAIN_S = (10.0, 300.0)
_FOUND_AGAIN_S = 2.0
#: A refused frame is logged the first time of its reason, then once per so many.
_LOG_EVERY = 1_000
_REJECTED_KEPT = 200
_HEALTH_TTL_S = 15
#: Rate limits are broadcast again so often: lowered ones always, restored ones for so long. A worker that is
#: away hears no broadcast, and Celery rests up to 32 s between two tries to reach Redis.
_PACE_AGAIN_S = 10.0
_PACE_RESTORED_S = 60.0
#: Celery has no zero, and a task in a worker's hands waits by the limit it was taken under, whatever is set
#: later: much slower than this, and a short pause would hold up an analysis worker for long.
PAUSED = "12/m"


def listener_id(settings: Settings) -> str:
    """Return the name of this listener: machine, process and share."""
    return f"{socket.gethostname()}-{os.getpid()}-{settings.shard.replace('/', 'of')}"


def new_lease(settings: Settings, client: redis.Redis) -> Lease:
    """Return the lease of this listener's share; a restart from the same data folder is the same owner."""
    owner = f"{socket.gethostname()}:{settings.data_dir.absolute()}"
    key = Keys(settings.store.key_prefix).lease(settings.shard)
    return Lease(client, key, owner, settings.publish.lease_ttl_s)


class Listener:
    """One listener process: a share of the markets, some redundant connections, one publisher."""

    def __init__(
        self, settings: Settings, *, clock: Clock | None = None, sender: Transport | None = None
    ) -> None:
        self.settings = settings
        self.id = listener_id(settings)
        host_clock = clock or SystemClock()
        time = ExchangeTime(host_clock.now_ms(), host_clock.monotonic())
        self._clock = ExchangeClock(host_clock, time)
        self._redis = connect_redis(settings)
        self._keys = Keys(settings.store.key_prefix)
        self._lease = new_lease(settings, self._redis)
        self._holder: str | None = None
        self._handoff = HandoffQueue(settings.publish.queue_batches, self.id)
        self._batcher = Batcher(settings.batch, self.id)
        self._pipeline = EventPipeline(self._batcher, self._handoff, self._clock, time)
        self._gap_tracker = GapTracker(self._pipeline, settings.channels)
        self._quiet = RestQuiet()
        holes = self._gap_tracker
        self._pipeline.listen(
            holes.on_hole,
            holes.on_early_trade,
            holes.on_lost,
            holes.on_missing,
            holes.on_ahead,
            self._quiet.explain,
        )
        self._refused = RefusedTrades()
        self._rhythms = new_rhythms(settings.connection)
        is_current = settings.exchange.protocol == "current"
        self._arbiter = FeedArbiter() if is_current and settings.redundancy > 1 else None
        self._repeats = RepeatedBooks()
        self.connection_group = ConnectionGroup(settings, self, self._clock)
        self._rest = RestClient(settings.exchange, self._clock, self.on_date)
        self._backfill = Backfill(
            self._rest,
            self._clock,
            self._pipeline.add_recovered,
            self._on_filled,
            self._pipeline.exchange_ms,
            totals=self._gap_tracker.totals_agree,
            streamed_ms=self._pipeline.streamed_ms,
            lag_max_s=settings.exchange.rest_lag_max_s,
            page_rows=PAGE_ROWS,
        )
        self._gap_tracker.backfill = self._backfill
        self._auditor = self._new_auditor()
        self._refresh = Refresh(
            self._rest,
            self.connection_group,
            self._gap_tracker,
            MarketStates(self._redis, settings),
            self._choose,
            self._pipeline.exchange_time.at,
            self._clock,
            settings.exchange.market_refresh_s,
        )
        self._redis_clock = RedisClock(self._redis, self._clock)
        self._sender = sender or Sender(settings.publish.state_expires_s, self._redis_clock.now_ms)
        self._ledger = new_ledger(
            settings, self._redis, self._sender, self._redis_clock.now_ms, self._on_unreadable
        )
        self._status = CoverageStatus(
            settings,
            self._redis,
            self.id,
            pipeline=self._pipeline,
            batcher=self._batcher,
            handoff=self._handoff,
            holes=self._gap_tracker,
        )
        self._witness = Witness(self._rest, self._pipeline, settings.exchange.totals_interval_s, self._quiet)
        self._publisher = self._new_publisher(self._ledger)
        self._analysis_rate: float | None = None  # unknown: a listener that died may have lowered it
        self._paced_s = self._pace_changed_s = 0.0
        self._ended: Counter[str] = Counter()
        self._rate = FrameRate()
        #: Trades of our markets that only a backfill brought; None while Redis can't be asked.
        self._recovered: int | None = None
        self._rejected: list[dict[str, Any]] = []
        #: Sentences about names in COLLECTOR_MARKETS that are no market now; each is logged once.
        self._missing: tuple[str, ...] = ()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._has_left = False
        self._is_clock_wrong = False

    # The process

    async def run(self, stop: asyncio.Event) -> None:
        """Listen until `stop` is set, then flush and leave.

        Raises:
            ConfigurationError: none of the markets exists.
            GaveUp: the connections used up their allowed retries.
            LeaseLost: another listener serves this share now.
            PipelineError: the publisher's thread died.
        """
        self._loop = asyncio.get_running_loop()
        port = self.settings.health.metrics_port
        web = Web(port, self._look, self._clock.now_ms) if port else None
        self._publisher.start()
        try:
            async with self._rest, asyncio.TaskGroup() as group:
                live = group.create_task(self._live())
                await stop.wait()
                live.cancel()
        except* CollectorError as failures:
            raise _first(failures) from None
        finally:
            self._pipeline.flush()
            await asyncio.to_thread(self._publisher.stop, _STOP_TIMEOUT_S)
            self._status.note()
            if web is not None:
                await asyncio.to_thread(web.close)
            await self._leave()

    async def _live(self) -> None:
        await self._discover()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._status.begin(self._publisher.spool_id))
            group.create_task(self._take_up_gaps())
            group.create_task(self._tick())
            group.create_task(self._count_recovered())
            group.create_task(self._report_outages())
            group.create_task(self._refresh.run(group))
            group.create_task(self._backfill.run())
            if self._auditor is not None:
                group.create_task(self._auditor.run())
            group.create_task(self._witness.run(lambda: self._markets))
            self.connection_group.start(group)

    async def _take_up_gaps(self) -> None:
        """Send the backfill after gaps of an earlier run, and those that workers open, once stored."""
        pause_s, longest_s = _GAPS_AGAIN_S
        found_again_s = _FOUND_AGAIN_S
        while True:
            found = await asyncio.to_thread(self._read_found)
            gaps = await asyncio.to_thread(self._read_open_gaps)
            if gaps is not None:
                self._gap_tracker.take_up(gaps)
                for gap in await asyncio.to_thread(self._find_returned, gaps):
                    self._pipeline.add(gap)
            if await self._are_found(found, found_again_s, pause_s):
                # What is fetched may become a dead letter again: not faster and faster.
                found_again_s, pause_s = min(2 * found_again_s, longest_s), _GAPS_AGAIN_S[0]
            else:
                pause_s, found_again_s = min(2 * pause_s, longest_s), _FOUND_AGAIN_S

    async def _are_found(self, known: int | None, after_s: float, within_s: float) -> bool:
        """Wait; tell as soon as `after_s` whether workers have opened gaps since, else that they have not."""
        ends_s = self._clock.monotonic() + within_s
        while self._clock.monotonic() < ends_s:
            await asyncio.sleep(min(after_s, within_s))
            found = await asyncio.to_thread(self._read_found)
            if found not in (None, known):
                return True
        return False

    async def _count_recovered(self) -> None:
        """Follow how many trades of our markets the store has from backfills alone."""
        while True:
            self._recovered = await asyncio.to_thread(self._read_recovered)
            await asyncio.sleep(_RECOVERED_S)

    async def _report_outages(self) -> None:
        outages = Outages(self._clock.monotonic())
        while True:
            await asyncio.sleep(_OUTAGES_S)
            sockets = {
                connection.number: Socket(connection.streaming.is_set(), connection.last_loss or "")
                for connection in self.connection_group.connections
            }
            _, why = self._pipeline.outage() or (None, None)
            view = View(
                now_s=self._clock.monotonic(),
                sockets=sockets,
                fetched=self._pipeline.counts["trades_backfilled"],
                waiting=len(self._backfill) + (self._pipeline.outage() is not None),
                given_up=self._backfill.counts["backfills_given_up"],
                recovered=self._recovered,
                is_maintenance=why == MAINTENANCE,
            )
            self._report_clock()
            for line in outages.look(view):
                log.log(line.level, line.text)

    def _report_clock(self) -> None:
        """Log once that the host's clock is wrong, and once that it is right again."""
        ahead_ms = self._clock.host_is_ahead_ms
        if bool(ahead_ms) != self._is_clock_wrong:
            self._is_clock_wrong = bool(ahead_ms)
            if ahead_ms:
                way = "ahead of" if ahead_ms > 0 else "behind"
                log.warning(
                    "this host's clock is %.0f s %s the exchange's time; that is taken instead",
                    abs(ahead_ms) / 1000,
                    way,
                )
            else:
                log.warning("this host's clock is right again")

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            self._pipeline.tick(self._publisher.decision)
            self._status.note()
            for loss in self._publisher.take_losses():
                self._gap_tracker.on_loss(loss)
            if not self._publisher.decision.trades_to_disk:
                self._gap_tracker.tell_lost()
            if not self._publisher.is_alive:
                raise PipelineError(f"the publisher died: {self._publisher.failure!r}")
            if self._holder is not None:
                raise LeaseLost(f"share {self.settings.shard} is served by {self._holder}")

    async def _leave(self) -> None:
        """Give the lease up and report for the last time, unless Redis is away or slow: both expire."""
        self._has_left = True
        letting_go = asyncio.create_task(asyncio.to_thread(self._let_go))
        await asyncio.wait({letting_go}, timeout=_LEAVE_TIMEOUT_S)
        self._redis.close()  # ends what still waits
        await asyncio.wait({letting_go}, timeout=_LEAVE_TIMEOUT_S)
        if letting_go.done() and (error := letting_go.exception()):
            log.warning("the last report did not reach Redis: %s", error)

    def _let_go(self) -> None:
        if self._publisher.is_failing:
            return
        with suppress(BrokerUnavailable):
            if self._holder is None:
                self._status.write(self._publisher, self._ledger, _not_any_more)
                self._status.leave()
            self._lease.give_up()
            self._report(self._publisher.decision)

    def farewell(self) -> tuple[int, str]:
        """Return how a listener that was stopped has left, as a level of `logging` and a sentence."""
        if self._publisher.is_alive:
            return logging.ERROR, (
                f"stopped, but the publisher did not end in {_STOP_TIMEOUT_S:g} s: what it still held is"
                " fetched again at the next start"
            )
        if count := self._publisher.left_on_disk:
            folder = self._publisher.spool_folder
            return logging.WARNING, (
                f"stopped; {count} batches could not be sent and wait in {folder}: the next start sends them"
            )
        return logging.INFO, "stopped, everything flushed"

    # Markets

    async def _discover(self) -> None:
        """Find out which markets to listen to; wait for the exchange's list if a pattern needs it."""
        names = plain_names(self.settings.markets)
        delay_s, longest_s = _LIST_RETRY_S
        said = ""
        while True:
            try:
                listed = await self._rest.markets()
                self._markets = self._choose(listed)
                self._refresh.listed = listed
                return
            except RestError as error:
                if names is not None:
                    log.warning("the market list can't be read (%s); going on with the names as given", error)
                    self._markets = self._choose(names)
                    return
                if str(error) != said:
                    said = str(error)
                    log.warning("the exchange can't be reached, trying on for ever: %s", error)
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, longest_s)

    def _choose(self, listed: Sequence[str]) -> tuple[str, ...]:
        settings = self.settings
        chosen = choose(settings.markets, listed, index=settings.shard_index, count=settings.shard_count)
        for sentence in chosen.missing:
            if sentence not in self._missing:
                log.warning("COLLECTOR_MARKETS: %s; going on with the others", sentence)
        self._missing = chosen.missing
        if not chosen.markets:
            raise ConfigurationError(f"COLLECTOR_SHARD {settings.shard}: no market falls to this share")
        return chosen.markets

    @property
    def _markets(self) -> tuple[str, ...]:
        return self._gap_tracker.markets

    @_markets.setter
    def _markets(self, markets: tuple[str, ...]) -> None:
        self._gap_tracker.markets = markets

    # Host of the connections

    def new_session(self, connection: Connection, now_s: float) -> Session:  # noqa: ARG002 - the Host protocol
        """Make the session of a socket that has just opened."""
        exchange = self.settings.exchange
        return Session(
            new_codec(exchange, self._repeats),
            self._subscription(),
            self._rhythms,
            self.settings.connection,
            now_s,
            arbiter=self._arbiter,
            books=BookBuilder() if exchange.protocol == "legacy" else None,
        )

    def subscribe_texts(self) -> list[str]:
        """Return what a socket sends first."""
        return new_codec(self.settings.exchange).subscribe(self._subscription())

    def on_events(
        self,
        connection: Connection,
        events: Sequence[MarketEvent] | None,
        frames: Sequence[bytes],
        received_ms: int,
    ) -> None:
        """Take what frames that came together carried."""
        if events is not None:
            has_snapshots = any(map(is_snapshot, frames))
            self._pipeline.process(connection.number, events, has_snapshots=has_snapshots)
        session = connection.session
        if session is not None and session.rejections:
            self._note_rejections(session, received_ms)
            self._open_refused(session)

    def on_disconnected(self, connection: Connection, reason: str) -> None:
        """Take note that a socket is gone."""
        self._pipeline.coverage.on_disconnected(connection.number, reason)
        if connection.session is not None:
            self._ended.update(connection.session.totals())
            connection.session = None

    def on_date(self, server_ms: int) -> None:
        """Take the time that the exchange's servers name."""
        self._pipeline.exchange_time.hint(server_ms, self._clock.monotonic())

    def _subscription(self) -> Subscription:
        return Subscription(self._markets, self.settings.channels)

    def _note_rejections(self, session: Session, received_ms: int) -> None:
        for refusal in session.rejections:
            name = f"rejected:{refusal.reason}"
            if session.counts[name] % _LOG_EVERY == 1:
                log.warning("message refused (%s): %s", name, refusal.detail)
            self._rejected.append(
                {
                    "at_ms": received_ms,
                    "reason": refusal.reason,
                    "detail": refusal.detail,
                    "raw": refusal.raw.decode(errors="replace"),
                }
            )
        session.rejections.clear()
        del self._rejected[:-_REJECTED_KEPT]

    def _open_refused(self, session: Session) -> None:
        """Open gaps for the trades among what a session refused."""
        now_ms = self._pipeline.exchange_ms()
        for gap in self._refused.on_refused(session.refused_trades, self._markets, now_ms):
            self._gap_tracker.open(gap.market, gap.from_ms, gap.to_ms, "refused")
        session.refused_trades.clear()

    def _on_batch_lost(self, batch: Batch, reason: str) -> None:
        """Called in the publisher's thread: facts that could be neither sent nor kept."""
        self._call(self._pipeline.lose, batch, reason)

    def _on_unreadable(self, from_ms: int) -> None:
        """Called in the publisher's thread: facts on their way that can't be read any more."""
        self._call(self._open_until_now, from_ms, "in_flight_lost")

    def _call(self, function: Callable[..., object], *arguments: Any) -> None:  # noqa: ANN401 - its own
        """Have a function called in the event loop, from any thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *arguments)

    def _open_until_now(self, from_ms: int, reason: str) -> None:
        self._gap_tracker.open(None, from_ms, self._pipeline.exchange_ms(), reason)

    # The exchange's own figures

    def _new_auditor(self) -> Auditor | None:
        settings = self.settings
        if not settings.audit.enabled or Channel.TRADE not in settings.channels:
            return None
        return Auditor(
            self._rest,
            Verified(self._redis, settings.store),
            self._clock,
            settings.audit,
            markets=lambda: self._markets,
            exchange_ms=self._pipeline.exchange_ms,
            streamed_ms=self._pipeline.newest_streamed_ms,
            open_gap=lambda market, from_ms, to_ms: self._gap_tracker.open(market, from_ms, to_ms, AUDIT),
            close_gap=self._gap_tracker.close,
            is_behind=self._is_behind,
            lag_max_s=settings.exchange.rest_lag_max_s,
            share=settings.shard,
        )

    def _is_behind(self) -> bool:
        """Tell whether trades wait on their way to the store for longer than usual."""
        publisher = self._publisher
        return (
            publisher.decision.trades_to_disk
            or publisher.spool_bytes > 0
            or publisher.reading.trade_age_ms > _BEHIND_MS
        )

    def _on_filled(self, hole: MarketHole, recovered: bool) -> None:
        """Take the end of a backfill."""
        self._gap_tracker.on_filled(hole, recovered)
        if self._auditor is not None:
            self._auditor.on_fetched(hole)

    # The publisher's side

    def _new_publisher(self, sender: Transport) -> Publisher:
        spool = new_spool(self.settings, _ExchangeClock(self._pipeline, self._clock))
        if len(spool):
            log.warning("%d batches of an earlier run wait in the spool", len(spool))
        return Publisher(
            self.settings,
            self._handoff,
            spool,
            Handing(sender, self._status.on_handed),
            new_probe(self.settings, self._redis, self._clock).read,
            Revoker(self._redis).revoke,
            self._clock,
            housekeeping=self._keep_house,
            on_batch_lost=self._on_batch_lost,
            interrupt=self._interrupt,
        )

    def _interrupt(self) -> None:
        """End what the publisher's thread waits for in Redis with an error."""
        self._redis.connection_pool.disconnect(inuse_connections=True)
        if isinstance(self._sender, Sender):
            self._sender.interrupt()

    def _keep_house(self, decision: Decision, reading: PressureSample) -> None:
        """Called in the publisher's thread: renew the lease, send again, pace analyses, say how we are."""
        self._holder = self._lease.take()
        if self._holder is None:
            self._status.write(self._publisher, self._ledger, self._call)
        self._publisher.counts["batches_sent_again"] += self._ledger.send_again(reading.trade_age_ms)
        self._pace_analyses(decision.analysis_rate)
        self._report(decision)

    def _pace_analyses(self, factor: float) -> None:
        """Lower the analysis tasks' rate limits under pressure, and tell it to workers that come later."""
        now_s = self._clock.monotonic()
        is_new = factor != self._analysis_rate
        is_settled = factor == 1 and now_s - self._pace_changed_s > _PACE_RESTORED_S
        if not is_new and (is_settled or now_s - self._paced_s < _PACE_AGAIN_S):
            return
        self._sender.limit_rates(analysis_limits(self.settings.worker.analysis_rate_limit, factor))
        self._analysis_rate, self._paced_s = factor, now_s
        if is_new:
            self._pace_changed_s = now_s

    def _report(self, decision: Decision) -> None:
        health = msgspec.json.encode(self.health(decision))
        rejected, self._rejected = self._rejected, []
        try:
            with self._redis.pipeline(transaction=False) as pipe:
                pipe.set(self._keys.listener(self.id), health, ex=_HEALTH_TTL_S)
                if rejected:
                    pipe.lpush(self._keys.rejected_frames, *map(msgspec.json.encode, rejected))
                    pipe.ltrim(self._keys.rejected_frames, 0, _REJECTED_KEPT - 1)
                pipe.execute()
        except redis.RedisError as error:
            self._rejected[:0] = rejected
            raise BrokerUnavailable(f"Redis did not take the health report: {error}") from error

    def health(self, decision: Decision) -> dict[str, Any]:
        """Return this listener's row of `show health`."""
        connections = self.connection_group.connections
        last_frames = [c.totals.last_frame_ms for c in connections if c.totals.last_frame_ms]
        lags = list(self._pipeline.lags_ms)
        return {
            "id": self.id,
            "state": SessionState.STOPPED if self._has_left else state_of(connections),
            "connections": [connection_row(connection) for connection in connections],
            "mode": str(decision.mode),
            "frames_per_s": round(self._rate.look(self.connection_group.frames, self._clock.monotonic()), 1),
            "lag_ms_p50": percentile(lags, 0.5),
            "lag_ms_p99": percentile(lags, 0.99),
            "spool_bytes": self._publisher.spool_bytes,
            "last_frame_ms": max(last_frames, default=None),
            "markets": len(self._markets),
            "markets_refused": len(self._rest.refused_markets),
            "pid": os.getpid(),
            "backfills_waiting": len(self._backfill),
            "counters": self.counters(),
        }

    def _look(self) -> Snapshot:
        """Called in a web thread."""
        row = self.health(self._publisher.decision)
        return Snapshot(listeners=[row], queues=dict(self._publisher.reading.queue_lengths))

    def counters(self) -> dict[str, int]:
        """Return everything counted so far, by name; any thread may ask."""
        sessions = [connection.session for connection in list(self.connection_group.connections)]
        merged = added_up([self._batcher.merged, self._handoff.merged])
        pipeline = self._pipeline
        return added_up(
            [
                self._ended,
                *(session.totals() for session in sessions if session is not None),
                pipeline.deduplicator.held_back,
                pipeline.doubts.counts,
                pipeline.totals.counts,
                pipeline.counts,
                self._rest.counts,
                self._backfill.counts,
                self._auditor.counts if self._auditor is not None else {},
                self._publisher.counts,
                {f"{kind}_merged": count for kind, count in merged.items()},
            ]
        )

    def _find_returned(self, gaps: Sequence[Gap]) -> list[Gap]:
        """Ask which gaps were only on our disk and are stored now: none if Redis does not answer."""
        with suppress(BrokerUnavailable):
            return returned(gaps, self._publisher, self._ledger)
        return []

    def _read_found(self) -> int | None:
        """Ask the store how many gaps workers have found so far: None if it does not answer."""
        with suppress(redis.RedisError):
            return int(self._redis.hget(self._keys.counters, counters.Counter.GAPS_FOUND) or 0)
        return None

    def _read_recovered(self) -> int | None:
        try:
            return sum(Reader(self._redis, self.settings).recovered_trades(self._markets).values())
        except (redis.RedisError, PipelineError):
            return None

    def _read_open_gaps(self) -> list[Gap] | None:
        """Ask the store which trades are missing: None if it does not answer."""
        try:
            return Reader(self._redis, self.settings).open_trade_gaps(self._markets)
        except (redis.RedisError, PipelineError) as error:
            log.warning("open gaps can't be read: %s", error)
            return None


def _not_any_more(*_: object) -> None:
    """The event loop is at its end."""


class _ExchangeClock:
    """The exchange's time, for what is compared with times of its trades."""

    def __init__(self, pipeline: EventPipeline, clock: Clock) -> None:
        self.now_ms = pipeline.exchange_ms
        self.monotonic = clock.monotonic


def analysis_limits(full: str, factor: float) -> dict[str, str]:
    """Return the rate limit of each analysis task at `factor` (0 to 1) times the full one.

    No factor makes an analysis faster than `full`, and a smaller one never makes it faster than a larger one:
    below `PAUSED` no rate is lowered.
    """
    number, unit = full.split("/")
    lowered = f"{float(number) * factor:.12g}/{unit}"
    limit = max(lowered, min(PAUSED, full, key=_per_hour), key=_per_hour)
    return {f"{ANALYSES}{name}": limit for name in names()}


def _per_hour(limit: str) -> float:
    """Return how many tasks an hour a rate limit of Celery's allows."""
    number, unit = limit.split("/")
    return float(number) * {"s": 3600, "m": 60, "h": 1}[unit]


def new_codec(exchange: ExchangeSettings, repeats: RepeatedBooks | None = None) -> Codec:
    """Return the translator for one socket of the chosen protocol."""
    return LegacyCodec() if exchange.protocol == "legacy" else CurrentCodec(exchange.format, repeats)


def connect_redis(settings: Settings) -> redis.Redis:
    """Return a client with bounded waits and no retries of its own; nothing is sent yet."""
    return redis_client.connect(find_url(settings), settings)


def _first(failures: BaseExceptionGroup[CollectorError]) -> CollectorError:
    """Return the first error of a group of groups."""
    error: BaseException = failures
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, CollectorError)  # noqa: S101 - `except*` selected it
    return error
