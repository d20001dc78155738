"""The SQL of the views: text out of tables. Pure.

`raw.<channel>` has the rows as they are archived, those of Redis in their place; `<channel>` has them as
people ask for them: executions alone, a time with its zone beside milliseconds.
"""
# ruff: noqa: S608 - names of our own tables and columns

from collector.archive.schema import (
    BOOKS,
    CANDLES,
    EXCHANGE_CANDLES,
    GAPS,
    ROUNDED,
    TICKERS,
    TRADES,
    Table,
)


def _time(milliseconds: str) -> str:
    return f"make_timestamptz({milliseconds} * 1000)"


#: The columns of the views that are not those of the rows, or have another name there.
DERIVED = {
    TRADES: {"time": _time("exchange_ms"), "exchange_order": '"order"'},
    CANDLES: {
        "time": _time("open_ms"),
        "vwap": "CAST(quote_volume AS DOUBLE) / nullif(CAST(base_volume AS DOUBLE), 0)",
    },
    EXCHANGE_CANDLES: {"time": _time("open_ms")},
    TICKERS: {"time": _time("exchange_ms")},
    BOOKS: {"time": _time("exchange_ms")},
    GAPS: {
        "from_time": _time("from_ms"),
        "to_time": _time("to_ms"),
        "reason": "split_part(reason, ':', 1)",  # as `Gap.word`
    },
}
#: The columns of the views: what people look for first.
COLUMNS = {
    TRADES: (
        *("market", "time", "price", "volume", "side", "id"),
        *("exchange_ms", "exchange_order", "received_ms", ROUNDED),
    ),
    CANDLES: (
        *("market", "time", "open", "high", "low", "close", "base_volume", "quote_volume"),
        *("buy_volume", "sell_volume", "vwap", "trade_count", "complete", "verified", "source"),
        *("open_ms", ROUNDED),
    ),
    TICKERS: (
        *("market", "time", "price", "change", "change_price", "change_rate", "prev_closing_price"),
        *(
            "open",
            "high",
            "low",
            "base_volume_24h",
            "quote_volume_24h",
            "exchange_ms",
            "received_ms",
            ROUNDED,
        ),
    ),
    BOOKS: (
        *(
            "market",
            "time",
            "spread",
            "spread_bps",
            "mid",
            "microprice",
            "imbalance",
            "bid_depth",
            "ask_depth",
        ),
        *("bids", "asks", "exchange_ms", "received_ms", ROUNDED),
    ),
    EXCHANGE_CANDLES: (
        *("market", "interval", "time", "open", "high", "low", "close", "base_volume", "quote_volume"),
        *("open_ms", ROUNDED),
    ),
    GAPS: ("market", "channel", "from_time", "to_time", "reason", "recovered", "from_ms", "to_ms"),
}
_ZEROS = ", ".join(
    f"CAST(0 AS {CANDLES.decimals[name].sql}) AS {name}"
    for name in ("base_volume", "quote_volume", "buy_volume", "sell_volume")
)
#: Candles of minutes of which every trade is missing: those that a loss touches, and that have no candle.
MISSING = "recent.missing"
MISSING_SQL = f"""
    SELECT market, open_ms, {_ZEROS}, CAST(0 AS BIGINT) AS trade_count, false AS complete
    FROM (
        SELECT DISTINCT market, unnest(range(from_ms - from_ms % 60000, to_ms + 1, 60000)) AS open_ms
        FROM recent.losses
    ) AS lost
    ANTI JOIN (
        SELECT market, open_ms FROM recent.candles UNION ALL SELECT market, open_ms FROM lossy.candles
    ) AS known USING (market, open_ms)
"""
#: The exchange's minutes: without volumes by side and without a number of trades, which it does not serve.
_FETCHED = [
    name
    for name in EXCHANGE_CANDLES.record._fields
    if name in CANDLES.record._fields and name not in CANDLES.key
]
EXCHANGE_MINUTES = f"""
    SELECT market, open_ms, {", ".join(f'"{name}"' for name in _FETCHED)}, true AS complete, {ROUNDED}
    FROM raw.{EXCHANGE_CANDLES.name} WHERE interval = '1m'
"""
#: What has been fetched of the exchange's candles: a minute in it that has no candle had no trade.
FETCHED = "fetched"
FETCHED_SQL = f"""
    SELECT market, interval, {_time("from_ms")} AS from_time, {_time("to_ms")} AS to_time, from_ms, to_ms
    FROM recent.fetched
"""
#: The view of markets, which Redis alone has.
MARKETS = "markets"
MARKETS_SQL = f"""
    SELECT market, state, warning, delisting_date, {_time("last_trade_ms")} AS last_trade_time, last_trade_ms
    FROM recent.markets
"""
#: All views.
NAMES = (*(table.name for table in COLUMNS), MARKETS, FETCHED)
#: The gaps that are losses.
OPEN_GAPS = "SELECT market, from_ms, to_ms FROM raw.gaps WHERE channel = 'trade' AND NOT recovered"
#: The order of rows in frames and files: the exchange's.
ORDER = {
    TRADES: "exchange_ms, market, exchange_order, id",
    CANDLES: "open_ms, market",
}


def raw(table: Table) -> str:
    """Return the SELECT of a channel's rows as they are archived, those of Redis in their place.

    Schema `settled` has the rows of hours in which Redis has nothing newer: nothing of them is looked up;
    `lagging` has those of the others.
    """
    gone = f"SELECT 1 FROM {_replaced_by(table)}"
    return " UNION ALL ".join(
        (
            select(table, f"recent.{table.name}"),
            select(table, f"settled.{table.name}"),
            f"{select(table, f'lagging.{table.name}')} AS old WHERE NOT EXISTS ({gone})",
        )
    )


def _replaced_by(table: Table) -> str:
    """Return what stands for an archived row: its minute for trades, else the row of the same name."""
    if table is TRADES:
        minute = "old.exchange_ms - old.exchange_ms % 60000"
        return f"recent.slots AS new WHERE new.market = old.market AND new.open_ms = {minute}"
    same = " AND ".join(f'new."{name}" = old."{name}"' for name in table.key)
    return f"recent.{table.name} AS new WHERE {same}"


def select(table: Table, source: str) -> str:
    """Return the SELECT of a channel's columns as they are archived."""
    names = (*table.record._fields, ROUNDED) if table.may_round else table.record._fields
    columns = ", ".join(f'"{name}"' for name in names)
    return f"SELECT {columns} FROM {source}"


def view(table: Table) -> str:
    """Return the SELECT of the view of a channel."""
    derived = DERIVED[table]
    columns = [f'{derived[name]} AS "{name}"' if name in derived else f'"{name}"' for name in COLUMNS[table]]
    counted = " WHERE counted" if table is TRADES else ""
    source = f"raw.{table.name}"
    if table is CANDLES:
        source = f"({_all_candles()})"
    return f"SELECT {', '.join(columns)} FROM {source}{counted}"


def _all_candles() -> str:
    """Return the SELECT of our own minutes, of missing ones, and of the exchange's where we have none."""
    ours = f"{select(CANDLES, f'raw.{CANDLES.name}')} UNION ALL BY NAME (FROM {MISSING} ANTI JOIN theirs"
    return f"""
        WITH theirs AS ({EXCHANGE_MINUTES})
        SELECT *, 'own' AS source FROM ({ours} USING (market, open_ms)))
        UNION ALL BY NAME SELECT *, 'exchange' AS source
        FROM theirs ANTI JOIN raw.{CANDLES.name} USING (market, open_ms)
    """


def quoted(text: object) -> str:
    """Return a text as SQL writes it."""
    return "'" + str(text).replace("'", "''") + "'"
