"""`collector backfill trades`: what was traded before our data begin, up to seven days back."""

import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import timedelta

from msgspec import Struct

from collector.analytics.candles import iso
from collector.analytics.completeness import Losses
from collector.archive import ArchiveBusy, library
from collector.archive.files import Files
from collector.archive.hours import Hours
from collector.archive.merge import LossesOf
from collector.archive.partitions import FOLDER, HOUR_MS, hour_of, hours_between
from collector.archive.source import FetchedTrades
from collector.cli.backfill import AT_ONCE, SETTLE_MS, duration, named, patiently
from collector.cli.lookback import open_history
from collector.cli.progress import progress
from collector.cli.render import output
from collector.clock import SystemClock
from collector.errors import BrokerUnavailable, ConfigurationError, RestError, RestRefused
from collector.feed.paging import DAYS_MAX, Walk
from collector.feed.rest_client import PAGE_ROWS, RestClient
from collector.model import MINUTE_MS, Channel, Gap, Trade
from collector.settings import Settings
from collector.store.read import to_json
from collector.util.korean_time import date_of

#: How long the archiver of a running system is waited for.
LOCK_S = 60.0
#: Pages of one hour of one market.
PAGES_MAX = 2_000


class Report(Struct, frozen=True):
    """What a backfill did; `failed` has the reason by market, `begins` where the data of each begin now."""

    from_ms: int
    from_time: str
    markets: int
    trades: int
    calls: int
    seconds: float
    begins: dict[str, str]
    failed: dict[str, str]


class _Work:
    """How far each market has come: what it has from `begins` on is complete, and grows backwards."""

    def __init__(self, begins: dict[str, int], losses: LossesOf) -> None:
        self.begins = begins
        self.losses = losses
        self.failed: dict[str, str] = {}
        self.trades = 0

    def waiting(self, hour_ms: int) -> list[str]:
        """Return the markets that lack something of an hour."""
        return [m for m, begin_ms in self.begins.items() if begin_ms > hour_ms and m not in self.failed]


def trades(settings: Settings, markets: str, from_ms: int, *, as_json: bool = False) -> int:
    """Fetch the trades before our own data into the archive; return 1 if a market failed, else 0.

    Args:
        settings: those in force.
        markets: as people write them, several with commas or `*`.
        from_ms: no trade before it is fetched.
        as_json: whether programs read the report.

    Raises:
        ConfigurationError: the exchange does not keep trades so long, or the extra is not installed.
        NoData: no such market.
        ArchiveBusy: the archive is written by somebody else for longer than a minute.
        ArchiveUnavailable: the disk refuses; what was written stays, the same command goes on there.
        RestError: the exchange does not answer at all.
    """
    library("pyarrow")
    now_ms = SystemClock().now_ms()
    oldest = date_of(now_ms) - timedelta(days=DAYS_MAX)
    if date_of(from_ms) < oldest:
        raise ConfigurationError(f"the exchange keeps trades for {DAYS_MAX} days: --from {oldest} or later")
    report = asyncio.run(_run(settings, markets, from_ms, now_ms, is_quiet=as_json))
    output.write(to_json(report) if as_json else _text(report))
    return 1 if report.failed else 0


async def _run(settings: Settings, text: str, from_ms: int, now_ms: int, *, is_quiet: bool) -> Report:
    begun_s = time.monotonic()
    async with RestClient(settings.exchange, SystemClock()) as exchange:
        markets = named(text, await exchange.markets())
        work = _work(settings, markets, now_ms)
        hours = list(hours_between(from_ms, max(work.begins.values()) - 1))
        pages = sum(len(work.waiting(hour_ms)) for hour_ms in hours)
        if not is_quiet:
            took = duration(pages / settings.exchange.rest_requests_per_s)
            print(f"trades of {len(markets):,} markets: at least {pages:,} calls, {took}", file=sys.stderr)
        with progress("trades", pages) as step:
            for hour_ms in reversed(hours):
                await _fetch_hour(settings, exchange, work, max(hour_ms, from_ms), hour_ms, step)
        calls = exchange.counts["rest_calls"]
    return Report(
        from_ms=from_ms,
        from_time=iso(from_ms),
        markets=len(markets),
        trades=work.trades,
        calls=calls,
        seconds=round(time.monotonic() - begun_s, 1),
        begins={market: iso(begin_ms) for market, begin_ms in work.begins.items()},
        failed=work.failed,
    )


def _work(settings: Settings, markets: Sequence[str], now_ms: int) -> _Work:
    """Return where our data of each market begin, without the first minute, which may lack some."""
    end_ms = (now_ms - SETTLE_MS) // MINUTE_MS * MINUTE_MS
    begins, losses = dict.fromkeys(markets, end_ms), {}
    try:
        with open_history(settings) as session:
            for market, open_ms in session.rows("SELECT market, min(open_ms) FROM raw.candles GROUP BY 1"):
                if market in begins:
                    begins[market] = min(end_ms, open_ms + MINUTE_MS)
            gaps: dict[str, list[Gap]] = {}
            for market, first_ms, last_ms in session.rows("FROM recent.losses"):
                gaps.setdefault(market, []).append(Gap(market, Channel.TRADE, first_ms, last_ms, "known"))
            losses = {market: Losses(some) for market, some in gaps.items()}
    except BrokerUnavailable:
        pass  # neither Redis nor an archive: there is nothing of ours yet
    return _Work(begins, losses)


async def _fetch_hour(
    settings: Settings,
    exchange: RestClient,
    work: _Work,
    first_ms: int,
    hour_ms: int,
    step: Callable[[float], None],
) -> None:
    """Fetch an hour of the markets that lack it, and write it; one that fails costs itself."""
    found: list[Trade] = []
    waiting = work.waiting(hour_ms)
    left = iter(waiting)

    async def fetch() -> None:
        for market in left:
            last_ms = min(hour_ms + HOUR_MS, work.begins[market]) - 1
            try:
                found.extend(await _walk(exchange, market, first_ms, last_ms))
            except RestError as error:
                work.failed[market] = str(error)
            step(1)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(fetch())
    kept = [trade for trade in found if trade.market not in work.failed]
    if kept:
        await _put(settings, hour_ms, kept, work.losses)
    work.trades += len(kept)
    work.begins.update({market: first_ms for market in waiting if market not in work.failed})


async def _walk(exchange: RestClient, market: str, first_ms: int, last_ms: int) -> list[Trade]:
    """Return the trades of a stretch.

    Raises:
        RestError: the exchange refuses, or does not show all of it.
    """
    walk = Walk(market, first_ms, last_ms, first_ms, SystemClock().now_ms(), PAGE_ROWS)
    found: list[Trade] = []
    for _ in range(PAGES_MAX):
        if (query := walk.query) is None:
            break
        try:
            page = await patiently(lambda: exchange.trades(market, **query))
        except RestRefused:
            if not walk.refuse():
                raise
            continue
        found += walk.take(page)
    seen = walk.seen()
    if seen.rejected or not seen.is_covered:
        raise RestError(f"before {iso(last_ms)} trades are missing: {seen.reason or 'damaged rows'}")
    return found


async def _put(settings: Settings, hour_ms: int, found: Sequence[Trade], losses: LossesOf) -> None:
    """Write an hour's trades and candles into the archive, beside what is there.

    Raises:
        ArchiveBusy: the archiver of a running system does not come to its end.
    """
    files, source = Files(settings.data_dir / FOLDER), FetchedTrades(found)
    deadline_s = time.monotonic() + LOCK_S
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(files.locked())
                break
            except ArchiveBusy:
                if time.monotonic() > deadline_s:
                    raise
                await asyncio.sleep(0.2)
        Hours(files).put(hour_of(hour_ms), losses, source)


def _text(report: Report) -> str:
    lines = [
        f"{report.trades:,} trades of {report.markets:,} market{'s' * (report.markets != 1)} fetched"
        f" in {report.seconds:,.0f} s, {report.calls:,} calls; the data begin {report.from_time}"
    ]
    lines += [
        f"failed: {market}: {reason} (its data begin {report.begins[market]})"
        for market, reason in report.failed.items()
    ]
    if report.failed:
        lines.append("what was fetched is kept: the same command goes on where this one ended")
    return "\n".join(lines)
