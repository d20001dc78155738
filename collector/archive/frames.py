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
from collector.archive import library
from collector.archive.resample import candles_sql
from collector.archive.schema import TRADES
from collector.archive.sql import QuerySession, open_session
from collector.archive.views import ORDER, quoted
from collector.errors import BrokerUnavailable, ConfigurationError
from collector.host.redis_server import find_url
from collector.settings import Settings, current
from collector.store.redis_client import connect, translated

log = logging.getLogger(__name__)

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


def premium(
    market: str,
    reference: Frame,
    interval: str = "1m",
    from_ms: int | None = None,
    to_ms: int | None = None,
    *,
    settings: Settings | None = None,
) -> Frame:
    """Return how much more a market costs than a reference, for instance the kimchi premium.

    Shape: polars, a row for each candle that the reference has a price for: `market`, `time`, `open_ms`,
    `close`, `reference` and `premium` (close / reference - 1; 0.02 is 2 %), the last three doubles.

    Args:
        market: as people write it.
        reference: polars with `open_ms` (integer) and `price` in the quote currency of the market, such as
            the price in dollars times won per dollar; the newest row that is not later counts, if it is not
            older than a candle's length.
        interval, from_ms, to_ms: as for `candles`.

    Raises:
        ConfigurationError: the reference lacks a column, or as for `candles`.
        NoData: the market is unknown.
    """
    pl = library("polars")
    if missing := {"open_ms", "price"} - set(reference.columns):
        raise ConfigurationError(f"the reference has no column {', '.join(sorted(missing))}")
    ours = candles(market, interval, from_ms, to_ms, settings=settings).drop_nulls("close")
    theirs = reference.select(pl.col("open_ms").cast(pl.Int64), reference=pl.col("price").cast(pl.Float64))
    return (
        ours.sort("open_ms")
        .select("market", "time", "open_ms", pl.col("close").cast(pl.Float64))
        .join_asof(theirs.sort("open_ms"), on="open_ms", tolerance=interval_ms(interval) - 1)
        .drop_nulls("reference")
        .with_columns(premium=pl.col("close") / pl.col("reference") - 1)
    )


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
