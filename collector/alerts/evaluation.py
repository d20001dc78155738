"""The rules of a time against what is committed: reads, evaluates, writes what fired, hands out deliveries.

trades            the event stream, a few reads a second
books             once a second, those of markets that a rule names
states, troubles  every few seconds
"""

import time
from collections.abc import Callable, Mapping

import redis

from collector.alerts import channels, troubles
from collector.alerts.engine import Engine, Firing
from collector.alerts.ledger import Ledger
from collector.alerts.rules import OF_BOOKS, OF_STATES, WINDOWED, Kind, Rule
from collector.analytics.candles import Minute, align
from collector.clock import SystemClock
from collector.errors import BrokerUnavailable
from collector.model import MINUTE_MS
from collector.settings import Settings
from collector.store.event_log import AT_ONCE, Counted, Cursor, EventLog, Position
from collector.store.history import History
from collector.store.keys import Keys
from collector.store.read import Reader
from collector.store.stored_books import read_books

#: Hands a delivery to the workers: firing id, channel. Raises `BrokerUnavailable` where it can't.
Deliver = Callable[[str, str], object]

_WAIT_MS = 250
_COMMIT_S, _BOOKS_S, _LOOK_S = 1.0, 1.0, 5.0
#: Trades before the position that windows are filled with again, beside stored minutes.
_AGAIN_MS = 2 * MINUTE_MS


class Evaluation:
    """Evaluates one set of rules from where the one before stopped.

    Every method raises:
        BrokerUnavailable: Redis does not answer; make a new one then.
        StoreConflict: another worker evaluates.
    """

    def __init__(
        self, client: redis.Redis, settings: Settings, rules: Mapping[str, Rule], deliver: Deliver
    ) -> None:
        self._settings, self._rules, self._deliver = settings, rules, deliver
        keys = Keys(settings.store.key_prefix)
        self._client, self._keys = client, keys
        self._reader, self._history = Reader(client, settings), History(client, settings)
        self._ledger = Ledger(client, settings)
        self._clock = SystemClock()
        self._state = self._ledger.load(rules)
        events = EventLog(client, keys)
        #: All until there was evaluated before: windows need it, nothing fires.
        self._begin = self._state.position or events.bounds().last
        self._state.position = self._begin
        has_windows = any(rule.kind in WINDOWED for rule in rules.values())
        self._again_ms = align(self._begin.ms - _AGAIN_MS, MINUTE_MS) if has_windows else self._begin.ms
        after = min(self._begin, Position.before(self._again_ms)) if has_windows else self._begin
        self._cursor = Cursor(events, after)
        self._engine = Engine(rules, self._state.memories, self._stored_minutes)
        self._channels = channels.parse(settings.alert.channels.get_secret_value())
        self._firings: list[Firing] = []
        self._books_ms: dict[str, int] = {}
        self._due_s = {self._look_at_books: 0.0, self._look_around: 0.0, self._commit: 0.0}

    def turn(self) -> bool:
        """Evaluate what is new, waiting for it a little; return whether there may be more at once."""
        found = self._cursor.next(_WAIT_MS)
        for each in found:
            if not isinstance(each, Counted) or each.is_late:
                continue  # what is lost fires nothing; what a backfill brings is the past
            is_past = each.position <= self._begin
            if is_past and each.trade.exchange_ms < self._again_ms:
                continue  # in a stored minute
            self._firings += self._engine.trade(each.trade, str(each.position), is_past=is_past)
        if self._cursor.position > self._begin:
            self._state.position = self._cursor.position
        now_s = time.monotonic()
        for look, every_s in (
            (self._look_at_books, _BOOKS_S),
            (self._look_around, _LOOK_S),
            (self._commit, 0 if self._firings else _COMMIT_S),
        ):
            if now_s - self._due_s[look] >= every_s:
                self._due_s[look] = now_s
                look()
        if self._firings:  # of books and states
            self._commit()
        self._hand_out()
        return len(found) >= AT_ONCE

    def close(self) -> None:
        """Write what is remembered."""
        self._commit()

    def _stored_minutes(self, market: str, needs_ms: int) -> dict[int, Minute]:
        """Return the stored minutes before those that are read again."""
        opens = range(align(self._again_ms - needs_ms, MINUTE_MS), self._again_ms, MINUTE_MS)
        return self._history.minutes({market: opens})[market]

    def _look_at_books(self) -> None:
        if not self._engine.has(OF_BOOKS):
            return
        markets = [market for market in self._reader.markets() if self._engine.wants_book(market)]
        for book in read_books(self._client, self._keys, markets):
            if self._books_ms.get(book.market) != book.exchange_ms:
                self._books_ms[book.market] = book.exchange_ms
                self._firings += self._engine.book(
                    book.market, book.exchange_ms, book.spread_bps, book.imbalance
                )

    def _look_around(self) -> None:
        now_ms = self._clock.now_ms()
        if self._engine.has(OF_STATES):
            self._firings += self._engine.states(self._reader.market_rows(), now_ms)
        if self._engine.has({Kind.SYSTEM}):
            health = self._reader.health()
            wrong = troubles.found(
                health,
                self._reader.as_of_ms(),
                now_ms=now_ms,
                silence_s=self._settings.alert.silence_s,
                backlog=self._settings.pressure.queue_high,
                zone=self._settings.zone,
            )
            before = self._state.troubles
            self._state.troubles, firings = troubles.compare(before, wrong, self._rules, health, now_ms)
            self._state.over |= before.keys() - self._state.troubles.keys()
            self._firings += firings

    def _commit(self) -> None:
        now_ms = self._clock.now_ms()
        firings, self._firings = self._firings, []
        self._ledger.commit(
            self._state,
            self._engine.changed(),
            [(firing, self._due_ms(firing, now_ms), self._places(firing)) for firing in firings],
        )

    def _due_ms(self, firing: Firing, now_ms: int) -> int:
        quiet = self._rules[firing.rule_id].quiet
        ends_ms = quiet.ends_ms(now_ms, self._settings.zone) if quiet else None
        return now_ms if ends_ms is None else ends_ms

    def _places(self, firing: Firing) -> list[str]:
        return list(self._rules[firing.rule_id].channels or self._channels)

    def _hand_out(self) -> None:
        now_ms = self._clock.now_ms()
        due = self._ledger.take_due(now_ms)
        for number, pair in enumerate(due):
            try:
                self._deliver(*pair)
            except BrokerUnavailable:
                self._ledger.give_back(due[number:], now_ms)
                raise
