"""Files of earlier versions: before decimals, exact numbers and ratios were text, their digits in the footer.

They go on being read as they are. What is written again, the hour of a late trade or a compacted day, gets
today's layout.
"""
# ruff: noqa: S608 - names of our own tables and columns

import zlib
from typing import Any

from collector.archive import library
from collector.archive.decimals import Fixed
from collector.archive.schema import DECIMALS, LEVEL, ROUNDED, Kind, Table

#: In the footer of such a file: column -> [digits before the point, digits after it].
DIGITS_KEY = b"bithumb-collector.digits"
#: In the footer of files before manifests: its own CRC-32 in hexadecimal, made with zeros in this place.
FOOTER_CRC = b"bithumb-collector.footer-crc32"
NO_CRC = b"00000000"
#: Columns that such a file is too old to have.
LATER = frozenset({"verified"})


def arrow_schema(table: Table) -> Any:  # noqa: ANN401 - pyarrow has no type stubs
    """Return the columns of such a file and their types."""
    pa = library("pyarrow")
    types = {
        Kind.TIME: pa.int64(),
        Kind.INTEGER: pa.int64(),
        Kind.FLAG: pa.bool_(),
        Kind.LEVELS: pa.list_(pa.struct([(part, pa.string()) for part in LEVEL])),
    }
    kinds = {name: kind for name, kind in table.kinds.items() if name not in LATER}
    return pa.schema([(name, types.get(kind, pa.string())) for name, kind in kinds.items()])


def modern(table: Table, rows: Any) -> Any:  # noqa: ANN401 - Arrow tables
    """Return rows of such a file in today's types."""
    with library("duckdb").connect() as connection:
        connection.register("rows", rows)
        return connection.sql(select(table, "rows")).to_arrow_table()


def select(table: Table, source: str) -> str:
    """Return the SELECT that gives the rows of `source` in today's types, `ROUNDED` last."""
    columns = [f'{_column(table, name)} AS "{name}"' for name in table.record._fields]
    if table.may_round:
        columns.append(f"{_rounded(table)} AS {ROUNDED}")
    return f"SELECT {', '.join(columns)} FROM {source}"


def _column(table: Table, name: str) -> str:
    if name in LATER:
        return "CAST(NULL AS BOOLEAN)"
    match table.kinds[name]:
        case Kind.RATIO:
            return f'CAST("{name}" AS DOUBLE)'
        case Kind.LEVELS:
            parts = ", ".join(
                f"'{part}': {_fitted(f'l.{part}', DECIMALS[kind])}" for part, kind in LEVEL.items()
            )
            return f'list_transform("{name}", lambda l: {{{parts}}})'
        case kind if kind in DECIMALS:
            return _fitted(f'"{name}"', DECIMALS[kind])
        case _:
            return f'"{name}"'


def _fitted(number: str, fixed: Fixed) -> str:
    """Return the SQL of `Fixed.fitted` of a text."""
    largest = f"CAST('{fixed.largest}' AS {fixed.sql})"
    beyond = (
        f"CASE WHEN starts_with({number}, '-') THEN -{largest} WHEN {number} IS NOT NULL THEN {largest} END"
    )
    return f"coalesce(TRY_CAST({number} AS {fixed.sql}), {beyond})"


def _holds(number: str, fixed: Fixed) -> str:
    """Return the SQL of `Fixed.holds` of a text."""
    return rf"regexp_full_match({number}, '-?0*\d{{0,{fixed.whole}}}(\.\d{{0,{fixed.scale}}}0*)?')"


def _rounded(table: Table) -> str:
    """Return the SQL of `decimals.rounded_text` of a row of texts."""
    misfits = []
    for name in table.of(*DECIMALS, Kind.LEVELS):
        column, kind = f'"{name}"', table.kinds[name]
        if kind is Kind.LEVELS:
            fit = " AND ".join(_holds(f"l.{part}", DECIMALS[of]) for part, of in LEVEL.items())
            fits = f"len(list_filter({column}, lambda l: NOT ({fit}))) = 0"
            exact = f"CAST(to_json({column}) AS VARCHAR)"
        else:
            fits = _holds(column, DECIMALS[kind])
            exact = f"""'"' || {column} || '"'"""
        misfits.append(f"""CASE WHEN NOT {fits} THEN '"{name}":' || {exact} END""")
    return f"nullif('{{' || concat_ws(',', {', '.join(misfits)}) || '}}', '{{}}')"


def is_footer_sound(footer: bytes) -> bool:
    """Compare a footer with the checksum in it; one from before there were any is believed."""
    name = footer.rfind(FOOTER_CRC)
    if name < 0:
        return True
    place = name + len(FOOTER_CRC) + 2  # behind its name, its type and its length
    zeroed = footer[:place] + NO_CRC + footer[place + len(NO_CRC) :]
    return f"{zlib.crc32(zeroed):08x}".encode() == footer[place : place + len(NO_CRC)]
