"""What ties a listener to its watermark: where it begins, what it covers now, what Redis has forgotten.

The docstring of each method names its thread: the event loop never waits for Redis.
"""

import asyncio
import itertools
import logging
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import redis
from msgspec import structs

from collector.analytics.completeness import Watch
from collector.analytics.watermark import REACH_MS, Start, starts
from collector.errors import PipelineError
from collector.listener.gap_tracker import HELD, GapTracker
from collector.listener.pipeline import EventPipeline
from collector.listener.run_record import RunRecord, RunRecords
from collector.listener.watermark import Forgotten, Snapshot, Watermark
from collector.model import MINUTE_MS, Gap
from collector.publish.handoff import HandoffQueue
from collector.publish.in_flight import InFlightLog
from collector.publish.publisher import Publisher
from collector.publish.sender import Envelope
from collector.settings import Settings
from collector.store.coverage import CoverageStore
from collector.store.history import History
from collector.store.keys import Keys
from collector.stream.batcher import Batcher
from collector.util.backoff import delay_s
from collector.util.korean_time import DAY_MS

log = logging.getLogger(__name__)

#: A listener is taken for dead so long after its last status.
ALIVE_S = 10.0
#: What was handed to Redis is stored within this time, as a rule; after it the trades count as waiting.
STUCK_S = 3.0
#: Delays between tries to read where the last run ended: the first, and the longest.
_RETRY_S = (0.5, 5.0)
STORE_LOST = "store_lost"
#: What a run covered that ended longer ago than this need not be in the exchange's list any more.
_RECENT_MS = DAY_MS


class _Found(NamedTuple):
    """What an earlier run left in Redis."""

    status: bytes
    watches: list[Watch]
    last_trade_ms: dict[str, int]


class CoverageStatus:
    """The status of one listener."""

    def __init__(
        self,
        settings: Settings,
        client: redis.Redis,
        listener: str,
        *,
        pipeline: EventPipeline,
        batcher: Batcher,
        handoff: HandoffQueue,
        gap_tracker: GapTracker,
        markets: Callable[[], tuple[str, ...]],
    ) -> None:
        self._store = CoverageStore(client, Keys(settings.store.key_prefix), settings.shard, ALIVE_S)
        self._history = History(client, settings)
        self._watermark = Watermark(self._store, f"{listener}-{secrets.token_hex(4)}", pipeline.exchange_ms)
        self._pipeline = pipeline
        self._batcher = batcher
        self._handoff = handoff
        self._gap_tracker = gap_tracker
        self._markets = markets
        self._markets_written: tuple[str, ...] = ()
        self._records = RunRecords(settings)
        #: From when on this run and those before have brought trades.
        self._since_ms = 0

    async def begin(self, spool: str) -> dict[str, int]:
        """Find out where the last run ended, however long Redis takes to answer; in the event loop.

        Args:
            spool: name of what waits on our own disk.

        Returns:
            Where recent runs ended, epoch ms, for markets that are not among ours now, of any share.
        """
        for failures in itertools.count(1):
            try:
                found = await asyncio.to_thread(self._find, self._markets())
                break
            except (redis.RedisError, PipelineError) as error:
                if failures == 1:
                    log.warning("where the last run ended can't be read, trying on until it can: %s", error)
            await asyncio.sleep(delay_s(failures, *_RETRY_S))
        now_ms = self._pipeline.exchange_ms()
        known = starts(self._markets(), found.watches, found.last_trade_ms, now_ms, spool)
        record = await asyncio.to_thread(self._records.read)
        if record is not None and not found.status:
            known |= forgotten(record, self._markets(), known, now_ms)
        self._since_ms = since_ms(record, known, now_ms)
        self._watermark.begin(found.status, self._since_ms)
        self._gap_tracker.begin(known)
        return _ended_ms(found.watches, self._markets(), now_ms)

    def note(self) -> None:
        """Take note of what is covered now; in the event loop."""
        if not self._gap_tracker.has_begun:
            return
        pipeline = self._pipeline
        unsent = (
            pipeline.held_from_ms,
            self._batcher.oldest_mark_ms,
            self._handoff.oldest_mark_ms,
            self._gap_tracker.unrecorded_from_ms,
        )
        since_ms, why = pipeline.outage() or (None, None)
        self._watermark.note(
            Snapshot(
                pipeline.covered_until_ms(),
                since_ms,
                why,
                min((ms for ms in unsent if ms is not None), default=None),
            )
        )

    def write(self, publisher: Publisher, in_flight: InFlightLog, call: Callable[..., object]) -> None:
        """Write the status, and have fetched again what Redis has forgotten; in the publisher's thread.

        Args:
            call: has a function called in the event loop.

        Raises:
            BrokerUnavailable: Redis refuses or does not answer in time.
        """
        markets = self._markets()
        forgotten = self._watermark.write(
            spooled_from_ms=publisher.spool_mark_ms,
            spool=publisher.spool_id,
            in_flight_from_ms=in_flight.oldest_ms(STUCK_S),
        )
        if forgotten is not None:
            publisher.counts["redis_lost_writes"] += 1
            self._markets_written = ()
            call(self._fetch_again, forgotten)
        if markets != self._markets_written and self._gap_tracker.has_begun:
            self._store.write_markets(markets)
            self._records.write(self._since_ms, markets)
            self._markets_written = markets

    def leave(self) -> None:
        """Let everybody know that nobody listens any more; in any thread.

        Raises:
            BrokerUnavailable: Redis refuses or does not answer in time.
        """
        self._store.leave()

    def on_handed(self, envelope: Envelope) -> None:
        """Take note of a batch that Redis took; in the publisher's thread."""
        self._watermark.on_handed(envelope)

    def _find(self, markets: Sequence[str]) -> _Found:
        return _Found(self._store.read(), self._history.watches(), self._history.last_trade_ms(markets))

    def _fetch_again(self, forgotten: Forgotten) -> None:
        """Open gaps for what Redis has forgotten; in the event loop."""
        *_, (from_ms, to_ms) = forgotten.stretches
        log.error(
            "Redis has lost what was written to it (a restart, a failover, a flush or an old copy): "
            "%.0f s of trades are fetched again",
            (to_ms - from_ms) / 1000,
        )
        self._gap_tracker.forget()
        for stretch in forgotten.stretches:
            self._gap_tracker.open(None, *stretch, STORE_LOST)
        self._watermark.go_on()


def _ended_ms(watches: Sequence[Watch], ours: Collection[str], now_ms: int) -> dict[str, int]:
    recent = [watch for watch in watches if watch.status.covered_until_ms >= now_ms - _RECENT_MS]
    others = {market for watch in recent for market in watch.markets}.difference(ours)
    return {
        market: min(start.from_ms, start.held_from_ms or start.from_ms)
        for market, start in starts(others, recent, {}, now_ms).items()
    }


def forgotten(
    record: RunRecord, markets: Sequence[str], known: Mapping[str, Start], now_ms: int
) -> dict[str, Start]:
    """Return where markets begin of which a Redis without any status has lost everything."""
    lost = [market for market in markets if market in record.markets and market not in known]
    from_ms = max(record.since_ms, now_ms - REACH_MS)
    if not lost or from_ms > now_ms:
        return {}
    log.error(
        "Redis holds nothing of what was brought before (a flush, or a new server): "
        "%.0f s of trades are fetched again",
        (now_ms - from_ms) / 1000,
    )
    return {market: Start(from_ms - from_ms % MINUTE_MS, is_known_before=False) for market in lost}


def since_ms(record: RunRecord | None, known: Mapping[str, Start], now_ms: int) -> int:
    """Return from when on these runs have brought trades, as far back as the exchange gives them."""
    began_ms = min((start.from_ms for start in known.values()), default=now_ms - now_ms % MINUTE_MS)
    if record is not None and record.since_ms <= now_ms:
        began_ms = min(began_ms, record.since_ms)
    return max(began_ms, now_ms - REACH_MS)


def returned(gaps: Sequence[Gap], publisher: Publisher, in_flight: InFlightLog) -> list[Gap]:
    """Return, recovered, the gaps whose trades were on our own disk and are stored by now.

    Raises:
        BrokerUnavailable: Redis refuses or does not answer in time.
    """
    ours = [gap for gap in gaps if gap.reason == f"{HELD}:{publisher.spool_id}"]
    if not ours or publisher.spool_bytes or not in_flight.is_stored(max(gap.to_ms for gap in ours)):
        return []
    return [structs.replace(gap, recovered=True) for gap in ours]
