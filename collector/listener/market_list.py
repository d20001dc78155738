"""The markets of this listener's share: found at the start, replaced when the exchange's list changes.

`markets` is an immutable tuple that the event loop alone replaces, whole; any thread may read it.
"""

import asyncio
import itertools
import logging
from collections.abc import Sequence

from collector.errors import ConfigurationError, RestError
from collector.feed.rest_client import RestClient
from collector.listener.markets import Choice, choose, plain_names
from collector.settings import Settings
from collector.util.backoff import delay_s

log = logging.getLogger(__name__)

#: Delays between tries to read the exchange's list: the first, and the longest.
RETRY_S = (0.5, 10.0)


class MarketList:
    """What of the exchange's list is ours."""

    def __init__(self, settings: Settings, rest: RestClient) -> None:
        self.markets: tuple[str, ...] = ()
        #: The exchange's newest list, whole; empty while it could not be read.
        self.listed: Sequence[str] = ()
        self._settings = settings
        self._rest = rest
        #: Sentences about names in COLLECTOR_MARKETS that are no market now; each is logged once.
        self._missing: tuple[str, ...] = ()

    async def discover(self) -> None:
        """Find out which markets to listen to; wait for the exchange's list if a pattern needs it.

        Raises:
            ConfigurationError: none of the markets exists, or none falls to this share.
        """
        names = plain_names(self._settings.markets)
        logged = ""
        for failures in itertools.count(1):
            try:
                self.markets = await self.read()
                return
            except RestError as error:
                if names is not None:
                    log.warning("the market list can't be read (%s); going on with the names as given", error)
                    self.markets = self.choose(names)
                    return
                if str(error) != logged:
                    logged = str(error)
                    log.warning("the exchange can't be reached, trying on for ever: %s", error)
            await asyncio.sleep(delay_s(failures, *RETRY_S))

    async def read(self) -> tuple[str, ...]:
        """Read the exchange's list again; return which of it are ours. `markets` stays as it is.

        Raises:
            RestError: the list can't be read.
            ConfigurationError: none of the markets exists, or none falls to this share.
        """
        listed = await self._rest.markets()
        chosen = self.choose(listed)
        self.listed = listed
        return chosen

    def ours(self, markets: Sequence[str]) -> tuple[str, ...]:
        """Return which of some markets, listed or not, are of this share."""
        try:
            return self._choice(markets).markets
        except ConfigurationError:
            return ()

    def choose(self, listed: Sequence[str]) -> tuple[str, ...]:
        """Return which of `listed` are ours, sorted; log names that are no market.

        Raises:
            ConfigurationError: none of the markets exists, or none falls to this share.
        """
        chosen = self._choice(listed)
        for sentence in chosen.missing:
            if sentence not in self._missing:
                log.warning("COLLECTOR_MARKETS: %s; going on with the others", sentence)
        self._missing = chosen.missing
        if not chosen.markets:
            raise ConfigurationError(f"COLLECTOR_SHARD {self._settings.shard}: no market falls to this share")
        return chosen.markets

    def _choice(self, listed: Sequence[str]) -> Choice:
        settings = self._settings
        return choose(settings.markets, listed, index=settings.shard_index, count=settings.shard_count)
