"""One-minute candles and what may be missing of them: a few round trips, however many markets."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import msgspec
import redis

from collector.analytics.candles import Minute
from collector.analytics.completeness import Known, Watch, known_of, watch_of
from collector.analytics.verdicts import Verdicts
from collector.model import Gap
from collector.settings import Settings
from collector.store.coverage import decode as decode_status
from collector.store.keys import SHARD_MARKETS, Keys
from collector.store.minute_layout import read_candle
from collector.store.redis_client import translated
from collector.store.store import decode_gap
from collector.util.korean_time import DAY_MS

#: Commands in one round trip.
AT_ONCE = 500

#: Opens of stored one-minute candles by market, oldest first.
Opens = Mapping[str, Sequence[int]]
Command = tuple[Any, ...]
_decode_markets = msgspec.json.Decoder(frozenset[str]).decode


class History:
    """Reads candles, gaps and coverage in bulk.

    Every method raises:
        BrokerUnavailable: Redis does not answer.
    """

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self._redis = client
        self._keys = Keys(settings.store.key_prefix)
        self._retention_ms = settings.store.candle_retention_h * 3_600_000

    def last_trade_ms(self, markets: Sequence[str]) -> dict[str, int]:
        """Return the time of the newest stored trade of those of `markets` that have one."""
        if not markets:
            return {}
        (times,) = self._replies([("HMGET", self._keys.newest, *(f"trade:{market}" for market in markets))])
        return {market: int(ms) for market, ms in zip(markets, times, strict=True) if ms}

    def opens(self, markets: Iterable[str]) -> dict[str, list[int]]:
        """Return the opens of all stored one-minute candles of each market, oldest first."""
        found: dict[str, list[int]] = {market: [] for market in markets}
        days = [
            (market, key)
            for market, ms in self.last_trade_ms(list(found)).items()
            for key in self._days(market, ms)
        ]
        replies = self._replies([("HKEYS", key) for _, key in days])
        for (market, _), opens in zip(days, replies, strict=True):
            found[market] += map(int, opens)
        return {market: sorted(opens) for market, opens in found.items()}

    def minutes(self, wanted: Mapping[str, Collection[int]]) -> dict[str, dict[int, Minute]]:
        """Return the stored candles of each market that open at the times wanted, oldest first."""
        found: dict[str, dict[int, Minute]] = {market: {} for market in wanted}
        days: dict[tuple[str, str], list[int]] = {}
        for market, opens in wanted.items():
            for open_ms in sorted(opens):
                days.setdefault((market, self._keys.candle(market, open_ms)), []).append(open_ms)
        replies = self._replies([("HMGET", key, *opens) for (_, key), opens in days.items()])
        for ((market, _), opens), values in zip(days.items(), replies, strict=True):
            pairs = zip(opens, values, strict=True)
            found[market] |= {open_ms: read_candle(value) for open_ms, value in pairs if value}
        return found

    def gaps(self, markets: Sequence[str]) -> dict[str, list[Gap]]:
        """Return the recorded gaps of each market, of every channel."""
        replies = self._replies([("HGETALL", self._keys.gaps(market)) for market in markets])
        return {
            market: [decode_gap(market, _text(field), value) for field, value in stored.items()]
            for market, stored in zip(markets, replies, strict=True)
        }

    def verdicts(self, wanted: Mapping[str, Collection[int]]) -> dict[str, Verdicts]:
        """Return what comparisons with the exchange found of the days of the minutes of each market."""
        days = [
            (market, key)
            for market, opens in wanted.items()
            for key in dict.fromkeys(self._keys.verified(market, open_ms) for open_ms in _ends_of_days(opens))
        ]
        fields: dict[str, dict[str, str]] = {market: {} for market in wanted}
        replies = self._replies([("HGETALL", key) for _, key in days])
        for (market, _), stored in zip(days, replies, strict=True):
            fields[market] |= {_text(field): _text(value) for field, value in stored.items()}
        return {market: Verdicts(found) for market, found in fields.items()}

    def trade_gap_counts(self, markets: Sequence[str]) -> tuple[int, int]:
        """Return how many gaps in the trades of `markets` are open, and how many are recovered.

        Without reading them: sockets that come and go leave thousands.
        """
        replies = self._replies([("HGETALL", self._keys.gaps(market)) for market in markets])
        are_recovered = [
            value.endswith(b"true]")
            for stored in replies
            for field, value in stored.items()
            if field.startswith(b"trade:")
        ]
        return are_recovered.count(False), are_recovered.count(True)

    def recovered_trades(self) -> dict[str, int]:
        """Return how many trades of each market a backfill brought that no socket had brought."""
        (stored,) = self._replies([("HGETALL", self._keys.recovered)])
        return {_text(market): int(count) for market, count in stored.items()}

    def proven_until(self) -> dict[str, int]:
        """Return the end of each market's newest minute that was found to be the exchange's, epoch ms."""
        with translated():
            stored: Any = self._redis.zrange(self._keys.proven, 0, -1, withscores=True)
        return {_text(market): int(score) for market, score in stored}

    def watches(self) -> list[Watch]:
        """Return what the listener of each share wrote last, and whether it is alive."""
        (stored,) = self._replies([("HGETALL", self._keys.coverage)])
        texts = {_text(field): value for field, value in stored.items()}
        shards = [field for field in texts if not field.endswith(SHARD_MARKETS)]
        alive = self._replies([("EXISTS", self._keys.coverage_alive(shard)) for shard in shards])
        return [
            Watch(status, bool(is_alive), _decode_markets(texts.get(shard + SHARD_MARKETS, b"[]")))
            for shard, is_alive in zip(shards, alive, strict=True)
            if (status := decode_status(texts[shard])) is not None
        ]

    def known(self, opens: Opens) -> dict[str, Known]:
        """Return what is known of the trades of each market, whose stored candles open at `opens`."""
        gaps, watches = self.gaps(list(opens)), self.watches()
        return {
            market: known_of(known_opens, gaps[market], watch_of(market, watches))
            for market, known_opens in opens.items()
        }

    def _days(self, market: str, newest_ms: int) -> list[str]:
        """Return the keys of all days of candles that may be kept, oldest first."""
        kept_ms = self._retention_ms + DAY_MS
        return [self._keys.candle(market, newest_ms - back) for back in range(kept_ms, -1, -DAY_MS)]

    def _replies(self, commands: Iterable[Command]) -> list[Any]:
        """Return the reply to each command."""
        replies: list[Any] = []
        for some in _chunks(commands):
            with translated():
                pipeline = self._redis.pipeline(transaction=False)
                for command in some:
                    pipeline.execute_command(*command)  # type: ignore[no-untyped-call]
                replies += pipeline.execute()
        return replies


def _ends_of_days(opens: Collection[int]) -> Iterator[int]:
    """Yield a time of each day that holds any of `opens`."""
    if opens:
        first_ms, last_ms = min(opens), max(opens)
        yield from range(first_ms, last_ms, DAY_MS)
        yield last_ms


def _chunks(commands: Iterable[Command]) -> Iterator[list[Command]]:
    left = iter(commands)
    while some := list(islice(left, AT_ONCE)):
        yield some


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
