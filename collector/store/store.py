"""Results into Redis: read, decide in Python, write only if nothing changed meanwhile.

Each write is one optimistic step per minute, ticker, book or gap: what was read, or remembered from the
commit before, goes back with what is to be stored, and a script swaps it in only where it is still the same.
Who was too slow reads again. So a worker that dies at any instruction loses nothing and doubles nothing, a
batch that is delivered again changes nothing, and workers need no lock. A batch of trades costs one round
trip where the worker wrote their minutes last, else two or three, however many markets it holds.
"""

import os
import random
import struct
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import msgspec
import redis
from redis.client import Pipeline

from collector.analytics.candles import Minute
from collector.analytics.dedup import Row
from collector.analytics.leaps import LEAP_MS, Stamp, is_newer, newest_moment, newest_trades
from collector.analytics.minutes import Absorbed, absorb
from collector.counters import Counter
from collector.errors import StoreConflict
from collector.model import MINUTE_MS, Channel, EncodedBook, Gap, OrderBook, Ticker, Trade
from collector.settings import StoreSettings
from collector.store import minute_layout, scripts
from collector.store.keys import Keys
from collector.store.redis_client import translated
from collector.util.backoff import delay_s

#: Attempts at one minute or state before `StoreConflict`. In every round of a conflict somebody succeeds.
ROUNDS_MAX = 50
#: Longest pause between two rounds, in seconds; the first pauses are far shorter.
PAUSE_FIRST_S, PAUSE_MAX_S = 0.001, 0.05

#: Fields of one call of `newest.lua`, which holds three times as many values on Lua's stack of about 8000.
TIMES_AT_ONCE = 2000
#: So much later a market confirms a doubted time of its own: the fills of one order are at one moment.
CONFIRMS_MS = 1_000

#: Minutes remembered by a process, about: some of each market, 8 MB. Then all are forgotten.
MINUTES_MAX = 5_000

#: Counted, known, recovered, oldest millisecond: numbers that go with a minute to `trades.lua`.
_NUMBERS = struct.Struct(">4I")

#: Of a ticker.
VALUE = "value"

encode = msgspec.json.Encoder(decimal_format="string").encode
decode_ticker = msgspec.json.Decoder(Ticker).decode
_decode_gap = msgspec.json.Decoder(tuple[int, str, bool]).decode

T = TypeVar("T")
S = TypeVar("S", Ticker, EncodedBook)


class _Group(NamedTuple):
    """The trades of one batch that share a candle."""

    market: str
    minute_ms: int
    trades: list[Trade]


class _Basis(NamedTuple):
    """What a group is merged into: the candle, its version, and the rows of every millisecond it touches.

    The version is empty where there is no candle.
    """

    version: bytes
    minute: Minute | None
    rows: dict[int, list[Row]]


class _Try(NamedTuple):
    """A group to commit, and what Redis has of its minute; None where that was not read."""

    group: _Group
    basis: _Basis | None = None


class _Known(NamedTuple):
    """A minute that a worker has written and remembers: its candle, the rows of its last millisecond."""

    version: bytes
    minute: Minute
    last: list[Row]


class _Commit(NamedTuple):
    """What is to be stored of a group, None where it has to be read first."""

    group: _Group
    basis: _Basis
    version: bytes = b""
    absorbed: Absorbed | None = None


@dataclass
class Memory:
    """What a process has stored and remembers, to save reading it; Redis decides whether it still holds."""

    #: By market and open.
    minutes: dict[tuple[str, int], _Known] = field(default_factory=dict)


class Store:
    """Where workers put trades, tickers, books and gaps.

    Every method raises:
        BrokerUnavailable: Redis refuses or does not answer; part of the work may be done, and doing all of
            it again is safe.
        StoreConflict: others were faster `ROUNDS_MAX` times in a row; again, repeating is safe.
    """

    def __init__(self, client: redis.Redis, settings: StoreSettings, memory: Memory | None = None) -> None:
        """Write through `client`; `memory` goes from store to store of one process."""
        self._redis = client
        self._keys = Keys(settings.key_prefix)
        self._settings = settings
        self._candle_ttl_s = settings.candle_retention_h * 3600
        # A minute's trades must not outlive its candle: without the candle they could not be merged again.
        self._trade_ttl_s = min(settings.trade_retention_h, settings.candle_retention_h) * 3600
        # An event names trades that are kept elsewhere: it is of no use once they are gone.
        kept_ms = min(settings.event_retention_minutes * 60, self._trade_ttl_s) * 1000
        self._events_kept = settings.events_max, kept_ms
        self._minutes = (memory or Memory()).minutes
        #: What is to be written with the first reading of a batch, to save a round trip.
        self._begun: Pipeline | None = None

    def put_trades(self, trades: Sequence[Trade], sent_ms: int = 0) -> None:
        """Count each of `trades` exactly once in the candle of its minute.

        Args:
            sent_ms: what the clock of their sender showed, epoch ms; 0 where that is not known.
        """
        with translated():
            self._note_arrival(trades, {}, sent_ms)
            late: list[_Group] = []
            _settle(_by_minute(trades), lambda tries: self._commit_minutes(tries, late))
        if late:
            counts = {Counter.TRADES_TOO_LATE: sum(len(group.trades) for group in late)}
            self._record_gaps([_too_late(group) for group in late], counts)

    def put_tickers(self, tickers: Sequence[Ticker], sent_ms: int = 0) -> None:
        """Keep the newest ticker per market; `sent_ms` as in `put_trades`."""
        with translated():
            newest = _newest(tickers)
            self._note_arrival(tickers, {Counter.TICKERS_MERGED: len(tickers) - len(newest)}, sent_ms)
            counters = Counter.TICKERS_STORED, Counter.TICKERS_STALE
            self._put_states(Channel.TICKER, newest, map(encode, newest), counters)

    def put_books(self, books: Sequence[OrderBook | EncodedBook]) -> None:
        """Keep the newest book per market as it was written, and the one it replaces."""
        with translated():
            written = [book.written() if isinstance(book, OrderBook) else book for book in books]
            newest = _newest(written)
            self._note_arrival((), {Counter.BOOKS_MERGED: len(books) - len(newest)}, 0, newest)
            counters = Counter.BOOKS_STORED, Counter.BOOKS_STALE
            self._put_states(Channel.ORDERBOOK, newest, (bytes(book.levels) for book in newest), counters)

    def put_gaps(self, gaps: Sequence[Gap], *, found: bool = False) -> None:
        """Record `gaps`; of one gap the widest version stands, of equally wide ones the recovered.

        Args:
            found: they are news to the listener, which watches how many of those were counted.
        """
        self._record_gaps(gaps, {Counter.GAPS_FOUND: len(gaps)} if found else {Counter.BATCHES: 1})

    def open_gaps(self, reason: str) -> list[Gap]:
        """Return the gaps of every market that are open for exactly this reason."""
        markets = self.markets()
        with translated():
            pipeline = self._redis.pipeline(transaction=False)
            for market in markets:
                pipeline.hgetall(self._keys.gaps(market))
            replies = pipeline.execute()
        gaps = (
            decode_gap(market, field.decode(), value)
            for market, stored in zip(markets, replies, strict=True)
            for field, value in stored.items()
        )
        return [gap for gap in gaps if gap.reason == reason and not gap.recovered]

    def markets(self) -> list[str]:
        """Return every market ever seen."""
        with translated():
            found: set[Any] = self._redis.smembers(self._keys.markets)
        return [market.decode() for market in found]

    # -- trades

    def _commit_minutes(self, tries: list[_Try], late: list[_Group]) -> list[_Try]:
        """Try to commit every group once; return those whose minute was not the one that was known."""
        if len(self._minutes) > MINUTES_MAX:
            self._minutes.clear()
        commits = [self._prepare(each) for each in tries]
        pipeline = self._reading()
        self._queue_commits(pipeline, commits)
        again: list[_Try] = []
        replies = scripts.run(self._redis, pipeline)[-1]
        for commit, reply in zip(commits, replies, strict=True):
            if reply == 1:
                self._remember(commit)
                continue
            group = commit.group
            self._minutes.pop((group.market, group.minute_ms), None)
            stored, is_known, is_old, values = reply
            if stored and not is_known:
                late.append(group)
            else:
                again.append(_Try(group, _read(group.minute_ms, stored, values, is_old=bool(is_old))))
        return again

    def _prepare(self, each: _Try) -> _Commit:
        """Merge a group into what Redis has, or, where that was not read, into what it most likely has."""
        group, basis = each.group, each.basis or self._guess(each.group)
        if basis.version == minute_layout.UNREAD:
            return _Commit(group, basis)
        absorbed = absorb(basis.minute, basis.rows, group.trades)
        version = _new_version() if absorbed.copies else basis.version
        return _Commit(group, basis, version, absorbed)

    def _guess(self, group: _Group) -> _Basis:
        known = self._minutes.get((group.market, group.minute_ms))
        if known is None:
            return _Basis(b"", None, {})
        last_ms = known.minute.last.ms
        if min(trade.exchange_ms for trade in group.trades) < last_ms:
            return _Basis(minute_layout.UNREAD, None, {})
        return _Basis(known.version, known.minute, {last_ms: [*known.last]})

    def _remember(self, commit: _Commit) -> None:
        group, absorbed = commit.group, commit.absorbed
        if absorbed is None or absorbed.minute is None:
            return
        key = group.market, group.minute_ms
        last = commit.basis.rows.get(absorbed.minute.last.ms)
        self._minutes.pop(key, None)
        # A minute of the layout before is written anew, which takes all its rows: it has to be read.
        if last is not None and not minute_layout.is_old(commit.version):
            self._minutes[key] = _Known(commit.version, absorbed.minute, last)

    def _queue_commits(self, pipeline: Pipeline, commits: Iterable[_Commit]) -> None:
        keys = [self._keys.counters, self._keys.recovered, self._keys.markets, self._keys.events]
        arguments: list[scripts.Argument] = [self._candle_ttl_s, self._trade_ttl_s, *self._events_kept]
        for commit in commits:
            market, minute_ms, _ = commit.group
            keys += (self._keys.candle(market, minute_ms), self._keys.trades(market, minute_ms))
            arguments += (market, minute_ms, commit.basis.version, *_written(commit))
        scripts.TRADES.queue(pipeline, keys, arguments)

    # -- tickers, books, gaps

    def _put_states(
        self,
        channel: Channel,
        states: Sequence[S],
        values: Iterable[bytes | str],
        counters: tuple[Counter, Counter],
    ) -> None:
        """Store each of `states` where it is newer than what is there; count those stored, and the others."""
        keys = [
            self._keys.counters,
            self._keys.changed,
            *(self._keys.state(channel, state.market) for state in states),
        ]
        kind = "book" if channel is Channel.ORDERBOOK else "ticker"
        arguments: list[scripts.Argument] = [kind, *counters, LEAP_MS]
        for state, value in zip(states, values, strict=True):
            arguments += (_time(state), state.received_ms, value)
        pipeline = self._reading()
        scripts.STATES.queue(pipeline, keys, arguments)
        scripts.run(self._redis, pipeline)

    def _record_gaps(self, gaps: Sequence[Gap], counts: dict[Counter, int]) -> None:
        if not gaps:
            return
        with translated():
            self._redis.sadd(self._keys.markets, *{gap.market for gap in gaps})
            _settle(list(gaps), self._swap_gaps)
            pipeline = self._redis.pipeline(transaction=False)
            self._count(pipeline, counts | {Counter.GAPS_STORED: len(gaps)})
            pipeline.execute()

    def _swap_gaps(self, gaps: list[Gap]) -> list[Gap]:
        reading = self._redis.pipeline(transaction=False)
        for gap in gaps:
            reading.hmget(self._keys.gaps(gap.market), _gap_fields(gap))
        writing = self._redis.pipeline(transaction=False)
        tried = []
        for gap, stored in zip(gaps, reading.execute(), strict=True):
            field, known = _stored_under(gap, stored)
            if known and _gap_rank(gap) <= _known_rank(known):
                continue
            value = encode((gap.to_ms, gap.reason, gap.recovered))
            retention_s = self._settings.gap_retention_h * 3600
            scripts.SWAP.queue(
                writing, [self._keys.gaps(gap.market)], [field, known or "", value, retention_s]
            )
            tried.append(gap)
        replies = scripts.run(self._redis, writing)
        return [gap for gap, stored in zip(tried, replies, strict=True) if not stored]

    # -- beside the data

    def _note_arrival(
        self,
        events: Sequence[Trade] | Sequence[Ticker],
        counts: Mapping[Counter, int],
        sent_ms: int,
        books: Sequence[EncodedBook] = (),
    ) -> None:
        """Remember the markets seen, the newest time of `events`, and of each market's trades; count.

        Rolling windows end at the newest time of trades and tickers; books do not move it.
        Written by the first reading that follows.
        """
        pipeline = self._redis.pipeline(transaction=False)
        self._count(pipeline, {Counter.BATCHES: 1, **counts})
        # A market of trades is remembered with the first commit to a minute, to which its candle belongs.
        states = books or (events if events and isinstance(events[0], Ticker) else ())
        if states:
            pipeline.sadd(self._keys.markets, *{state.market for state in states})
        if events:
            moment = (*newest_moment(events), sent_ms, LEAP_MS, CONFIRMS_MS)
            times = [(f"trade:{market}", ms) for market, ms in newest_trades(events).items()]
            for start in range(0, max(len(times), 1), TIMES_AT_ONCE):
                fields, values = (
                    zip(*times[start : start + TIMES_AT_ONCE], strict=True) if times else ((), ())
                )
                arguments = (*moment, len(fields), *fields, *values)
                scripts.NEWEST.queue(pipeline, [self._keys.newest], arguments)
        self._begun = pipeline

    def _reading(self) -> Pipeline:
        """Return a pipeline to read with; the first of a batch carries what `_note_arrival` has to write."""
        pipeline, self._begun = self._begun, None
        return self._redis.pipeline(transaction=False) if pipeline is None else pipeline

    def _count(self, pipeline: Pipeline, numbers: Mapping[Counter, int]) -> None:
        for name, number in numbers.items():
            if number:
                pipeline.hincrby(self._keys.counters, name, number)


def _settle(work: list[T], attempt: Callable[[list[T]], list[T]]) -> None:
    """Give `work` to `attempt` until it returns nothing to try again."""
    for number in range(ROUNDS_MAX):
        work = attempt(work)
        if not work:
            return
        time.sleep(random.uniform(0, delay_s(number + 1, PAUSE_FIRST_S, PAUSE_MAX_S)))
    raise StoreConflict(
        f"{len(work)} writes lost against other workers {ROUNDS_MAX} times in a row: try again"
    )


def _by_minute(trades: Iterable[Trade]) -> list[_Try]:
    groups: dict[tuple[str, int], list[Trade]] = {}
    for trade in trades:
        groups.setdefault((trade.market, trade.exchange_ms - trade.exchange_ms % MINUTE_MS), []).append(trade)
    return [_Try(_Group(market, minute_ms, rows)) for (market, minute_ms), rows in groups.items()]


def _new_version() -> bytes:
    """Return the version of a candle that no other has had."""
    return minute_layout.VERSION_MARK + os.urandom(minute_layout.VERSION_BYTES - 1)


def _read(minute_ms: int, stored: bytes, values: list[bytes], *, is_old: bool) -> _Basis:
    """Return what the script found of a minute: the rows as new as the group's oldest, or all of them."""
    if not stored:
        return _Basis(b"", None, {})
    if is_old:
        rows = minute_layout.read_old_rows(dict(zip(values[::2], values[1::2], strict=True)))
    else:
        rows = minute_layout.read_chunks(minute_ms, reversed(values))
    return _Basis(minute_layout.version_of(stored), minute_layout.read_candle(stored), rows)


def _written(commit: _Commit) -> tuple[bytes, bytes, bytes, bytes]:
    """Return candle, chunk, the part of it that counts, and four numbers, as the script takes them."""
    absorbed, (_, minute_ms, trades) = commit.absorbed, commit.group
    oldest = min([trade.exchange_ms for trade in trades]) - minute_ms
    if absorbed is None or absorbed.minute is None:
        return b"", b"", b"", _NUMBERS.pack(0, 0, 0, oldest)
    numbers = _NUMBERS.pack(len(absorbed.counted), absorbed.duplicates, absorbed.recovered, oldest)
    if not absorbed.copies:
        return b"", b"", b"", numbers
    newest_ms = absorbed.minute.last.ms
    is_old = minute_layout.is_old(commit.basis.version)
    if is_old:
        chunk = minute_layout.write_all(minute_ms, newest_ms, commit.basis.rows)
    else:
        chunk = minute_layout.write_chunk(minute_ms, newest_ms, absorbed.copies)
    is_part = is_old or len(absorbed.counted) < len(absorbed.copies)
    part = minute_layout.write_chunk(minute_ms, newest_ms, absorbed.counted) if is_part else b""
    return minute_layout.write_candle(commit.version, absorbed.minute), chunk, part, numbers


def _too_late(group: _Group) -> Gap:
    return Gap(group.market, Channel.TRADE, group.minute_ms, group.minute_ms + MINUTE_MS - 1, "too_late")


def _time(state: Ticker | EncodedBook) -> int:
    """Return when the exchange made a state, in the unit of its kind."""
    return state.exchange_us if isinstance(state, EncodedBook) else state.exchange_ms


def _stamp(state: Ticker | EncodedBook) -> Stamp:
    """What makes a state newer than another."""
    return Stamp(_time(state), state.received_ms)


def _newest(states: Iterable[S]) -> list[S]:
    """Return the newest state per market, of equals the last."""
    newest: dict[str, S] = {}
    for state in states:
        known = newest.setdefault(state.market, state)
        if known is state:
            continue
        stamp, known_stamp = _stamp(state), _stamp(known)
        if stamp == known_stamp or is_newer(stamp, known_stamp):
            newest[state.market] = state
    return list(newest.values())


def _gap_fields(gap: Gap) -> tuple[str, str]:
    """Return the field of a gap, and the one it had when the reason was no part of its name."""
    before = f"{gap.channel}:{gap.from_ms}"
    return f"{before}:{gap.reason}", before


def _stored_under(gap: Gap, stored: Sequence[bytes | None]) -> tuple[str, bytes | None]:
    """Return the field that `gap` is to be stored in, and what is there."""
    field, before = _gap_fields(gap)
    value, value_before = stored
    if value_before and _decode_gap(value_before)[1] == gap.reason:
        return before, value_before
    return field, value


def _gap_rank(gap: Gap) -> tuple[int, bool]:
    return gap.to_ms, gap.recovered


def decode_gap(market: str, field: str, value: bytes) -> Gap:
    """Return the gap stored under `field` of the gaps of `market`."""
    channel, from_ms = field.split(":", 2)[:2]
    to_ms, reason, recovered = _decode_gap(value)
    return Gap(market, Channel(channel), int(from_ms), to_ms, reason, recovered)


def _known_rank(value: bytes) -> tuple[int, bool]:
    to_ms, _, recovered = _decode_gap(value)
    return to_ms, recovered
