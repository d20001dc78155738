"""The picture of `benchmarks.overload`: queues, ages and memory over the mode they led to."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from benchmarks.overload_run import Run, Sample
from benchmarks.pressure_plot import BLUE, COLOURS, GREY, ORANGE, RED
from collector.settings import Settings
from collector.stream.pressure import Mode

#: Seconds on the axis of ages, unless something got older.
AGE_SHOWN_S = 8.0
Figure = Callable[[Sample], float | None]


def draw(runs: Sequence[Run], path: Path) -> None:
    """Draw all runs side by side into `path`."""
    figure, axes = plt.subplots(
        3, len(runs), figsize=(6 * len(runs), 9), sharex="col", sharey="row", squeeze=False
    )
    for column, run in enumerate(runs):
        queues, ages, memory = axes[:, column]
        for axis in (queues, ages, memory):
            _shade(axis, run)
        _draw_queues(queues, run)
        _draw_ages(ages, run)
        _draw_memory(memory, run)
        queues.set_title(run.name, fontsize=12)
        memory.set_xlabel("seconds; dotted: the end of the load")
    places = (("waiting", "upper left"), ("seconds", "upper left"), ("MB", "center left"))
    for row, (label, place) in enumerate(places):
        axes[row, 0].set_ylabel(label, fontsize=11)
        axes[row, 0].legend(loc=place, fontsize=9, framealpha=0.9)
    modes: list[Patch | Line2D] = [Patch(color=colour, label=mode.name) for mode, colour in COLOURS.items()]
    figure.legend(handles=modes, loc="upper right", ncols=3, fontsize=11, frameon=False)
    lost = sum(run.trades_lost for run in runs)
    returned = sum(bool(run.flow_s) for run in runs)
    figure.suptitle(
        f"Ten times what the workers sustain: {lost} trades lost, {returned} of {len(runs)} back in FLOW",
        x=0.02, ha="left", fontsize=14,
    )  # fmt: skip
    figure.tight_layout(rect=(0, 0, 1, 0.985))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)
    plt.close(figure)


def _draw_queues(axis: Axes, run: "Run") -> None:
    axis.set_yscale("symlog", linthresh=10)
    axis.set_ylim(0, 10_000_000)  # the legend has room
    _line(axis, run, lambda s: s.queues["trade"] if s.queues else None, BLUE, "batches in `trade`")
    _line(axis, run, lambda s: s.queues["orderbook"] if s.queues else None, ORANGE, "batches in `orderbook`")
    _line(axis, run, lambda s: s.trades_behind, RED, "trades not yet stored", ls="--")


def _draw_ages(axis: Axes, run: "Run") -> None:
    """Draw how old things were during the load: after it hardly anything new is sent."""

    def loaded(figure: Figure) -> Figure:
        return lambda sample: figure(sample) if sample.at_s <= run.load_s else None

    axis.set_ylim(0, AGE_SHOWN_S)
    _line(axis, run, loaded(lambda s: s.ticker_age_s), BLUE, "oldest ticker of any market")
    _line(axis, run, loaded(lambda s: s.book_age_s), ORANGE, "oldest book of any market")
    _line(axis, run, loaded(lambda s: s.newest_book_age_s), GREY, "newest book")
    if run.worst(lambda s: max(s.ticker_age_s or 0, s.book_age_s or 0)) > AGE_SHOWN_S:
        axis.set_yscale("symlog", linthresh=1)
        axis.set_ylim(0, 200)


def _draw_memory(axis: Axes, run: "Run") -> None:
    limit = Settings().pressure.memory_limit_mb
    axis.set_ylim(0, limit * 1.15)
    _line(axis, run, lambda s: s.memory_mb, BLUE, "the listener's memory")
    axis.axhline(limit, color=GREY, lw=0.8, ls=":")
    axis.text(0, limit * 1.02, " memory_limit_mb", color=GREY, fontsize=8)


def _line(axis: Axes, run: "Run", figure: Figure, colour: str, label: str, ls: str = "-") -> None:
    seen = [(sample.at_s, figure(sample)) for sample in run.samples]
    # A gap in the line where Redis did not answer.
    values = [float("nan") if value is None else value for _, value in seen]
    axis.plot([at_s for at_s, _ in seen], values, color=colour, lw=1.4, ls=ls, label=label)


def _shade(axis: Axes, run: "Run") -> None:
    mode = Mode.FLOW
    for sample, following in pairwise(run.samples):
        mode = Mode(sample.mode) if sample.mode else mode
        axis.axvspan(sample.at_s, following.at_s, color=COLOURS[mode], lw=0)
    axis.axvline(run.load_s, color="black", lw=1, ls=":")
    axis.set_xlim(run.samples[0].at_s, run.samples[-1].at_s)
    axis.grid(visible=True, color="white", lw=0.8)
