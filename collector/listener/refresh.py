"""Follow the exchange's list of markets: listings, delistings, and what comes back."""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping

from collector.clock import Clock
from collector.errors import ConfigurationError, RestError
from collector.feed.connection_group import ConnectionGroup
from collector.feed.rest_client import RestClient
from collector.listener.gap_tracker import GapTracker
from collector.listener.listings import Change, Listings
from collector.listener.market_list import MarketList
from collector.listener.market_states import MarketStates

log = logging.getLogger(__name__)


class Refresh:
    """Reads the list again and again; where it changes, one socket after the other is replaced.

    Args:
        market_list: what is ours of the list; its `markets` are replaced here.
        exchange_at: the exchange's time in epoch ms at a monotonic moment.
    """

    def __init__(
        self,
        market_list: MarketList,
        rest: RestClient,
        connections: ConnectionGroup,
        gap_tracker: GapTracker,
        states: MarketStates,
        exchange_at: Callable[[float], int],
        clock: Clock,
        interval_s: float,
    ) -> None:
        self._market_list = market_list
        self._rest = rest
        self._connections = connections
        self._gap_tracker = gap_tracker
        self._states = states
        self._exchange_at = exchange_at
        self._clock = clock
        self._interval_s = interval_s
        #: Since when trades of a market may be missing that not every socket carries yet.
        self._listed: dict[str, float] = {}
        self._returned: dict[str, float] = {}
        #: Where an earlier run ended for markets that the first list lacks, epoch ms, until they are fetched.
        self._kept: dict[str, int] = {}
        self._is_kept = asyncio.Event()

    def keep(self, ended_ms: Mapping[str, int]) -> None:
        """Listen also to markets that an earlier run had and the first list lacks; in the event loop.

        Args:
            ended_ms: where that run ended for each, epoch ms.
        """
        if ended_ms:
            self._kept = dict(ended_ms)
            self._is_kept.set()

    async def run(self, group: asyncio.TaskGroup) -> None:
        """Follow the list until cancelled."""
        listings = Listings(self._market_list.markets, self._clock.monotonic())
        are_replaced = True
        delisted = await self._note()
        while True:
            change = (
                self._take_kept(listings, delisted) if await self._is_kept_within(self._interval_s) else None
            )
            try:
                change = change or await self._look(listings)
            except (RestError, ConfigurationError) as error:
                log.warning("the market list stays as it is: %s", error)
                continue
            if change:
                self._follow(change)
                are_replaced = False
            if not are_replaced:
                are_replaced = await self._connections.replace_all(group)
            if are_replaced:
                self._fetch()

    async def _is_kept_within(self, seconds: float) -> bool:
        """Wait; return at once if there are markets to keep."""
        try:
            async with asyncio.timeout(seconds):
                return await self._is_kept.wait()
        except TimeoutError:
            return False

    def _take_kept(self, listings: Listings, delisted: Collection[str]) -> Change:
        self._is_kept.clear()
        change = listings.keep(self._kept.keys() - delisted, self._clock.monotonic())
        log.warning(
            "the exchange's list lacks markets of the last run: %s", ", ".join(change.returned) or "none"
        )
        return change

    async def _note(self) -> set[str]:
        """Write the newest list into the store; return the markets that are delisted by now."""
        listed = self._market_list.listed
        if not listed:
            return set()
        now_ms = self._exchange_at(self._clock.monotonic())
        return await asyncio.to_thread(self._states.note, listed, self._rest.warnings, now_ms)

    async def _look(self, listings: Listings) -> Change:
        chosen = await self._market_list.read()
        read_s = self._clock.monotonic()
        change = listings.look(chosen, await self._note(), read_s)
        if change:
            log.warning(
                "markets listed: %s; back in the list: %s; gone: %s",
                *(
                    ", ".join(sorted(names)) or "none"
                    for names in (change.listed, change.returned, change.gone)
                ),
            )
        return change

    def _follow(self, change: Change) -> None:
        self._listed |= change.listed
        self._returned |= change.returned
        self._market_list.markets = change.markets

    def _fetch(self) -> None:
        """Record what was traded before the sockets carried it."""
        now_s = self._clock.monotonic()
        for market, since_s in self._listed.items():
            self._gap_tracker.on_listed(market, self._exchange_at(since_s))
        for market, since_s in self._returned.items():
            from_ms = self._kept.pop(market, self._exchange_at(since_s))
            self._gap_tracker.open(market, from_ms, self._exchange_at(now_s), "relisted")
        self._listed, self._returned = {}, {}
