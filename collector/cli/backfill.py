"""`collector backfill candles`: the exchange's own candles into the archive, as far back as it has them."""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

from msgspec import Struct

from collector import market_names
from collector.analytics.candles import iso
from collector.analytics.reconcile import Figures, compare
from collector.archive import library
from collector.archive.exchange_candles import ExchangeCandles, Stretch, record_of
from collector.archive.files import Files
from collector.archive.partitions import FOLDER
from collector.archive.schema import CANDLES, ExchangeCandleRecord
from collector.cli.lookback import open_history
from collector.cli.progress import progress
from collector.cli.render import output
from collector.cli.store import open_redis
from collector.clock import SystemClock
from collector.errors import BrokerUnavailable, ConfigurationError, NoData, RestError, RestRefused
from collector.feed.rest_client import PAGE_CANDLES, RestClient
from collector.model import MINUTE_MS
from collector.protocol.rest import ExchangeCandle
from collector.settings import Settings
from collector.store.read import to_json
from collector.util import backoff
from collector.util.korean_time import DAY_MS, KST_MS

T = TypeVar("T")

#: Markets that are asked for at once: the next waits for its turn in the budget while one is under way.
AT_ONCE = 6
#: Pages that are written together; a killed process fetches those of `AT_ONCE` markets again.
PAGES_AT_ONCE = 50
#: Tries of one page, and the waits between them.
TRIES = 6
FIRST_RETRY_S, LONGEST_RETRY_S = 1.0, 30.0
#: Minutes that ended less than this ago may still change.
SETTLE_MS = 2 * MINUTE_MS
#: Stops of the whole exchange that it announced or admitted, by the first and the last minute (KST).
LONG_STOPS = (
    ("2025-03-24T00:31", "2025-03-24T10:59"),
    ("2025-10-05T01:01", "2025-10-05T07:29"),
    ("2026-03-30T01:00", "2026-03-30T07:59"),
)


class Report(Struct, frozen=True):
    """What a backfill did.

    Attributes:
        candles: that were fetched; calls: that it took.
        had: markets of which everything was there before.
        begins: where the exchange's history begins, of markets whose first candle is in the stretch.
        differing: minutes in which our own candle is not the exchange's, by market; ours stay.
        failed: the reason by market.
        stops: known long stops of the exchange in the stretch.
    """

    interval: str
    from_ms: int
    to_ms: int
    from_time: str
    to_time: str
    markets: int
    had: int
    candles: int
    calls: int
    seconds: float
    begins: dict[str, str]
    differing: dict[str, int]
    failed: dict[str, str]
    stops: list[str]


@dataclass
class _Work:
    """The stretches that a backfill has to fetch, by market, and what came of them."""

    archive: ExchangeCandles
    lacking: dict[str, list[Stretch]]
    candles: int = 0
    failed: dict[str, str] = field(default_factory=dict)

    def pages(self, stretch: Stretch) -> int:
        """Return how many pages a stretch fills at the most."""
        return -(-(stretch.end_ms - stretch.from_ms) // (PAGE_CANDLES * self.archive.length_ms))

    @property
    def all_pages(self) -> int:
        return sum(self.pages(stretch) for stretches in self.lacking.values() for stretch in stretches)


def candles(
    settings: Settings,
    markets: str,
    from_ms: int,
    to_ms: int | None,
    *,
    interval: str = "1m",
    as_json: bool = False,
) -> int:
    """Fetch what the archive lacks of the exchange's candles; return 1 if a market failed, else 0.

    Args:
        settings: those in force.
        markets: as people write them, several with commas or `*`; delisted ones by their full code.
        from_ms, to_ms: the stretch, both included.
        interval: one that the exchange serves.
        as_json: whether programs read the report.

    Raises:
        ConfigurationError: no such interval, an empty stretch, or the extra is not installed.
        NoData: no such market.
        ArchiveBusy: another backfill is running.
        ArchiveUnavailable: the disk refuses; what was written stays, the same command goes on there.
        RestError: the exchange does not answer at all.
    """
    library("pyarrow")
    archive = ExchangeCandles(settings.data_dir / FOLDER, interval)
    asked = _whole(archive.length_ms, from_ms, to_ms, SystemClock().now_ms())
    with archive.locked():
        report = asyncio.run(_run(settings, archive, markets, asked, is_quiet=as_json))
    output.write(to_json(report) if as_json else _text(report))
    return 1 if report.failed else 0


def _whole(length_ms: int, from_ms: int, to_ms: int | None, now_ms: int) -> Stretch:
    """Return the candles that lie in the stretch asked for, without the one that is still growing."""
    settled_ms = now_ms - SETTLE_MS
    end_ms = min(to_ms + 1 if to_ms is not None else settled_ms, settled_ms)
    first_ms = -(-(from_ms + KST_MS) // length_ms) * length_ms - KST_MS
    last_ms = (end_ms + KST_MS) // length_ms * length_ms - KST_MS
    if first_ms >= last_ms:
        raise ConfigurationError("no whole candle lies between --from and --to, or none is over by now")
    return Stretch(first_ms, last_ms)


async def _run(
    settings: Settings, archive: ExchangeCandles, text: str, asked: Stretch, *, is_quiet: bool
) -> Report:
    begun_s = time.monotonic()
    async with RestClient(settings.exchange, SystemClock()) as exchange:
        markets = named(text, await exchange.markets())
        longest_ms = PAGES_AT_ONCE * PAGE_CANDLES * archive.length_ms
        lacking = {market: archive.lacking(market, asked, longest_ms) for market in markets}
        work = _Work(archive, {market: some for market, some in lacking.items() if some})
        if not is_quiet:
            print(_estimate(settings, work, len(markets), asked), file=sys.stderr)
        with progress(f"{archive.interval} candles", work.all_pages) as step:
            await _fetch_all(exchange, work, step)
        calls = exchange.counts["rest_calls"]
    begins = {market: ms for market in markets if (ms := archive.begins_ms(market)) and ms > asked.from_ms}
    return Report(
        interval=archive.interval,
        from_ms=asked.from_ms,
        to_ms=asked.end_ms - 1,
        from_time=iso(asked.from_ms),
        to_time=iso(asked.end_ms - 1),
        markets=len(markets),
        had=len(markets) - len(work.lacking),
        candles=work.candles,
        calls=calls,
        seconds=round(time.monotonic() - begun_s, 1),
        begins={market: iso(ms) for market, ms in begins.items()},
        differing=_differing(settings, markets, asked) if archive.interval == "1m" else {},
        failed=work.failed,
        stops=[f"{first} to {last} KST" for first, last in _stops_in(asked)],
    )


def named(text: str, listed: Sequence[str]) -> list[str]:
    """Return the markets that a text names; one that is not listed has to be written as its code."""
    found: list[str] = []
    for part in market_names.parts(text):
        if market_names.is_code(part) and part not in listed:
            found.append(part)
        else:
            found += market_names.several(part, listed, "of the exchange")
    if not found:
        raise NoData(f"{text!r} names no market")
    return list(dict.fromkeys(found))


def _estimate(settings: Settings, work: _Work, markets: int, asked: Stretch) -> str:
    per_s = settings.exchange.rest_requests_per_s
    days = (asked.end_ms - asked.from_ms) / 86_400_000
    there = markets - len(work.lacking)
    return (
        f"{work.archive.interval} candles of {markets:,} market{'s' * (markets != 1)}, {days:,.1f} days"
        f"{f', {there:,} there already' if there else ''}: at most {work.all_pages:,} calls,"
        f" {duration(work.all_pages / per_s)} at {per_s:g} a second"
    )


def duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


async def _fetch_all(exchange: RestClient, work: _Work, step: Callable[[float], None]) -> None:
    """Fetch some markets at once; one that fails costs itself."""
    left = iter(work.lacking.items())

    async def fetch_markets() -> None:
        for market, stretches in left:
            try:
                await _fetch_market(exchange, work, market, stretches, step)
            except RestError as error:
                work.failed[market] = str(error)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(fetch_markets())


async def _fetch_market(
    exchange: RestClient,
    work: _Work,
    market: str,
    stretches: Sequence[Stretch],
    step: Callable[[float], None],
) -> None:
    """Fetch stretches, the newest first, until the exchange has nothing older."""
    left = sum(map(work.pages, stretches))
    for stretch in stretches:
        paging = _Paging(work.archive, market, stretch)
        try:
            while paging.goes_on:
                await paging.turn(exchange)
                step(min(left, 1))
                left -= min(left, 1)
        finally:  # interrupted or refused: what has been read is kept
            work.candles += paging.keep()
        if paging.is_first:
            break
    step(left)


class _Paging:
    """A stretch of a market, paged back from its end."""

    def __init__(self, archive: ExchangeCandles, market: str, stretch: Stretch) -> None:
        self._archive = archive
        self._market = market
        self._stretch = stretch
        self._records: list[ExchangeCandleRecord] = []
        #: Everything from here on has been read.
        self._read_ms = stretch.end_ms
        #: Whether the exchange has nothing older.
        self.is_first = False

    @property
    def goes_on(self) -> bool:
        """Whether there may be more."""
        return not self.is_first and self._read_ms > self._stretch.from_ms

    async def turn(self, exchange: RestClient) -> None:
        """Read the next page."""
        page = await self._page(exchange)
        older = [candle for candle in page if candle.open_ms < self._read_ms]
        self.is_first = not older
        if older:
            self._read_ms = min(candle.open_ms for candle in older)
        self._records += [
            record_of(self._market, self._archive.interval, candle)
            for candle in older
            if candle.open_ms >= self._stretch.from_ms
        ]

    def keep(self) -> int:
        """Write what has been read; return how many candles."""
        first_ms = self._stretch.from_ms
        read_ms = first_ms if self.is_first else max(first_ms, self._read_ms)
        if read_ms < self._stretch.end_ms:
            self._archive.put(self._market, Stretch(read_ms, self._stretch.end_ms), self._records)
        if self.is_first:
            self._archive.note_begin(self._market, self._read_ms)
        return len(self._records)

    async def _page(self, exchange: RestClient) -> Sequence[ExchangeCandle]:
        length_ms = self._archive.length_ms
        path = "days" if length_ms == DAY_MS else f"minutes/{length_ms // MINUTE_MS}"
        return await patiently(lambda: exchange.candles(self._market, self._read_ms, path=path))


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """Return what a call gives; one that fails is made again some times, one that is refused is not.

    Raises:
        RestError: it goes on failing.
    """
    for failures in range(1, TRIES):
        try:
            return await call()
        except RestRefused:
            raise
        except RestError:
            await asyncio.sleep(backoff.delay_s(failures, FIRST_RETRY_S, LONGEST_RETRY_S))
    return await call()


def _differing(settings: Settings, markets: Sequence[str], asked: Stretch) -> dict[str, int]:
    """Return how many of our own complete minutes are not the exchange's, by market."""
    names = Figures.__struct_fields__
    sides = [f"{side}.{name}" for side in ("ours", "theirs") for name in names]
    unequal = " OR ".join(f"ours.{name} <> theirs.{name}" for name in names)
    sql = f"""
        SELECT ours.market, ours.open_ms, {", ".join(sides)}
        FROM raw.candles AS ours JOIN raw.exchange_candles AS theirs USING (market, open_ms)
        WHERE theirs.interval = '1m' AND ours.complete AND ({unequal})
            AND open_ms >= {asked.from_ms} AND open_ms < {asked.end_ms}
    """  # noqa: S608 - names and numbers of ours
    if not _has_own(settings):
        return {}
    with open_history(settings, asked.from_ms, asked.end_ms - 1) as session:
        rows = session.rows(sql)
    found: Counter[str] = Counter()
    for market, open_ms, *figures in rows:
        ours, theirs = Figures(*figures[: len(names)]), Figures(*figures[len(names) :])
        if market in markets:
            found[market] += len(compare(market, {open_ms: ours}, {open_ms: theirs}, [], open_ms + SETTLE_MS))
    return {market: count for market, count in found.items() if count}


def _has_own(settings: Settings) -> bool:
    """Whether there is anything of ours to compare with."""
    if Files(settings.data_dir / FOLDER).days(CANDLES):
        return True
    try:
        with open_redis(settings):
            return True
    except BrokerUnavailable:
        return False


def _stops_in(asked: Stretch) -> Iterator[tuple[str, str]]:
    for first, last in LONG_STOPS:
        from_ms, to_ms = (_korean_ms(text) for text in (first, last))
        if from_ms < asked.end_ms and to_ms >= asked.from_ms:
            yield first.replace("T", " "), last.replace("T", " ")


def _korean_ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1000 - KST_MS


def _text(report: Report) -> str:
    lines = [
        f"{report.candles:,} {report.interval} candles of {report.markets:,}"
        f" market{'s' * (report.markets != 1)} fetched"
        f" in {report.seconds:,.0f} s, {report.calls:,} calls; {report.had:,} had everything before"
    ]
    lines += _some("history begins", [f"{market} {begin}" for market, begin in report.begins.items()])
    lines += [f"the exchange stood still from {stop}" for stop in report.stops]
    differing = [f"{market} {count:,}" for market, count in report.differing.items()]
    lines += _some("minutes of ours that are not the exchange's (ours stay; see collector audit)", differing)
    lines += [f"failed: {market}: {reason}" for market, reason in report.failed.items()]
    if report.failed:
        lines.append("what was fetched is kept: the same command goes on where this one ended")
    return "\n".join(lines)


def _some(title: str, each: Sequence[str], shown: int = 5) -> list[str]:
    """Return a line with the first of many."""
    more = f" and {len(each) - shown:,} more" if len(each) > shown else ""
    return [f"{title}: {', '.join(each[:shown])}{more}"] if each else []
