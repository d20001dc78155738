"""Where live events come from: Redis, read by a few threads for all subscribers together.

    trades     the event stream, waited for
    states     tickers and books whose names are published when they are written; candles of the minutes that
               the trades touched; each read once, and only where somebody wants it
    gaps       compared with those before, once a second
    health     every few seconds

A thread that can't reach Redis tries on until it can; what the stream holds is not lost by that.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import redis

from collector.analytics.candles import align
from collector.clock import SystemClock
from collector.errors import CollectorError
from collector.live.candles import LiveCandles
from collector.live.events import CANDLE, GAP, HEALTH, NOTICE, ORDERBOOK, TICKER, TRADE, Event
from collector.model import MINUTE_MS, Channel
from collector.settings import Settings
from collector.store.event_log import Counted, Cursor, EventLog, Lost, Position
from collector.store.history import History
from collector.store.keys import Keys
from collector.store.read import Reader
from collector.store.redis_client import connect, translated
from collector.store.rows import GapRow
from collector.store.stored_books import read_books
from collector.util.backoff import delay_s

log = logging.getLogger(__name__)

#: A wait for the next trade; below every `socket_timeout`.
_WAIT_MS = 250
#: After a read trades are let gather for so long: a reader that follows each commit costs Redis more than it.
_GATHER_S = 0.003
_GAPS_S, _HEALTH_S = 1.0, 2.0
#: Delays between tries to reach Redis: the first, and the longest.
_RETRY_S = (0.2, 5.0)
_STOP_TIMEOUT_S = 5.0


class Sink(Protocol):
    """What takes the events; called in threads of the source."""

    def give(self, events: Sequence[Event], position: Position | None) -> None:
        """Take events in their order; `position`: until where they are all trades there are.

        Those that are no trades have no id: it is `Event.at` the position given before.
        """
        ...

    def wants(self, channel: str, market: str | None) -> bool:
        """Tell whether anybody wants such events."""
        ...


class LiveSource:
    """Reads everything that is live, from `start` until `stop`.

    Args:
        url: of Redis.
    """

    def __init__(self, url: str, settings: Settings, sink: Sink) -> None:
        self._client = connect(url, settings)
        self._settings = settings
        self._sink = sink
        keys = Keys(settings.store.key_prefix)
        self._keys = keys
        self.log = EventLog(self._client, keys)
        self.reader = Reader(self._client, settings)
        self._candles = LiveCandles(History(self._client, settings))
        self._cursor = Cursor(self.log, Position(0, 0))
        #: Minutes whose candles are to be read.
        self._touched: dict[str, set[int]] = {}
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._gaps: dict[tuple[str, str, int, str], GapRow] | None = None

    def start(self, after: Position | None = None) -> Position:
        """Begin after a position, at the newest trade where none is given; return where that is.

        Raises:
            BrokerUnavailable: Redis does not answer.
        """
        begin = self.log.bounds().last if after is None else after
        self._cursor = Cursor(self.log, begin)
        works = {"trades": self._follow_trades, "states": self._follow_states, "rest": self._look}
        for name, work in works.items():
            thread = threading.Thread(
                target=self._keep_on, args=(name, work), name=f"live-{name}", daemon=True
            )
            thread.start()
            self._threads.append(thread)
        return begin

    def stop(self) -> None:
        """End the threads, within some seconds."""
        self._stop.set()
        for thread in self._threads:
            thread.join(_STOP_TIMEOUT_S)
        self._client.close()

    # -- the threads

    def _keep_on(self, name: str, work: Callable[[], None]) -> None:
        failures = 0
        while not self._stop.is_set():
            try:
                work()
                failures = 0
            except (CollectorError, redis.RedisError) as error:
                failures += 1
                if failures == 1:
                    log.warning("live %s: %s; trying on", name, error)
            except Exception:  # a thread that ended would leave its events out in silence
                failures += 1
                log.exception("live %s failed; trying on", name)
            else:
                continue
            self._stop.wait(delay_s(failures, *_RETRY_S))

    def _follow_trades(self) -> None:
        cursor = self._cursor
        cursor.doubt()
        self._candles.forget()
        while not self._stop.is_set():
            found = cursor.next(_WAIT_MS)
            for each in found:
                if isinstance(each, Counted):
                    row = each.trade
                    self._touched.setdefault(row.market, set()).add(align(row.exchange_ms, MINUTE_MS))
            if found:
                self._give([event_of(each) for each in found], cursor.position)
            if self._touched:
                self._give(self._candles_of(self._touched), None)
                self._touched = {}  # not before: where Redis went away they are read when it is back
            if found:
                self._stop.wait(_GATHER_S)

    def _follow_states(self) -> None:
        with self._client.pubsub() as changes:  # type: ignore[no-untyped-call]
            with translated():
                changes.subscribe(self._keys.changed)
            while not self._stop.is_set():
                with translated():
                    message = changes.get_message(timeout=_WAIT_MS / 1000)
                names: dict[str, None] = {}
                while message is not None:
                    names |= dict.fromkeys(self._named(message))
                    with translated():
                        message = changes.get_message(timeout=0)
                if names:
                    self._give(self._states(names), None)

    def _named(self, message: dict[str, Any]) -> Iterable[str]:
        """Return the states that a message of the channel is about.

        At a subscription, also at one that the client made anew by itself: what was published while nobody
        listened is not known, so all of them.
        """
        if message["type"] == "message":
            found: list[str] = message["data"].decode().split(" ")
            return found
        states = (Channel.TICKER, Channel.ORDERBOOK)
        return (self._keys.state(channel, market) for market in self.reader.markets() for channel in states)

    def _look(self) -> None:
        sink = self._sink
        ticks = round(_HEALTH_S / _GAPS_S)
        for tick in range(1_000_000):
            if sink.wants(GAP, None) or self._gaps is not None:
                self._give(self._new_gaps(), None)
            if tick % ticks == 0 and sink.wants(HEALTH, None):
                self._give([_event(HEALTH, None, self.reader.health())], None)
            if self._stop.wait(_GAPS_S):
                return

    def _give(self, events: Sequence[Event], position: Position | None) -> None:
        if events or position is not None:
            self._sink.give(events, position)

    # -- what they read

    def snapshot(self, channel: str, markets: Iterable[str]) -> list[Event]:
        """Return the newest ticker, book or candle of those of `markets` that have one.

        Raises:
            BrokerUnavailable: Redis does not answer.
        """
        if channel == TICKER:
            return [_event(TICKER, row.market, row) for row in self.reader.tickers(list(markets))]
        if channel == ORDERBOOK:
            books = read_books(self._client, self._keys, markets)
            return [_event(ORDERBOOK, book.market, book) for book in books]
        if channel == HEALTH:
            return [_event(HEALTH, None, self.reader.health())]
        if channel.startswith(CANDLE):
            interval = channel.removeprefix(CANDLE)
            rows = (row for name in markets for row in self.reader.candles(name, interval, limit=1))
            return [_event(channel, row.market, row) for row in rows]
        return []

    def _states(self, names: Iterable[str]) -> list[Event]:
        wanted: dict[str, list[str]] = {TICKER: [], ORDERBOOK: []}
        prefixes = {f"{self._keys.prefix}ticker:": TICKER, f"{self._keys.prefix}book:": ORDERBOOK}
        for name in names:
            for prefix, channel in prefixes.items():
                market = name.removeprefix(prefix)
                if market != name and self._sink.wants(channel, market):
                    wanted[channel].append(market)
        return [
            event
            for channel, markets in wanted.items()
            if markets
            for event in self.snapshot(channel, markets)
        ]

    def _candles_of(self, touched: dict[str, set[int]]) -> list[Event]:
        """Return the candles that the minutes touched are in, where somebody wants them."""
        rows = self._candles.of(touched, lambda interval, market: self._sink.wants(CANDLE + interval, market))
        return [_event(CANDLE + row.interval, row.market, row) for row in rows]

    def _new_gaps(self) -> list[Event]:
        rows = {(row.market, str(row.channel), row.from_ms, row.reason): row for row in self.reader.gaps()}
        before, self._gaps = self._gaps, rows
        if before is None:
            return []
        return [_event(GAP, row.market, row) for name, row in rows.items() if before.get(name) != row]


def _event(channel: str, market: str | None, row: object) -> Event:
    """Return an event that is no trade; whoever gives it sets its position."""
    return Event("", channel, market, row, ms=SystemClock().now_ms())


def event_of(found: Counted | Lost) -> Event:
    """Return a trade, or what is lost, as an event."""
    if isinstance(found, Counted):
        return Event(
            str(found.position),
            TRADE,
            found.trade.market,
            found.trade,
            {"late": found.is_late},
            found.position.ms,
        )
    data = {
        "from_id": str(found.after), "to_id": str(found.until),
        "from_ms": found.after.ms, "to_ms": found.until.ms, "reason": found.reason,
    }  # fmt: skip
    return Event(str(found.until), NOTICE, None, data, ms=SystemClock().now_ms())
