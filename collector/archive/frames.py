"""Trades and candles as polars or Arrow tables, out of the archive and what is newer in Redis.

    from tasks import frames

    candles = frames.candles("KRW-BTC", interval="5m", from_ms=1_789_999_980_000)
    trades = frames.trades("KRW-BTC", kind="arrow")

Prices and volumes are decimals of one type per kind of column, whatever the data are; `rounded` has every
digit of the rare number that does not fit (docs/archive.md). Times are epoch milliseconds UTC beside a
timestamp with the zone of `COLLECTOR_TIME_ZONE` (`time`). Trades are in the order of the exchange: by time,
then by arrival where it is known, then by id. Markets are named as people write them. Needs the extra
`history`.
"""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

from collector import market_names
from collector.analytics.candles import interval_ms
from collector.analytics.completeness import NEVER_MS
from collector.archive import library
from collector.archive.schema import CANDLES, ROUNDED, TRADES
from collector.archive.sql import QuerySession, open_session
from collector.archive.views import COLUMNS, DERIVED, ORDER, quoted
from collector.errors import BrokerUnavailable
from collector.host.redis_server import find_url
from collector.model import MINUTE_MS
from collector.settings import Settings, current
from collector.store.redis_client import connect, translated
from collector.util.korean_time import KST_MS

log = logging.getLogger(__name__)

#: The columns of candles that are added up.
SUMS = ("base_volume", "quote_volume", "buy_volume", "sell_volume")
_NAMES_OF_ROUNDED = f"""
    CASE WHEN count({ROUNDED}) > 0 THEN CAST(to_json(list_sort(list_distinct(
        flatten(list(json_keys({ROUNDED})) FILTER ({ROUNDED} IS NOT NULL))
    ))) AS VARCHAR) END"""

#: As `collector.analytics.completeness.all_verified`, of the minutes that have trades.
_VERIFIED = """
    CASE WHEN bool_or(NOT verified) THEN false
    WHEN bool_and(coalesce(verified, false)) FILTER (trade_count > 0) THEN true END"""
#: Where the data of each market begin (`collector.analytics.completeness.known_of`).
_BEGUN = """
    SELECT market, min(begin_ms) AS begin_ms FROM (
        SELECT market, min(open_ms) AS begin_ms FROM raw.candles GROUP BY market
        UNION ALL SELECT market, min(from_ms) FROM raw.gaps WHERE channel = 'trade' GROUP BY market
    ) GROUP BY market"""
#: Stretches between what was fetched of the exchange's minutes, and from there to our own, by market.
_HOLES = f"""
    SELECT market, to_ms + 1 AS from_ms, next_ms - 1 AS to_ms FROM (
        SELECT market, max(to_ms) OVER (PARTITION BY market ORDER BY from_ms) AS to_ms,
            lead(from_ms, 1, {NEVER_MS}) OVER (PARTITION BY market ORDER BY from_ms) AS next_ms
        FROM (
            SELECT market, from_ms, to_ms FROM fetched WHERE interval = '1m'
            UNION ALL SELECT market, begin_ms, {NEVER_MS} FROM begun
        )
    ) WHERE next_ms > to_ms + 1"""  # noqa: S608 - a number of ours

#: Whether a candle begins with the data: ours, or what was fetched.
_KNOWN_SINCE = """start_ms >= least(any_value(begin_ms), (
    SELECT min(from_ms) FROM fetched WHERE interval = '1m' AND fetched.market = minutes.market))"""

#: A polars DataFrame or a pyarrow Table, as asked for.
Frame = Any
Kind = Literal["polars", "arrow"]


def trades(
    market: str | None = None,
    from_ms: int | None = None,
    to_ms: int | None = None,
    *,
    kind: Kind = "polars",
    settings: Settings | None = None,
) -> Frame:
    """Return the executions of `market`, or of all, in `from_ms … to_ms`.

    Raises:
        ConfigurationError: the extra is not installed.
        NoData: the market is unknown.
    """
    with _session(settings, from_ms, to_ms) as session:
        where = _where(_named(market, session, settings), "exchange_ms", from_ms, to_ms)
        return _frame(session, f"SELECT * FROM trades {where} ORDER BY {ORDER[TRADES]}", kind)  # noqa: S608


def candles(
    market: str | None = None,
    interval: str = "1m",
    from_ms: int | None = None,
    to_ms: int | None = None,
    *,
    kind: Kind = "polars",
    settings: Settings | None = None,
) -> Frame:
    """Return the candles of `market`, or of all, that are made of minutes in `from_ms … to_ms`.

    Of candles longer than a minute `rounded` names the columns in which a number of a minute is rounded.

    Raises:
        ConfigurationError: no such interval, or the extra is not installed.
        NoData: the market is unknown.
    """
    length_ms = interval_ms(interval)
    with _session(settings, from_ms, to_ms) as session:
        where = _where(_named(market, session, settings), "open_ms", from_ms, to_ms)
        return _frame(session, candles_sql(length_ms, where, from_ms, to_ms), kind)


def query(sql: str, *, kind: Kind = "polars", settings: Settings | None = None) -> Frame:
    """Return what one SELECT over `trades`, `candles`, `tickers`, `books`, `gaps` gives.

    Raises:
        ConfigurationError: bad SQL, or the extra is not installed.
    """
    with _session(settings, None, None) as session:
        return _frame(session, sql, kind)


def candles_sql(length_ms: int, where: str, from_ms: int | None = None, to_ms: int | None = None) -> str:
    """Return the SELECT of candles of a length, aligned to Korean midnight, out of the minutes in `where`.

    A candle that `from_ms` or `to_ms` cuts, and one that begins before the data, is not complete.
    """
    if length_ms == MINUTE_MS:
        return f"SELECT * FROM candles {where} ORDER BY {ORDER[CANDLES]}"  # noqa: S608
    opens = f"(open_ms + {KST_MS}) // {length_ms} * {length_ms} - {KST_MS}"
    whole = f"start_ms >= {from_ms or 0}"
    if to_ms is not None:
        whole += f" AND start_ms + {length_ms} <= {to_ms + 1}"
    cut_by_hole = (
        "EXISTS (FROM holes WHERE holes.market = minutes.market"
        f" AND holes.from_ms < start_ms + {length_ms} AND holes.to_ms >= start_ms)"
    )
    longer = {
        "market": "market",
        "open_ms": "start_ms",
        "open": "arg_min(open, open_ms)",  # of minutes with prices
        "high": "max(high)",
        "low": "min(low)",
        "close": "arg_max(close, open_ms)",
        "trade_count": _known_sum("trade_count", "BIGINT"),
        "source": "CASE WHEN count(DISTINCT source) > 1 THEN 'both' ELSE any_value(source) END",
        "complete": f"bool_and(complete) AND {whole} AND {_KNOWN_SINCE} AND NOT {cut_by_hole}",
        "verified": _VERIFIED,
        ROUNDED: _NAMES_OF_ROUNDED,
        **{name: _known_sum(name, CANDLES.decimals[name].sql) for name in SUMS},
    }
    summed = ", ".join(f"{expression} AS {name}" for name, expression in longer.items())
    derived = DERIVED[CANDLES]
    columns = ", ".join(f"{derived.get(name, name)} AS {name}" for name in COLUMNS[CANDLES])
    return f"""
        WITH minutes AS (SELECT *, {opens} AS start_ms FROM candles {where}),
        begun AS ({_BEGUN}),
        holes AS ({_HOLES}),
        longer AS (SELECT {summed} FROM minutes LEFT JOIN begun USING (market) GROUP BY market, start_ms)
        SELECT {columns} FROM longer ORDER BY {ORDER[CANDLES]}
    """  # noqa: S608 - numbers and names of ours; the market is quoted


def _known_sum(name: str, type_: str) -> str:
    """Return the SQL of a sum; null where a minute has none, as the sides of the exchange's minutes."""
    return f"CASE WHEN count({name}) = count(*) THEN CAST(sum({name}) AS {type_}) END"


def _where(market: str | None, time: str, from_ms: int | None, to_ms: int | None) -> str:
    terms = [f"market = {quoted(market)}"] if market is not None else []
    terms += [f"{time} >= {int(from_ms)}"] if from_ms is not None else []
    terms += [f"{time} <= {int(to_ms)}"] if to_ms is not None else []
    return f"WHERE {' AND '.join(terms)}" if terms else ""


def _named(market: str | None, session: QuerySession, settings: Settings | None) -> str | None:
    """Return the code of a market as people write it; the session may not reach all files.

    Raises:
        NoData: there is no such market.
    """
    if market is None or (market_names.is_code(market) and _has(session, market)):
        return market
    found = market_names.find(market, session.markets()).markets
    if len(found) == 1:
        return found[0]
    with _session(settings, None, None) as whole:
        return market_names.one(market, whole.markets())


def _has(session: QuerySession, market: str) -> bool:
    return bool(session.rows(f"SELECT 1 FROM raw.candles WHERE market = {quoted(market)} LIMIT 1"))  # noqa: S608


@contextmanager
def _session(settings: Settings | None, from_ms: int | None, to_ms: int | None) -> Iterator[QuerySession]:
    settings = settings or current()
    with ExitStack() as stack:
        client = None
        try:
            client = stack.enter_context(connect(find_url(settings), settings))
            with translated():
                client.ping()
        except BrokerUnavailable as error:
            log.warning("the archive only, without newer data in Redis: %s", error)
            client = None
        yield stack.enter_context(open_session(settings, client, from_ms, to_ms))


def _frame(session: QuerySession, sql: str, kind: Kind) -> Frame:
    table = session.arrow(sql)
    return table if kind == "arrow" else library("polars").from_arrow(table)
