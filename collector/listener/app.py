"""The composition root of a listener: settings -> objects -> one task group -> a graceful stop.

connections -> pipeline -> handoff queue | publisher's thread -> Celery queues, or the spool
gap tracker -> backfill -> pipeline

Three kinds of threads meet, each at a named place that is locked:

- event loop -> publisher's thread: `HandoffQueue` (batches), `RejectionLog` (refused messages),
  `Watermark` (what is covered);
- publisher's thread -> event loop: `LoopCalls` (losses), `Housekeeping.holder` (the lease);
- web threads: `HealthReport`, which only reads.
"""

import asyncio
import logging
import os
import socket
from typing import Any

import redis

from collector.analytics.auditing import AUDIT
from collector.batch import Batch
from collector.clock import Clock, SystemClock
from collector.errors import BrokerUnavailable, CollectorError, LeaseLost, PipelineError
from collector.feed.backfill import Backfill, MissingStretch
from collector.feed.connection_group import ConnectionGroup
from collector.feed.rest_client import PAGE_ROWS, RestClient
from collector.host import redis_client
from collector.host.metrics import Snapshot
from collector.host.redis_clock import RedisClock
from collector.host.redis_server import find_url
from collector.host.web import Web
from collector.listener import event_loop
from collector.listener.auditor import Auditor
from collector.listener.gap_tracker import GapTracker
from collector.listener.health import HealthReport
from collector.listener.housekeeping import Housekeeping
from collector.listener.loop_calls import LoopCalls
from collector.listener.maintenance import RestQuiet
from collector.listener.market_list import MarketList
from collector.listener.market_states import MarketStates
from collector.listener.outage_log import OutageLog
from collector.listener.outbound import new_in_flight_log, new_probe, new_spool
from collector.listener.pacing import AnalysisPacing
from collector.listener.pipeline import EventPipeline
from collector.listener.refresh import Refresh
from collector.listener.rejections import RejectionLog
from collector.listener.socket_delegate import SocketDelegate
from collector.listener.status import CoverageStatus
from collector.listener.stored_gaps import StoredGaps
from collector.listener.witness import Witness
from collector.model import Channel
from collector.publish.handoff import HandoffQueue
from collector.publish.lease import Lease
from collector.publish.publisher import Handing, Publisher, Transport
from collector.publish.revoke import Revoker
from collector.publish.sender import Sender
from collector.settings import Settings
from collector.store.keys import Keys, listener_name
from collector.store.verified import Verified
from collector.stream.batcher import Batcher
from collector.stream.exchange_time import ExchangeClock, ExchangeTime

log = logging.getLogger(__name__)

_TICK_S = 0.02
#: For the publisher to send or spool what is left, and then to give the lease up and report. With what
#: sockets take to close this stays below the time that `collector up` gives a listener.
_STOP_TIMEOUT_S = 1.6
_LEAVE_TIMEOUT_S = 0.3


def listener_id(settings: Settings) -> str:
    """Return the name of this listener: machine, process and share."""
    return listener_name(socket.gethostname(), os.getpid(), settings.shard)


def new_lease(settings: Settings, client: redis.Redis) -> Lease:
    """Return the lease of this listener's share; a restart from the same data folder is the same owner."""
    owner = f"{socket.gethostname()}:{settings.data_dir.absolute()}"
    key = Keys(settings.store.key_prefix).lease(settings.shard)
    return Lease(client, key, owner, settings.publish.lease_ttl_s)


def connect_redis(settings: Settings) -> redis.Redis:
    """Return a client with bounded waits and no retries of its own; nothing is sent yet."""
    return redis_client.connect(find_url(settings), settings)


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
        self._calls = LoopCalls()
        self._rejections = RejectionLog()

        self._handoff = HandoffQueue(settings.publish.queue_batches, self.id)
        self._batcher = Batcher(settings.batch, self.id)
        self._pipeline = EventPipeline(self._batcher, self._handoff, self._clock, time)
        self._rest = RestClient(settings.exchange, self._clock, lambda ms: self._delegate.on_date(ms))
        self._market_list = MarketList(settings, self._rest)
        self._gap_tracker = GapTracker(self._pipeline, settings.channels, self._markets)
        quiet = RestQuiet()
        self._pipeline.listen(self._gap_tracker, quiet.explain)
        self._delegate = SocketDelegate(
            settings, self._market_list, self._pipeline, self._gap_tracker, self._rejections
        )
        self.connection_group = ConnectionGroup(settings, self._delegate, self._clock)
        self._backfill = self._new_backfill()
        self._gap_tracker.backfill = self._backfill
        self._auditor = self._new_auditor()
        self._witness = Witness(self._rest, self._pipeline, settings.exchange.totals_interval_s, quiet)
        self._refresh = Refresh(
            self._market_list,
            self._rest,
            self.connection_group,
            self._gap_tracker,
            MarketStates(self._redis, settings),
            time.at,
            self._clock,
            settings.exchange.market_refresh_s,
        )
        self._report = HealthReport(
            self.id,
            self._clock,
            markets=self._market_list,
            pipeline=self._pipeline,
            batcher=self._batcher,
            handoff=self._handoff,
            connections=self.connection_group,
            ended=self._delegate.ended,
            rest=self._rest,
            backfill=self._backfill,
            auditor=self._auditor,
        )

        redis_ms = RedisClock(self._redis, self._clock).now_ms
        self._sender = sender or Sender(self._redis, settings.publish.state_expires_s, redis_ms)
        self._in_flight = new_in_flight_log(
            settings, self._redis, self._sender, redis_ms, self._on_unreadable
        )
        self._status = CoverageStatus(
            settings,
            self._redis,
            self.id,
            pipeline=self._pipeline,
            batcher=self._batcher,
            handoff=self._handoff,
            gap_tracker=self._gap_tracker,
            markets=self._markets,
        )
        self._housekeeping = self._new_housekeeping()
        self._publisher = self._new_publisher()
        self._stored_gaps = StoredGaps(
            settings,
            self._redis,
            self._clock,
            markets=self._market_list,
            pipeline=self._pipeline,
            gap_tracker=self._gap_tracker,
            publisher=self._publisher,
            in_flight=self._in_flight,
        )
        self._outage_log = OutageLog(
            self._clock,
            self.connection_group,
            self._pipeline,
            self._backfill,
            lambda: self._stored_gaps.recovered,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Listen until `stop` is set, then flush and leave.

        Raises:
            ConfigurationError: none of the markets exists.
            GaveUp: the connections used up their allowed retries.
            LeaseLost: another listener serves this share now.
            PipelineError: the publisher's thread died.
        """
        self._calls.open()
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
            self._calls.close()

    async def _live(self) -> None:
        await self._market_list.discover()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._begin())
            group.create_task(self._stored_gaps.run())
            group.create_task(self._stored_gaps.count_recovered())
            event_loop.before_rest(self._pipeline.before_rest)
            group.create_task(self._tick())
            group.create_task(self._outage_log.run())
            group.create_task(self._refresh.run(group))
            group.create_task(self._backfill.run())
            if self._auditor is not None:
                group.create_task(self._auditor.run())
            group.create_task(self._witness.run(self._markets))
            self.connection_group.start(group)

    async def _begin(self) -> None:
        """Go on where the last run ended, also with markets that the exchange's list lacks just now."""
        ended_ms = await self._status.begin(self._publisher.spool_id)
        kept = self._market_list.ours([*ended_ms])
        self._refresh.keep({market: ended_ms[market] for market in kept})

    async def _tick(self) -> None:
        """Drive what is due by time alone, and end the listener where it can't go on."""
        while True:
            await asyncio.sleep(_TICK_S)
            self._pipeline.tick(self._publisher.decision)
            self._status.note()
            for loss in self._publisher.take_losses():
                self._gap_tracker.on_spool_damage(loss)
            if not self._publisher.decision.trades_to_disk:
                self._gap_tracker.record_unsent()
            if not self._publisher.is_alive:
                raise PipelineError(f"the publisher died: {self._publisher.failure!r}")
            if (holder := self._housekeeping.holder) is not None:
                raise LeaseLost(f"share {self.settings.shard} is served by {holder}")

    async def _leave(self) -> None:
        """Give the lease up and report for the last time, unless Redis is away or slow: both expire."""
        self._report.has_left = True
        leaving = asyncio.create_task(asyncio.to_thread(self._write_last))
        await asyncio.wait({leaving}, timeout=_LEAVE_TIMEOUT_S)
        self._redis.close()  # ends what still waits
        await asyncio.wait({leaving}, timeout=_LEAVE_TIMEOUT_S)
        if leaving.done() and (error := leaving.exception()):
            log.warning("the last report did not reach Redis: %s", error)

    def _write_last(self) -> None:
        if self._publisher.is_failing:
            return
        try:
            self._housekeeping.leave(self._publisher)
        except BrokerUnavailable as error:
            log.debug("nothing could be written at the end: %s", error)

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

    def counters(self) -> dict[str, int]:
        """Return everything counted so far, by name; any thread may ask."""
        return self._report.counters(self._publisher)

    def health(self) -> dict[str, Any]:
        """Return this listener's row of `show health`; any thread may ask."""
        return self._report.row(self._publisher)

    def _look(self) -> Snapshot:
        """Called in a web thread."""
        return Snapshot(listeners=[self.health()], queues=dict(self._publisher.reading.queue_lengths))

    def _markets(self) -> tuple[str, ...]:
        return self._market_list.markets

    # The exchange's own figures

    def _new_backfill(self) -> Backfill:
        return Backfill(
            self._rest,
            self._clock,
            self._pipeline.add_recovered,
            self._on_filled,
            self._pipeline.exchange_ms,
            totals=self._gap_tracker.totals_agree,
            streamed_ms=self._pipeline.streamed_ms,
            lag_max_s=self.settings.exchange.rest_lag_max_s,
            page_rows=PAGE_ROWS,
        )

    def _new_auditor(self) -> Auditor | None:
        settings = self.settings
        if not settings.audit.enabled or Channel.TRADE not in settings.channels:
            return None
        return Auditor(
            self._rest,
            Verified(self._redis, settings.store),
            self._clock,
            settings.audit,
            markets=self._markets,
            exchange_ms=self._pipeline.exchange_ms,
            streamed_ms=self._pipeline.newest_streamed_ms,
            open_gap=lambda market, from_ms, to_ms: self._gap_tracker.open(market, from_ms, to_ms, AUDIT),
            close_gap=self._gap_tracker.close,
            is_behind=lambda: self._publisher.is_behind,
            lag_max_s=settings.exchange.rest_lag_max_s,
            share=settings.shard,
        )

    def _on_filled(self, stretch: MissingStretch, recovered: bool) -> None:
        """Take the end of a backfill."""
        self._gap_tracker.on_filled(stretch, recovered)
        if self._auditor is not None:
            self._auditor.on_fetched(stretch)

    # The publisher's side

    def _new_housekeeping(self) -> Housekeeping:
        settings = self.settings
        return Housekeeping(
            self._redis,
            Keys(settings.store.key_prefix),
            self.id,
            lease=new_lease(settings, self._redis),
            status=self._status,
            in_flight=self._in_flight,
            pacing=AnalysisPacing(self._sender, settings.worker.analysis_rate_limit, self._clock),
            report=self._report,
            rejections=self._rejections,
            calls=self._calls,
        )

    def _new_publisher(self) -> Publisher:
        spool = new_spool(self.settings, _TradeClock(self._pipeline, self._clock))
        if len(spool):
            log.warning("%d batches of an earlier run wait in the spool", len(spool))
        return Publisher(
            self.settings,
            self._handoff,
            spool,
            Handing(self._in_flight, self._status.on_handed),
            new_probe(self.settings, self._redis, self._clock).read,
            Revoker(self._redis).revoke,
            self._clock,
            housekeeping=self._housekeeping.keep,
            on_batch_lost=self._on_batch_lost,
            interrupt=self._interrupt,
        )

    def _on_batch_lost(self, batch: Batch, reason: str) -> None:
        """Called in the publisher's thread: trades or gaps that could be neither sent nor kept."""
        self._calls.call(self._pipeline.lose, batch, reason)

    def _on_unreadable(self, from_ms: int) -> None:
        """Called in the publisher's thread: trades or gaps in flight that can't be read any more."""
        self._calls.call(self._gap_tracker.open_until_now, from_ms, "in_flight_lost")

    def _interrupt(self) -> None:
        """End what the publisher's thread waits for in Redis with an error."""
        self._redis.connection_pool.disconnect(inuse_connections=True)
        if isinstance(self._sender, Sender):
            self._sender.interrupt()


class _TradeClock:
    """The exchange's time, for what is compared with times of its trades."""

    def __init__(self, pipeline: EventPipeline, clock: Clock) -> None:
        self.now_ms = pipeline.exchange_ms
        self.monotonic = clock.monotonic


def _first(failures: BaseExceptionGroup[CollectorError]) -> CollectorError:
    """Return the first error of a group of groups."""
    error: BaseException = failures
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, CollectorError)  # noqa: S101 - `except*` selected it
    return error
