"""The SQL of candles longer than a minute, and of the macros of a session: text out of text. Pure."""
# ruff: noqa: S608 - numbers and names of ours

from collector.analytics.candles import INTERVALS
from collector.analytics.completeness import NEVER_MS
from collector.archive.research import WANTED
from collector.archive.schema import BOOKS, CANDLES, ROUNDED, TRADES
from collector.archive.views import COLUMNS, DERIVED, ORDER
from collector.model import MINUTE_MS
from collector.util.korean_time import KST_MS

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
    ) WHERE next_ms > to_ms + 1"""

#: The same by itself.
HOLES_SQL = f"WITH begun AS ({_BEGUN}) {_HOLES}"
#: Whether a candle begins with the data: ours, or what was fetched.
_KNOWN_SINCE = """start_ms >= least(any_value(begin_ms), (
    SELECT min(from_ms) FROM fetched WHERE interval = '1m' AND fetched.market = minutes.market))"""


def candles_sql(
    length_ms: int | str, where: str, from_ms: int | None = None, to_ms: int | None = None
) -> str:
    """Return the SELECT of candles of a length, aligned to Korean midnight, out of the minutes in `where`.

    The length is in milliseconds, or SQL that gives them.
    A candle that `from_ms` or `to_ms` cuts, and one that begins before the data, is not complete.
    """
    if length_ms == MINUTE_MS:
        return f"SELECT * FROM candles {where} ORDER BY {ORDER[CANDLES]}"
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
    """


def _known_sum(name: str, type_: str) -> str:
    """Return the SQL of a sum; null where a minute has none, as the sides of the exchange's minutes."""
    return f"CASE WHEN count({name}) = count(*) THEN CAST(sum({name}) AS {type_}) END"


def macros() -> tuple[str, ...]:
    """Return the statements that make the macros.

    A market is a code or the base currency of one in won (`btc`); an interval is one of `INTERVALS`.
    """
    known = " ".join(f"WHEN '{name}' THEN {minutes * MINUTE_MS}" for name, minutes in INTERVALS.items())
    unknown = f"error('no such interval: ' || every || '; one of {' '.join(INTERVALS)}')"
    sums = ", ".join(
        f"{_known_sum(name, CANDLES.decimals[name].sql)} AS {short}"
        for name, short in (("base_volume", "volume"), ("quote_volume", "turnover"))
    )
    return (
        f"CREATE MACRO interval_ms(every) AS CASE every {known} ELSE CAST({unknown} AS BIGINT) END",
        "CREATE MACRO bucket(moment, every, zone := 'Asia/Seoul') AS"
        " time_bucket(to_milliseconds(interval_ms(every)), moment, zone)",
        "CREATE MACRO candles(wanted, every := '1m') AS TABLE"
        f" {candles_sql('interval_ms(every)', f'WHERE {WANTED}')}",
        f"""CREATE MACRO ohlcv(every, zone := 'Asia/Seoul') AS TABLE
            SELECT market, bucket(time, every, zone) AS time, arg_min(open, open_ms) AS open,
                max(high) AS high, min(low) AS low, arg_max(close, open_ms) AS close, {sums},
                {_known_sum("trade_count", "BIGINT")} AS trade_count, bool_and(complete) AS complete
            FROM {CANDLES.name} GROUP BY market, bucket(time, every, zone) ORDER BY 2, 1""",
        f"""CREATE MACRO trades_with_book(wanted) AS TABLE
            SELECT t.*, b.exchange_ms AS book_ms, b.bids[1].price AS bid, b.asks[1].price AS ask,
                b.mid, b.spread_bps, b.imbalance
            FROM (FROM {TRADES.name} WHERE {WANTED}) AS t
            ASOF LEFT JOIN (FROM {BOOKS.name} WHERE {WANTED}) AS b
                ON t.market = b.market AND t.exchange_ms >= b.exchange_ms
            ORDER BY t.exchange_ms, t.exchange_order, t.id""",
        f"""CREATE MACRO volume_profile(wanted, levels := 20) AS TABLE
            WITH chosen AS (SELECT price, volume, side FROM {TRADES.name} WHERE {WANTED}),
            edges AS (SELECT min(price) AS low, greatest(max(price) - min(price), 1e-9) AS height FROM chosen)
            SELECT low + height * slot / levels AS from_price, low + height * (slot + 1) / levels AS to_price,
                sum(volume) AS volume, sum(volume) FILTER (side = 'buy') AS buy_volume,
                sum(volume) FILTER (side = 'sell') AS sell_volume, count(*) AS trade_count
            FROM (
                SELECT *, least(levels - 1, CAST(floor((price - low) / height * levels) AS INTEGER)) AS slot
                FROM chosen, edges
            ) GROUP BY low, height, slot ORDER BY slot""",
    )
