"""`collector audit`: our one-minute candles beside the exchange's own."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import date
from decimal import Decimal

from msgspec import Struct

from collector import market_names
from collector.analytics.candles import KST_MS
from collector.analytics.reconcile import Difference, Figures, Why, compare
from collector.archive import is_installed
from collector.archive.decimals import exact, shortest
from collector.archive.records import CANDLES, ROUNDED
from collector.archive.sql import Session
from collector.archive.views import quoted
from collector.cli.lookback import open_history, stretch
from collector.cli.progress import progress
from collector.cli.render import output
from collector.cli.render.moments import moments
from collector.cli.render.results import QUIET, WARN
from collector.cli.render.sheet import Column, Sheet
from collector.cli.store import open_reader
from collector.cli.times import DAYS, Span, nothing
from collector.clock import SystemClock
from collector.errors import ConfigurationError, NoData
from collector.feed.rest_client import PAGE_CANDLES, RestClient
from collector.model import MINUTE_MS, Channel, Gap
from collector.protocol.rest import ExchangeCandle
from collector.settings import Settings
from collector.store.read import Reader, to_json

log = logging.getLogger(__name__)

DAY_MS = 86_400_000
EXCHANGE = "of the exchange"
#: A minute that ended less than this ago may still change on either side.
SETTLE_MS = 60_000


class Audit(Struct, frozen=True):
    """What was compared, and the minutes that differ."""

    market: str
    from_ms: int
    to_ms: int
    minutes_ours: int
    minutes_theirs: int
    minutes_equal: int
    differences: list[Difference]


class _Ours(Struct, frozen=True):
    minutes: dict[int, Figures]
    gaps: list[Gap]


def audit(settings: Settings, market: str, from_ms: int | None, to_ms: int | None, *, as_json: bool) -> int:
    """Print what differs; return 1 if anything does, else 0.

    Without times the last 24 h are compared; the running minute never is.

    Raises:
        NoData: neither side has anything of this market then.
        RestError: the exchange does not answer, or refuses.
        BrokerUnavailable: neither Redis nor an archive.
    """
    now_ms = SystemClock().now_ms()
    last_ms = min(to_ms if to_ms is not None else now_ms, now_ms // MINUTE_MS * MINUTE_MS - 1)
    first_ms = from_ms if from_ms is not None else last_ms + 1 - DAY_MS
    first_ms = -(-first_ms // MINUTE_MS) * MINUTE_MS  # a minute that is only in part asked for is left out
    asked = Span(first_ms, last_ms)
    if first_ms > last_ms:
        raise ConfigurationError(f"no whole minute{asked.text(settings.zone)} is over by now")
    listed = asyncio.run(_listed(settings))
    is_listed = bool(market_names.find(market, listed).markets)
    code = market_names.one(market, listed, EXCHANGE) if is_listed else market_names.tidy(market)
    ours = _ours(settings, code, first_ms, last_ms)
    if not is_listed and not ours.minutes:  # else it is delisted by now
        raise market_names.unknown(market, listed, EXCHANGE)
    market = code
    theirs = _theirs(settings, market, first_ms, last_ms)
    if not ours.minutes and not theirs:
        raise NoData(f"nothing to compare, here or at the exchange: {_nothing(settings, market, asked)}")
    differences = compare(market, ours.minutes, theirs, ours.gaps, now_ms - SETTLE_MS)
    equal = len(ours.minutes.keys() | theirs.keys()) - len(differences)
    found = Audit(market, first_ms, last_ms, len(ours.minutes), len(theirs), equal, differences)
    if as_json:
        output.write(to_json(found))
    else:
        output.show([_sheet(found)])
    return 1 if differences else 0


def day_span(text: str, now_ms: int) -> Span:
    """Return a day of the exchange, which begins at midnight in Korea: a date, `today` or `yesterday`.

    Raises:
        ConfigurationError: not a day.
    """
    today = (now_ms + KST_MS) // DAY_MS
    try:
        day = today - DAYS[text] if text in DAYS else (date.fromisoformat(text) - date(1970, 1, 1)).days
    except ValueError:
        raise ConfigurationError(f"--date {text!r} is not a day: write it like 2026-07-31") from None
    start_ms = day * DAY_MS - KST_MS
    return Span(start_ms, start_ms + DAY_MS - 1)


def _nothing(settings: Settings, market: str, asked: Span) -> str:
    if is_installed():
        with open_history(settings) as session:
            known = stretch(session, CANDLES, [market])
    else:
        with open_reader(settings) as reader:
            known = Span(*found) if (found := reader.candle_stretch(market)) else None
    return nothing("candles", market, asked, known, settings.zone)


async def _listed(settings: Settings) -> tuple[str, ...]:
    async with RestClient(settings.exchange, SystemClock()) as exchange:
        return await exchange.markets()


def _ours(settings: Settings, market: str, from_ms: int, to_ms: int) -> _Ours:
    """Return our side: archive and Redis, or Redis alone where the extra is not installed."""
    if is_installed():
        with open_history(settings, from_ms, to_ms) as session:
            return _from_session(session, market, from_ms, to_ms)
    with open_reader(settings) as reader:
        return _from_redis(reader, market, from_ms, to_ms)


def _from_session(session: Session, market: str, from_ms: int, to_ms: int) -> _Ours:
    names = Figures.__struct_fields__
    columns = ", ".join(f'"{name}"' for name in names)
    wanted = f"market = {quoted(market)}"
    candles = session.rows(
        f"SELECT open_ms, {ROUNDED}, {columns} FROM candles"  # noqa: S608
        f" WHERE {wanted} AND open_ms BETWEEN {from_ms} AND {to_ms}"
    )
    gaps = session.rows(
        f"SELECT channel, from_ms, to_ms, reason, recovered FROM gaps WHERE {wanted}"  # noqa: S608
    )
    return _Ours(
        {
            open_ms: _exactly(dict(zip(names, figures, strict=True)) | exact(rounded))
            for open_ms, rounded, *figures in candles
        },
        [Gap(market, Channel(row[0]), *row[1:]) for row in gaps],
    )


def _exactly(numbers: dict[str, Decimal]) -> Figures:
    return Figures(*(numbers[name] for name in Figures.__struct_fields__))


def _from_redis(reader: Reader, market: str, from_ms: int, to_ms: int) -> _Ours:
    candles = reader.candles(market, "1m", from_ms, to_ms)
    names = Figures.__struct_fields__
    gaps = [
        Gap(market, row.channel, row.from_ms, row.to_ms, row.reason, row.recovered)
        for row in reader.gaps(market)
    ]
    traded = (row for row in candles if row.prices)
    return _Ours({row.open_ms: Figures(*(getattr(row, name) for name in names)) for row in traded}, gaps)


def _theirs(settings: Settings, market: str, from_ms: int, to_ms: int) -> dict[int, Figures]:
    pages = -(-(to_ms + 1 - from_ms) // (PAGE_CANDLES * MINUTE_MS))
    with progress(f"candles of {market}", pages) as step:
        found = asyncio.run(_fetch(settings, market, from_ms, to_ms, step))
    return {candle.open_ms: _figures(candle) for candle in found}


async def _fetch(
    settings: Settings, market: str, from_ms: int, to_ms: int, step: Callable[[float], None]
) -> list[ExchangeCandle]:
    """Page back from the end; the exchange leaves out minutes without a trade."""
    found: list[ExchangeCandle] = []
    end_ms = to_ms + 1
    async with RestClient(settings.exchange, SystemClock()) as exchange:
        while end_ms > from_ms:
            page = await exchange.candles(market, end_ms)
            step(1)
            older = [candle for candle in page if candle.open_ms < end_ms]
            if not older:
                break
            found += [candle for candle in older if candle.open_ms >= from_ms]
            end_ms = min(candle.open_ms for candle in older)
    return found


def _figures(candle: ExchangeCandle) -> Figures:
    return Figures(*(getattr(candle, name) for name in Figures.__struct_fields__))


def _sheet(found: Audit) -> Sheet:
    rows = found.differences
    columns = (
        moments("minute", [row.open_ms for row in rows], "minute"),
        Column("why", [str(row.why) for row in rows], False, [_style(row) for row in rows]),
        Column("ours", [_volume(row.ours) for row in rows]),
        Column("theirs", [_volume(row.theirs) for row in rows]),
        Column("differs in", [_fields(row) for row in rows], right=False, rank=1),
    )
    return Sheet(f"{found.market}: {_verdict(found)}", columns if rows else (), _counts(rows))


def _verdict(found: Audit) -> str:
    total = found.minutes_equal + len(found.differences)
    if not found.differences:
        return f"all {total:,} minutes are the exchange's"
    return f"{len(found.differences):,} of {total:,} minutes differ from the exchange's"


def _counts(rows: Sequence[Difference]) -> str:
    counts = Counter(row.why for row in rows)
    volumes = "ours and theirs: base volume; " if rows else ""
    return volumes + ", ".join(f"{why} {counts[why]}" for why in Why if counts[why])


def _volume(figures: Figures | None) -> str:
    return "–" if figures is None else shortest(figures.base_volume)


def _fields(row: Difference) -> str:
    return "no candle" if row.ours is None or row.theirs is None else ", ".join(row.fields)


def _style(row: Difference) -> str:
    return QUIET if row.why in (Why.LATE, Why.GAP, Why.SEALED) else WARN
