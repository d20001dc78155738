"""The SQL of the views: text out of tables, files and digits. Pure.

`raw.<channel>` has the rows as they are archived, those of Redis in their place; `<channel>` has them as
people ask for them: exact numbers as decimals, executions alone, times beside milliseconds.
"""
# ruff: noqa: S608 - names of our own tables and columns

from collector.archive.parquet import Digits
from collector.archive.records import BOOKS, CANDLES, GAPS, TICKERS, TRADES, Kind, Table

#: What a decimal of DuckDB holds.
DECIMAL_DIGITS = 38
#: Fields of an archived row that say how it came to be, and are no part of the view.
INTERNAL = {"order", "sources", "counted", "copies"}
#: Further columns of the views, in terms of the typed ones.
DERIVED = {
    TRADES: {"time": "epoch_ms(exchange_ms)"},
    CANDLES: {
        "vwap": 'CAST("quote_volume" AS DOUBLE) / CAST("base_volume" AS DOUBLE)',
        "time": "epoch_ms(open_ms)",
    },
    TICKERS: {"time": "epoch_ms(exchange_ms)"},
    BOOKS: {"time": "epoch_ms(exchange_ms)"},
    GAPS: {"from_time": "epoch_ms(from_ms)", "to_time": "epoch_ms(to_ms)"},
}


def raw(table: Table) -> str:
    """Return the SELECT of a channel's rows as they are archived, those of Redis in their place.

    Schema `settled` has the rows of hours in which Redis has nothing newer: nothing of them is looked up;
    `lagging` has those of the others.
    """
    columns = ", ".join(f'"{name}"' for name in table.record._fields)
    gone = f"SELECT 1 FROM {_replaced_by(table)}"
    return (
        f"SELECT {columns} FROM recent.{table.name}"
        f" UNION ALL SELECT {columns} FROM settled.{table.name}"
        f" UNION ALL SELECT {columns} FROM lagging.{table.name} AS old WHERE NOT EXISTS ({gone})"
    )


def _replaced_by(table: Table) -> str:
    """Return what stands for an archived row: its minute for trades, else the row of the same name."""
    if table is TRADES:
        minute = "old.exchange_ms - old.exchange_ms % 60000"
        return f"recent.slots AS new WHERE new.market = old.market AND new.open_ms = {minute}"
    same = " AND ".join(f'new."{name}" = old."{name}"' for name in table.key)
    return f"recent.{table.name} AS new WHERE {same}"


def typed(table: Table, digits: Digits) -> str:
    """Return the SELECT of the view of a channel."""
    names = [name for name in table.record._fields if name not in INTERNAL]
    columns = [f'{_cast(table, name, digits)} AS "{name}"' for name in names]
    inner = f"SELECT {', '.join(columns)} FROM raw.{table.name}"
    if table is TRADES:
        inner += " WHERE counted"
    derived = [f'{expression} AS "{name}"' for name, expression in DERIVED[table].items()]
    return f"SELECT *, {', '.join(derived)} FROM ({inner})"


def _cast(table: Table, name: str, digits: Digits) -> str:
    if (table, name) == (GAPS, "reason"):
        return """split_part("reason", ':', 1)"""  # as `Gap.word`
    match table.kinds[name]:
        case Kind.EXACT:
            return f'CAST("{name}" AS {_decimal(digits.get(name, (1, 0)))})'
        case Kind.RATIO:
            return f'CAST("{name}" AS DOUBLE)'
        case Kind.LEVELS:
            price, size = (_decimal(digits.get(f"{name}.{part}", (1, 0))) for part in ("price", "size"))
            return f'CAST("{name}" AS STRUCT(price {price}, size {size})[])'
        case _:
            return f'"{name}"'


def _decimal(digits: tuple[int, int]) -> str:
    """Return the type that holds so many digits before and after the point; text where none does."""
    before, after = digits
    return f"DECIMAL({DECIMAL_DIGITS}, {after})" if before + after <= DECIMAL_DIGITS else "VARCHAR"


def quoted(text: object) -> str:
    """Return a text as SQL writes it."""
    return "'" + str(text).replace("'", "''") + "'"
