"""Rules in, market data in, firings out. Pure.

Of each market and measure (the price, the change over five minutes, …) the engine keeps between which values
nothing can happen. A value within costs one comparison, however many rules there are.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple, Protocol

from msgspec import Struct

from collector.alerts.rules import OF_BOOKS, OF_STATES, OF_TRADES, WINDOWED, Kind, Rule
from collector.alerts.windows import PriceChange, VolumeSpike
from collector.analytics.candles import Minute
from collector.analytics.market_states import MarketRow, MarketState
from collector.market_names import covers

_INFINITY = Decimal("Infinity")
_GONE = frozenset({MarketState.DELISTED, MarketState.UNLISTED})
_MEASURES: dict[Kind, type[PriceChange] | type[VolumeSpike]] = {
    Kind.CHANGE: PriceChange,
    Kind.VOLUME: VolumeSpike,
}


class Firing(Struct, frozen=True):
    """One rule that applied at one moment.

    Attributes:
        id: the same after a restart and at every delivery.
        state: `firing`, or `resolved` where a trouble of the system has ended.
        value: what was compared, in the rule's unit; empty where there is no number.
        ms: of a trade or book by the exchange's time, else when it was noticed; epoch ms.
        event_id: of the trade in the event stream; empty for all else.
    """

    id: str
    rule_id: str
    rule: str
    kind: Kind
    market: str | None
    text: str
    value: str
    ms: int
    state: str = "firing"
    event_id: str = ""


class Memory(Struct, array_like=True):
    """What is remembered of a rule and a market over restarts."""

    #: Whether it may fire; None before the first value.
    is_armed: bool | None = None
    fired_ms: int = 0
    #: Of states: the newest.
    seen: str = ""


class Traded(Protocol):
    """A trade, as far as rules need it."""

    @property
    def market(self) -> str: ...
    @property
    def price(self) -> Decimal: ...
    @property
    def volume(self) -> Decimal: ...
    @property
    def exchange_ms(self) -> int: ...


class Measure(Protocol):
    """Something a window has."""

    needs_ms: int

    def seed(self, open_ms: int, minute: Minute) -> None: ...
    def add(self, ms: int, price: Decimal, volume: Decimal) -> Decimal | None: ...


class Moment(NamedTuple):
    """When, and by which event."""

    ms: int
    event_id: str


class _Watch:
    """One rule on one market."""

    def __init__(self, rule: Rule, rule_id: str, market: str, memory: Memory) -> None:
        assert rule.threshold is not None  # noqa: S101 - measured rules have one
        self.rule, self.id, self.market, self.memory = rule, rule_id, market, memory
        self._sign = 1 if rule.is_above else -1
        #: Turned around where it fires below, so that everything is "at or above".
        self._fires = rule.threshold * self._sign
        self._rearms = self._fires - abs(rule.threshold) * rule.rearm
        #: A price has to cross; a single trade needs no way back.
        self._must_cross, self._is_single = rule.kind is Kind.PRICE, rule.kind is Kind.TRADE

    def calm(self) -> tuple[Decimal, Decimal]:
        """Return between which values nothing happens, both excluded."""
        if self.memory.is_armed is None:
            return _INFINITY, -_INFINITY
        if self.memory.is_armed:
            return (-_INFINITY, self._fires) if self._sign > 0 else (-self._fires, _INFINITY)
        return (self._rearms, _INFINITY) if self._sign > 0 else (-_INFINITY, -self._rearms)

    def takes(self, value: Decimal, ms: int) -> bool:
        """Take a value; return whether the rule fires."""
        memory, signed = self.memory, value * self._sign
        if memory.is_armed is None:
            memory.is_armed = not self._must_cross or signed < self._fires
        if not memory.is_armed:
            memory.is_armed = signed <= self._rearms
            return False
        if signed < self._fires or ms - memory.fired_ms < self.rule.cooldown_s * 1000:
            return False
        memory.is_armed, memory.fired_ms = self._is_single, ms
        return True


class _Band:
    """All rules on one measure of one market."""

    def __init__(self, watches: Sequence[_Watch]) -> None:
        self._watches = watches
        self._low, self._high = _INFINITY, -_INFINITY

    def take(self, value: Decimal, moment: Moment, out: list[Firing], touched: dict[str, _Watch]) -> None:
        if self._low < value < self._high:
            return
        for watch in self._watches:
            before = watch.memory.is_armed, watch.memory.fired_ms
            if watch.takes(value, moment.ms):
                out.append(_fired(watch, value, moment))
            if (watch.memory.is_armed, watch.memory.fired_ms) != before:
                touched[f"{watch.id}:{watch.market}"] = watch
        calms = [watch.calm() for watch in self._watches]
        self._low, self._high = max(low for low, _ in calms), min(high for _, high in calms)


class _Market:
    """What rules there are on one market."""

    def __init__(self) -> None:
        self.prices: _Band | None = None
        self.trades: _Band | None = None
        self.windows: list[tuple[Measure, _Band]] = []
        self.books: dict[Kind, _Band] = {}


class Engine:
    """Evaluates rules.

    Args:
        rules: by id.
        memories: `{rule id}:{market}` -> what is remembered; changed in place.
        seed: called once with a market that has windows, and the time it needs stored minutes for; returns
            them by open, oldest first.
    """

    def __init__(
        self,
        rules: Mapping[str, Rule],
        memories: dict[str, Memory],
        seed: Callable[[str, int], Mapping[int, Minute]] = lambda market, needs_ms: {},  # noqa: ARG005
    ) -> None:
        self._rules = rules
        self._memories = memories
        self._seed = seed
        self._markets: dict[str, _Market | None] = {}
        self._books: dict[str, _Market | None] = {}
        #: Memories that changed since `changed` was called.
        self._touched: dict[str, _Watch] = {}
        self._seen: dict[str, Memory] = {}

    def has(self, kinds: Iterable[Kind]) -> bool:
        """Tell whether there is a rule of one of these kinds."""
        wanted = frozenset(kinds)
        return any(rule.kind in wanted for rule in self._rules.values())

    def changed(self) -> dict[str, Memory]:
        """Return what has to be remembered anew since the last call."""
        found = {name: watch.memory for name, watch in self._touched.items()} | self._seen
        self._touched, self._seen = {}, {}
        return found

    def trade(self, row: Traded, event_id: str, *, is_past: bool = False) -> list[Firing]:
        """Take a trade.

        Args:
            is_past: it was evaluated before a restart: windows have it, nothing fires.
        """
        market = row.market
        if market in self._markets:
            found = self._markets[market]
        else:
            found = self._markets[market] = self._made(market, OF_TRADES)
        if found is None:
            return []
        out: list[Firing] = []
        ms, price, volume = row.exchange_ms, row.price, row.volume
        moment = Moment(ms, event_id)
        if not is_past:
            if found.prices is not None:
                found.prices.take(price, moment, out, self._touched)
            if found.trades is not None:
                found.trades.take(price * volume, moment, out, self._touched)
        for measure, band in found.windows:
            value = measure.add(ms, price, volume)
            if value is not None and not is_past:
                band.take(value, moment, out, self._touched)
        return out

    def wants_book(self, market: str) -> bool:
        """Tell whether a rule looks at a market's book."""
        return self._book_rules(market) is not None

    def book(
        self, market: str, ms: int, spread_bps: Decimal | None, imbalance: Decimal | None
    ) -> list[Firing]:
        """Take the measures of a book."""
        found, out = self._book_rules(market), list[Firing]()
        if found is not None:
            for kind, value in ((Kind.SPREAD, spread_bps), (Kind.IMBALANCE, imbalance)):
                band = found.books.get(kind)
                if band is not None and value is not None:
                    band.take(value, Moment(ms, ""), out, self._touched)
        return out

    def states(self, rows: Sequence[MarketRow], now_ms: int) -> list[Firing]:
        """Take the states of all markets; the first ones a rule sees are where it begins."""
        out: list[Firing] = []
        for rule_id, rule in self._rules.items():
            if rule.kind in OF_STATES:
                out += self._states_of(rule_id, rule, rows, now_ms)
        return out

    def _states_of(
        self, rule_id: str, rule: Rule, rows: Sequence[MarketRow], now_ms: int
    ) -> Iterator[Firing]:
        # A market that is new to a rule is news only where the rule has seen others before.
        begun = self._memories.get(f"{rule_id}:")
        for row in rows:
            if not _fits(rule, row.market):
                continue
            name, seen = f"{rule_id}:{row.market}", _seen(rule.kind, row)
            memory = self._memories.get(name)
            before = memory.seen if memory is not None else ("" if begun is not None else seen)
            if memory is None or memory.seen != seen:
                self._memories[name] = self._seen[name] = Memory(seen=seen, fired_ms=now_ms)
            if seen and seen != before:
                text = _STATE_TEXTS[rule.kind].format(market=row.market, seen=seen)
                firing_id = f"{rule_id}.{row.market}.{now_ms}"
                yield Firing(firing_id, rule_id, rule.text, rule.kind, row.market, text, seen, now_ms)
        if begun is None and rows:
            self._memories[f"{rule_id}:"] = self._seen[f"{rule_id}:"] = Memory(fired_ms=now_ms)

    def _book_rules(self, market: str) -> _Market | None:
        if market not in self._books:
            self._books[market] = self._made(market, OF_BOOKS)
        return self._books[market]

    def _made(self, market: str, kinds: frozenset[Kind]) -> _Market | None:
        watches: dict[tuple[Kind, int], list[_Watch]] = {}
        for rule_id, rule in self._rules.items():
            if rule.kind in kinds and _fits(rule, market):
                memory = self._memories.setdefault(f"{rule_id}:{market}", Memory())
                watches.setdefault((rule.kind, rule.window_s), []).append(
                    _Watch(rule, rule_id, market, memory)
                )
        if not watches:
            return None
        found = _Market()
        for (kind, window_s), some in watches.items():
            band = _Band(some)
            if kind in WINDOWED:
                found.windows.append((_MEASURES[kind](window_s), band))
            elif kind is Kind.PRICE:
                found.prices = band
            elif kind is Kind.TRADE:
                found.trades = band
            else:
                found.books[kind] = band
        if found.windows:
            minutes = self._seed(market, max(measure.needs_ms for measure, _ in found.windows))
            for open_ms, minute in minutes.items():
                for measure, _ in found.windows:
                    measure.seed(open_ms, minute)
        return found


_STATE_TEXTS = {
    Kind.HALT: "{market} is {seen}",
    Kind.WARNING: "{market} has the warning {seen}",
    Kind.LISTED: "{market} is newly listed",
    Kind.DELISTED: "{market} is {seen}",
}


def _seen(kind: Kind, row: MarketRow) -> str:
    """Return what a rule of states looks at; empty where there is nothing to report."""
    match kind:
        case Kind.HALT:
            return "suspended" if row.state is MarketState.SUSPENDED else ""
        case Kind.WARNING:
            return row.warning or ""
        case Kind.LISTED:
            return "" if row.state in _GONE else "listed"
        case _:
            if row.state in _GONE:
                return row.state.value
            return f"to be delisted on {row.delisting_date}" if row.delisting_date else ""


def _fits(rule: Rule, market: str) -> bool:
    return any(covers(name, market) for name in rule.markets)


def _fired(watch: _Watch, value: Decimal, moment: Moment) -> Firing:
    rule = watch.rule
    assert rule.threshold is not None  # noqa: S101 - measured rules have one
    side = "above" if rule.is_above else "below"
    rounded = value if rule.kind is Kind.PRICE else round(value, 2 if rule.kind is Kind.TRADE else 6)
    window = f" in {rule.text.partition(' in ')[2].split()[0]}" if rule.window_s else ""
    return Firing(
        id=f"{watch.id}.{watch.market}.{moment.event_id or moment.ms}",
        rule_id=watch.id,
        rule=rule.text,
        kind=rule.kind,
        market=watch.market,
        text=f"{watch.market} {rule.kind} {_grouped(rule.amount(rounded))}{window}, "
        f"{side} {_grouped(rule.amount(rule.threshold))}",
        value=rule.amount(rounded),
        ms=moment.ms,
        event_id=moment.event_id,
    )


def _grouped(text: str) -> str:
    """Return a number with commas between its thousands."""
    whole, point, rest = text.partition(".")
    digits = whole.lstrip("-")
    number = "".join(char for char in digits if char.isdigit())
    return f"{'-' if whole.startswith('-') else ''}{int(number):,}{digits[len(number) :]}{point}{rest}"
