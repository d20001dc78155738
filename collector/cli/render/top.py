"""One frame of `collector top`: who runs, how fast, what waits, what was lost, and the busiest markets.

A frame fits itself to the terminal: markets take the lines the rest leaves, or stand beside it where it is
wide.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from collector.analytics.market_states import MarketState
from collector.cli.render import health, values
from collector.cli.render.results import FALL, QUIET, WARN, sign
from collector.cli.render.table import Column, RenderedTable
from collector.store.read import Health, MarketRow, TickerRow

WIDE, SYSTEM_WIDTH = 140, 78
#: From this height on there is an empty line between two parts.
AIRY = 28
#: Below this height the workers make room for markets.
LOW = 18
MARKETS_SHOWN = 20
WORKERS_SHOWN = 4

#: What flows through, and under which names it is counted.
FLOWS: Mapping[str, tuple[str, ...]] = {
    "frames": ("frames",),
    "trades": ("trades_counted",),
    "books": ("books_stored",),
    "tickers": ("tickers_stored",),
    "tasks": ("batches",),
}
#: What was left out on purpose, what was refused, what waits on disk or did, what is gone.
TOLLS: Mapping[str, tuple[str, ...]] = {
    "copies": ("frame_copies", "trades_duplicate"),
    "repeats": ("books_repeated",),
    "merged": ("*_merged",),
    "spooled": ("*_rows_spooled",),
    "refused": ("rejected:*", "batches_invalid"),
    "lost": ("*_rows_lost", "trades_too_late", "dead_letters_dropped"),
}
#: Where there is no room, these queues are left out while nothing waits in them, the higher first.
EMPTY_QUEUES_GO = {"analysis": 1, "archive": 2}
ALARMING = {"spooled": WARN, "refused": WARN, "lost": FALL}


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What was read at one moment.

    Attributes:
        now_ms: when, epoch ms.
        states: the state of each market at the exchange.
        rates: growth of each counter per second since the view before; none in the first.
        trouble: why there is nothing newer, or nothing.
    """

    now_ms: int
    health: Health
    tickers: Sequence[TickerRow]
    where: str = ""
    states: Mapping[str, MarketRow] = field(default_factory=dict)
    rates: Mapping[str, float] = field(default_factory=dict)
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class TopFrame:
    """A view as it is drawn, on a screen of so many lines or, without a number, on paper."""

    view: View
    height: int | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the frame for the width at hand."""
        width = options.max_width
        headline = _headline(self.view, width)
        if width >= WIDE and self.height is not None:
            yield headline
            yield Text()
            yield self._side_by_side()
            return
        height = AIRY if self.height is None else self.height
        above = Group(headline, *_parts(self.view, airy=height >= AIRY, workers=height >= LOW), Text())
        yield above
        taken = len(console.render_lines(above, options.update(height=None)))
        yield _markets(self.view, None if self.height is None else self.height - taken)

    def _side_by_side(self) -> Table:
        grid = Table.grid(padding=(0, 3))
        grid.add_column(width=SYSTEM_WIDTH)
        grid.add_column()
        system = Group(*_parts(self.view, airy=True)[1:])
        grid.add_row(system, _markets(self.view, None if self.height is None else self.height - 2))
        return grid


def growth(now: Mapping[str, int], before: Mapping[str, int], seconds: float) -> dict[str, float]:
    """Return how much each counter grew per second; one that began anew has not grown."""
    return {name: max(0, count - before.get(name, 0)) / seconds for name, count in now.items()}


def summed(counts: Mapping[str, float], patterns: Sequence[str]) -> float:
    """Return the sum of all counters whose names match a pattern."""
    return sum(
        count for name, count in counts.items() if any(fnmatchcase(name, pattern) for pattern in patterns)
    )


def _headline(view: View, width: int) -> Text:
    """Return the first line: what, when, where, and how to leave."""
    now = f"{values.second(view.now_ms)} {values.zone_name()}"
    line = Text.assemble(("collector", "bold"), f"  {now}")
    line.append(f"  {view.trouble or view.where}", style=FALL if view.trouble else QUIET)
    line.truncate(width, overflow="ellipsis")
    return line


def _parts(view: View, *, airy: bool, workers: bool = True) -> list[RenderableType]:
    """Return the parts about the system, an empty line before the first or, if `airy`, before each."""
    parts = [
        _listeners(view),
        RenderedTable(
            "", [_queue(name, length) for name, length in view.health.queues.items()], compact=True
        ),
        _flows(view),
        *([_workers(view)] if workers else []),
    ]
    if not airy:
        return [Text(), *parts]
    return [line for part in parts for line in (Text(), part)]


def _listeners(view: View) -> RenderableType:
    rows = view.health.listeners
    if not rows:
        return Text(" no listener is running: `collector up`", style=WARN)
    return RenderedTable(
        "",
        (
            Column("listener", [str(row.get("id")) for row in rows], False, rank=2 if len(rows) == 1 else 0),
            health.word("state", [str(row.get("state")) for row in rows]),
            health.word("mode", [str(row.get("mode")) for row in rows]),
            Column("sockets", [health.sockets(row) for row in rows]),
            Column("frames/s", [f"{row.get('frames_per_s') or 0:,.0f}" for row in rows]),
            Column("lag p50", [values.duration(row.get("lag_ms_p50")) for row in rows], rank=1),
            Column("lag p99", [values.duration(row.get("lag_ms_p99")) for row in rows]),
            Column("spool", [values.size(row.get("spool_bytes")) for row in rows]),
        ),
        compact=True,
    )


def _queue(name: str, length: int) -> Column:
    colour = FALL if name == "dead-letters" and length else ""
    rank = 0 if length else EMPTY_QUEUES_GO.get(name, 0)
    return Column(
        "queue trade" if name == "trade" else name, [values.count(length)], styles=[colour], rank=rank
    )


def _flows(view: View) -> Group:
    counts = view.health.counters
    flows = [Column("", ["in all", "per s"], right=False, styles=[QUIET, QUIET])]
    for name, patterns in FLOWS.items():
        per_s = f"{summed(view.rates, patterns):,.1f}" if view.rates else values.NOTHING
        flows.append(Column(name, [values.count(int(summed(counts, patterns))), per_s]))
    tolls = [_toll(name, int(summed(counts, patterns))) for name, patterns in TOLLS.items()]
    return Group(RenderedTable("", flows, compact=True), RenderedTable("", tolls, compact=True))


def _toll(name: str, count: int) -> Column:
    return Column(name, [values.count(count)], styles=[ALARMING.get(name, "") if count else ""])


def _workers(view: View) -> RenderableType:
    rows = view.health.workers[:WORKERS_SHOWN]
    if not rows:
        return Text(" no worker is running: `celery -A tasks worker`, or `collector up`", style=WARN)
    return RenderedTable(
        "",
        (
            Column("worker", [str(row.get("hostname")) for row in rows], right=False),
            Column("tasks", [values.count(row.get("tasks_done")) for row in rows]),
            Column("active", [values.count(row.get("tasks_active")) for row in rows]),
            Column("last task", [health.age(row.get("last_task_ms"), view.now_ms) for row in rows], rank=1),
            Column("queues", [" ".join(row.get("queues", ())) for row in rows], right=False, rank=2),
        ),
        compact=True,
    )


def _markets(view: View, lines: int | None) -> RenderableType:
    """Return the busiest markets, in at most so many lines, the header included."""
    shown = MARKETS_SHOWN if lines is None else max(1, lines - 1)
    rows = sorted(view.tickers, key=lambda row: (-(row.quote_volume_24h or 0), row.market))[:shown]
    if not rows:
        return Text(" no market so far", style=QUIET)
    colours = [sign(row.change_rate) for row in rows]
    return RenderedTable(
        "",
        (
            Column(f"{len(view.tickers):,} markets", [row.market for row in rows], right=False),
            *_standing([view.states.get(row.market) for row in rows]),
            Column("price", [values.number(row.price) for row in rows], styles=colours),
            Column("change", [values.percent(row.change_rate) for row in rows], styles=colours),
            Column("high", [values.number(row.high) for row in rows], rank=3),
            Column("low", [values.number(row.low) for row in rows], rank=3),
            Column("volume 24h", [values.amount(row.base_volume_24h) for row in rows], rank=1),
            Column("value 24h", [values.amount(row.quote_volume_24h) for row in rows]),
            Column("age", [values.duration(max(0, view.now_ms - row.exchange_ms)) for row in rows], rank=2),
        ),
        compact=True,
    )


def _standing(rows: Sequence[MarketRow | None]) -> list[Column]:
    """Return the column of markets that do not trade or are warned of, where any is shown."""
    words = [
        "" if row is None else str(row.state) if row.state is not MarketState.ACTIVE else row.warning or ""
        for row in rows
    ]
    return [Column("", words, False, [WARN] * len(words))] if any(words) else []
