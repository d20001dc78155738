"""Rows to Arrow tables and back, and what a file of ours looks like inside."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from msgspec import structs

from collector.analytics.market_states import MarketRow
from collector.archive import decimals, legacy, library, manifest
from collector.archive.decimals import Fixed
from collector.archive.schema import DECIMALS, LEVEL, ROUNDED, Kind, Table

#: An Arrow table; pyarrow has no type stubs.
Arrow = Any

COMPRESSION_LEVEL = 6
#: Small enough that one market of a day is one or two groups, which is what most queries ask for.
ROW_GROUP = 32_768
#: In a file's footer: column -> how many of its numbers are rounded.
ROUNDED_KEY = b"bithumb-collector.rounded"
#: Numbers that do not fit their column: by row, the number.
Misfits = dict[int, object]


class Footer(NamedTuple):
    """The footer of a file: whether its numbers are text, and how many are rounded by column."""

    is_text: bool
    rounded: dict[str, int]


def to_arrow(table: Table, rows: Sequence[tuple[Any, ...]]) -> Arrow:
    """Return `rows` of `table` as an Arrow table; what does not fit is rounded and kept in `ROUNDED`."""
    pa = library("pyarrow")
    columns = list(zip(*rows, strict=True)) or [()] * len(table.record._fields)
    schema = arrow_schema(table)
    arrays, misfits = [], {}
    for name, column in zip(table.record._fields, columns, strict=True):
        array, misfits[name] = _array(table.kinds[name], column, schema.field(name).type)
        arrays.append(array)
    if table.may_round:
        arrays.append(pa.array(_rounded(misfits, len(rows)), type=pa.string()))
    return pa.Table.from_arrays(arrays, schema=schema)


def _array(kind: Kind, column: Sequence[Any], type_: Arrow) -> tuple[Arrow, Misfits]:
    pa = library("pyarrow")
    if kind is Kind.RATIO:
        return pa.array([None if value is None else float(value) for value in column], type=type_), {}
    fit = _fitting(kind)
    if fit is None:
        return pa.array(column, type=type_), {}
    try:
        return pa.array(column, type=type_), {}
    except pa.ArrowInvalid:  # some number does not fit
        fitted = [None if value is None else fit(value) for value in column]
    pairs = zip(column, fitted, strict=True)
    misfits = {row: value for row, (value, near) in enumerate(pairs) if value != near}
    return pa.array(fitted, type=type_), misfits


def _fitting(kind: Kind) -> Callable[[Any], Any] | None:
    """Return what makes a value of a kind fit its column; None for a kind whose values always do."""
    if kind is Kind.LEVELS:
        return lambda levels: [
            {part: DECIMALS[LEVEL[part]].fitted(number) for part, number in level.items()} for level in levels
        ]
    return DECIMALS[kind].fitted if kind in DECIMALS else None


def _rounded(misfits: Mapping[str, Misfits], count: int) -> list[str | None]:
    of_row: list[dict[str, object]] = [{} for _ in range(count if any(misfits.values()) else 0)]
    for name, numbers in misfits.items():
        for row, number in numbers.items():
            of_row[row][name] = number
    return list(map(decimals.rounded_text, of_row)) or [None] * count


def arrow_schema(table: Table) -> Arrow:
    """Return the columns of `table` and their types, `ROUNDED` last."""
    pa = library("pyarrow")
    types = {
        Kind.TIME: pa.int64(),
        Kind.INTEGER: pa.int64(),
        Kind.FLAG: pa.bool_(),
        Kind.RATIO: pa.float64(),
        Kind.LEVELS: pa.list_(pa.struct([(part, _decimal(DECIMALS[kind])) for part, kind in LEVEL.items()])),
        **{kind: _decimal(fixed) for kind, fixed in DECIMALS.items()},
    }
    fields = [(name, types.get(kind, pa.string())) for name, kind in table.kinds.items()]
    return pa.schema([*fields, (ROUNDED, pa.string())] if table.may_round else fields)


def _decimal(fixed: Fixed) -> Arrow:
    return library("pyarrow").decimal128(*fixed)


def to_rows(table: Table, arrow: Arrow) -> list[Any]:
    """Return an Arrow table as records of `table`, their numbers exact."""
    columns = [arrow.column(name).to_pylist() for name in table.record._fields]
    rows = list(map(table.record._make, zip(*columns, strict=True)))
    if table.may_round:
        for place, rounded in enumerate(arrow.column(ROUNDED).to_pylist()):
            if rounded is not None:
                rows[place] = rows[place]._replace(**decimals.exact(rounded))
    return rows


def with_rows(table: Table, arrow: Arrow | None, rows: Sequence[tuple[Any, ...]]) -> Arrow:
    """Return `arrow` with `rows` added, in order of the key."""
    fresh = to_arrow(table, rows)
    if arrow is not None:
        fresh = library("pyarrow").concat_tables([arrow, fresh])
    return in_order(table, fresh)


def in_order(table: Table, arrow: Arrow) -> Arrow:
    """Return the rows in order of the key: the same set of rows is the same file."""
    return arrow.sort_by([(name, "ascending") for name in table.key])


def write(table: Table, parts: Iterable[Arrow], file: IO[bytes]) -> None:
    """Write a Parquet file of rows that come in order of the key; a row group of them is in memory."""
    numbers = table.of(Kind.TIME, Kind.INTEGER)
    words = table.of(Kind.TEXT, Kind.PRICE, Kind.RATE)
    rounded: Counter[str] = Counter()
    with library("pyarrow.parquet").ParquetWriter(
        file,
        arrow_schema(table),
        compression="zstd",
        compression_level=COMPRESSION_LEVEL,
        use_dictionary=words,
        column_encoding=dict.fromkeys(numbers, "DELTA_BINARY_PACKED"),
        write_page_checksum=True,
        store_schema=False,
    ) as writer:
        for rows in _row_groups(parts):
            writer.write_table(rows, row_group_size=ROW_GROUP)
            if table.may_round:
                rounded.update(decimals.count(rows.column(ROUNDED).drop_null().to_pylist()))
        writer.add_key_value_metadata({ROUNDED_KEY: json.dumps(rounded)})


def _row_groups(parts: Iterable[Arrow]) -> Iterator[Arrow]:
    """Yield the rows in tables of one row group each; the last may be smaller."""
    waiting: list[Arrow] = []
    count = 0
    for part in parts:
        waiting.append(part)
        count += len(part)
        while count >= ROW_GROUP:
            rows = library("pyarrow").concat_tables(waiting)
            yield rows.slice(0, ROW_GROUP).combine_chunks()
            waiting = [rows.slice(ROW_GROUP)]
            count -= ROW_GROUP
    if count:
        yield library("pyarrow").concat_tables(waiting).combine_chunks()


def read(table: Table, path: Path, span: tuple[int, int] | None = None) -> Arrow:
    """Return a file's rows, its footer and every page checked, numbers of older files in today's types.

    Args:
        table: of which channel.
        path: of the file.
        span: only rows from the first millisecond to before the second.

    Raises:
        OSError, KeyError, ValueError, pyarrow.ArrowException: it can't be read, or is not what we wrote.
    """
    parts = batches(table, path)
    if span is not None:
        parts = (_within(part, table.time, *span) for part in parts)
    return library("pyarrow").concat_tables([arrow_schema(table).empty_table(), *parts])


def _within(rows: Arrow, time: str, from_ms: int, end_ms: int) -> Arrow:
    """Return the rows of a stretch; by masks, because expressions load 70 MB of libraries."""
    pc, times = library("pyarrow.compute"), rows.column(time)
    return rows.filter(pc.and_(pc.greater_equal(times, from_ms), pc.less(times, end_ms)))


def batches(table: Table, path: Path, size: int = ROW_GROUP) -> Iterator[Arrow]:
    """Yield a file's rows in its order, `size` at a time; checked and in today's types as `read` has them.

    Raises:
        As `read`, also after some of the rows.
    """
    is_text, schema = footer(table, path).is_text, arrow_schema(table)
    with library("pyarrow.parquet").ParquetFile(path, page_checksum_verification=True) as file:
        for batch in file.iter_batches(size, use_threads=False):
            rows = library("pyarrow").Table.from_batches([batch])
            yield _aligned(legacy.modern(table, rows) if is_text else rows, schema)


def _aligned(arrow: Arrow, schema: Arrow) -> Arrow:
    """Return the columns of `schema`; one that a file is too old to have is null."""
    pa = library("pyarrow")
    columns = [
        arrow.column(field.name) if field.name in arrow.column_names else pa.nulls(len(arrow), field.type)
        for field in schema
    ]
    return pa.table(columns, names=schema.names).cast(schema)


def footer(table: Table, path: Path) -> Footer:
    """Return the footer of a file.

    Raises:
        OSError, pyarrow.ArrowInvalid: the file can't be read or is no Parquet file of ours.
    """
    check_footer(path)
    found = library("pyarrow.parquet").read_metadata(path)
    metadata, schema = found.metadata or {}, found.schema.to_arrow_schema()
    if ROUNDED_KEY in metadata:
        ours = arrow_schema(table)
        known = [name for name in schema.names if name in ours.names]
        if all(schema.field(name).type.equals(ours.field(name).type) for name in known):
            return Footer(False, json.loads(metadata[ROUNDED_KEY]))
    elif legacy.DIGITS_KEY in metadata:
        if schema.equals(legacy.arrow_schema(table)):
            return Footer(True, {})
    else:
        raise OSError(f"{path} is not a file of this archive")
    raise OSError(f"{path} has other columns than {table.name} of this version")


def check_footer(path: Path) -> None:
    """Compare a file's footer with the manifest; one without an entry with the checksum in itself.

    Raises:
        OSError: the file can't be read, has no footer, or another than was written.
    """
    expected, found = manifest.expected(path), manifest.entry_of(path)
    if expected and found not in expected:  # it may have been replaced between the two looks
        expected, found = manifest.expected(path), manifest.entry_of(path)
    is_sound = found in expected if expected else legacy.is_footer_sound(manifest.read_footer(path).footer)
    if not is_sound:
        raise OSError(f"the footer of {path} fails its checksum")


def dataset(schema: Arrow, paths: Sequence[Path], folders: Sequence[str] = ()) -> Arrow:
    """Return the rows of files as an Arrow dataset; a page whose checksum is wrong can't be read.

    DuckDB's own reader does not look at the checksums: of 400 files with one bit changed, it gave wrong rows
    for 145.

    Args:
        schema: of the rows.
        paths: the files.
        folders: columns that the folders are named after, so that only files of the wanted ones are opened.
    """
    ds = library("pyarrow.dataset")
    named = library("pyarrow").schema([schema.field(name) for name in folders])
    checked = ds.ParquetFragmentScanOptions(page_checksum_verification=True)
    return ds.dataset(
        [str(path) for path in paths],
        schema=schema,
        format=ds.ParquetFileFormat(default_fragment_scan_options=checked),
        partitioning=ds.partitioning(named, flavor="hive") if folders else None,
    )


def stretches(rows: Iterable[tuple[str, int, int]]) -> Arrow:
    """Return stretches of time of markets as an Arrow table."""
    names = ("market", "from_ms", "to_ms")
    return _table([dict(zip(names, row, strict=True)) for row in rows], string=names[:1], int64=names[1:])


def fetched(rows: Iterable[tuple[str, str, int, int]]) -> Arrow:
    """Return market, interval, start and end of fetched candles as an Arrow table."""
    names = ("market", "interval", "from_ms", "to_ms")
    return _table([dict(zip(names, row, strict=True)) for row in rows], string=names[:2], int64=names[2:])


def markets(rows: Iterable[MarketRow]) -> Arrow:
    """Return markets and their states as an Arrow table."""
    *texts, time = MarketRow.__struct_fields__
    return _table([structs.asdict(row) for row in rows], string=texts, int64=(time,))


def _table(rows: Sequence[Mapping[str, Any]], **columns: Sequence[str]) -> Arrow:
    """Return rows as an Arrow table; `columns` by the name of their type."""
    pa = library("pyarrow")
    types = {name: getattr(pa, kind)() for kind, names in columns.items() for name in names}
    return pa.table({name: pa.array([row[name] for row in rows], kind) for name, kind in types.items()})
