"""The exchange's own candles, as `collector backfill` fetched them: a file for a market, interval and month.

    <data_dir>/archive/channel=exchange_candles/interval=1m/market=KRW-BTC/2026-09.parquet
                                                           _fetched.json

Apart from our own candles, so neither overwrites the other. The exchange leaves out minutes without a trade:
a minute that is neither in a file nor in a stretch of `_fetched.json` is missing, one that is in such a
stretch alone had no trade. A file is written before its stretch, so a killed process loses nothing that the
file says it has.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from collector.analytics.candles import INTERVALS
from collector.archive import ArchiveBusy, library, parquet
from collector.archive.files import Files, refusals
from collector.archive.partitions import SUFFIX
from collector.archive.schema import EXCHANGE_CANDLES, ExchangeCandleRecord
from collector.errors import ConfigurationError
from collector.model import MINUTE_MS
from collector.util.atomic_file import TEMPORARY, replacing
from collector.util.file_lock import FileLock

#: Intervals that the exchange serves, and their length.
LENGTHS_MS = {
    name: minutes * MINUTE_MS for name, minutes in sorted({**INTERVALS, "10m": 10}.items(), key=itemgetter(1))
}
LOCK = ".exchange_candles.lock"
#: Readers of Parquet folders leave out names that begin with `_`.
FETCHED = "_fetched.json"


class Stretch(NamedTuple):
    """A stretch of time, epoch ms: the first that is in it, and the first that is not."""

    from_ms: int
    end_ms: int


class _Of(msgspec.Struct):
    """Of a market at an interval: what has been fetched, and where the exchange's history begins."""

    stretches: list[Stretch] = []
    begins_ms: int | None = None


class _Fetched(msgspec.Struct):
    version: int = 1
    markets: dict[str, _Of] = {}


class ExchangeCandles:
    """Those candles below an archive's folder.

    Raises:
        ConfigurationError: the exchange has no candles of such an interval.
    """

    def __init__(self, root: Path, interval: str) -> None:
        if interval not in LENGTHS_MS:
            raise ConfigurationError(
                f"the exchange has no candles of {interval!r}: one of {', '.join(LENGTHS_MS)}"
            )
        self.interval = interval
        self.length_ms = LENGTHS_MS[interval]
        self._root = root
        self._files = Files(root)
        self._folder = root / f"channel={EXCHANGE_CANDLES.name}" / f"interval={interval}"
        self._fetched: _Fetched = _Fetched()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the right to write, and know what is there.

        Raises:
            ArchiveBusy: another backfill is at it.
            ArchiveUnavailable: the folder can't be made.
        """
        with refusals(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self._root / LOCK)
            is_ours = lock.acquire()
        with lock:
            if not is_ours:
                raise ArchiveBusy("another backfill is running: wait for its end")
            for path in self._folder.rglob(f".*{TEMPORARY}"):
                path.unlink(missing_ok=True)
            self._fetched = _read(self._folder / FETCHED)
            yield

    def begins_ms(self, market: str) -> int | None:
        """Return where the exchange's history of a market begins, None where that is not known."""
        return self._of(market).begins_ms

    def lacking(self, market: str, asked: Stretch, longest_ms: int) -> list[Stretch]:
        """Return what has not been fetched of a stretch, the newest first, none longer than `longest_ms`.

        A file that is gone or damaged has to be fetched again.
        """
        of = self._of(market)
        first = Stretch(max(asked.from_ms, of.begins_ms or 0), asked.end_ms)
        found: list[Stretch] = []
        for period in self._periods(first):
            is_there = self._files.is_sound(EXCHANGE_CANDLES, self._path(market, period.from_ms))
            have = of.stretches if is_there else []
            for gap in subtract(period, have):
                starts = range(gap.from_ms, gap.end_ms, longest_ms)
                found += [Stretch(start, min(start + longest_ms, gap.end_ms)) for start in starts]
        return sorted(found, reverse=True)

    def put(self, market: str, fetched: Stretch, records: Sequence[ExchangeCandleRecord]) -> None:
        """Keep the candles of a stretch that lies within one file; nothing else of the file changes.

        Raises:
            ArchiveUnavailable: it can't be written; what was there before still is.
        """
        path = self._path(market, fetched.from_ms)
        known = self._files.read(EXCHANGE_CANDLES, path)
        kept = [] if known is None else [known.filter(_outside(known, fetched))]
        rows = library("pyarrow").concat_tables([*kept, parquet.to_arrow(EXCHANGE_CANDLES, records)])
        self._files.write(EXCHANGE_CANDLES, path, [parquet.in_order(EXCHANGE_CANDLES, rows)])
        of = self._of(market)
        if known is None:  # gone or damaged: what was in it is not there any more
            (period,) = self._periods(fetched)
            of.stretches = [part for some in of.stretches for part in subtract(some, [period])]
        of.stretches = union([*of.stretches, fetched])
        self._keep(market, of)

    def note_begin(self, market: str, begins_ms: int) -> None:
        """Keep that the exchange has no candle of a market before this one."""
        self._keep(market, msgspec.structs.replace(self._of(market), begins_ms=begins_ms))

    def _of(self, market: str) -> _Of:
        return self._fetched.markets.get(market, _Of())

    def _keep(self, market: str, of: _Of) -> None:
        self._fetched.markets[market] = of
        path = self._folder / FETCHED
        with refusals(path), replacing(path) as new:
            new.write_bytes(msgspec.json.encode(self._fetched, order="deterministic"))

    def _path(self, market: str, time_ms: int) -> Path:
        start = datetime.fromtimestamp(_period_of(self.length_ms, time_ms).from_ms / 1000, UTC)
        name = f"{start:%Y-%m}" if self.length_ms < LENGTHS_MS["1h"] else f"{start:%Y}"
        return self._folder / f"market={market}" / f"{name}{SUFFIX}"

    def _periods(self, asked: Stretch) -> Iterator[Stretch]:
        """Yield the parts of a stretch that are in one file each."""
        start = asked.from_ms
        while start < asked.end_ms:
            end = min(_period_of(self.length_ms, start).end_ms, asked.end_ms)
            yield Stretch(start, end)
            start = end


def folder_of(root: Path) -> Path:
    """Return the folder of all intervals."""
    return root / f"channel={EXCHANGE_CANDLES.name}"


def files_within(root: Path, from_ms: int | None, to_ms: int | None) -> list[Path]:
    """Return the files that may hold anything of `from_ms … to_ms`, both included."""
    found = []
    for path in sorted(folder_of(root).glob(f"interval=*/market=*/*{SUFFIX}")):
        length_ms = LENGTHS_MS.get(path.parent.parent.name.removeprefix("interval="))
        form = "%Y-%m" if "-" in path.stem else "%Y"
        if length_ms is None:
            continue
        start = datetime.strptime(path.stem, form).replace(tzinfo=UTC)
        period = _period_of(length_ms, int(start.timestamp()) * 1000)
        if (to_ms is None or period.from_ms <= to_ms) and (from_ms is None or period.end_ms > from_ms):
            found.append(path)
    return found


def fetched_rows(root: Path) -> Iterable[tuple[str, str, int, int]]:
    """Yield market, interval, first and last ms of what has been fetched."""
    for path in sorted(folder_of(root).glob(f"interval=*/{FETCHED}")):
        interval = path.parent.name.removeprefix("interval=")
        for market, of in _read(path).markets.items():
            for stretch in of.stretches:
                yield market, interval, stretch.from_ms, stretch.end_ms - 1


def record_of(market: str, interval: str, candle: Any) -> ExchangeCandleRecord:  # noqa: ANN401
    """Return a candle of the exchange (`collector.protocol.rest.ExchangeCandle`) as it is archived."""
    numbers: list[Decimal] = [getattr(candle, name) for name in ExchangeCandleRecord._fields[3:]]
    return ExchangeCandleRecord(market, interval, candle.open_ms, *numbers)


def subtract(whole: Stretch, parts: Iterable[Stretch]) -> Iterator[Stretch]:
    """Yield what is left of a stretch without others, oldest first."""
    start = whole.from_ms
    for part in sorted(parts):
        if part.from_ms > start and start < whole.end_ms:
            yield Stretch(start, min(part.from_ms, whole.end_ms))
        start = max(start, part.end_ms)
    if start < whole.end_ms:
        yield Stretch(start, whole.end_ms)


def union(parts: Iterable[Stretch]) -> list[Stretch]:
    """Return stretches that touch or overlap as one each, oldest first."""
    found: list[Stretch] = []
    for part in sorted(parts):
        if found and part.from_ms <= found[-1].end_ms:
            found[-1] = Stretch(found[-1].from_ms, max(found[-1].end_ms, part.end_ms))
        else:
            found.append(part)
    return found


def _period_of(length_ms: int, time_ms: int) -> Stretch:
    """Return the stretch of one file, UTC: a month, of candles of an hour and longer a year."""
    moment = datetime.fromtimestamp(time_ms / 1000, UTC)
    if length_ms < LENGTHS_MS["1h"]:
        start = datetime(moment.year, moment.month, 1, tzinfo=UTC)
        end = datetime(moment.year + moment.month // 12, moment.month % 12 + 1, 1, tzinfo=UTC)
    else:
        start, end = (datetime(year, 1, 1, tzinfo=UTC) for year in (moment.year, moment.year + 1))
    return Stretch(int(start.timestamp()) * 1000, int(end.timestamp()) * 1000)


def _outside(rows: parquet.Arrow, stretch: Stretch) -> parquet.Arrow:
    pc, times = library("pyarrow.compute"), rows.column(EXCHANGE_CANDLES.time)
    return pc.or_(pc.less(times, stretch.from_ms), pc.greater_equal(times, stretch.end_ms))


def _read(path: Path) -> _Fetched:
    """Return what a journal has; one that is gone or damaged has nothing, so all is fetched again."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Fetched)
    except (OSError, msgspec.MsgspecError, UnicodeError):
        return _Fetched()
