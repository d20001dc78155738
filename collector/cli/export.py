"""`collector export`: a market's trades or candles into a file, digit by digit as they were stored."""

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec

from collector import market_names
from collector.analytics.candles import interval_ms, iso
from collector.analytics.completeness import NEVER_MS
from collector.analytics.exact import ratio
from collector.archive import library
from collector.archive.decimals import exact, shortest
from collector.archive.resample import candles_sql
from collector.archive.schema import CANDLES, ROUNDED, TRADES, Table
from collector.archive.sql import QuerySession
from collector.archive.views import ORDER, quoted
from collector.cli.lookback import open_history, stretch
from collector.cli.progress import progress
from collector.cli.render import output
from collector.errors import ConfigurationError, NoData
from collector.settings import Settings
from collector.store.rows import plain, to_json
from collector.util.atomic_file import replacing
from collector.util.korean_time import DAY_MS, KST_MS
from collector.util.times import Span, nothing

Row = Mapping[str, Any]
#: Takes the rows of one day, in order, and returns their number.
Writer = Callable[[Any], int]
#: A session, a table, markets, the first and the last millisecond.
Reader = Callable[["Wanted", int, int], Any]


class Wanted(NamedTuple):
    """What is written."""

    session: QuerySession
    table: Table
    markets: Sequence[str]
    interval: str


def export(
    settings: Settings,
    kind: str,
    market: str,
    out: Path,
    from_ms: int | None,
    to_ms: int | None,
    *,
    interval: str = "1m",
    as_json: bool = False,
) -> int:
    """Write the file and print its name and how many rows it has; return the exit code.

    Args:
        market: as people write it; several with commas or `*`.
        interval: of candles.

    Raises:
        ConfigurationError: not a kind of file we write, or it can't be written.
        NoData: an unknown market, or nothing in that stretch.
        BrokerUnavailable: neither Redis nor an archive.
    """
    if out.suffix not in FORMATS:
        raise ConfigurationError(f"{out} is no {', '.join(FORMATS)} file: choose another --out")
    read, writer = FORMATS[out.suffix]
    table = TRADES if kind == "trades" else CANDLES
    interval_ms(interval)
    with open_history(settings, from_ms, to_ms, time_zone="UTC") as session:
        markets = markets_of(settings, session, market)
        market, wanted = ",".join(markets), Wanted(session, table, markets, interval)
        days = _days(session, table, markets, from_ms, to_ms)
        if not days:
            span = Span(from_ms, to_ms)
            raise NoData(f"nothing to export: {_nothing(settings, table, markets, span)}")
        with (
            whole_file(out) as file,
            writer(file) as write,
            progress(f"{kind} of {market}", len(days)) as step,
        ):
            count = 0
            for first_ms, last_ms in days:
                count += write(read(wanted, first_ms, last_ms))
                step(1)
    row = {"file": str(out), "kind": kind, "market": market, "rows": count}
    output.write(to_json(row) if as_json else f"{out}: {count:,} {kind} of {market}")
    return 0


def _days(
    session: QuerySession, table: Table, markets: Sequence[str], from_ms: int | None, to_ms: int | None
) -> list[tuple[int, int]]:
    """Return the Korean days that have rows, each cut to `from_ms … to_ms`; candles are aligned to them."""
    terms = [_of(markets)]
    terms += [f"{table.time} >= {from_ms}"] if from_ms is not None else []
    terms += [f"{table.time} <= {to_ms}"] if to_ms is not None else []
    day = f"({table.time} + {KST_MS}) // {DAY_MS}"
    sql = f"SELECT DISTINCT {day} FROM {table.name} WHERE {' AND '.join(terms)} ORDER BY 1"  # noqa: S608
    starts = [number * DAY_MS - KST_MS for (number,) in session.rows(sql)]
    return [
        (max(start, from_ms or 0), min(start + DAY_MS - 1, NEVER_MS if to_ms is None else to_ms))
        for start in starts
    ]


def markets_of(settings: Settings, session: QuerySession, text: str) -> list[str]:
    """Return the markets that `text` names among those with candles in the files looked at, or in any.

    Raises:
        NoData: there are none of that name at all.
    """
    try:
        return market_names.several(text, session.markets())
    except NoData:
        with open_history(settings) as whole:
            return market_names.several(text, whole.markets())


def _nothing(settings: Settings, table: Table, markets: Sequence[str], span: Span) -> str:
    with open_history(settings) as session:
        known = stretch(session, table, markets)
    return nothing(table.name, ",".join(markets), span, known, settings.zone)


def _of(markets: Sequence[str]) -> str:
    return f"market IN ({', '.join(map(quoted, markets))})"


def _rows(wanted: Wanted, from_ms: int, to_ms: int) -> list[Row]:
    """Return the rows as `collector show --json` has them, every digit of decimals as text."""
    rows = _arrow(wanted, from_ms, to_ms).to_pylist()
    if wanted.table is TRADES:
        return [_trade(row | exact(row[ROUNDED])) for row in rows]
    if wanted.interval == "1m":
        rows = [row | exact(row[ROUNDED]) for row in rows]
    return [_candle(row, wanted.interval) for row in rows]


def _arrow(wanted: Wanted, from_ms: int, to_ms: int) -> Any:  # noqa: ANN401
    """Return the rows of the view as an Arrow table."""
    table = wanted.table
    where = f"WHERE {_of(wanted.markets)} AND {table.time} BETWEEN {from_ms} AND {to_ms}"
    if table is CANDLES:
        return wanted.session.arrow(candles_sql(interval_ms(wanted.interval), where, from_ms, to_ms))
    return wanted.session.arrow(f"SELECT * FROM {table.name} {where} ORDER BY {ORDER[table]}")  # noqa: S608


def _trade(row: dict[str, Any]) -> Row:
    return {
        "market": row["market"],
        "id": row["id"],
        "price": shortest(row["price"]),
        "volume": shortest(row["volume"]),
        "side": row["side"],
        "exchange_ms": row["exchange_ms"],
        "received_ms": row["received_ms"],
    }


def _candle(row: dict[str, Any], interval: str) -> Row:
    vwap = ratio(*(Decimal(shortest(row[name])) for name in ("quote_volume", "base_volume")))
    return {
        "market": row["market"],
        "interval": interval,
        "open_ms": row["open_ms"],
        "open_time": iso(row["open_ms"]),
        **{name: None if row[name] is None else shortest(row[name]) for name in CANDLES.decimals},
        "vwap": plain(vwap),
        "trade_count": row["trade_count"],
        "complete": row["complete"],
        "verified": row["verified"],
    }


@contextmanager
def _csv(file: IO[bytes]) -> Iterator[Writer]:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text)
    headed = False

    def write(rows: list[Row]) -> int:
        nonlocal headed
        if rows and not headed:
            writer.writerow(rows[0])
            headed = True
        writer.writerows([_csv_cell(value) for value in row.values()] for row in rows)
        return len(rows)

    try:
        yield write
    finally:
        text.detach()


def _csv_cell(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else value


@contextmanager
def _jsonl(file: IO[bytes]) -> Iterator[Writer]:
    def write(rows: list[Row]) -> int:
        file.writelines(msgspec.json.encode(row) + b"\n" for row in rows)
        return len(rows)

    yield write


@contextmanager
def _parquet(file: IO[bytes]) -> Iterator[Writer]:
    with ExitStack() as stack:
        open_writer = library("pyarrow.parquet").ParquetWriter
        writers: list[Any] = []

        def write(rows: Any) -> int:  # noqa: ANN401 - an Arrow table
            if not writers:
                writers.append(stack.enter_context(open_writer(file, rows.schema, compression="zstd")))
            writers[0].write_table(rows)
            return len(rows)

        yield write


FORMATS: dict[str, tuple[Reader, Callable[[IO[bytes]], Any]]] = {
    ".csv": (_rows, _csv),
    ".parquet": (_arrow, _parquet),
    ".jsonl": (_rows, _jsonl),
}


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Yield a file that takes the place of `path` once it is whole."""
    try:
        with replacing(path, durable=False) as temporary, temporary.open("wb") as file:
            yield file
    except OSError as error:
        raise ConfigurationError(
            f"{path} can't be written ({error.strerror or error}): choose another --out"
        ) from error
