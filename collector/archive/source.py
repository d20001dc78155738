"""What Redis holds of an hour, in bulk: a few round trips, however many markets there are."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Protocol

import redis

from collector.analytics.candles import Minute
from collector.analytics.completeness import Ongoing
from collector.analytics.dedup import admit
from collector.analytics.depth import Book
from collector.archive.merge import candle_of
from collector.archive.partitions import HOUR_MS, hour_of, hours_between
from collector.archive.schema import Rows, Slot
from collector.model import MINUTE_MS, Channel, Gap, Ticker, Trade
from collector.settings import Settings
from collector.store.keys import Keys
from collector.store.minute_layout import read_candle
from collector.store.read import Reader
from collector.store.redis_client import translated
from collector.store.store import VALUE, decode_gap, decode_ticker
from collector.store.stored_books import read_books
from collector.store.stored_trades import read_rows
from collector.util.korean_time import DAY_MS

#: Commands in one round trip: replies of this many fit into memory easily.
AT_ONCE = 500


class MinuteSource(Protocol):
    """Whatever has minutes for the archive: Redis, or pages of past trades."""

    def markets(self) -> Sequence[str]:
        """Return the markets it may have anything of."""

    def minutes(self, hour_ms: int, markets: Sequence[str]) -> dict[Slot, Minute]:
        """Return the candles of an hour of some markets."""

    def verdicts(self, hour_ms: int, markets: Sequence[str]) -> dict[Slot, str]:
        """Return what comparisons with the exchange's candles found of an hour of some markets."""

    def rows(self, slots: Sequence[Slot]) -> Iterator[tuple[Slot, Rows]]:
        """Yield minutes and their trades."""


class FetchedTrades:
    """Trades of one hour, as REST gave them."""

    def __init__(self, trades: Iterable[Trade]) -> None:
        self._rows: dict[Slot, Rows] = {}
        for trade in trades:
            minute = self._rows.setdefault((trade.market, trade.minute_ms), {})
            admit(minute.setdefault(trade.exchange_ms, []), trade)

    def markets(self) -> Sequence[str]:
        """Return the markets that traded."""
        return sorted({market for market, _ in self._rows})

    def minutes(self, hour_ms: int, markets: Sequence[str]) -> dict[Slot, Minute]:
        """Return the candles of an hour of some markets."""
        found = {
            slot: candle_of(slot[0], rows)
            for slot, rows in self._rows.items()
            if slot[0] in markets and hour_of(slot[1]) == hour_ms
        }
        return {slot: minute for slot, minute in found.items() if minute is not None}

    def verdicts(self, hour_ms: int, markets: Sequence[str]) -> dict[Slot, str]:  # noqa: ARG002
        """Return nothing: these minutes have not been compared."""
        return {}

    def rows(self, slots: Sequence[Slot]) -> Iterator[tuple[Slot, Rows]]:
        """Yield minutes and their trades."""
        return ((slot, self._rows[slot]) for slot in slots)


class ArchiveSource:
    """Reads Redis for the archive.

    Every method raises:
        BrokerUnavailable: Redis does not answer.
    """

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self._redis = client
        self._keys = Keys(settings.store.key_prefix)
        self._retention_ms = settings.store.candle_retention_h * HOUR_MS
        self.reader = Reader(client, settings)

    def markets(self) -> Sequence[str]:
        """Return all markets there are data of."""
        return self.reader.markets()

    def hours(self, back_ms: int | None = None) -> list[int]:
        """Return the hours that may have candles, the oldest first; `back_ms` before the newest data."""
        as_of_ms = self.reader.as_of_ms()
        if as_of_ms is None:
            return []
        length_ms = self._retention_ms if back_ms is None else back_ms
        days = self._days(as_of_ms - length_ms, as_of_ms)
        return [hour for hour in hours_between(as_of_ms - length_ms, as_of_ms) if hour // DAY_MS in days]

    def minutes(self, hour_ms: int, markets: Sequence[str]) -> dict[Slot, Minute]:
        """Return the candles of an hour of some markets."""
        opens = range(hour_of(hour_ms), hour_of(hour_ms) + HOUR_MS, MINUTE_MS)
        replies = self._each(("HMGET", self._keys.candle(market, hour_ms), *opens) for market in markets)
        return {
            (market, open_ms): read_candle(value)
            for market, values in zip(markets, replies, strict=True)
            for open_ms, value in zip(opens, values, strict=True)
            if value
        }

    def verdicts(self, hour_ms: int, markets: Sequence[str]) -> dict[Slot, str]:
        """Return what comparisons with the exchange's candles found of an hour of some markets."""
        opens = range(hour_of(hour_ms), hour_of(hour_ms) + HOUR_MS, MINUTE_MS)
        replies = self._each(("HMGET", self._keys.verified(market, hour_ms), *opens) for market in markets)
        return {
            (market, open_ms): value.decode()
            for market, values in zip(markets, replies, strict=True)
            for open_ms, value in zip(opens, values, strict=True)
            if value
        }

    def lasting(self) -> dict[str, Ongoing]:
        """Return the loss of each market that lasts."""
        return self.reader.lasting()

    def rows(self, slots: Sequence[Slot]) -> Iterator[tuple[Slot, Rows]]:
        """Yield minutes and their trades, empty where they are no longer kept."""
        return zip(slots, read_rows(self._redis, self._keys, slots), strict=True)

    def tickers(self) -> list[Ticker]:
        """Return the newest ticker of every market."""
        return [decode_ticker(value) for value in self._states(Channel.TICKER)]

    def books(self) -> list[Book]:
        """Return the newest order book of every market."""
        return list(read_books(self._redis, self._keys, self.reader.markets()))

    def gaps(self) -> list[Gap]:
        """Return the gaps of every market and channel."""
        markets = self.reader.markets()
        replies = self._each(("HGETALL", self._keys.gaps(market)) for market in markets)
        return [
            decode_gap(market, field.decode() if isinstance(field, bytes) else field, value)
            for market, stored in zip(markets, replies, strict=True)
            for field, value in stored.items()
        ]

    def _days(self, from_ms: int, to_ms: int) -> set[int]:
        """Return the days (since the epoch) that have a candle of any market."""
        markets = self.reader.markets()
        days = range(from_ms // DAY_MS, to_ms // DAY_MS + 1)
        names = [(day, self._keys.candle(market, day * DAY_MS)) for day in days for market in markets]
        found = self._each(("EXISTS", name) for _, name in names)
        return {day for (day, _), exists in zip(names, found, strict=True) if exists}

    def _states(self, channel: Channel) -> Iterator[bytes]:
        names = [self._keys.state(channel, market) for market in self.reader.markets()]
        return (value for value in self._each(("HGET", name, VALUE) for name in names) if value)

    def _each(self, commands: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
        """Yield the reply to each command."""
        left = iter(commands)
        while some := list(islice(left, AT_ONCE)):
            with translated():
                pipeline = self._redis.pipeline(transaction=False)
                for command in some:
                    pipeline.execute_command(*command)  # type: ignore[no-untyped-call]
                replies = pipeline.execute()
            yield from replies
