"""States of markets from the exchange's list, into the store; and from its tickers, which markets end."""

import logging
from collections.abc import Collection, Mapping

import msgspec
import redis

from collector.analytics.market_states import Listing, is_ending
from collector.errors import BrokerUnavailable
from collector.settings import Settings
from collector.store.keys import Keys
from collector.store.read import Reader
from collector.store.redis_client import translated
from collector.util.korean_time import date_of

log = logging.getLogger(__name__)


class MarketStates:
    """The states of markets in Redis."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self._redis = client
        self._keys = Keys(settings.store.key_prefix)
        self._reader = Reader(client, settings)

    def note(self, listed: Collection[str], warnings: Mapping[str, str], now_ms: int) -> set[str]:
        """Write the state of every market ever seen by a list; return those that are delisted by now.

        A Redis that does not answer costs only this look.

        Args:
            listed: all markets of the list.
            warnings: what it warns of, by market.
            now_ms: the exchange's time.
        """
        try:
            return self._note(frozenset(listed), warnings, date_of(now_ms).isoformat())
        except BrokerUnavailable as error:
            log.debug("states of markets can't be kept: %s", error)
            return set()

    def _note(self, listed: frozenset[str], warnings: Mapping[str, str], today: str) -> set[str]:
        said = {
            market: msgspec.json.encode(Listing(market in listed, warnings.get(market)))
            for market in listed.union(self._reader.markets())
        }
        with translated():
            self._redis.hset(self._keys.listings, mapping=said)  # type: ignore[arg-type]
        return {ticker.market for ticker in self._reader.whole_tickers() if is_ending(ticker, today)}
