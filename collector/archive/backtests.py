"""Candles, trades and books in the forms that backtesting libraries read.

Prices and volumes are doubles here, as those libraries compute in them.
"""
# ruff: noqa: S608 - names and numbers of ours; the market is quoted

from enum import StrEnum
from typing import Any

from collector.archive import library
from collector.archive.parquet import Arrow
from collector.archive.resample import HOLES_SQL, candles_sql
from collector.archive.schema import TRADES
from collector.archive.sql import QuerySession
from collector.archive.views import ORDER, quoted

#: Bits of an event of hftbacktest (`hftbacktest.types`).
DEPTH_CLEAR, DEPTH_SNAPSHOT, TRADE = 3, 4, 2
EXCHANGE, LOCAL, BUY, SELL = 1 << 31, 1 << 30, 1 << 29, 1 << 28
#: An event of hftbacktest: times in nanoseconds.
EVENT = [
    ("ev", "u8"), ("exch_ts", "i8"), ("local_ts", "i8"), ("px", "f8"), ("qty", "f8"),
    ("order_id", "u8"), ("ival", "i8"), ("fval", "f8"),
]  # fmt: skip
NS_PER_MS = 1_000_000


class Fill(StrEnum):
    """What stands for an interval without a trade, between the first and the last candle."""

    ABSENT = "absent"  # nothing: there is no row
    FLAT = "flat"  # the close before, volume 0; null where trades may be missing
    NULL = "null"  # no prices, volume 0


def ohlcv(
    session: QuerySession,
    market: str,
    length_ms: int,
    from_ms: int | None = None,
    to_ms: int | None = None,
    *,
    fill: Fill = Fill.ABSENT,
) -> Arrow:
    """Return `time` (UTC), `open`, `high`, `low`, `close`, `volume` (base currency) of a market.

    Args:
        session: over archive and Redis.
        market: its code.
        length_ms: of a candle; they are aligned to Korean midnight.
        from_ms, to_ms: the stretch, both included.
        fill: what stands for an interval without a trade.
    """
    terms = [f"market = {quoted(market)}"]
    terms += [f"open_ms >= {from_ms}"] if from_ms is not None else []
    terms += [f"open_ms <= {to_ms}"] if to_ms is not None else []
    found = candles_sql(length_ms, f"WHERE {' AND '.join(terms)}")
    traded = f"SELECT * FROM ({found}) WHERE open IS NOT NULL"
    prices = ("open", "high", "low", "close")
    if fill is Fill.ABSENT:
        rows = f"SELECT open_ms, {', '.join(prices)}, base_volume FROM traded"
    else:
        rows = f"""
            SELECT open_ms, {", ".join(f"traded.{name}" for name in prices)},
                CASE WHEN is_missing THEN NULL ELSE coalesce(base_volume, 0) END AS base_volume
            FROM grid LEFT JOIN traded USING (open_ms)"""
    if fill is Fill.FLAT:
        before = "last_value(close IGNORE NULLS) OVER (ORDER BY open_ms)"
        flat = ", ".join(
            f"CASE WHEN base_volume IS NOT NULL THEN coalesce({name}, {before}) END AS {name}"
            for name in prices
        )
        rows = f"SELECT open_ms, {flat}, base_volume FROM ({rows})"
    return session.arrow(f"""
        WITH traded AS ({traded}), holes AS ({HOLES_SQL}),
        lost AS (
            SELECT open_ms AS from_ms, open_ms + 59999 AS to_ms FROM candles
            WHERE market = {quoted(market)} AND trade_count = 0 AND NOT complete
            UNION ALL SELECT from_ms, to_ms FROM holes WHERE market = {quoted(market)}
        ),
        grid AS (
            SELECT open_ms, EXISTS (
                FROM lost WHERE from_ms < open_ms + {length_ms} AND to_ms >= open_ms
            ) AND open_ms NOT IN (SELECT open_ms FROM traded) AS is_missing
            FROM (SELECT unnest(range(min(open_ms), max(open_ms) + 1, {length_ms})) AS open_ms FROM traded)
        )
        SELECT make_timestamptz(open_ms * 1000) AS time,
            {", ".join(f"CAST({name} AS DOUBLE) AS {name}" for name in prices)},
            CAST(base_volume AS DOUBLE) AS volume
        FROM ({rows}) ORDER BY open_ms""")


def hftbacktest(session: QuerySession, market: str, from_ms: int | None, to_ms: int | None) -> Any:  # noqa: ANN401
    """Return trades and order books of a market as events of hftbacktest, a structured NumPy array.

    Each event is there twice: in the order of the exchange's times, and in that in which it was received. A
    book clears both sides and sets them anew.
    """
    numpy = library("numpy")
    events = [*_trades(session, market, from_ms, to_ms), *_books(session, market, from_ms, to_ms)]
    rows = numpy.array(events, dtype=EVENT)
    sides = []
    for flag, time in ((EXCHANGE, "exch_ts"), (LOCAL, "local_ts")):
        some = rows[numpy.argsort(rows[time], kind="stable")]
        some["ev"] |= flag
        sides.append(some)
    times = numpy.concatenate([sides[0]["exch_ts"], sides[1]["local_ts"]])
    return numpy.concatenate(sides)[numpy.argsort(times, kind="stable")]


def _trades(session: QuerySession, market: str, from_ms: int | None, to_ms: int | None) -> list[Any]:
    rows = session.rows(
        "SELECT side, exchange_ms, received_ms, CAST(price AS DOUBLE), CAST(volume AS DOUBLE)"
        f" FROM {TRADES.name} WHERE {_within(market, from_ms, to_ms)} ORDER BY {ORDER[TRADES]}"
    )
    return [
        (TRADE | (BUY if side == "buy" else SELL), *_times(exchange_ms, received_ms), *numbers, 0, 0, 0.0)
        for side, exchange_ms, received_ms, *numbers in rows
    ]


def _books(session: QuerySession, market: str, from_ms: int | None, to_ms: int | None) -> list[Any]:
    rows = session.rows(
        "SELECT exchange_ms, received_ms, bids, asks FROM books"
        f" WHERE {_within(market, from_ms, to_ms)} ORDER BY exchange_ms"
    )
    found = []
    for exchange_ms, received_ms, bids, asks in rows:
        times = _times(exchange_ms, received_ms)
        for side, levels in ((BUY, bids), (SELL, asks)):
            found.append((DEPTH_CLEAR | side, *times, float("nan"), 0.0, 0, 0, 0.0))
            found += [
                (DEPTH_SNAPSHOT | side, *times, float(level["price"]), float(level["size"]), 0, 0, 0.0)
                for level in levels
            ]
    return found


def _within(market: str, from_ms: int | None, to_ms: int | None) -> str:
    terms = [f"market = {quoted(market)}"]
    terms += [f"exchange_ms >= {from_ms}"] if from_ms is not None else []
    terms += [f"exchange_ms <= {to_ms}"] if to_ms is not None else []
    return " AND ".join(terms)


def _times(exchange_ms: int, received_ms: int) -> tuple[int, int]:
    return exchange_ms * NS_PER_MS, max(exchange_ms, received_ms) * NS_PER_MS
