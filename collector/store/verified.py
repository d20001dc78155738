"""What comparisons with the exchange's candles found, in Redis: one hash per market and Korean day.

The form of the fields is in `collector.analytics.verdicts`. To read the `verified` of candles:

    verdicts = Verified(client, settings.store).read(market, from_ms, to_ms)
    verdicts.of(open_ms, minute)      True, False, or None where the minute, as it is now, was not compared
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import redis
from msgspec import Struct

from collector.analytics.auditing import touched
from collector.analytics.candles import Minute
from collector.analytics.verdicts import SPAN, Verdicts
from collector.model import MINUTE_MS, Channel, Gap
from collector.settings import StoreSettings
from collector.store.keys import Keys
from collector.store.minute_layout import read_candle
from collector.store.redis_client import translated
from collector.store.store import decode_gap
from collector.util.korean_time import DAY_MS, date_of, day_start_ms

_HOUR_S = 3600
RESULTS_KEPT = 100


class Ours(NamedTuple):
    """Our side of some minutes: those that have a trade, by open, and the open trade gaps of the market."""

    minutes: dict[int, Minute]
    gaps: list[Gap]


class DayResult(Struct, frozen=True):
    """How many minutes of a Korean day are the exchange's, over all markets of one listener."""

    markets: int
    minutes: int
    equal: int
    differing: int
    #: Not compared, or changed since.
    unknown: int

    def __str__(self) -> str:
        total = f"{self.minutes:,} minutes of {self.markets:,} markets"
        if self.equal == self.minutes:
            return f"all {total} are the exchange's"
        unknown = f"{self.unknown:,} could not be compared"
        return f"of {total} {self.differing:,} differ from the exchange's, {unknown}"


class Verified:
    """Reads and writes verdicts, and what they are about.

    Every method raises:
        BrokerUnavailable: Redis does not answer.
    """

    def __init__(self, client: redis.Redis, settings: StoreSettings) -> None:
        self._redis = client
        self._keys = Keys(settings.key_prefix)
        self._ttl_s = (settings.candle_retention_h + 24) * _HOUR_S
        #: The newest stretch without a trade of each market: kept as one field while it grows.
        self._quiet: dict[str, tuple[int, int]] = {}

    def read(self, market: str, from_ms: int, to_ms: int) -> Verdicts:
        """Return the verdicts of the minutes that open in `from_ms … to_ms`."""
        with translated():
            pipeline = self._redis.pipeline(transaction=False)
            for day_ms in range(day_start_ms(from_ms), to_ms + 1, DAY_MS):
                pipeline.hgetall(self._keys.verified(market, day_ms))
            replies = pipeline.execute()
        return Verdicts({_text(name): _text(value) for reply in replies for name, value in reply.items()})

    def verdicts(self, market: str, minutes: Mapping[int, Minute]) -> dict[int, bool | None]:
        """Return the verdict on each of our minutes as it is now, by open, for `candles.view`."""
        if not minutes:
            return {}
        known = self.read(market, min(minutes), max(minutes))
        return {open_ms: known.of(open_ms, minute) for open_ms, minute in minutes.items()}

    def ours(self, market: str, opens: Iterable[int]) -> Ours:
        """Return our minutes of those that open then, and what of the market's trades is missing."""
        days: dict[str, list[int]] = {}
        for open_ms in opens:
            days.setdefault(self._keys.candle(market, open_ms), []).append(open_ms)
        with translated():
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.hgetall(self._keys.gaps(market))
            for key, times in days.items():
                pipeline.hmget(key, times)
            gaps, *replies = pipeline.execute()
        minutes = {
            open_ms: read_candle(value)
            for times, values in zip(days.values(), replies, strict=True)
            for open_ms, value in zip(times, values, strict=True)
            if value
        }
        found = (decode_gap(market, _text(name), value) for name, value in gaps.items())
        return Ours(minutes, [gap for gap in found if gap.channel is Channel.TRADE and not gap.recovered])

    def write(self, market: str, verdicts: Mapping[int, str], quiet: Sequence[tuple[int, int]]) -> None:
        """Store verdicts.

        Args:
            market: whose.
            verdicts: by open, as `collector.analytics.verdicts.written` makes them.
            quiet: stretches of minutes that neither side had a trade in: first open, end of the last.
        """
        if not verdicts and not quiet:
            return
        days: dict[str, dict[Any, Any]] = {}
        for open_ms, verdict in verdicts.items():
            days.setdefault(self._keys.verified(market, open_ms), {})[str(open_ms)] = verdict
        for from_ms, to_ms in quiet:
            for first_ms, end_ms in _by_day(from_ms, to_ms):
                known_ms, reached_ms = self._quiet.get(market, (0, 0))
                if reached_ms == first_ms and day_start_ms(known_ms) == day_start_ms(first_ms):
                    first_ms = known_ms
                self._quiet[market] = first_ms, end_ms
                days.setdefault(self._keys.verified(market, first_ms), {})[f"{SPAN}{first_ms}"] = str(end_ms)
        with translated():
            pipeline = self._redis.pipeline(transaction=False)
            for key, fields in days.items():
                pipeline.hset(key, mapping=fields)
                pipeline.expire(key, self._ttl_s)
            if (until_ms := proven_until(verdicts, quiet)) is not None:
                pipeline.zadd(self._keys.proven, {market: until_ms}, gt=True)
            pipeline.execute()

    def is_proven(self, market: str, from_ms: int, to_ms: int) -> bool:
        """Return whether every minute that a stretch touches is the exchange's, as it is now."""
        opens = touched(from_ms, to_ms)
        minutes = self.ours(market, opens).minutes
        verdicts = self.read(market, opens[0], opens[-1])
        return all(verdicts.of(open_ms, minutes.get(open_ms)) for open_ms in opens)

    def results(self, day_ms: int, share: str | None = None) -> list[DayResult]:
        """Return the results of the Korean day that starts then: of one listener's share, or of all."""
        date = date_of(day_ms).isoformat()
        with translated():
            known = self._redis.hgetall(self._keys.audits)
        return [
            msgspec.json.decode(value, type=DayResult)
            for name, value in known.items()
            if _text(name).partition(":")[0] == date and share in (None, _text(name).partition(":")[2])
        ]

    def put_result(self, day_ms: int, share: str, result: DayResult) -> None:
        """Store the result of a day; those of the last `RESULTS_KEPT` days and shares are kept."""
        with translated():
            self._redis.hset(self._keys.audits, f"{date_of(day_ms)}:{share}", msgspec.json.encode(result))
            names = sorted(_text(name) for name in self._redis.hkeys(self._keys.audits))
            if old := names[:-RESULTS_KEPT]:
                self._redis.hdel(self._keys.audits, *old)

    def oldest(self, market: str, back_ms: int, now_ms: int) -> int | None:
        """Return the open of our oldest minute of the last `back_ms`, None where there is none."""
        times = (*range(now_ms - back_ms, now_ms, DAY_MS), now_ms)
        keys = {self._keys.candle(market, time_ms) for time_ms in times}
        with translated():
            pipeline = self._redis.pipeline(transaction=False)
            for key in sorted(keys):
                pipeline.hkeys(key)
            opens = [int(open_ms) for reply in pipeline.execute() for open_ms in reply]
        return min((open_ms for open_ms in opens if open_ms >= now_ms - back_ms), default=None)


def _by_day(from_ms: int, to_ms: int) -> Iterable[tuple[int, int]]:
    """Cut a stretch at Korean midnights."""
    while from_ms < to_ms:
        end_ms = min(to_ms, day_start_ms(from_ms) + DAY_MS)
        yield from_ms, end_ms
        from_ms = end_ms


def proven_until(verdicts: Mapping[int, str], quiet: Iterable[tuple[int, int]]) -> int | None:
    """Return the end of the newest minute that was found to be the exchange's, None where none was."""
    ends = [open_ms + MINUTE_MS for open_ms, verdict in verdicts.items() if verdict.startswith("1")]
    return max((*ends, *(to_ms for _, to_ms in quiet)), default=None)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
