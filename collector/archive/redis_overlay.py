"""The Redis overlay: data not archived yet, merged in memory by the archive's rules."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from collector.analytics.completeness import Ongoing
from collector.analytics.market_states import MarketRow
from collector.archive.archiver import RECENT_MS, Archiver
from collector.archive.files import Files
from collector.archive.partitions import HOUR_MS, hour_of
from collector.archive.schema import (
    BOOKS,
    CANDLES,
    GAPS,
    TICKERS,
    TRADES,
    Slot,
    Table,
    book_record,
    gap_record,
    ticker_record,
)
from collector.archive.source import ArchiveSource

log = logging.getLogger(__name__)


@dataclass
class Recent:
    """Rows by channel, which stand for the archived rows of the same name.

    `slots` are the minutes (market, open) whose archived trades are replaced as a whole.
    """

    rows: dict[Table, list[Any]] = field(default_factory=dict)
    slots: set[Slot] = field(default_factory=set)
    #: Losses that last, by market, and until when they matter, which is the newest data.
    lasting: dict[str, Ongoing] = field(default_factory=dict)
    as_of_ms: int | None = None
    #: The state of each market at the exchange.
    markets: list[MarketRow] = field(default_factory=list)

    def lasting_stretches(self) -> list[tuple[str, int, int]]:
        """Return market, start and end, epoch ms, of the losses that last."""
        as_of_ms = self.as_of_ms or 0
        return [(market, loss.from_ms, max(as_of_ms, loss.seen_ms)) for market, loss in self.lasting.items()]

    def hours(self, table: Table) -> set[int]:
        """Return the hours whose archived rows may be replaced."""
        if table is TRADES:
            return {hour_of(open_ms) for _, open_ms in self.slots}
        place = table.record._fields.index(table.time)
        return {hour_of(row[place]) for row in self.rows.get(table, ())}


def read_recent(
    files: Files,
    source: ArchiveSource,
    archive: Archiver,
    from_ms: int | None = None,
    to_ms: int | None = None,
) -> Recent:
    """Return what the archive lacks of `from_ms … to_ms`.

    Compared are the newest hours, and those without a file; older ones that are archived are taken as they
    are, which may lag behind a late trade by one sweep.

    Raises:
        BrokerUnavailable: Redis does not answer.
    """
    gaps = [gap_record(gap) for gap in source.gaps()]
    hours = [hour for hour in _lagging(files, source) if _touches(hour, from_ms, to_ms)]
    losses = archive.losses(gaps, hours)
    recent = Recent({TRADES: [], CANDLES: [], GAPS: gaps})
    for hour_ms in hours:
        update = archive.lacking(hour_ms, losses)
        recent.slots |= update.slots
        recent.rows[TRADES] += update.trades
        recent.rows[CANDLES] += update.candles
    recent.rows[TICKERS] = list(map(ticker_record, source.tickers()))
    recent.rows[BOOKS] = list(map(book_record, source.books()))
    recent.lasting, recent.as_of_ms = source.lasting(), source.reader.as_of_ms()
    recent.markets = source.reader.market_rows()
    return recent


def _lagging(files: Files, source: ArchiveSource) -> list[int]:
    hours: Sequence[int] = source.hours()
    return [
        hour for hour in hours if hour >= hours[-1] - RECENT_MS or not files.place(CANDLES, hour).exists()
    ]


def _touches(hour_ms: int, from_ms: int | None, to_ms: int | None) -> bool:
    return (to_ms is None or hour_ms <= to_ms) and (from_ms is None or hour_ms + HOUR_MS > from_ms)
