"""Bring the archive up to what Redis holds; compact old days; forget the oldest.

Each step is a union by identity into files that are replaced whole, trades before their candles. So it
can run again, in any order, and be interrupted anywhere; without new data no file changes.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from collector.analytics.completeness import Losses, Ongoing
from collector.archive import ArchiveUnavailable, parquet
from collector.archive.files import Files
from collector.archive.merge import (
    LossesOf,
    MinuteUpdate,
    changed_slots,
    judged_again,
    merge_gaps,
    merge_minute,
)
from collector.archive.parquet import Arrow
from collector.archive.partitions import HOUR_MS, day_of, expired, hour_of, start_ms
from collector.archive.schema import (
    BOOKS,
    CANDLES,
    GAPS,
    TABLES,
    TICKERS,
    TRADES,
    CandleRecord,
    GapRecord,
    Slot,
    Table,
    TradeRecord,
    book_record,
    gap_of,
    gap_record,
    key_of,
    ticker_record,
)
from collector.archive.sorted_rows import SortedRows, by_market
from collector.archive.source import ArchiveSource
from collector.model import MINUTE_MS
from collector.settings import ArchiveSettings
from collector.util.korean_time import DAY_MS

log = logging.getLogger(__name__)

#: What every run looks at: the hour that is being written and the one before.
RECENT_MS = HOUR_MS
#: Gaps are looked up this far before an hour; gaps that Redis still has are added whatever their age.
GAP_REACH_MS = DAY_MS
#: Markets whose candles are compared at once, and records that are turned into Arrow at once: the memory of a
#: run does not grow with the number of trades.
MARKETS_AT_ONCE = 50
RECORDS_AT_ONCE = 8192


class Hour(NamedTuple):
    """An hour as it is archived: its candles by market, and the file that has its trades, if there is one."""

    hour_ms: int
    candles: dict[str, Arrow]
    trades: Path | None


class Lacking(NamedTuple):
    """What the files of an hour lack.

    `trades` are all copies of the minutes in `slots`, which replace the archived ones. `candles` replace the
    archived ones of the same name.
    """

    slots: set[Slot]
    trades: list[TradeRecord]
    candles: list[CandleRecord]


class Archiver:
    """The archive below a data folder, fed from one Redis."""

    def __init__(self, files: Files, source: ArchiveSource, settings: ArchiveSettings) -> None:
        self._files = files
        self._source = source
        self._settings = settings

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
                failed.try_(self._put_hour, hour_ms, losses)
            failed.try_(self._put_states, TICKERS, lambda: map(ticker_record, self._source.tickers()))
            failed.try_(self._put_states, BOOKS, lambda: map(book_record, self._source.books()))
            if everything:
                self._tidy(failed)
            return failed.sentences

    def lacking(self, hour_ms: int, losses: LossesOf) -> Lacking:
        """Return what the files of an hour lack; nothing is written."""
        hour, found = self._look(hour_ms), Lacking(set(), [], [])
        for step in self._walk(hour, losses, self._archived(hour)):
            if isinstance(step, MinuteUpdate):
                if step.trades is not None:
                    found.slots.add(step.slot)
                    found.trades.extend(step.trades)
                if step.candle is not None:
                    found.candles.append(step.candle)
        return found

    def losses(self, gaps: Iterable[GapRecord], hours: Sequence[int]) -> LossesOf:
        """Return what may be missing of `hours` by market from the gaps of Redis (`gaps`) and the archive."""
        archived: list[GapRecord] = []
        if hours:
            for path in self._files.within(GAPS, hours[0] - GAP_REACH_MS, hours[-1] + HOUR_MS):
                known = self._files.read(GAPS, path)
                archived += parquet.to_rows(GAPS, known) if known is not None else []
        return losses_of(merge_gaps(archived, gaps), self._source.lasting())

    def _look(self, hour_ms: int) -> Hour:
        """Return an hour's files; those that are damaged are put aside."""
        candles = self._files.read(CANDLES, self._files.place(CANDLES, hour_ms), (hour_ms, hour_ms + HOUR_MS))
        trades = self._files.place(TRADES, hour_ms)
        known = dict(by_market(candles)) if candles is not None else {}
        return Hour(hour_ms, known, trades if self._files.is_sound(TRADES, trades) else None)

    def _archived(self, hour: Hour) -> SortedRows:
        """Return the archived trades of an hour, or of its day."""
        return SortedRows(TRADES, self._files.parts(TRADES, hour.trades) if hour.trades else iter(()))

    def _walk(self, hour: Hour, losses: LossesOf, archived: SortedRows) -> Iterator[Arrow | MinuteUpdate]:
        """Go through an hour by market and minute: yield archived trades that stay, and what minutes lack.

        A market after the last one that changed stays in `archived`.
        """
        markets = sorted({*self._source.reader.markets(), *hour.candles})
        for start in range(0, len(markets), MARKETS_AT_ONCE):
            some = markets[start : start + MARKETS_AT_ONCE]
            rows = (parquet.to_rows(CANDLES, hour.candles[name]) for name in some if name in hour.candles)
            known = {slot_of(candle): candle for candles in rows for candle in candles}
            fresh = self._source.minutes(hour.hour_ms, some)
            verdicts = self._source.verdicts(hour.hour_ms, some)
            # Without the file of trades, no candle's trades are known to be archived.
            changed = sorted(changed_slots(known if hour.trades else {}, fresh))
            for slot, copies in self._source.rows(changed):
                market, open_ms = slot
                yield from archived.before(market, open_ms)
                old = list(archived.before(market, open_ms + MINUTE_MS))
                before = [record for part in old for record in parquet.to_rows(TRADES, part)]
                update = merge_minute(slot, known.get(slot), before, fresh[slot], copies, losses, verdicts)
                if update.trades is None:
                    yield from old
                yield update
            settled = {slot: candle for slot, candle in known.items() if slot not in set(changed)}
            for candle in judged_again(settled, fresh, losses, verdicts):
                yield MinuteUpdate(slot_of(candle), None, candle)

    def _put_hour(self, hour_ms: int, losses: LossesOf) -> None:
        hour, candles = self._look(hour_ms), list[CandleRecord]()

        def trades(archived: SortedRows) -> Iterator[Arrow | list[TradeRecord]]:
            for step in self._walk(hour, losses, archived):
                if not isinstance(step, MinuteUpdate):
                    yield step
                    continue
                if step.candle is not None:
                    candles.append(step.candle)
                if step.trades is not None:
                    yield step.trades

        archived = self._archived(hour)
        if self._lacks_trades(hour, losses):
            parts = _tables(TRADES, chain(trades(archived), archived.rest()))
            self._files.write(TRADES, self._files.place(TRADES, hour_ms), parts)
        else:
            for _ in trades(archived):
                pass
        if candles:
            place = self._files.place(CANDLES, hour_ms)
            known = SortedRows(CANDLES, self._files.parts(CANDLES, place) if place.exists() else iter(()))
            self._files.write(CANDLES, place, _tables(CANDLES, _with_candles(known, candles)))

    def _lacks_trades(self, hour: Hour, losses: LossesOf) -> bool:
        """Whether the file of trades has to be written."""
        updates = (
            step for step in self._walk(hour, losses, self._archived(hour)) if isinstance(step, MinuteUpdate)
        )
        return any(update.trades is not None or hour.trades is None for update in updates)

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


def slot_of(candle: CandleRecord) -> Slot:
    """Return the minute a candle is of."""
    return candle.market, candle.open_ms


def _with_candles(known: SortedRows, candles: list[CandleRecord]) -> Iterator[Arrow | list[CandleRecord]]:
    """Yield the candles of a file, `candles` in place of those of the same name."""
    for candle in sorted(candles, key=slot_of):
        yield from known.before(candle.market, candle.open_ms)
        for _ in known.before(candle.market, candle.open_ms + 1):
            pass
        yield [candle]
    yield from known.rest()


def _tables(table: Table, parts: Iterable[Arrow | list[Any]]) -> Iterator[Arrow]:
    """Yield the parts as Arrow tables, in their order; records are put together."""
    records: list[Any] = []
    for part in parts:
        if isinstance(part, list):
            records += part
            if len(records) >= RECORDS_AT_ONCE:
                yield parquet.to_arrow(table, records)
                records = []
            continue
        if records:
            yield parquet.to_arrow(table, records)
            records = []
        yield part
    if records:
        yield parquet.to_arrow(table, records)


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
