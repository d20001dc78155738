"""The event stream: every trade once, in the order in which trades were counted.

The script that counts trades (`lua/trades.lua`) appends one entry for each market's minute it writes, in the
same step, so both are done or neither. An entry names the chunk of trades that it counted, or holds them:

    m   market
    t   minute, epoch ms
    i   place of the chunk in `trades:{market}:{minute_ms}`
    c   instead of it: the trades that count, as a chunk, where the chunk also has copies that do not

An event's id is that of its entry and its place among the entry's trades: `1796106881557-0-2`. Ids grow. The
first number is the time of the commit by Redis' clock, epoch ms.
"""

import re
import time
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import redis
from msgspec import Struct

from collector.analytics.dedup import SEEN
from collector.errors import BrokerUnavailable, ConfigurationError
from collector.model import Source
from collector.store import minute_layout
from collector.store.keys import Keys
from collector.store.redis_client import translated
from collector.store.rows import TradeRow

#: Entries in one read: some thousand trades.
AT_ONCE = 500
_FORM = re.compile(r"([0-9]{1,15})-([0-9]{1,10})(?:-([0-9]{1,6}))?")
#: What was trimmed meanwhile is looked for where nothing was read for so long.
_AWAY_S = 0.25
#: Past every trade of its entry.
_ALL = 999_999
#: Number of a position that is a time: past every entry of its millisecond.
_NO_ENTRY = (1 << 32) - 1
_REST = SEEN[Source.REST]


class Position(NamedTuple):
    """A place in the stream: after the trade at `place` of the entry `ms`-`number`."""

    ms: int
    number: int
    place: int = _ALL

    def __str__(self) -> str:
        return f"{self.ms}-{self.number}-{self.place}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an event's id.

        Raises:
            ConfigurationError: it is none.
        """
        found = _FORM.fullmatch(text)
        if found is None:
            raise ConfigurationError(f"{text[:60]!r} is no id of an event: it looks like 1796106881557-0-2")
        ms, number, place = found.groups()
        return cls(int(ms), int(number), _ALL if place is None else int(place))

    @classmethod
    def before(cls, time_ms: int) -> Self:
        """Return the position before everything that was counted from `time_ms` on."""
        return cls(max(time_ms - 1, 0), _NO_ENTRY)

    @property
    def is_entry(self) -> bool:
        """Whether an entry is named, neither the beginning nor a time."""
        return self.ms > 0 and self.number != _NO_ENTRY


class Counted(Struct, frozen=True):
    """A trade that was counted, at its position; `is_late`: a backfill brought it."""

    position: Position
    trade: TradeRow
    is_late: bool


class Lost(Struct, frozen=True):
    """What was asked for and is not kept any more.

    Attributes:
        after, until: all between the two may be missing; `until` is the oldest position that is kept.
        reason: `trimmed`: older than the stream is kept; `expired`: the trades themselves are gone;
            `store_lost`: Redis lost its last writes, or all: what it had pushed after `after` may come again.
    """

    after: Position
    until: Position
    reason: str


class Bounds(NamedTuple):
    """What the stream holds: its first entry, None while it is empty, and its last id."""

    first: Position | None
    last: Position
    is_trimmed: bool


class EventLog:
    """Reads the stream.

    Every method raises `BrokerUnavailable` where Redis does not answer.

    Args:
        client: its `socket_timeout` bounds how long `read` may wait.
    """

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._redis = client
        self._keys = keys

    def bounds(self) -> Bounds:
        """Return what is kept."""
        try:
            with translated():
                info: dict[str, Any] = self._redis.xinfo_stream(self._keys.events)
        except BrokerUnavailable as error:
            if "no such key" in str(error):
                return Bounds(None, Position(0, 0), is_trimmed=False)
            raise
        first = info["first-entry"]
        return Bounds(
            None if first is None else _position(first[0])._replace(place=0),
            _position(info["last-generated-id"]),
            is_trimmed=info["entries-added"] > info["length"],
        )

    def lost(self, after: Position) -> Lost | None:
        """Return what can't be given back to somebody who has everything until `after`; None if nothing."""
        bounds = self.bounds()
        if after[:2] > bounds.last[:2]:
            return Lost(bounds.last, after, "store_lost")
        until = bounds.first or bounds.last
        if bounds.is_trimmed and after[:2] < until[:2]:
            return Lost(after, until, "trimmed")
        return self._forgotten(after)

    def _forgotten(self, after: Position) -> Lost | None:
        """Return that the entry of a position is gone, though it is too new to be dropped."""
        if not after.is_entry:
            return None
        with translated():
            reply: Any = self._redis.xrevrange(self._keys.events, f"{after.ms}-{after.number}", "-", count=1)
        newest = _position(reply[0][0]) if reply else Position(0, 0)
        return None if newest[:2] == after[:2] else Lost(newest, after, "store_lost")

    def read(
        self, after: Position, *, wait_ms: int | None = None, count: int = AT_ONCE
    ) -> tuple[Position, list[Counted | Lost]]:
        """Return the trades of the next `count` entries after a position, and where to go on.

        Args:
            wait_ms: how long to wait for the first; below the client's `socket_timeout`; None = not at all.
        """
        # The entry of the position itself is read again: some of its trades may be left.
        start = (
            f"{after.ms}-{after.number - 1}" if after.number else f"{max(after.ms - 1, 0)}-{(1 << 64) - 1}"
        )
        has_left = after.place != _ALL
        begin = start if has_left else f"{after.ms}-{after.number}"
        with translated():
            reply: Any = self._redis.xread({self._keys.events: begin}, count=count, block=wait_ms)
        if not reply:
            return after, []
        entries = reply[0][1] if isinstance(reply, list) else next(iter(reply.values()))[0]
        chunks, is_known = self._chunks([fields for _, fields in entries], after)
        found: list[Counted | Lost] = []
        if not is_known and (lost := self.lost(after)) is not None and lost.reason == "store_lost":
            found.append(lost)
        position = after
        for (entry_id, fields), chunk in zip(entries, chunks, strict=True):
            at = _position(entry_id)
            if chunk is None:
                found.append(Lost(position, at, "expired"))
            else:
                found += _trades(at, fields, chunk, after.place if at[:2] == after[:2] else -1)
            position = at
        return position, found

    def _chunks(
        self, entries: Sequence[dict[bytes, bytes]], after: Position
    ) -> tuple[list[bytes | None], bool]:
        """Return the chunk of each entry, and whether the entry of the position before is still there."""
        with translated():
            pipeline = self._redis.pipeline(transaction=False)
            for fields in entries:
                if b"c" not in fields:
                    key = self._keys.trades(fields[b"m"].decode(), int(fields[b"t"]))
                    pipeline.lindex(key, int(fields[b"i"]))
            if after.is_entry:
                own = f"{after.ms}-{after.number}"
                pipeline.xrange(self._keys.events, own, own)
            replies = pipeline.execute()
        is_known = bool(replies.pop()) if after.is_entry else True
        found = iter(replies)
        return [fields[b"c"] if b"c" in fields else next(found) for fields in entries], is_known


class Cursor:
    """Reads on and on, and notices what was dropped before it could be read.

    Args:
        position: all until there is known already; whoever begins at 0-0 wants the oldest that is kept, and
            misses nothing.
    """

    def __init__(self, log: EventLog, position: Position) -> None:
        self.position = position
        self._log = log
        #: Whether the stream may have been trimmed past the position.
        self._is_unsure = True
        self._read_s = time.monotonic()

    def next(self, wait_ms: int | None = None) -> list[Counted | Lost]:
        """Return what comes next, an empty list where nothing does within `wait_ms`.

        Raises:
            BrokerUnavailable: Redis does not answer; repeating is safe.
        """
        if time.monotonic() - self._read_s > _AWAY_S:
            self.doubt()
        is_unsure = self._is_unsure and self.position[:2] != (0, 0)
        lost = self._log.lost(self.position) if is_unsure else None
        position, found = self._log.read(self.position, wait_ms=wait_ms)
        self._read_s = time.monotonic()
        self._is_unsure = len(found) >= AT_ONCE  # there may be more than is read in time
        if lost is None:
            self.position = position
            return found
        self.position = position if found else max(position, lost.until)  # nothing is left: go on after it
        is_in = lost.reason in (each.reason for each in found if isinstance(each, Lost))
        return found if is_in else [lost, *found]

    def doubt(self) -> None:
        """Take note that time has passed since the last read, or that Redis was away."""
        self._is_unsure = True


def _trades(at: Position, fields: dict[bytes, bytes], chunk: bytes, after: int) -> list[Counted | Lost]:
    market = fields[b"m"].decode()
    return [
        Counted(
            at._replace(place=place),
            TradeRow(market, row.id, row.price, row.volume, row.side, ms, row.received_ms),
            row.seen == _REST,
        )
        for place, (ms, row) in enumerate(minute_layout.read_copies(int(fields[b"t"]), chunk))
        if place > after
    ]


def _position(entry_id: bytes | str) -> Position:
    text = entry_id.decode() if isinstance(entry_id, bytes) else entry_id
    ms, number = text.split("-")
    return Position(int(ms), int(number))
