"""What the totals ledger costs of the listener's CPU, at the exchange's mix: `python -m benchmarks.totals`.

The CPU of the whole listener is measured as in `benchmarks.system mix`. The simulated market makes the same
mix (300 trades, 1,800 books and 150 tickers a second over 493 markets). Its frames go down the line of a
listener twice, as from two sockets: cut out, first copy, decoded, pipeline, batches written and compressed.
The same line is measured with a ledger that does nothing, in turn: the difference is what the ledger takes.
"""

import gc
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from kombu import compression

from benchmarks.machine import describe
from benchmarks.server import wrap
from benchmarks.system import MIX_OPTIONS, System
from benchmarks.system import WARM_UP_S as STARTED_S
from collector import batch as batches
from collector.clock import ManualClock
from collector.feed.arbitration import FeedArbiter
from collector.feed.framing import split_frames
from collector.feed.session import Session
from collector.feed.watchdog import new_rhythms
from collector.listener.pipeline import EventPipeline
from collector.model import Channel, Source, Trade
from collector.protocol.codec import Subscription
from collector.protocol.current import CurrentCodec
from collector.publish.handoff import HandoffQueue
from collector.settings import BatchSettings, ConnectionSettings, PressureSettings
from collector.simulator.current import CurrentDialect
from collector.simulator.model import MarketModel, Pace
from collector.simulator.requests import Stream
from collector.simulator.requests import Subscription as Wanted
from collector.stream.batcher import Batcher
from collector.stream.pressure import PressurePolicy, PressureSample, PressureState
from collector.stream.totals import Missing, Totals

MARKETS, RATE = 493, 300
#: The first seconds, in which the ledger learns how each market counts, are not measured.
WARM_UP_S, SECONDS, STEP_S, TICK_S = 8, 20, 0.01, 0.02
ROUNDS = 4
LISTENER_S = 20
T0_MS = 1_790_000_000_000
CHANNELS = ("trade", "orderbook", "ticker")


class NoTotals(Totals):
    """A ledger that does nothing."""

    def trade(self, trade: Trade, now_ms: int) -> None:
        pass

    def ticker(
        self,
        name: str,
        turnover: Decimal,
        exchange_ms: int,
        trade_ms: int | None,
        source: Source,
        now_s: float,
    ) -> None:
        pass

    def tick(self, now_s: float) -> list[Missing]:  # noqa: ARG002 - nothing is late
        return []


@dataclass(frozen=True, slots=True)
class Run:
    """CPU seconds of the whole line, and what the ledger counted."""

    cpu_s: float
    counts: dict[str, int]


def made() -> list[list[bytes]]:
    """Return the frames of each step of the market."""
    model = MarketModel(MARKETS, Pace(rate=RATE), 1, T0_MS * 1000)
    codes = tuple(model.markets)
    wanted = Wanted(tuple(Stream(channel, codes) for channel in CHANNELS))
    dialect = CurrentDialect()
    steps = []
    for number in range(1, round((WARM_UP_S + SECONDS) / STEP_S) + 1):
        now_us = T0_MS * 1000 + round(number * STEP_S * 1e6)
        steps.append(dialect.live(model.advance(now_us), wanted, now_us // 1000))
    return steps


def run(steps: Sequence[Iterable[bytes]], totals: Totals) -> Run:
    """Send the frames down the line."""
    clock, handoff = ManualClock(T0_MS), HandoffQueue(100_000)
    pipeline = EventPipeline(Batcher(BatchSettings(), "listener"), handoff, clock)
    pipeline.totals = totals
    pipeline.begin({})
    settings, arbiter = ConnectionSettings(), FeedArbiter()
    subscription = Subscription(("KRW-BTC",), tuple(Channel))
    rhythms = new_rhythms(settings)
    sessions = [
        Session(CurrentCodec(), subscription, rhythms, settings, 0.0, arbiter=arbiter) for _ in range(2)
    ]
    streams = [b"".join(map(wrap, frames)) for frames in steps]
    calm = PressurePolicy(PressureSettings()).decide(PressureSample(), PressureState(), 0.0)
    ticked_s = 0.0
    started_s, warm = 0.0, round(WARM_UP_S / STEP_S)
    for number, stream in enumerate(streams):
        if number == warm:
            gc.collect()
            started_s = time.process_time()
        clock.advance(STEP_S)
        for socket, session in enumerate(sessions):
            events = [
                event
                for raw in split_frames(stream, 1 << 20).frames
                for event in session.on_frame(raw, clock.now_ms(), clock.monotonic()) or ()
            ]
            pipeline.process(socket, events)
        if clock.monotonic() - ticked_s >= TICK_S:
            ticked_s = clock.monotonic()
            pipeline.tick(calm)
        while (batch := handoff.take(0, states=CHANNELS)) is not None:
            compression.compress(batches.encode(batch), "zstd")
    return Run(time.process_time() - started_s, dict(totals.counts))


def cost(rounds: int = ROUNDS) -> tuple[float, float, dict[str, int]]:
    """Return milliseconds of CPU a second of the mix: of the ledger, of the line with it; and its counts.

    Other work on the machine only ever adds to what a run takes: the shortest of each kind counts.
    """
    steps = made()
    without, beside = [], []
    for _ in range(rounds):
        without.append(run(steps, NoTotals()))
        beside.append(run(steps, Totals()))
    least_s, line_s = (min(each.cpu_s for each in runs) for runs in (without, beside))
    return (line_s - least_s) / SECONDS * 1000, line_s / SECONDS * 1000, beside[0].counts


def listener_ms() -> float:
    """Return the milliseconds of CPU that a whole listener takes a second of the mix, its start left out."""
    calm = {"COLLECTOR_EXCHANGE__REST_REQUESTS_PER_S": "0.1", "COLLECTOR_AUDIT__ENABLED": "false"}
    with tempfile.TemporaryDirectory() as folder:
        system = System(Path(folder), MIX_OPTIONS, calm)
        with system.running():
            time.sleep(STARTED_S)
            before, started_s = system.cpu_s(), time.monotonic()
            time.sleep(LISTENER_S)
            took_s = time.monotonic() - started_s
            return (system.cpu_s()["listener"] - before["listener"]) / took_s * 1000


def main(whole_ms: float) -> None:
    """Print the bar.

    Args:
        whole_ms: milliseconds of CPU that the whole listener takes a second of the mix.
    """
    ledger_ms, line_ms, counts = cost()
    print(
        f"11 the totals ledger's share of the listener's CPU at the mix: {ledger_ms / whole_ms:.1%}   "
        f"bar <= 5 %   ({ledger_ms:.1f} ms a second, of {whole_ms:.0f}; of the line without sockets and "
        f"Redis, which takes {line_ms:.0f} ms, {ledger_ms / line_ms:.1%}; "
        f"{counts.get('totals_agree', 0):,} tickers agreed, {counts.get('totals_disagree', 0):,} did not)",
        flush=True,
    )


if __name__ == "__main__":
    print(describe())
    main(listener_ms())
