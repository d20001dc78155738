"""The gaps in the store, followed while the listener runs; in the event loop.

Redis is read in threads of their own, one question after the other; what they return is used in the loop.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress

import redis

from collector import counters
from collector.clock import Clock
from collector.errors import BrokerUnavailable, PipelineError
from collector.listener.gap_tracker import GapTracker
from collector.listener.market_list import MarketList
from collector.listener.pipeline import EventPipeline
from collector.listener.status import returned
from collector.model import Gap
from collector.publish.in_flight import InFlightLog
from collector.publish.publisher import Publisher
from collector.settings import Settings
from collector.store.keys import Keys
from collector.store.read import Reader
from collector.util.backoff import delay_s

log = logging.getLogger(__name__)

#: Delays between looks at the store for open gaps of an earlier run: the first, and the longest; and how
#: often is asked whether the workers found new ones.
_LOOK_S = (10.0, 300.0)
_FOUND_S = 2.0
_RECOVERED_S = 1.0


class StoredGaps:
    """Sends the backfill after gaps of an earlier run, and after those that workers open."""

    def __init__(
        self,
        settings: Settings,
        client: redis.Redis,
        clock: Clock,
        *,
        markets: MarketList,
        pipeline: EventPipeline,
        gap_tracker: GapTracker,
        publisher: Publisher,
        in_flight: InFlightLog,
    ) -> None:
        #: Trades of our markets that only a backfill brought; None while Redis can't be asked.
        self.recovered: int | None = None
        self._redis = client
        self._keys = Keys(settings.store.key_prefix)
        self._reader = Reader(client, settings)
        self._clock = clock
        self._markets = markets
        self._pipeline = pipeline
        self._gap_tracker = gap_tracker
        self._publisher = publisher
        self._in_flight = in_flight

    async def run(self) -> None:
        """Follow the open gaps until cancelled."""
        looks = fruitful = 0
        while True:
            found = await asyncio.to_thread(self._read_found)
            gaps = await asyncio.to_thread(self._read_open)
            if gaps is not None:
                self._gap_tracker.take_up(gaps)
                for gap in await asyncio.to_thread(self._find_returned, gaps):
                    self._pipeline.add(gap)
            look_s = delay_s(looks + 1, *_LOOK_S)
            found_s = delay_s(fruitful + 1, _FOUND_S, _LOOK_S[1])
            if await self._are_found(found, found_s, look_s):
                # What is fetched may become a dead letter again: not faster and faster.
                looks, fruitful = 0, fruitful + 1
            else:
                looks, fruitful = looks + 1, 0

    async def count_recovered(self) -> None:
        """Follow how many trades of our markets the store has from backfills alone, until cancelled."""
        while True:
            self.recovered = await asyncio.to_thread(self._read_recovered)
            await asyncio.sleep(_RECOVERED_S)

    async def _are_found(self, known: int | None, after_s: float, within_s: float) -> bool:
        """Wait; return as soon as `after_s` whether workers have opened gaps since, else False."""
        ends_s = self._clock.monotonic() + within_s
        while self._clock.monotonic() < ends_s:
            await asyncio.sleep(min(after_s, within_s))
            found = await asyncio.to_thread(self._read_found)
            if found not in (None, known):
                return True
        return False

    def _find_returned(self, gaps: Sequence[Gap]) -> list[Gap]:
        """Return the gaps that were only on our disk and are stored now: none if Redis does not answer."""
        with suppress(BrokerUnavailable):
            return returned(gaps, self._publisher, self._in_flight)
        return []

    def _read_found(self) -> int | None:
        """Return how many gaps workers have found so far: None if Redis does not answer."""
        with suppress(redis.RedisError):
            return int(self._redis.hget(self._keys.counters, counters.Counter.GAPS_FOUND) or 0)
        return None

    def _read_recovered(self) -> int | None:
        try:
            return sum(self._reader.recovered_trades(self._markets.markets).values())
        except (redis.RedisError, PipelineError):
            return None

    def _read_open(self) -> list[Gap] | None:
        """Return the gaps in which trades are missing: None if Redis does not answer."""
        try:
            return self._reader.open_trade_gaps(self._markets.markets)
        except (redis.RedisError, PipelineError) as error:
            log.warning("open gaps can't be read: %s", error)
            return None
