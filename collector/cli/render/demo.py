"""The end of `collector demo`: the verdict first, then the busiest markets, figures, and what comes next."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from collector.cli.render import values
from collector.cli.render.results import FALL, RISE
from collector.cli.render.table import Column, RenderedTable

MARKETS_SHOWN = 8
#: Markets named in a bad verdict.
NAMED = 5


@dataclass(frozen=True, slots=True)
class MarketEnd:
    """What was made and what was counted of one market; `is_exact` if both agree to the last digit."""

    market: str
    made: int
    counted: int
    base_volume: Decimal
    vwap: Decimal | None
    spread_bps: Decimal | None
    is_exact: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoEnd:
    """All that the end of a demo reports.

    Attributes:
        counters: of listener and workers together.
        lag: from the exchange to the listener, in words.
        was_cut: whether a socket was lost.
        next_commands: what they do, and how they are typed.
    """

    markets: Sequence[MarketEnd]
    counters: Mapping[str, int]
    sockets: int
    lag: str
    was_cut: bool
    next_commands: Mapping[str, str]

    @property
    def made(self) -> int:
        """Trades made by the simulated exchange."""
        return sum(row.made for row in self.markets)

    @property
    def lost(self) -> int:
        """Trades made and not counted."""
        return sum(max(row.made - row.counted, 0) for row in self.markets)

    @property
    def doubled(self) -> int:
        """Trades counted and not made."""
        return sum(max(row.counted - row.made, 0) for row in self.markets)

    @property
    def wrong(self) -> list[str]:
        """Markets whose figures differ."""
        return [row.market for row in self.markets if not row.is_exact]


def demo_end(end: DemoEnd) -> Iterator[RenderableType]:
    """Yield the parts of the report."""
    yield _verdict(end)
    yield _markets(end.markets)
    yield _figures(end)
    yield Text("\n".join(["Next:", *_columns(end.next_commands)]))


def _verdict(end: DemoEnd) -> Text:
    count = f"{end.made:,} trades made, {end.lost:,} lost, {end.doubled:,} doubled"
    if wrong := end.wrong:
        more = f" and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
        return Text(f"{count}: {', '.join(wrong[:NAMED])}{more} differ", f"bold {FALL}")
    return Text(f"{count}: every trade counted exactly once", f"bold {RISE}")


def _markets(rows: Sequence[MarketEnd]) -> RenderedTable:
    """Return the busiest markets, those that are wrong before them."""
    shown = sorted(rows, key=lambda row: (row.is_exact, -row.made))[:MARKETS_SHOWN]
    return RenderedTable(
        "",
        (
            Column("market", [row.market for row in shown], right=False),
            Column("made", [values.count(row.made) for row in shown]),
            Column("counted", [values.count(row.counted) for row in shown]),
            Column("volume", [values.fixed(row.base_volume, 4) for row in shown], rank=3),
            Column("VWAP", [_price(row.vwap) for row in shown], rank=1),
            Column("spread bps", [values.fixed(row.spread_bps, 2) for row in shown], rank=2),
            Column(
                "exact",
                ["yes" if row.is_exact else "no" for row in shown],
                styles=[RISE if row.is_exact else FALL for row in shown],
            ),
        ),
        f"the busiest {len(shown)} of {len(rows)} markets" if len(rows) > len(shown) else "",
    )


def _figures(end: DemoEnd) -> Table:
    counted = end.counters
    rest = counted.get("trades_recovered", 0)
    when = "before the sockets were connected" + (", or while they were cut" if end.was_cut else "")
    rows = {
        "trades from the sockets": f"{counted.get('trades_counted', 0) - rest:,}",
        "trades from REST": f"{rest:,}, made {when}" if rest else "none was needed",
        "frames received": f"{counted.get('frames', 0):,} on {end.sockets} sockets",
        "of them left out": f"{counted.get('frame_copies', 0):,} second copies, "
        f"{counted.get('books_repeated', 0):,} unchanged books",
        "stored": f"{counted.get('books_stored', 0):,} books, {counted.get('tickers_stored', 0):,} tickers",
        "Celery tasks": f"{counted.get('batches', 0):,}",
        "exchange to listener": end.lag,
    }
    table = Table.grid(padding=(0, 3))
    for name, figure in rows.items():
        table.add_row(name, figure)
    return table


def _columns(commands: Mapping[str, str]) -> list[str]:
    """Return a line for each command, what it does before it: the longer part may run over the edge."""
    width = max(map(len, commands), default=0)
    return [f"  {name:<{width}}  {command}" for name, command in commands.items()]


def _price(price: Decimal | None) -> str:
    """Return a price with only as many digits as distinguish it."""
    if price is None:
        return values.NOTHING
    return values.fixed(price, 0 if price >= 1000 else 2 if price >= 1 else 6)
