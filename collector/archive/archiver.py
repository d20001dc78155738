"""Bring the archive up to what Redis holds; compact old days; forget the oldest.

Each step is a union by identity into files that are replaced whole, trades before their candles. So it
can run again, in any order, and be interrupted anywhere; without new data no file changes.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from collector.analytics.completeness import Losses, Ongoing
from collector.archive import ArchiveUnavailable, parquet
from collector.archive.files import Files
from collector.archive.hours import Hours, Lacking
from collector.archive.merge import (
    LossesOf,
    merge_gaps,
)
from collector.archive.parquet import Arrow
from collector.archive.partitions import HOUR_MS, day_of, expired, hour_of, start_ms
from collector.archive.schema import (
    BOOKS,
    GAPS,
    TABLES,
    TICKERS,
    GapRecord,
    Table,
    book_record,
    gap_of,
    gap_record,
    key_of,
    ticker_record,
)
from collector.archive.source import ArchiveSource
from collector.settings import ArchiveSettings
from collector.util.korean_time import DAY_MS

log = logging.getLogger(__name__)

#: What every run looks at: the hour that is being written and the one before.
RECENT_MS = HOUR_MS
#: Gaps are looked up this far before an hour; gaps that Redis still has are added whatever their age.
GAP_REACH_MS = DAY_MS


class Archiver:
    """The archive below a data folder, fed from one Redis."""

    def __init__(self, files: Files, source: ArchiveSource, settings: ArchiveSettings) -> None:
        self._files = files
        self._source = source
        self._settings = settings
        self._hours = Hours(files)

    def run(self, *, everything: bool = False) -> list[str]:
        """Archive what is new in the newest hours, or in all that Redis keeps; return what failed.

        Raises:
            ArchiveBusy: another process is at it.
            BrokerUnavailable: Redis does not answer.
        """
        with self._files.locked():
            self._files.clear_leftovers()
            failed = _Failures()
            gaps = list(map(gap_record, self._source.gaps()))
            failed.try_(self._put_gaps, gaps)
            oldest_ms = self._oldest_ms()
            hours = [h for h in self._source.hours(None if everything else RECENT_MS) if h >= oldest_ms]
            losses = self.losses(gaps, hours)
            for hour_ms in hours:
                failed.try_(self._hours.put, hour_ms, losses, self._source)
            failed.try_(self._put_states, TICKERS, lambda: map(ticker_record, self._source.tickers()))
            failed.try_(self._put_states, BOOKS, lambda: map(book_record, self._source.books()))
            if everything:
                self._tidy(failed)
            return failed.sentences

    def lacking(self, hour_ms: int, losses: LossesOf) -> Lacking:
        """Return what the files of an hour lack; nothing is written."""
        return self._hours.lacking(hour_ms, losses, self._source)

    def losses(self, gaps: Iterable[GapRecord], hours: Sequence[int]) -> LossesOf:
        """Return what may be missing of `hours` by market from the gaps of Redis (`gaps`) and the archive."""
        archived: list[GapRecord] = []
        if hours:
            for path in self._files.within(GAPS, hours[0] - GAP_REACH_MS, hours[-1] + HOUR_MS):
                known = self._files.read(GAPS, path)
                archived += parquet.to_rows(GAPS, known) if known is not None else []
        return losses_of(merge_gaps(archived, gaps), self._source.lasting())

    def _put_states(self, table: Table, states: Callable[[], Iterable[Any]]) -> None:
        """Add those of the newest tickers or books that are not archived yet."""
        name = key_of(table)
        for hour_ms, rows in _by_hour(states(), table, self._oldest_ms()).items():
            known = self._rows(table, hour_ms)
            have = _keys(table, known)
            lacking = [row for row in rows if name(row) not in have]
            if lacking:
                self._put(table, hour_ms, known, lacking)

    def _put_gaps(self, gaps: Iterable[GapRecord]) -> None:
        for hour_ms, fresh in _by_hour(gaps, GAPS, self._oldest_ms()).items():
            known = self._rows(GAPS, hour_ms)
            records = parquet.to_rows(GAPS, known) if known is not None else []
            merged = merge_gaps(records, fresh)
            if set(merged) != set(records):
                self._put(GAPS, hour_ms, None, merged)

    def _tidy(self, failed: "_Failures") -> None:
        """Compact the days that are over, forget those that are too old."""
        as_of_ms = self._source.reader.as_of_ms()
        if as_of_ms is None:
            return
        settled = day_of(as_of_ms - self._settings.compact_after_h * HOUR_MS)
        for table in TABLES:
            days = self._files.days(table)
            old = expired(days, day_of(as_of_ms), self._settings.retention_days)
            for day in old:
                failed.try_(self._files.remove, table, day)
            for day in days:
                if day < settled and day not in old:
                    failed.try_(self._files.compact, table, day)

    def _oldest_ms(self) -> int:
        """Return the start of the oldest day that is kept: what is older would only be removed again."""
        as_of_ms = self._source.reader.as_of_ms()
        if as_of_ms is None or not self._settings.retention_days:
            return 0
        return start_ms(day_of(as_of_ms)) - (self._settings.retention_days - 1) * DAY_MS

    def _rows(self, table: Table, hour_ms: int) -> Arrow | None:
        return self._files.read(table, self._files.place(table, hour_ms))

    def _put(self, table: Table, hour_ms: int, kept: Arrow | None, rows: Sequence[Any]) -> None:
        self._files.write(table, self._files.place(table, hour_ms), [parquet.with_rows(table, kept, rows)])


class _Failures:
    """Steps that fail do not keep the others from being done."""

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def try_(self, step: Callable[..., Any], *arguments: Any) -> None:  # noqa: ANN401 - any step
        try:
            step(*arguments)
        except ArchiveUnavailable as error:
            log.error("archive: %s", error)
            self.sentences.append(str(error))


def losses_of(gaps: Iterable[GapRecord], lasting: Mapping[str, Ongoing]) -> dict[str, Losses]:
    """Return the losses of trades by market."""
    found: dict[str, list[GapRecord]] = {market: [] for market in lasting}
    for gap in gaps:
        if gap.channel == "trade" and not gap.recovered:
            found.setdefault(gap.market, []).append(gap)
    return {market: Losses(map(gap_of, some), lasting.get(market)) for market, some in found.items()}


def _by_hour(records: Iterable[Any], table: Table, oldest_ms: int) -> Mapping[int, list[Any]]:
    place = table.record._fields.index(table.time)
    hours: dict[int, list[Any]] = {}
    for record in records:
        if record[place] >= oldest_ms:
            hours.setdefault(hour_of(record[place]), []).append(record)
    return hours


def _keys(table: Table, arrow: Arrow | None) -> set[tuple[Any, ...]]:
    if arrow is None:
        return set()
    return set(zip(*(arrow.column(name).to_pylist() for name in table.key), strict=True))
