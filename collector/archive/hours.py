"""The files of an hour beside a source that may have newer minutes: what they lack, and how they get it.

Trades stream from the old file and the source into the new file, so memory does not grow with their number.
"""

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from collector.archive import parquet
from collector.archive.files import Files
from collector.archive.merge import LossesOf, MinuteUpdate, changed_slots, judged_again, merge_minute
from collector.archive.parquet import Arrow
from collector.archive.partitions import HOUR_MS
from collector.archive.schema import CANDLES, TRADES, CandleRecord, Slot, Table, TradeRecord
from collector.archive.sorted_rows import SortedRows, by_market
from collector.archive.source import MinuteSource
from collector.model import MINUTE_MS

#: Markets whose candles are compared at once, and records that are turned into Arrow at once: the memory of a
#: run does not grow with the number of trades.
MARKETS_AT_ONCE = 50
RECORDS_AT_ONCE = 8192


class Hour(NamedTuple):
    """An hour as it is archived: its candles by market, and the file that has its trades, if there is one.

    `source` has what may be newer.
    """

    hour_ms: int
    candles: dict[str, Arrow]
    trades: Path | None
    source: MinuteSource


class Lacking(NamedTuple):
    """What the files of an hour lack.

    `trades` are all copies of the minutes in `slots`, which replace the archived ones. `candles` replace the
    archived ones of the same name.
    """

    slots: set[Slot]
    trades: list[TradeRecord]
    candles: list[CandleRecord]


class Hours:
    """The hours of an archive."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def lacking(self, hour_ms: int, losses: LossesOf, source: MinuteSource) -> Lacking:
        """Return what the files of an hour lack; nothing is written."""
        hour, found = self._look(hour_ms, source), Lacking(set(), [], [])
        for step in self._walk(hour, losses, self._archived(hour)):
            if isinstance(step, MinuteUpdate):
                if step.trades is not None:
                    found.slots.add(step.slot)
                    found.trades.extend(step.trades)
                if step.candle is not None:
                    found.candles.append(step.candle)
        return found

    def _look(self, hour_ms: int, source: MinuteSource) -> Hour:
        """Return an hour's files; those that are damaged are put aside."""
        candles = self._files.read(CANDLES, self._files.place(CANDLES, hour_ms), (hour_ms, hour_ms + HOUR_MS))
        trades = self._files.place(TRADES, hour_ms)
        known = dict(by_market(candles)) if candles is not None else {}
        sound = trades if self._files.is_sound(TRADES, trades) else None
        return Hour(hour_ms, known, sound, source)

    def _archived(self, hour: Hour) -> SortedRows:
        """Return the archived trades of an hour, or of its day."""
        return SortedRows(TRADES, self._files.parts(TRADES, hour.trades) if hour.trades else iter(()))

    def _walk(self, hour: Hour, losses: LossesOf, archived: SortedRows) -> Iterator[Arrow | MinuteUpdate]:
        """Go through an hour by market and minute: yield archived trades that stay, and what minutes lack.

        A market after the last one that changed stays in `archived`.
        """
        markets = sorted({*hour.source.markets(), *hour.candles})
        for start in range(0, len(markets), MARKETS_AT_ONCE):
            some = markets[start : start + MARKETS_AT_ONCE]
            rows = (parquet.to_rows(CANDLES, hour.candles[name]) for name in some if name in hour.candles)
            known = {slot_of(candle): candle for candles in rows for candle in candles}
            fresh = hour.source.minutes(hour.hour_ms, some)
            verdicts = hour.source.verdicts(hour.hour_ms, some)
            # Without the file of trades, no candle's trades are known to be archived.
            changed = sorted(changed_slots(known if hour.trades else {}, fresh))
            for slot, copies in hour.source.rows(changed):
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

    def put(self, hour_ms: int, losses: LossesOf, source: MinuteSource) -> None:
        """Bring the files of an hour up to a source; only while they are locked.

        Raises:
            ArchiveUnavailable: a file can't be written; what was there before still is.
        """
        hour, candles = self._look(hour_ms, source), list[CandleRecord]()

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
