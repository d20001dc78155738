"""Trades and candles as polars or Arrow tables, out of the archive and what is newer in Redis.

    from tasks import frames

    candles = frames.candles("KRW-BTC", interval="5m", from_ms=1_789_999_980_000)
    trades = frames.trades("KRW-BTC", kind="arrow")

Prices and volumes are exact decimals; times are epoch milliseconds UTC beside a timestamp (`time`); the rows
are in the order of the exchange. Needs the extra `history`.
"""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

from collector.analytics.candles import KST_MS, interval_ms
from collector.archive import library
from collector.archive.sql import Session, open_session
from collector.archive.views import quoted
from collector.errors import BrokerUnavailable
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
    """
    where = _where(market, "exchange_ms", from_ms, to_ms)
    sql = f"SELECT * FROM trades {where} ORDER BY exchange_ms, market, id"  # noqa: S608
    with _session(settings, from_ms, to_ms) as session:
        return _frame(session, sql, kind)


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

    Raises:
        ConfigurationError: no such interval, or the extra is not installed.
    """
    where = _where(market, "open_ms", from_ms, to_ms)
    with _session(settings, from_ms, to_ms) as session:
        return _frame(session, candles_sql(interval_ms(interval), where), kind)


def query(sql: str, *, kind: Kind = "polars", settings: Settings | None = None) -> Frame:
    """Return what one SELECT over `trades`, `candles`, `tickers`, `books`, `gaps` gives.

    Raises:
        ConfigurationError: bad SQL, or the extra is not installed.
    """
    with _session(settings, None, None) as session:
        return _frame(session, sql, kind)


def candles_sql(length_ms: int, where: str) -> str:
    """Return the SELECT of candles of a length, aligned to Korean midnight, out of the minutes in `where`."""
    opens = f"(open_ms + {KST_MS}) // {length_ms} * {length_ms} - {KST_MS}"
    minutes = f"SELECT *, {opens} AS start_ms FROM candles {where}"  # noqa: S608
    return f"""
        SELECT market, start_ms AS open_ms,
            arg_min(open, open_ms) AS open, arg_max(close, open_ms) AS close,
            max(high) AS high, min(low) AS low,
            sum(base_volume) AS base_volume, sum(quote_volume) AS quote_volume,
            sum(buy_volume) AS buy_volume, sum(sell_volume) AS sell_volume,
            CAST(sum(trade_count) AS BIGINT) AS trade_count, bool_and(complete) AS complete,
            CAST(sum(quote_volume) AS DOUBLE) / CAST(sum(base_volume) AS DOUBLE) AS vwap,
            epoch_ms(start_ms) AS time
        FROM ({minutes}) GROUP BY market, start_ms ORDER BY start_ms, market
    """  # noqa: S608 - numbers and names of ours; the market is quoted


def _where(market: str | None, time: str, from_ms: int | None, to_ms: int | None) -> str:
    terms = [f"market = {quoted(market)}"] if market is not None else []
    terms += [f"{time} >= {int(from_ms)}"] if from_ms is not None else []
    terms += [f"{time} <= {int(to_ms)}"] if to_ms is not None else []
    return f"WHERE {' AND '.join(terms)}" if terms else ""


@contextmanager
def _session(settings: Settings | None, from_ms: int | None, to_ms: int | None) -> Iterator[Session]:
    settings = settings or current()
    with ExitStack() as stack:
        client = None
        try:
            client = stack.enter_context(connect(find_url(settings), settings))
            with translated():
                client.ping()
        except BrokerUnavailable as error:
            log.warning("the archive alone, without what is newer in Redis: %s", error)
            client = None
        yield stack.enter_context(open_session(settings, client, from_ms, to_ms))


def _frame(session: Session, sql: str, kind: Kind) -> Frame:
    table = session.arrow(sql)
    return table if kind == "arrow" else library("polars").from_arrow(table)
