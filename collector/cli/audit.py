"""`collector audit`: our one-minute candles beside the exchange's own, of one market or of all."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import date

from msgspec import Struct

from collector import market_names
from collector.analytics.auditing import AUDIT, runs
from collector.analytics.reconcile import Difference, Figures, Why, compare
from collector.archive.decimals import shortest
from collector.cli.progress import progress
from collector.cli.render import output
from collector.cli.render.moments import moments
from collector.cli.render.results import QUIET, WARN
from collector.cli.render.table import Column, RenderedTable
from collector.cli.sides import Minute, OurSide, Stretch, open_ours, theirs_of
from collector.clock import SystemClock
from collector.errors import ConfigurationError, NoData, RestError
from collector.feed.rest_client import RestClient
from collector.model import MINUTE_MS, Channel, Gap
from collector.settings import Settings
from collector.store.read import to_json
from collector.util.korean_time import DAY_MS, KST_MS, day_number
from collector.util.times import DAYS, Span, nothing

EXCHANGE = "of the exchange"
#: A minute that ended less than this ago may still change on either side.
SETTLE_MS = 60_000
#: Markets that are asked for at once: the next waits for its turn in the budget while one is under way.
AT_ONCE = 6
#: What `--repair` sends the backfill after.
_REPAIRED = frozenset({Why.THEIRS, Why.GAP})


class Audit(Struct, frozen=True):
    """The comparison of a market and its differing minutes; `error` is the reason where it failed."""

    market: str
    from_ms: int
    to_ms: int
    minutes_ours: int
    minutes_theirs: int
    minutes_equal: int
    differences: list[Difference]
    error: str | None = None

    @property
    def is_equal(self) -> bool:
        """Whether every minute is the exchange's."""
        return not self.differences and self.error is None


def audit(
    settings: Settings,
    market: str | None,
    from_ms: int | None,
    to_ms: int | None,
    *,
    as_json: bool,
    repair: bool = False,
) -> int:
    """Print what differs; return 1 if anything does, else 0.

    Without times the last 24 h are compared; the running minute never is.

    Args:
        settings: those in force.
        market: which; None means all that are collected, and all there are data of.
        from_ms, to_ms: the stretch, both ends included.
        as_json: whether programs read it.
        repair: whether gaps are opened for minutes that lack trades, which a listener then fetches.

    Raises:
        NoData: neither side has anything of this market then.
        RestError: the exchange does not answer, or refuses.
        BrokerUnavailable: neither Redis nor an archive.
    """
    now_ms = SystemClock().now_ms()
    asked = _whole_minutes(settings, from_ms, to_ms, now_ms)
    listed = asyncio.run(_listed(settings))
    with open_ours(settings, asked) as ours:
        markets = [_known(ours, market, listed, asked)] if market else ours.markets(listed)
        what = markets[0] if market else f"{len(markets):,} markets"
        with progress(f"candles of {what}", len(markets) * asked.pages) as step:
            comparing = _compare_all(ours, markets, asked, now_ms, step, alone=bool(market))
            found = asyncio.run(comparing)
        gaps = _lacking(found) if repair else []
        ours.put_gaps(gaps)
    if market and not found[0].minutes_ours and not found[0].minutes_theirs:
        sentence = _nothing(settings, markets[0], asked)
        raise NoData(f"nothing to compare, here or at the exchange: {sentence}")
    if as_json:
        output.write(to_json(found[0] if market else found))
    else:
        output.show([_sheet(found[0]) if market else _sheet_of_all(found)])
        if gaps:
            print(f"{len(gaps):,} gaps opened: the running listener backfills them and compares again")
    return 0 if all(each.is_equal for each in found) else 1


def day_span(text: str, now_ms: int) -> Span:
    """Return a day of the exchange, which begins at midnight in Korea: a date, `today` or `yesterday`.

    Raises:
        ConfigurationError: not a day.
    """
    today = day_number(now_ms)
    try:
        day = today - DAYS[text] if text in DAYS else (date.fromisoformat(text) - date(1970, 1, 1)).days
    except ValueError:
        raise ConfigurationError(f"--date {text!r} is not a day: write it like 2026-07-31") from None
    start_ms = day * DAY_MS - KST_MS
    return Span(start_ms, start_ms + DAY_MS - 1)


def _whole_minutes(settings: Settings, from_ms: int | None, to_ms: int | None, now_ms: int) -> Stretch:
    """Return what to compare: the stretch asked for without the running minute and without parts of one."""
    last_ms = min(to_ms if to_ms is not None else now_ms, now_ms // MINUTE_MS * MINUTE_MS - 1)
    first_ms = from_ms if from_ms is not None else last_ms + 1 - DAY_MS
    first_ms = -(-first_ms // MINUTE_MS) * MINUTE_MS
    if first_ms > last_ms:
        said = Span(first_ms, last_ms).text(settings.zone)
        raise ConfigurationError(f"no whole minute{said} is over by now")
    return Stretch(first_ms, last_ms)


def _known(ours: OurSide, market: str, listed: Sequence[str], asked: Stretch) -> str:
    """Return the market's code; one that is delisted by now is known by our data."""
    if market_names.find(market, listed).markets:
        return market_names.one(market, listed, EXCHANGE)
    code = market_names.tidy(market)
    if not ours.load(code, asked).minutes:
        raise market_names.unknown(market, listed, EXCHANGE)
    return code


def _nothing(settings: Settings, market: str, asked: Stretch) -> str:
    with open_ours(settings) as ours:
        return nothing("candles", market, Span(*asked), ours.stretch(market), settings.zone)


async def _listed(settings: Settings) -> tuple[str, ...]:
    async with RestClient(settings.exchange, SystemClock()) as exchange:
        return await exchange.markets()


async def _compare_all(
    ours: OurSide,
    markets: Sequence[str],
    asked: Stretch,
    now_ms: int,
    step: Callable[[float], None],
    *,
    alone: bool,
) -> list[Audit]:
    """Compare some markets at once, each inside the REST budget; of several, one that fails costs itself."""
    left = iter(markets)
    found: list[Audit] = []

    async def work(exchange: RestClient) -> None:
        for market in left:
            try:
                theirs = await theirs_of(exchange, market, asked, step)
            except RestError as error:
                if alone:
                    raise
                found.append(Audit(market, *asked, 0, 0, 0, [], str(error)))
                continue
            found.append(_compared(ours, market, theirs, asked, now_ms))

    async with RestClient(ours.settings.exchange, SystemClock()) as exchange:
        await asyncio.gather(*(work(exchange) for _ in range(AT_ONCE)))
    return sorted(found, key=lambda each: each.market)


def _compared(side: OurSide, market: str, theirs: dict[int, Figures], asked: Stretch, now_ms: int) -> Audit:
    """Compare one market, and store the verdicts for whoever reads its candles."""
    ours = side.load(market, asked)
    minutes = {open_ms: _figures(minute) for open_ms, minute in ours.minutes.items()}
    differences = compare(market, minutes, theirs, ours.gaps, now_ms - SETTLE_MS, ours.begins_ms)
    equal = len(minutes.keys() | theirs.keys()) - len(differences)
    found = Audit(market, *asked, len(minutes), len(theirs), equal, differences)
    unsettled = {row.open_ms for row in differences if row.why is Why.LATE}
    side.note(market, asked, ours, theirs.keys(), {row.open_ms for row in differences}, unsettled)
    return found


def _figures(minute: Minute) -> Figures:
    return Figures(*(getattr(minute, name) for name in Figures.__struct_fields__))


def _lacking(found: Sequence[Audit]) -> list[Gap]:
    """Return a gap for each stretch of minutes that lack trades."""
    return [
        Gap(each.market, Channel.TRADE, from_ms, end_ms - 1, AUDIT)
        for each in found
        for from_ms, end_ms in runs(row.open_ms for row in each.differences if row.why in _REPAIRED)
    ]


# -- what is printed


def _sheet(found: Audit) -> RenderedTable:
    rows = found.differences
    columns = (
        moments("minute", [row.open_ms for row in rows], "minute"),
        Column("why", [str(row.why) for row in rows], False, [_style(row) for row in rows]),
        Column("ours", [_volume(row.ours) for row in rows]),
        Column("theirs", [_volume(row.theirs) for row in rows]),
        Column("differs in", [_fields(row) for row in rows], right=False, rank=1),
    )
    return RenderedTable(
        f"{found.market}: {_verdict(found)}", columns if rows else (), _counts(rows, "base volume")
    )


def _sheet_of_all(found: Sequence[Audit]) -> RenderedTable:
    rows = [each for each in found if not each.is_equal]
    minutes = sum(each.minutes_equal + len(each.differences) for each in found)
    columns = (
        Column("market", [each.market for each in rows], right=False),
        Column("minutes", [f"{each.minutes_equal + len(each.differences):,}" for each in rows]),
        Column("differ", [f"{len(each.differences):,}" for each in rows], styles=[WARN] * len(rows)),
        Column("why", [each.error or _counts(each.differences) for each in rows], right=False, wraps=True),
    )
    if not rows and not minutes:
        title = f"nothing to compare: neither side has trades of {len(found):,} markets then"
    elif not rows:
        title = f"all {minutes:,} minutes of {len(found):,} markets equal the exchange's"
    else:
        differ = sum(len(each.differences) for each in found)
        where = f"in {len(rows):,} of {len(found):,} markets"
        title = f"{differ:,} of {minutes:,} minutes differ from the exchange's, {where}"
    return RenderedTable(title, columns if rows else (), "")


def _verdict(found: Audit) -> str:
    total = found.minutes_equal + len(found.differences)
    if not found.differences:
        return f"all {total:,} minutes equal the exchange's"
    return f"{len(found.differences):,} of {total:,} minutes differ from the exchange's"


def _counts(rows: Sequence[Difference], volumes: str = "") -> str:
    counts = Counter(row.why for row in rows)
    said = f"ours and theirs: {volumes}; " if rows and volumes else ""
    return said + ", ".join(f"{why} {counts[why]}" for why in Why if counts[why])


def _volume(figures: Figures | None) -> str:
    return "–" if figures is None else shortest(figures.base_volume)


def _fields(row: Difference) -> str:
    return "no candle" if row.ours is None or row.theirs is None else ", ".join(row.fields)


def _style(row: Difference) -> str:
    return QUIET if row.why in (Why.LATE, Why.GAP, Why.SEALED, Why.BEFORE) else WARN
