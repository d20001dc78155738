"""How the listener keeps its head when the tasks fall behind: FLOW, MERGE or SPOOL. Pure.

Two rules hold everywhere. Trades are facts: they are sent or they wait on disk, they are never dropped.
Tickers and books are states: the newest per market wins, so under pressure they are merged.

Theory of operation. Each `Watermarks` looks at one figure of a `PressureSample` and has two marks: from the
high one on it asks for a mode, down to the low one it keeps the mode (hysteresis, so that no mode flaps).
Their answers become a `Signal`, and `TABLE` has what a signal does in a mode. A worse mode is entered at
once, a better one only after the figures have stayed below the low marks for `hold_s`. What a mode means is
in `MEANS`. Nothing else decides.

Under a lasting overload MERGE empties the queues, FLOW fills them again, and so on: each relapse lengthens
the hold time, up to `hold_max` of the mode, until the better mode has lasted for `RELAPSE_HOLDS` hold times.

A flood of books must not delay trades, so the two kinds have batch sizes of their own: a batch grows only
where its own queue is behind, by the ratio of what is sent to what the workers take.

Marks are passed before anyone sees them passed. What slow workers would then have to do first, book by book
for seconds, is taken back from its queue: it is out of date, and the newest of each market goes instead.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from collector.settings import PressureSettings

#: Share of the local queue at which SPOOL starts and ends: the disk is faster than any broker.
LOCAL_FULL, LOCAL_EASED = 0.9, 0.5
#: Shares of `memory_limit_mb`: conflating starts early, spooling before the limit.
MEMORY_HIGH, MEMORY_LOW = 0.8, 0.7
MEMORY_FULL, MEMORY_EASED = 0.9, 0.8

FACTOR_MAX = 8.0  # times the configured batch size and age
STATE_FACTOR_MIN = 2.0
#: While conflating, so many batches of each kind of state go between two readings: more would grow old.
CONFLATED_AT_ONCE = 1
#: Share of the queue marks that holds for tickers and books, about a second of batches: what waits is out of
#: date already, and the workers must be rid of it before they come to what is new.
STATE_SHARE = 1 / 8
#: The same of the age marks.
STATE_AGE_SHARE = 1 / 2
HEADROOM = 0.8  # share of the workers' measured rate that we aim to use
GROWTH, SHRINK = 1.5, 0.8  # most change of a factor within a second
SMOOTHING_S = 2.0  # time constant of the measured rates
RELAPSE_GROWTH = 4.0  # times the hold time after each relapse
RELAPSE_HOLDS = 60.0  # hold times a better mode must last, or leaving it is a relapse

TRADE, STATES = "trade", ("orderbook", "ticker")


class Mode(StrEnum):
    """What the listener does with what it receives; see `MEANS`."""

    FLOW = "flow"
    MERGE = "merge"
    SPOOL = "spool"


class Signal(StrEnum):
    """The joint result of the bands, worst first; the text is what the diagram shows."""

    DANGER = "sending fails, Redis or memory or the trade queue is full"
    STRAIN = "a high mark is passed"
    RELIEF = "content for hold_s"


#: (mode, signal) -> next mode. What is not in here changes nothing.
TABLE: Mapping[tuple[Mode, Signal], Mode] = {
    (Mode.FLOW, Signal.DANGER): Mode.SPOOL,
    (Mode.FLOW, Signal.STRAIN): Mode.MERGE,
    (Mode.MERGE, Signal.DANGER): Mode.SPOOL,
    (Mode.MERGE, Signal.RELIEF): Mode.FLOW,
    (Mode.SPOOL, Signal.RELIEF): Mode.MERGE,
}


@dataclass(frozen=True, slots=True)
class ModeActions:
    """What a mode does."""

    conflate_states: bool  # only the newest ticker and book per market
    trades_to_disk: bool
    analysis_rate: float  # share of the configured rate limit of analysis tasks; 0 = paused
    hold_max: float = 1  # times `hold_s` to wait for the way back after many relapses: short where it costs


MEANS: Mapping[Mode, ModeActions] = {
    Mode.FLOW: ModeActions(conflate_states=False, trades_to_disk=False, analysis_rate=1),
    Mode.MERGE: ModeActions(conflate_states=True, trades_to_disk=False, analysis_rate=0.25, hold_max=100),
    Mode.SPOOL: ModeActions(conflate_states=True, trades_to_disk=True, analysis_rate=0, hold_max=10),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PressureSample:
    """The figures of one moment: the probe (`collector.publish.probe`) reads the first five."""

    #: Batches ready per queue (`trade`, `trade.0`, `orderbook`, `ticker`, `analysis` …).
    queue_lengths: Mapping[str, int] = field(default_factory=dict)
    #: Tasks handed to workers and not yet acknowledged, over all queues.
    unacked: int = 0
    #: Age of the oldest batch that waits, per queue.
    ages_ms: Mapping[str, int] = field(default_factory=dict)
    #: Share of `maxmemory` in use; 0 where Redis has no limit.
    redis_memory: float = 0.0
    #: How many workers have started since Redis is empty.
    workers_started: int = 0
    #: The last send or probe failed.
    send_failing: bool = False
    #: Share of the local queue in use.
    local_fill: float = 0.0
    #: Memory of this process.
    memory_mb: float = 0.0
    #: Batches sent since the start: the measure of what the workers take is made from these.
    sent_trades: int = 0
    #: Without those that were taken back.
    sent_states: int = 0

    @property
    def trade_backlog(self) -> int:
        """Batches in all queues of trades together."""
        return sum(n for queue, n in self.queue_lengths.items() if _is_trade(queue))

    @property
    def longest_trade_queue(self) -> int:
        """Batches in the longest queue of trades."""
        return max((n for queue, n in self.queue_lengths.items() if _is_trade(queue)), default=0)

    @property
    def trade_age_ms(self) -> int:
        """Age of the oldest trade batch that waits for a worker."""
        return max((age for queue, age in self.ages_ms.items() if _is_trade(queue)), default=0)

    @property
    def state_age_ms(self) -> int:
        """Age of the oldest batch of tickers or books that waits for a worker."""
        return max((self.ages_ms.get(queue, 0) for queue in STATES), default=0)

    @property
    def state_backlog(self) -> int:
        """Batches in the longer of the queues of tickers and books."""
        return max((self.queue_lengths.get(queue, 0) for queue in STATES), default=0)

    def __str__(self) -> str:
        """Say it in one line for the log."""
        queues = " ".join(f"{queue}={n}" for queue, n in self.queue_lengths.items())
        return (
            f"{queues} unacked={self.unacked} oldest={self.trade_age_ms}ms redis={self.redis_memory:.0%}"
            f" local={self.local_fill:.0%} memory={self.memory_mb:.0f}MB send_failing={self.send_failing}"
        )


def _is_trade(queue: str) -> bool:
    return queue.split(".")[0] == TRADE


@dataclass(frozen=True, slots=True)
class Watermarks:
    """One figure, the mode it can ask for, and its two marks."""

    name: str
    asks_for: Mode
    low: float
    high: float
    figure: Callable[[PressureSample], float]
    #: The trouble is at the broker: until it is over, SPOOL hands on no tickers and books either.
    at_broker: bool = False

    def is_high(self, reading: PressureSample) -> bool:
        """Return whether the figure has reached the high mark."""
        return self.figure(reading) >= self.high

    def is_low(self, reading: PressureSample) -> bool:
        """Return whether the figure is down to the low mark."""
        return self.figure(reading) <= self.low

    def describe(self, reading: PressureSample) -> str:
        """Name the figure and the mark it has reached."""
        return f"{self.name} {self.figure(reading):.4g} >= {self.high:.4g}"


@dataclass(frozen=True, slots=True)
class Rates:
    """How fast one kind of batch is sent and taken by the workers, and what size follows from it."""

    sent: int = 0
    backlog: int = 0
    sent_per_s: float = 0.0
    taken_per_s: float = 0.0
    factor: float = 1.0

    def measured(self, sent: int, backlog: int, elapsed_s: float) -> "Rates":
        """Return the rates with what happened in the last `elapsed_s` mixed in."""
        if elapsed_s <= 0:
            return self
        # The rate of the stretch, weighted by elapsed_s / total_s; written so that no instant is too short.
        total_s = elapsed_s + SMOOTHING_S
        went = sent - self.sent
        came = max(0, went - (backlog - self.backlog))
        return Rates(
            sent=sent,
            backlog=backlog,
            sent_per_s=(self.sent_per_s * SMOOTHING_S + went) / total_s,
            taken_per_s=(self.taken_per_s * SMOOTHING_S + came) / total_s,
            factor=self.factor,
        )

    def resized(self, *, behind: bool, least: float, elapsed_s: float) -> "Rates":
        """Return the rates with the batch size that lets the workers keep up, a bounded step away."""
        if not behind:
            wanted = least
        elif self.taken_per_s > 0:
            wanted = self.factor * self.sent_per_s / (HEADROOM * self.taken_per_s)
        else:
            wanted = FACTOR_MAX
        step = min(max(wanted, self.factor * SHRINK**elapsed_s), self.factor * GROWTH**elapsed_s)
        return replace(self, factor=min(max(step, least), FACTOR_MAX))


@dataclass(frozen=True, slots=True)
class PressureState:
    """What the policy remembers between two readings."""

    mode: Mode = Mode.FLOW
    since_s: float = 0.0
    #: Since when the way to the next better mode is free; None while it is not.
    well_since_s: float | None = None
    #: This mode was entered from a worse one.
    is_eased: bool = False
    #: Times `hold_s` to wait for the way back; more after each relapse.
    holds: float = 1.0
    read_s: float | None = None
    trades: Rates = Rates()
    states: Rates = Rates()


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do until the next reading. Factors multiply the configured rows, bytes and age of a batch."""

    mode: Mode
    changed: bool
    #: Why the mode was entered; empty unless `changed`.
    reason: str
    trade_batch_factor: float
    state_batch_factor: float
    conflate_states: bool
    #: The kinds of states to hand on; of the others the newest of each market waits in memory.
    send_states: frozenset[str]
    #: So many batches of each until the next reading; None = all there are.
    states_at_once: int | None
    #: The kinds of states to take back from their queues, for the newest of each market to go instead.
    replace_states: frozenset[str]
    trades_to_disk: bool
    #: Bring spooled trades back at the set rate.
    drain_spool: bool
    analysis_rate: float
    #: To be passed to the next `decide`.
    state: PressureState


class PressurePolicy:
    """The decider: frozen configuration and one method."""

    def __init__(self, settings: PressureSettings) -> None:
        self._settings = settings
        self.bands = _bands(settings)

    def decide(self, reading: PressureSample, state: PressureState, now_s: float) -> Decision:
        """Return what `reading` asks for; `now_s` is monotonic time in seconds."""
        elapsed_s = 0.0 if state.read_s is None else now_s - state.read_s
        state = self._remember(reading, state, now_s, elapsed_s)
        signal, reason = self._signal(reading, state, now_s)
        mode = TABLE.get((state.mode, signal), state.mode) if signal else state.mode
        changed = mode is not state.mode
        if changed:
            state = self._entered(mode, state, now_s, is_eased=signal is Signal.RELIEF)
        state = self._resize(reading, state, elapsed_s)
        return self._decision(reading, replace(state, read_s=now_s), reason if changed else "", changed)

    def _remember(
        self, reading: PressureSample, state: PressureState, now_s: float, elapsed_s: float
    ) -> PressureState:
        is_well = all(band.is_low(reading) for band in self._bands_holding(state.mode))
        since = now_s if state.well_since_s is None else state.well_since_s
        state = replace(state, well_since_s=since if is_well else None)
        if reading.send_failing:  # then the lengths are unknown
            return state
        return replace(
            state,
            trades=state.trades.measured(reading.sent_trades, reading.trade_backlog, elapsed_s),
            states=state.states.measured(reading.sent_states, reading.state_backlog, elapsed_s),
        )

    def _entered(self, mode: Mode, state: PressureState, now_s: float, *, is_eased: bool) -> PressureState:
        """Return the state at the start of `mode`; after a relapse, with a longer hold time."""
        holds = state.holds
        if state.is_eased and not is_eased:
            is_relapse = now_s - state.since_s < RELAPSE_HOLDS * self._settings.hold_s
            holds = min(RELAPSE_GROWTH * holds, MEANS[Mode.MERGE].hold_max) if is_relapse else 1.0
        return replace(state, mode=mode, since_s=now_s, well_since_s=None, is_eased=is_eased, holds=holds)

    def _bands_holding(self, mode: Mode) -> list[Watermarks]:
        """Return the bands that must be low before `mode` is left for a better one."""
        return [band for band in self.bands if mode is Mode.MERGE or band.asks_for is mode]

    def _signal(
        self, reading: PressureSample, state: PressureState, now_s: float
    ) -> tuple[Signal | None, str]:
        """Return the worst signal that does something in this mode, and the reason in words."""
        for signal, asked in ((Signal.DANGER, Mode.SPOOL), (Signal.STRAIN, Mode.MERGE)):
            high = [band for band in self.bands if band.asks_for is asked and band.is_high(reading)]
            if high and (state.mode, signal) in TABLE:
                return signal, ", ".join(band.describe(reading) for band in high)
        hold_s = self._settings.hold_s * min(state.holds, MEANS[state.mode].hold_max)
        if state.well_since_s is not None and now_s - state.well_since_s >= hold_s:
            return Signal.RELIEF, f"content for {hold_s:g} s"
        return None, ""

    def _resize(self, reading: PressureSample, state: PressureState, elapsed_s: float) -> PressureState:
        """Fit the batch sizes to what the workers take, each kind by its own queue."""
        if state.mode is Mode.FLOW:
            trades, states = replace(state.trades, factor=1.0), replace(state.states, factor=1.0)
            return replace(state, trades=trades, states=states)
        marks = self._settings
        is_waiting = reading.local_fill > marks.local_fill_low
        is_old = reading.trade_age_ms > marks.age_low_ms
        trades_behind = is_waiting or is_old or reading.trade_backlog > marks.queue_low
        states_behind = is_waiting or any(self._is_behind(kind, reading) for kind in STATES)
        return replace(
            state,
            trades=state.trades.resized(behind=trades_behind, least=1.0, elapsed_s=elapsed_s),
            states=state.states.resized(behind=states_behind, least=STATE_FACTOR_MIN, elapsed_s=elapsed_s),
        )

    def _decision(
        self, reading: PressureSample, state: PressureState, reason: str, changed: bool
    ) -> Decision:
        means = MEANS[state.mode]
        has_room = reading.trade_backlog < self._settings.queue_high
        return Decision(
            mode=state.mode,
            changed=changed,
            reason=reason,
            trade_batch_factor=FACTOR_MAX if means.trades_to_disk else state.trades.factor,
            state_batch_factor=state.states.factor,
            conflate_states=means.conflate_states,
            send_states=self._sendable(reading, means),
            states_at_once=CONFLATED_AT_ONCE if means.conflate_states else None,
            replace_states=self._replaceable(reading, means),
            trades_to_disk=means.trades_to_disk,
            drain_spool=not means.trades_to_disk and has_room,
            analysis_rate=means.analysis_rate,
            state=state,
        )

    def _sendable(self, reading: PressureSample, means: ModeActions) -> frozenset[str]:
        """Return the kinds of states whose queue has room.

        A state that waits here is replaced by a newer one, a state that waits in a queue grows old: while
        conflating, nothing is put behind another batch.
        """
        if self._is_broker_in_trouble(reading, means):
            return frozenset()
        most = 0 if means.conflate_states else self._settings.queue_high - 1
        return frozenset(kind for kind in STATES if reading.queue_lengths.get(kind, 0) <= most)

    def _replaceable(self, reading: PressureSample, means: ModeActions) -> frozenset[str]:
        """Return the kinds of states that grow old in their queue and can be replaced by newer ones."""
        if not means.conflate_states or self._is_broker_in_trouble(reading, means):
            return frozenset()
        return frozenset(kind for kind in STATES if self._is_behind(kind, reading))

    def _is_behind(self, kind: str, reading: PressureSample) -> bool:
        """Return whether workers leave this kind of states waiting: a figure of it is above its low mark."""
        age_low_ms = self._settings.age_low_ms * STATE_AGE_SHARE
        is_old = reading.ages_ms.get(kind, 0) > age_low_ms
        return is_old or reading.queue_lengths.get(kind, 0) > _state_queue_low(self._settings)

    def _is_broker_in_trouble(self, reading: PressureSample, means: ModeActions) -> bool:
        return means.trades_to_disk and not all(b.is_low(reading) for b in self.bands if b.at_broker)


def _state_queue_low(marks: PressureSettings) -> float:
    return max(1.0, marks.queue_low * STATE_SHARE)


def _bands(marks: PressureSettings) -> tuple[Watermarks, ...]:
    """Return every figure that counts, with its marks."""

    def memory(reading: PressureSample) -> float:
        # An allocator seldom gives memory back. Conflation and the spool help only while something waits for
        # the broker; without this, one burst would keep the trades on disk for ever.
        is_waiting = reading.local_fill > marks.local_fill_low
        return reading.memory_mb / marks.memory_limit_mb if is_waiting else 0.0

    merge, spool, m = Mode.MERGE, Mode.SPOOL, marks
    return (
        Watermarks("queue", merge, m.queue_low, m.queue_high, lambda r: r.longest_trade_queue),
        Watermarks(
            "state_queue",
            merge,
            _state_queue_low(m),
            max(2.0, m.queue_high * STATE_SHARE),
            lambda r: r.state_backlog,
        ),
        Watermarks("age_ms", merge, m.age_low_ms, m.age_high_ms, lambda r: r.trade_age_ms),
        Watermarks(
            "state_age_ms",
            merge,
            m.age_low_ms * STATE_AGE_SHARE,
            m.age_high_ms * STATE_AGE_SHARE,
            lambda r: r.state_age_ms,
        ),
        Watermarks("local_fill", merge, m.local_fill_low, m.local_fill_high, lambda r: r.local_fill),
        Watermarks("memory", merge, MEMORY_LOW, MEMORY_HIGH, memory),
        Watermarks("local_full", spool, LOCAL_EASED, LOCAL_FULL, lambda r: r.local_fill),
        Watermarks("memory_full", spool, MEMORY_EASED, MEMORY_FULL, memory),
        # Left where conflating starts: what dead workers leave behind stays far below `maxmemory`.
        Watermarks(
            "trade_queue", spool, m.queue_high, m.queue_max, lambda r: r.trade_backlog, at_broker=True
        ),
        Watermarks(
            "redis", spool, m.redis_memory_low, m.redis_memory_high, lambda r: r.redis_memory, at_broker=True
        ),
        Watermarks("send_failing", spool, 0, 1, lambda r: r.send_failing, at_broker=True),
    )


def mermaid() -> str:
    """Return `TABLE` as a Mermaid state diagram."""
    lines = [f"    {mode.name} --> {target.name}: {signal}" for (mode, signal), target in TABLE.items()]
    return "\n".join(["stateDiagram-v2", f"    [*] --> {Mode.FLOW.name}", *lines])
