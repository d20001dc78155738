"""`collector show`: stored results, as tables for people and as JSON for programs."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import redis
from rich.console import RenderableType

from collector.analytics.candles import interval_ms
from collector.cli.freshness import notice
from collector.cli.render import health, output, proof, results
from collector.cli.render.table import RenderedTable
from collector.cli.store import open_redis
from collector.clock import SystemClock
from collector.errors import ConfigurationError
from collector.settings import Settings
from collector.store.keys import Keys
from collector.store.read import Reader, to_json
from collector.store.redis_client import translated
from collector.util.times import Span, nothing

log = logging.getLogger(__name__)

#: Rows a person gets of a long list without having asked for a number.
GLANCE_ROWS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What was asked for; times in epoch milliseconds, both ends included.

    `market` is as it was written until `show` reads it; then it is the code of one.
    """

    what: str
    market: str | None = None
    interval: str | None = None
    from_ms: int | None = None
    to_ms: int | None = None
    limit: int | None = None
    #: Of gaps the recovered too, of completeness the whole markets too; JSON has them all.
    all: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One WHAT: how it is read, how it is drawn, which arguments it takes."""

    read: Callable[["ResultSource", Query], Any]
    draw: Callable[[Any], RenderedTable | Iterable[RenderableType]]
    noun: str = ""
    market: str = "needed"  # or "optional" or "none"
    #: The field that orders the rows of several markets; empty: market by market.
    time: str = ""
    #: Whether a table is about one market.
    one_market: bool = False
    takes_times: bool = False
    known: Callable[["ResultSource", Query], tuple[int, int] | None] = lambda *_: None
    takes_interval: bool = False
    #: Whether several markets are read at once.
    takes_lists: bool = False
    #: The default view without `--all`: the newest relevant rows.
    glance: Callable[[Sequence[Any], int], RenderedTable | Iterable[RenderableType]] | None = None


class ResultSource:
    """Where results are read from: the reader, and the one list it does not know."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self.reader = Reader(client, settings)
        self._redis = client
        self._keys = Keys(settings.store.key_prefix)

    def rejected(self) -> list[dict[str, Any]]:
        """Return messages of the exchange that were not understood, oldest first."""
        with translated():
            texts = self._redis.lrange(self._keys.rejected_frames, 0, -1)
        return [msgspec.json.decode(text) for text in reversed(texts)]


def _market(query: Query) -> str:
    assert query.market is not None  # noqa: S101 - `check` saw to it
    return query.market


def _chosen(query: Query) -> list[str] | None:
    return None if query.market is None else [query.market]


def _candles(source: ResultSource, query: Query) -> Sequence[Any]:
    return source.reader.candles(
        _market(query), query.interval or "1m", query.from_ms, query.to_ms, query.limit
    )


def _gaps(source: ResultSource, query: Query) -> Sequence[Any]:
    return [
        gap
        for gap in source.reader.gaps(query.market)
        if (query.from_ms is None or gap.to_ms >= query.from_ms)
        and (query.to_ms is None or gap.from_ms <= query.to_ms)
    ]


def _trades(source: ResultSource, query: Query) -> Sequence[Any]:
    return source.reader.trades(_market(query), query.from_ms, query.to_ms, query.limit)


def _known_gaps(source: ResultSource, query: Query) -> tuple[int, int] | None:
    found = source.reader.gaps(query.market)
    return (found[0].from_ms, max(gap.to_ms for gap in found)) if found else None


SUBJECTS: dict[str, Subject] = {
    "ticker": Subject(
        read=lambda source, query: source.reader.tickers(_chosen(query)),
        draw=results.tickers,
        market="optional",
    ),
    "book": Subject(
        read=lambda source, query: source.reader.books(_chosen(query)),
        draw=results.books,
        market="optional",
    ),
    "candles": Subject(
        read=_candles,
        draw=results.candles,
        takes_times=True,
        takes_interval=True,
        time="open_ms",
        one_market=True,
        known=lambda source, query: source.reader.candle_stretch(_market(query)),
    ),
    "volume": Subject(
        read=lambda source, query: source.reader.volume(_market(query)), draw=results.volumes, one_market=True
    ),
    "changes": Subject(
        read=lambda source, query: source.reader.changes(_market(query)),
        draw=results.changes,
        one_market=True,
    ),
    "trades": Subject(
        read=_trades,
        draw=results.trades,
        takes_times=True,
        time="exchange_ms",
        one_market=True,
        known=lambda source, query: source.reader.trade_stretch(_market(query)),
    ),
    "gaps": Subject(
        read=_gaps,
        draw=results.gaps,
        glance=results.open_gaps,
        market="optional",
        takes_times=True,
        time="from_ms",
        known=_known_gaps,
    ),
    "completeness": Subject(
        read=lambda source, query: source.reader.completeness(query.market),
        draw=proof.completeness,
        glance=proof.lacking,
        market="optional",
        takes_lists=True,
    ),
    "health": Subject(read=lambda source, _: source.reader.health(), draw=health.health, market="none"),
    "markets": Subject(
        read=lambda source, _: source.reader.market_rows(), draw=results.markets, market="none"
    ),
    "rejected": Subject(
        read=lambda source, _: source.rejected(),
        draw=results.rejected,
        market="none",
        noun="refused messages",
    ),
}


def show(settings: Settings, query: Query, *, as_json: bool) -> int:
    """Print what `query` asks for; return the exit code.

    Raises:
        ConfigurationError: arguments that do not fit together.
        NoData: the market was never seen.
        BrokerUnavailable: no Redis to read from.
    """
    subject = check(query)
    wanted = query if as_json else _at_a_glance(subject, query)
    with open_redis(settings) as client:
        source = ResultSource(client, settings)
        found = _found(subject, source, wanted)
        empty = "" if found else _nothing(subject, source, wanted, settings.zone)
        stale = "" if as_json else notice(source.reader, SystemClock().now_ms())
    if as_json:
        output.write(to_json(found))
        if empty and subject.takes_times:
            log.info("%s", empty)
    else:
        parts = [f"{empty}."] if empty else _drawn(subject, query, found)
        output.show(parts, warning=stale)
    return 0


def _nothing(subject: Subject, source: ResultSource, query: Query, zone: ZoneInfo) -> str:
    """Return the sentence about an empty answer."""
    span = Span(query.from_ms, query.to_ms)
    markets = source.reader.several(query.market) if query.market else [None]
    asked = [] if span == (None, None) else [replace(query, market=market) for market in markets]
    known = [found for each in asked if (found := subject.known(source, each))]
    return "Nothing to show: " + nothing(
        subject.noun or query.what,
        ",".join(filter(None, markets)),
        span,
        Span(min(first for first, _ in known), max(last for _, last in known)) if known else None,
        zone,
    )


def check(query: Query) -> Subject:
    """Return the subject of `query`.

    Raises:
        ConfigurationError: no such subject, or an argument it needs is missing or does not take.
    """
    what = query.what
    if what not in SUBJECTS:
        raise ConfigurationError(f"there is no {what!r} to show: one of {', '.join(SUBJECTS)}")
    subject = SUBJECTS[what]
    if subject.market == "needed" and query.market is None:
        raise ConfigurationError(
            f"`show {what}` needs a market: collector show {what} KRW-BTC "
            "(`collector show markets` lists those there are)"
        )
    if subject.market == "none" and query.market is not None:
        raise ConfigurationError(f"`show {what}` is about all markets: leave {query.market} out")
    if not subject.takes_times and (query.from_ms is not None or query.to_ms is not None):
        raise ConfigurationError(f"`show {what}` shows the newest only: leave --from and --to out")
    if query.all and subject.glance is None:
        raise ConfigurationError("--all is for `show gaps` and `show completeness` alone")
    if query.interval is not None:
        if not subject.takes_interval:
            raise ConfigurationError("--interval is for `show candles` alone")
        interval_ms(query.interval)
    return subject


def _at_a_glance(subject: Subject, query: Query) -> Query:
    if subject.glance is not None and not query.all:
        return replace(query, limit=None)
    asked = (query.from_ms, query.to_ms, query.limit)
    if subject.takes_times and asked == (None, None, None):
        return replace(query, limit=GLANCE_ROWS)
    return query


def _found(subject: Subject, source: ResultSource, query: Query) -> Any:  # noqa: ANN401 - rows of any kind
    """Read what was asked for, of each market that was named, oldest first."""
    if query.market is None or subject.takes_lists:
        return _limited(subject.read(source, query), query.limit)
    rows = [
        row
        for market in source.reader.several(query.market)
        for row in _limited(subject.read(source, replace(query, market=market)), query.limit)
    ]
    if subject.time:
        rows.sort(key=attrgetter(subject.time))
    return rows


def _limited(found: Any, limit: int | None) -> Any:  # noqa: ANN401 - rows of any kind
    return found[-limit:] if limit and isinstance(found, list) else found


def _drawn(subject: Subject, query: Query, found: Any) -> Iterable[RenderableType]:  # noqa: ANN401
    if subject.glance is not None and not query.all:
        return _parts(subject.glance(found, query.limit or GLANCE_ROWS))
    parts: list[RenderableType] = []
    for rows in _by_market(found) if subject.one_market else [found]:
        parts += _parts(subject.draw(rows))
    if isinstance(found, list) and len(found) == GLANCE_ROWS == _at_a_glance(subject, query).limit:
        parts.append(f"The newest {GLANCE_ROWS}; --limit or --from shows more.")
    return parts


def _parts(drawn: RenderedTable | Iterable[RenderableType]) -> Iterable[RenderableType]:
    return [drawn] if isinstance(drawn, RenderedTable) else drawn


def _by_market(rows: Sequence[Any]) -> Iterable[list[Any]]:
    """Return the rows of each market apart, the markets in the order of their names."""
    markets = sorted({row.market for row in rows})
    return [[row for row in rows if row.market == market] for market in markets]
