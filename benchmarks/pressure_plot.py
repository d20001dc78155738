"""The picture of `benchmarks.pressure_simulation`: load, queues and ages over the mode they led to."""

from itertools import groupby
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from benchmarks.pressure_trace import Trace
from collector.settings import Settings
from collector.stream.pressure import Mode

COLOURS = {Mode.FLOW: "#e3f1df", Mode.MERGE: "#ffedb8", Mode.SPOOL: "#f6c6c0"}
BLUE, ORANGE, GREY, RED = "#1f4e9c", "#d9730d", "#777777", "#a61b1b"
SHOWN = 1200  # points of a line: each is the worst of its stretch


def draw(traces: list[Trace], settings: Settings, path: Path) -> None:
    """Draw all runs side by side into `path`."""
    figure, axes = plt.subplots(3, len(traces), figsize=(4.2 * len(traces), 9), squeeze=False, sharex="col")
    for column, trace in enumerate(traces):
        load, queues, ages = axes[:, column]
        for axis in (load, queues, ages):
            _shade(axis, trace)
        _draw_load(load, trace)
        _draw_queues(queues, trace, settings)
        _draw_ages(ages, trace)
        load.set_title(trace.scenario.name, fontsize=12)
        ages.set_xlabel("minutes")
    for row, label in enumerate(("rows a second", "batches that wait", "age in seconds")):
        axes[row, 0].set_ylabel(label, fontsize=11)
        axes[row, 0].legend(loc="upper left", fontsize=9, framealpha=0.9)
    modes = [Patch(color=colour, label=mode.name) for mode, colour in COLOURS.items()]
    figure.legend(handles=modes, loc="upper right", ncols=3, fontsize=11, frameon=False)
    figure.suptitle(
        "Pressure policy, simulated: no trade is lost, no queue outgrows its mark", x=0.02, ha="left"
    )
    figure.tight_layout(rect=(0, 0, 1, 0.985))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)
    plt.close(figure)


def _draw_load(axis: Axes, trace: "Trace") -> None:
    axis.plot(*_worst(trace.minutes, trace.offered), color=BLUE, label="offered")
    axis.plot(
        *_worst(trace.minutes, trace.done), color=ORANGE, lw=1, label="stored; the rest is merged or waits"
    )
    axis.set_ylim(0, max(trace.offered) * 1.25)


def _draw_queues(axis: Axes, trace: "Trace", settings: Settings) -> None:
    axis.set_yscale("symlog", linthresh=10)
    axis.set_ylim(0, 20_000)
    axis.plot(*_worst(trace.minutes, trace.trades), color=BLUE, label="trade queue")
    axis.plot(*_worst(trace.minutes, trace.states), color=ORANGE, lw=1, label="tickers and books")
    axis.plot(*_worst(trace.minutes, trace.spooled), color=RED, ls="--", label="trades on disk")
    for name in ("queue_low", "queue_high", "queue_max"):
        mark = getattr(settings.pressure, name)
        axis.axhline(mark, color=GREY, lw=0.8, ls=":")
        axis.text(trace.minutes[-1], mark * 1.1, name, color=GREY, fontsize=8, ha="right")


def _draw_ages(axis: Axes, trace: "Trace") -> None:
    axis.set_yscale("symlog", linthresh=1)
    axis.set_ylim(0, 20_000)
    axis.plot(
        *_worst(trace.minutes, trace.trade_age_s), color=BLUE, lw=3, alpha=0.7, label="oldest trade, disk too"
    )
    axis.plot(
        *_worst(trace.minutes, trace.state_age_s), color=ORANGE, lw=1, label="ticker or book last stored"
    )


def _shade(axis: Axes, trace: "Trace") -> None:
    for mode, stretch in groupby(zip(trace.minutes, trace.modes, strict=True), key=lambda pair: pair[1]):
        minutes = [minute for minute, _ in stretch]
        axis.axvspan(minutes[0], minutes[-1] + 0.02, color=COLOURS[mode], lw=0)
    axis.set_xlim(trace.minutes[0], trace.minutes[-1])
    axis.grid(visible=True, color="white", lw=0.8)


def _worst(minutes: list[float], values: list[float]) -> tuple[list[float], list[float]]:
    """Thin a line out, keeping its peaks."""
    size = max(1, len(values) // SHOWN)
    starts = range(0, len(values), size)
    return [minutes[start] for start in starts], [max(values[start : start + size]) for start in starts]
