"""Who is alive and how well: listeners, queues, workers, counters."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import RenderableType

from collector.cli.render import values
from collector.cli.render.proof import sentence
from collector.cli.render.results import FALL, RISE, WARN
from collector.cli.render.table import Column, RenderedTable
from collector.clock import SystemClock
from collector.store.condition import LOSING, Condition
from collector.store.read import Health

#: Styles of the words listeners use about themselves.
STATES = {
    "streaming": RISE,
    "flow": RISE,
    "merge": WARN,
    "spool": FALL,
    "gave_up": FALL,
    "stopped": FALL,
    "waiting": WARN,
}

#: A worker's figure that is a length of time; the others that end in `_ms` are times.
CLOCK_AHEAD = "clock_ahead_ms"

Row = Mapping[str, Any]


def health(report: Health, now_ms: int | None = None) -> Iterator[RenderableType]:
    """Yield the parts of the report; ages are measured against `now_ms`, epoch ms (default: now).

    A missing listener is reported before every view (`collector.cli.freshness`).
    """
    now_ms = SystemClock().now_ms() if now_ms is None else now_ms
    if report.proof is not None:
        yield sentence(report.proof)
    if report.listeners:
        yield listeners(report.listeners, now_ms)
        yield connections(report.listeners, now_ms)
    yield queues(report.queues)
    yield workers(report.workers, now_ms) if report.workers else "No worker is running."
    yield counters(report.counters)
    if report.redis is not None and report.redis.problems:
        yield redis(report.redis)


def listeners(rows: Sequence[Row], now_ms: int) -> RenderedTable:
    """Return one line per listener."""
    return RenderedTable(
        "Listeners",
        (
            Column("id", [str(row.get("id")) for row in rows], right=False),
            word("state", [str(row.get("state")) for row in rows]),
            word("mode", [str(row.get("mode")) for row in rows]),
            Column("markets", [values.count(row.get("markets")) for row in rows], rank=2),
            Column("frames/s", [f"{row.get('frames_per_s') or 0:,.0f}" for row in rows]),
            Column("lag p50", [values.duration(row.get("lag_ms_p50")) for row in rows], rank=1),
            Column("lag p99", [values.duration(row.get("lag_ms_p99")) for row in rows]),
            Column("spool", [values.size(row.get("spool_bytes")) for row in rows]),
            Column("last frame", [age(row.get("last_frame_ms"), now_ms) for row in rows], rank=3),
        ),
    )


def connections(rows: Sequence[Row], now_ms: int) -> RenderedTable:
    """Return one line per socket of every listener."""
    sockets = [(row, socket) for row in rows for socket in row.get("connections", ())]
    return RenderedTable(
        "Connections",
        (
            Column("listener", [str(row.get("id")) for row, _ in sockets], right=False, rank=2),
            Column("socket", [str(socket.get("number")) for _, socket in sockets]),
            word("state", [str(socket.get("state")) for _, socket in sockets]),
            Column("frames", [values.count(socket.get("frames")) for _, socket in sockets]),
            Column("connects", [values.count(socket.get("connects")) for _, socket in sockets]),
            Column("losses", [values.count(socket.get("losses")) for _, socket in sockets]),
            Column("last frame", [age(socket.get("last_frame_ms"), now_ms) for _, socket in sockets], rank=1),
            Column("last loss", [str(socket.get("last_loss") or "") for _, socket in sockets], False, rank=3),
        ),
    )


def queues(lengths: Mapping[str, int]) -> RenderedTable:
    """Return the length of each queue, in batches."""
    return RenderedTable(
        "Queues, batches waiting",
        [Column(name, [values.count(length)]) for name, length in lengths.items()],
    )


def workers(rows: Sequence[Row], now_ms: int) -> RenderedTable:
    """Return one line per worker: its name, and whatever figures it reports."""
    names = list(dict.fromkeys(name for row in rows for name, value in row.items() if _is_plain(value)))
    return RenderedTable(
        "Workers",
        [
            Column(
                _title(name),
                [_cell(name, row.get(name), now_ms) for row in rows],
                right=number > 0,
                rank=number,
            )
            for number, name in enumerate(names)
        ],
    )


def counters(counts: Mapping[str, int]) -> RenderedTable:
    """Return what was counted, zeros left out."""
    counted = {name: count for name, count in counts.items() if count}
    return RenderedTable(
        "Counters",
        (
            Column("name", list(counted), right=False, styles=[_concern(name) for name in counted]),
            Column("count", [values.count(count) for count in counted.values()]),
        ),
    )


def redis(state: Condition) -> RenderedTable:
    """Return what is wrong with Redis."""
    styles = [FALL if problem.kind in LOSING else WARN for problem in state.problems]
    return RenderedTable(
        "Redis",
        (
            Column("what", [str(problem.kind) for problem in state.problems], False, styles),
            Column("meaning", [problem.detail for problem in state.problems], right=False, wraps=True),
        ),
    )


def word(title: str, words: Iterable[str]) -> Column:
    """Return a column of words, each in the colour of what it means."""
    words = list(words)
    return Column(title, words, False, [STATES.get(word, "") for word in words])


def _concern(name: str) -> str:
    """Mark names that stand for something lost."""
    if name.endswith("_lost") or name in ("trades_too_late", "batches_dead"):
        return FALL
    return WARN if name.startswith(("rejected:", "stalls:", "send_failures")) else ""


def sockets(row: Row) -> str:
    """Return how many sockets of a listener stream, of how many."""
    states = [socket.get("state") for socket in row.get("connections", ())]
    return f"{states.count('streaming')}/{len(states)}"


def age(time_ms: int | None, now_ms: int) -> str:
    """Return how long ago something was."""
    return values.NOTHING if not time_ms else f"{values.duration(max(0, now_ms - time_ms))} ago"


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float) or value is None


def _title(name: str) -> str:
    return name.removesuffix("_ms").replace("_", " ")


def _cell(name: str, value: object, now_ms: int) -> str:
    if name == CLOCK_AHEAD and isinstance(value, int):
        return f"{'-' if value < 0 else ''}{values.duration(abs(value))}"
    if name.endswith("_ms") and isinstance(value, int):
        return age(value, now_ms)
    if isinstance(value, int) and name != "pid":
        return values.count(value)
    return values.NOTHING if value is None else str(value)
