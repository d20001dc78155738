"""The pressure policy: no flapping, nothing overflows, every mode is left again."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.settings import PressureSettings
from collector.stream import pressure
from collector.stream.pressure import (
    MEANS,
    TABLE,
    Decision,
    Mode,
    PressurePolicy,
    PressureSample,
    PressureState,
    Signal,
)

ROOT = Path(__file__).resolve().parents[3]
MARKS = PressureSettings()
STEP_S = 0.5
CALM = PressureSample()
BUSY = PressureSample(queue_lengths={"trade": MARKS.queue_high})
BROKEN = PressureSample(send_failing=True)


class Driver:
    """Feeds readings to the policy, half a second apart unless told otherwise."""

    def __init__(self, marks: PressureSettings = MARKS) -> None:
        self.policy = PressurePolicy(marks)
        self.state = PressureState()
        self.now_s = 100.0
        self.step_s = STEP_S

    def feed(self, reading: PressureSample, times: int = 1) -> Decision:
        for _ in range(times):
            decision = self.policy.decide(reading, self.state, self.now_s)
            self.state = decision.state
            self.now_s += self.step_s
        return decision

    def feed_s(self, reading: PressureSample, seconds: float) -> Decision:
        return self.feed(reading, round(seconds / STEP_S))


def driver_in(mode: Mode) -> Driver:
    driver = Driver()
    if mode is not Mode.FLOW:
        assert driver.feed(BUSY if mode is Mode.MERGE else BROKEN).mode is mode
    return driver


fills = st.floats(0, 1)
readings = st.builds(
    PressureSample,
    queue_lengths=st.dictionaries(
        st.sampled_from(["trade", "trade.0", "trade.7", "orderbook", "ticker", "analysis"]),
        st.integers(0, 2 * MARKS.queue_max),
    ),
    ages_ms=st.dictionaries(st.sampled_from(["trade", "orderbook"]), st.integers(0, 10**7)),
    redis_memory=fills,
    send_failing=st.booleans(),
    local_fill=st.floats(0, 8),
    memory_mb=st.floats(0, 2 * MARKS.memory_limit_mb),
    sent_trades=st.integers(0, 10**9),
    sent_states=st.integers(0, 10**9),
)


class TestModes:
    @pytest.mark.parametrize(
        ("reading", "mode", "word"),
        [
            (CALM, Mode.FLOW, ""),
            (PressureSample(queue_lengths={"trade": 200}), Mode.MERGE, "queue 200 >= 200"),
            (PressureSample(queue_lengths={"orderbook": 200}), Mode.MERGE, "queue"),
            (PressureSample(queue_lengths={"trade.3": 200}), Mode.MERGE, "queue"),
            (PressureSample(queue_lengths={"analysis": 10**6, "archive": 10**6}), Mode.FLOW, ""),
            (PressureSample(ages_ms={"trade": 5_000}), Mode.MERGE, "age_ms 5000 >= 5000"),
            (PressureSample(ages_ms={"trade": 4_999, "orderbook": 2_499}), Mode.FLOW, ""),
            (PressureSample(ages_ms={"orderbook": 2_500}), Mode.MERGE, "state_age_ms 2500 >= 2500"),
            (PressureSample(ages_ms={"analysis": 5_000}), Mode.FLOW, ""),
            (PressureSample(local_fill=0.5), Mode.MERGE, "local_fill 0.5 >= 0.5"),
            (PressureSample(memory_mb=420, local_fill=0.2), Mode.MERGE, "memory 0.82"),
            (PressureSample(memory_mb=420, local_fill=0.0), Mode.FLOW, ""),
            (PressureSample(memory_mb=480, local_fill=0.2), Mode.SPOOL, "memory_full"),
            (PressureSample(local_fill=0.9), Mode.SPOOL, "local_full"),
            (PressureSample(queue_lengths={"trade": 2_000}), Mode.SPOOL, "trade_queue 2000 >= 2000"),
            (PressureSample(queue_lengths={"trade.0": 1_000, "trade.1": 1_000}), Mode.SPOOL, "trade_queue"),
            (PressureSample(queue_lengths={"orderbook": 25}), Mode.MERGE, "state_queue 25 >= 25"),
            (PressureSample(queue_lengths={"orderbook": 24, "ticker": 24, "trade": 199}), Mode.FLOW, ""),
            (PressureSample(queue_lengths={"orderbook": 10**6}), Mode.MERGE, "state_queue"),
            (PressureSample(redis_memory=0.8), Mode.SPOOL, "redis 0.8 >= 0.8"),
            (BROKEN, Mode.SPOOL, "send_failing"),
            (replace(BROKEN, redis_memory=1), Mode.SPOOL, "redis 1 >= 0.8, send_failing"),
        ],
    )
    def test_each_figure_asks_for_its_mode(self, reading, mode, word):
        """From FLOW, one reading at a high mark enters the mode at once and names the figure."""
        decision = Driver().feed(reading)
        assert decision.mode is mode
        assert decision.changed == (mode is not Mode.FLOW)
        assert word in decision.reason

    def test_the_way_back_takes_two_holds(self):
        """From SPOOL the listener goes to MERGE, then to FLOW, each after `hold_s` of calm, never at once."""
        driver = driver_in(Mode.SPOOL)
        modes = [driver.feed(CALM).mode for _ in range(15)]
        held = round(MARKS.hold_s / STEP_S)
        assert modes == [Mode.SPOOL] * held + [Mode.MERGE] * (held + 1) + [Mode.FLOW] * (14 - 2 * held)

    def test_a_relapse_starts_the_hold_again(self):
        """One reading above the low mark within the hold time and the wait begins anew."""
        driver = driver_in(Mode.MERGE)
        in_band = PressureSample(queue_lengths={"trade": MARKS.queue_low + 1})
        driver.feed_s(CALM, MARKS.hold_s - STEP_S)
        driver.feed(in_band)
        assert driver.feed_s(CALM, MARKS.hold_s).mode is Mode.MERGE
        assert driver.feed(CALM).mode is Mode.FLOW

    def test_each_relapse_lengthens_the_hold(self):
        """Overload that comes back in FLOW again and again is answered by staying in MERGE, ever longer."""
        driver = Driver()
        held = [self.seconds_until_flow(driver) for _ in range(6)]
        assert held == [3, 12, 48, 192, 300, 300]

    def test_lasting_calm_forgives_the_relapses(self):
        """Once FLOW has lasted for sixty hold times, the next trouble starts from the short hold again."""
        driver = Driver()
        held = [self.seconds_until_flow(driver) for _ in range(3)]
        driver.feed_s(CALM, pressure.RELAPSE_HOLDS * MARKS.hold_s)
        assert [*held, self.seconds_until_flow(driver)] == [3, 12, 48, 3]

    def test_the_disk_is_left_within_ten_holds(self):
        """However often sending failed again, trades wait on disk for half a minute of health at the most."""
        driver = Driver()
        for _ in range(20):
            driver.feed(BROKEN)
            waited_s = 0.0
            while driver.feed(CALM).mode is Mode.SPOOL:
                waited_s += STEP_S
        assert waited_s == MEANS[Mode.SPOOL].hold_max * MARKS.hold_s

    @staticmethod
    def seconds_until_flow(driver: Driver) -> float:
        driver.feed(BUSY)
        waited_s = 0.0
        while driver.feed(CALM).mode is not Mode.FLOW:
            waited_s += STEP_S
        return waited_s

    def test_reason_only_at_a_change(self):
        """A decision that changes nothing gives no reason, so a log line follows each change alone."""
        driver = Driver()
        assert [bool(driver.feed(BUSY).reason) for _ in range(3)] == [True, False, False]

    def test_what_the_modes_mean(self):
        """Trades go to disk in SPOOL alone; states are merged and analyses held back outside FLOW."""
        flow, merge, spool = (
            driver_in(mode).feed(r) for mode, r in zip(Mode, (CALM, BUSY, BROKEN), strict=True)
        )
        assert [d.trades_to_disk for d in (flow, merge, spool)] == [False, False, True]
        assert [d.conflate_states for d in (flow, merge, spool)] == [False, True, True]
        assert [d.states_at_once for d in (flow, merge, spool)] == [None, 1, 1]
        assert not any(d.replace_states for d in (flow, merge, spool))
        assert [d.analysis_rate for d in (flow, merge, spool)] == [1, 0.25, 0]
        assert [d.drain_spool for d in (flow, merge, spool)] == [True, False, False]

    def test_a_full_state_queue_is_given_no_more(self):
        """In FLOW a kind waits in memory while its own queue is at the high mark of all queues."""
        policy = PressurePolicy(PressureSettings(queue_high=2, queue_low=1, queue_max=4))
        reading = PressureSample(queue_lengths={"ticker": 2, "orderbook": 1})
        means = MEANS[Mode.FLOW]
        assert policy._sendable(reading, means) == {"orderbook"}

    def test_while_merging_no_state_waits_behind_another(self):
        """In MERGE a kind waits here, replaceable, until its own queue is empty; in FLOW it goes."""
        waits = PressureSample(queue_lengths={"ticker": 1, "trade": MARKS.queue_low + 1})
        assert driver_in(Mode.FLOW).feed(waits).send_states == {"orderbook", "ticker"}
        assert driver_in(Mode.MERGE).feed(waits).send_states == {"orderbook"}

    @pytest.mark.parametrize(
        ("lengths", "ages_ms", "replaced"),
        [
            ({"ticker": 6, "orderbook": 7}, {}, {"orderbook"}),
            ({"ticker": 1, "orderbook": 1}, {"ticker": 501, "orderbook": 500}, {"ticker"}),
            ({"trade": 200, "trade.3": 200}, {"trade": 60_000}, set()),
        ],
    )
    def test_while_merging_what_grows_old_in_a_queue_is_replaced(self, lengths, ages_ms, replaced):
        """Above the low mark of its length or age a kind is taken back, in MERGE alone, trades never."""
        reading = PressureSample(queue_lengths=lengths, ages_ms=ages_ms)
        assert driver_in(Mode.MERGE).feed(reading).replace_states == replaced
        if replaced:
            assert not driver_in(Mode.FLOW).feed(reading).replace_states

    def test_nothing_is_taken_back_from_a_broker_in_trouble(self):
        """In SPOOL states are replaced only where they can be sent again at once."""
        old = PressureSample(queue_lengths={"ticker": 9}, local_fill=1)
        assert Driver().feed(old).replace_states == {"ticker"}
        assert not Driver().feed(replace(old, redis_memory=1)).replace_states
        assert not Driver().feed(replace(old, send_failing=True)).replace_states

    def test_local_trouble_does_not_hold_states_back(self):
        """Spooling because of our own memory still sends states: holding them would keep it full."""
        decision = Driver().feed(PressureSample(local_fill=1, memory_mb=500))
        assert (decision.mode, len(decision.send_states)) == (Mode.SPOOL, 2)
        assert not Driver().feed(BROKEN).send_states

    def test_the_spool_is_drained_into_free_room_only(self):
        """Spooled trades come back while the trade queue is below its high mark."""
        driver = driver_in(Mode.MERGE)
        assert not driver.feed(BUSY).drain_spool
        assert driver.feed(PressureSample(queue_lengths={"trade": MARKS.queue_high - 1})).drain_spool


class TestProperties:
    @given(st.sampled_from(Mode), st.data())
    @settings(max_examples=60, deadline=None)
    def test_no_flapping_inside_the_band(self, mode, data):
        """Between its two marks no figure moves the mode, from whichever mode it comes."""
        between = st.builds(
            PressureSample,
            queue_lengths=st.fixed_dictionaries(
                {"trade": st.integers(MARKS.queue_low + 1, MARKS.queue_high - 1)}
            ),
            ages_ms=st.fixed_dictionaries(
                {"trade": st.integers(MARKS.age_low_ms + 1, MARKS.age_high_ms - 1)}
            ),
            redis_memory=st.floats(MARKS.redis_memory_low + 0.01, MARKS.redis_memory_high - 0.01),
            local_fill=st.floats(MARKS.local_fill_low + 0.01, MARKS.local_fill_high - 0.01),
        )
        driver = driver_in(mode)
        for reading in data.draw(st.lists(between, max_size=40)):
            assert driver.feed(reading).mode is mode

    @given(st.lists(readings, max_size=30))
    @settings(max_examples=60, deadline=None)
    def test_better_only_after_the_hold_time(self, sequence):
        """Whatever is read, a step back comes `hold_s` after a change at the soonest, one at a time."""
        driver = Driver()
        changed_s, before = driver.now_s, Mode.FLOW
        for reading in sequence:
            now_s = driver.now_s
            decision = driver.feed(reading)
            if decision.changed:
                worse = list(Mode).index(decision.mode) > list(Mode).index(before)
                assert worse or now_s - changed_s >= MARKS.hold_s
                assert (before, decision.mode) != (Mode.SPOOL, Mode.FLOW)
                changed_s, before = now_s, decision.mode
            assert decision.mode is before

    @given(st.lists(readings, max_size=30))
    @settings(max_examples=60, deadline=None)
    def test_every_mode_is_left_again(self, sequence):
        """Once the causes are gone, FLOW is back after the longest hold times, batches at their own size."""
        driver = Driver()
        for reading in sequence:
            driver.feed(reading)
        longest_s = MARKS.hold_s * sum(means.hold_max for means in MEANS.values())
        driver.step_s = longest_s / 20
        decision = driver.feed(PressureSample(queue_lengths={"analysis": 10**6}), times=22)
        assert decision.mode is Mode.FLOW
        assert (decision.trade_batch_factor, decision.state_batch_factor) == (1, 1)
        assert (decision.analysis_rate, len(decision.send_states), decision.drain_spool) == (1, 2, True)

    @given(st.lists(readings, max_size=30), readings)
    @settings(max_examples=60, deadline=None)
    def test_spool_before_anything_is_full(self, sequence, last):
        """At any danger mark trades go to disk at once, whatever went before, and never without one."""
        driver = Driver()
        for reading in sequence:
            driver.feed(reading)
        before = driver.state.mode
        decision = driver.feed(last)
        memory = last.memory_mb / MARKS.memory_limit_mb
        in_danger = (
            last.send_failing
            or last.redis_memory >= MARKS.redis_memory_high
            or last.trade_backlog >= MARKS.queue_max
            or last.local_fill >= 0.9
            or (memory >= 0.9 and last.local_fill > MARKS.local_fill_low)
        )
        if in_danger:
            assert decision.trades_to_disk
        elif before is not Mode.SPOOL:
            assert not decision.trades_to_disk

    @given(st.lists(readings, max_size=30))
    @settings(max_examples=60, deadline=None)
    def test_factors_stay_bounded(self, sequence):
        """No reading drives a batch beyond eight times its configured size, or below it."""
        driver = Driver()
        for reading in sequence:
            decision = driver.feed(reading)
            assert 1 <= decision.trade_batch_factor <= pressure.FACTOR_MAX
            assert 1 <= decision.state_batch_factor <= pressure.FACTOR_MAX

    @given(st.lists(readings, min_size=1, max_size=30))
    @settings(max_examples=60, deadline=None)
    def test_what_is_replaced_may_be_sent(self, sequence):
        """Only states, never in FLOW, and only where the kind may go out once its queue is empty."""
        driver = Driver()
        for reading in sequence:
            decision = driver.feed(reading)
            assert decision.replace_states <= set(pressure.STATES)
            if decision.replace_states:
                assert decision.conflate_states
                emptied = replace(
                    reading, queue_lengths={**reading.queue_lengths, "ticker": 0, "orderbook": 0}
                )
                again = driver.policy._sendable(emptied, MEANS[decision.mode])
                assert decision.replace_states <= again

    @given(readings, st.floats(0, 1e9), st.floats(-1e3, 1e3))
    @settings(max_examples=100, deadline=None)
    def test_decide_is_pure(self, reading, start_s, step_s):
        """The same arguments give the same decision, also when time stands still or goes back."""
        policy = PressurePolicy(MARKS)
        state = policy.decide(reading, PressureState(), start_s).state
        first, second = (policy.decide(reading, state, start_s + step_s) for _ in range(2))
        assert first == second


class TestBatchSize:
    def test_trades_are_not_delayed_by_a_flood_of_books(self):
        """While only books pile up, their batches grow and trade batches keep their size."""
        driver = Driver()
        flood = PressureSample(queue_lengths={"orderbook": 500, "trade": 3}, sent_trades=10)
        decision = driver.feed_s(flood, 10)
        assert decision.mode is Mode.MERGE
        assert decision.trade_batch_factor == 1
        assert decision.state_batch_factor >= pressure.STATE_FACTOR_MIN

    def test_batches_grow_to_what_the_workers_take(self):
        """With twice as many batches sent as taken, batches grow until the workers have headroom."""
        driver, length, sent = Driver(), 200.0, 0.0
        for _ in range(60):
            decision = driver.feed(
                PressureSample(queue_lengths={"trade": int(length)}, sent_trades=int(sent))
            )
            sent += 200 / decision.trade_batch_factor * STEP_S
            length = max(0.0, length + (200 / decision.trade_batch_factor - 100) * STEP_S)
        assert 1 <= decision.trade_batch_factor <= 4
        assert length < MARKS.queue_high

    def test_batches_grow_when_nothing_is_taken(self):
        """With no worker at all batches become as large as they may, within seconds."""
        driver = Driver()
        for second in range(20):
            reading = PressureSample(queue_lengths={"trade": 300 + 50 * second}, sent_trades=50 * second)
            decision = driver.feed(reading, 2)
        assert decision.trade_batch_factor == pressure.FACTOR_MAX


class TestDiagram:
    def test_table_is_complete(self):
        """Every mode has a meaning, every mode but FLOW a way back, and DANGER leads to the disk from any."""
        assert set(MEANS) == set(Mode)
        assert {mode for mode, signal in TABLE if signal is Signal.RELIEF} == {Mode.MERGE, Mode.SPOOL}
        assert {TABLE[mode, Signal.DANGER] for mode in (Mode.FLOW, Mode.MERGE)} == {Mode.SPOOL}

    def test_docs_show_the_table(self):
        """The state diagram in the docs is the one drawn from the table."""
        page = ROOT / "docs" / "architecture.md"
        blocks = re.findall(r"```mermaid\n(.*?)\n```", page.read_text(), re.DOTALL) if page.exists() else []
        ours = [block for block in blocks if Mode.SPOOL.name in block]
        if not ours:
            pytest.skip("docs/architecture.md shows no pressure diagram")
        assert ours == [pressure.mermaid()]

    def test_reading_is_one_log_line(self):
        """A reading prints as what an operator wants to see beside a change of mode."""
        reading = PressureSample(
            queue_lengths={"trade": 7}, ages_ms={"trade": 1200}, redis_memory=0.5, memory_mb=90.4
        )
        line = "trade=7 unacked=0 oldest=1200ms redis=50% local=0% memory=90MB send_failing=False"
        assert str(reading) == line


@pytest.mark.server
def test_hours_of_load_keep_their_promises():
    """Bursts, crashes, drift, dead workers and no Redis: simulated, no trade is lost, nothing overflows."""
    command = [sys.executable, "-m", "benchmarks.pressure_simulation", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "dead workers" in done.stdout
