"""Rows to Arrow tables and back, and what a file of ours looks like inside."""

import json
import os
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from collector.archive import library
from collector.archive.records import Kind, Slot, Table

#: An Arrow table; pyarrow has no type stubs.
Arrow = Any

COMPRESSION_LEVEL = 6
#: Small enough that one market of a day is one or two groups, which is what most queries ask for.
ROW_GROUP = 32_768
#: In a file's footer: column -> [digits before the point, digits after it].
DIGITS = b"bithumb-collector.digits"
#: In a file's footer: its own CRC-32 in hexadecimal, made with zeros in this place. Parquet's checksums are
#: those of pages alone; a wrong bit in the footer can hide rows, or end the process that reads it.
FOOTER_CRC = b"bithumb-collector.footer-crc32"
NO_CRC = b"00000000"
MAGIC = b"PAR1"

#: Digits a column needs: before the point, after it.
Digits = dict[str, tuple[int, int]]


def to_arrow(table: Table, rows: Sequence[tuple[Any, ...]]) -> Arrow:
    """Return `rows` of `table` as an Arrow table."""
    pa = library("pyarrow")
    columns = list(zip(*rows, strict=True)) or [()] * len(table.record._fields)
    schema = arrow_schema(table)
    arrays = [pa.array(column, type=field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def arrow_schema(table: Table) -> Arrow:
    """Return the columns of `table` and their types."""
    pa = library("pyarrow")
    level = pa.struct([("price", pa.string()), ("size", pa.string())])
    types = {
        Kind.TIME: pa.int64(),
        Kind.INTEGER: pa.int64(),
        Kind.FLAG: pa.bool_(),
        Kind.LEVELS: pa.list_(level),
    }
    return pa.schema([(name, types.get(kind, pa.string())) for name, kind in table.kinds.items()])


def to_rows(table: Table, arrow: Arrow) -> list[Any]:
    """Return an Arrow table as records of `table`."""
    columns = [arrow.column(name).to_pylist() for name in table.record._fields]
    return list(map(table.record._make, zip(*columns, strict=True)))


def of_slots(table: Table, arrow: Arrow, slots: Iterable[Slot], unit_ms: int) -> Arrow:
    """Tell for each row whether its market and its time, cut to `unit_ms`, are one of `slots`.

    In Arrow's own memory: an hour may have a million rows, and as objects of Python they take 100 MB.
    """
    pa, pc = library("pyarrow"), library("pyarrow.compute")
    opens = pc.multiply(pc.divide(arrow.column(table.time), unit_ms), unit_ms)
    names = pc.binary_join_element_wise(arrow.column("market"), pc.cast(opens, pa.string()), " ")
    wanted = [f"{market} {open_ms}" for market, open_ms in slots]
    return pc.is_in(names, value_set=pa.array(wanted, type=pa.string()))


def without(table: Table, arrow: Arrow | None, slots: Iterable[Slot], unit_ms: int) -> Arrow | None:
    """Return `arrow` without the rows of `slots`."""
    if arrow is None:
        return None
    return arrow.filter(library("pyarrow.compute").invert(of_slots(table, arrow, slots, unit_ms)))


def with_rows(table: Table, arrow: Arrow | None, rows: Sequence[tuple[Any, ...]]) -> Arrow:
    """Return `arrow` with `rows` added, in order of the key."""
    fresh = to_arrow(table, rows)
    if arrow is not None:
        fresh = library("pyarrow").concat_tables([arrow, fresh])
    return in_order(table, fresh)


def in_order(table: Table, arrow: Arrow) -> Arrow:
    """Return the rows in order of the key: the same set of rows is the same file."""
    return arrow.sort_by([(name, "ascending") for name in table.key])


def write(table: Table, arrow: Arrow, file: IO[bytes]) -> None:
    """Write a Parquet file; `file` can be read, too."""
    numbers = [*table.of(Kind.TIME), *table.of(Kind.INTEGER)]
    words = [*table.of(Kind.TEXT), *table.of(Kind.EXACT), *table.of(Kind.RATIO)]
    levels = [f"{name}.list.element.{part}" for name in table.of(Kind.LEVELS) for part in ("price", "size")]
    with library("pyarrow.parquet").ParquetWriter(
        file,
        arrow.schema,
        compression="zstd",
        compression_level=COMPRESSION_LEVEL,
        use_dictionary=[*words, *levels],
        column_encoding=dict.fromkeys(numbers, "DELTA_BINARY_PACKED"),
        write_page_checksum=True,
        store_schema=False,
    ) as writer:
        writer.write_table(arrow, row_group_size=ROW_GROUP)
        writer.add_key_value_metadata({DIGITS: json.dumps(digits_of(table, arrow)), FOOTER_CRC: NO_CRC})
    start, footer = _footer(file)
    place = _place_of_crc(footer)
    if place is None:
        raise ValueError("this version of pyarrow writes the footer in a way we do not know")
    file.seek(start + place)
    file.write(_crc(footer, place))


def digits_of(table: Table, arrow: Arrow) -> Digits:
    """Return how many digits each exact column needs; levels count as `bids.price` and so on."""
    pc = library("pyarrow.compute")
    digits = {name: _digits(arrow.column(name)) for name in table.of(Kind.EXACT)}
    for name in table.of(Kind.LEVELS):
        levels = pc.list_flatten(arrow.column(name))
        for part in ("price", "size"):
            digits[f"{name}.{part}"] = _digits(pc.struct_field(levels, part))
    return digits


def widest(found: Iterable[Mapping[str, Sequence[int]]]) -> Digits:
    """Return the digits that hold the numbers of all files."""
    wide: Digits = {}
    for digits in found:
        for name, (before, after) in digits.items():
            known = wide.get(name, (1, 0))
            wide[name] = max(known[0], before), max(known[1], after)
    return wide


def footer_digits(table: Table, path: Path) -> Digits:
    """Return what a file's footer says about digits.

    Raises:
        OSError, pyarrow.ArrowInvalid: the file can't be read or is no Parquet file of ours.
    """
    check_footer(path)
    footer = library("pyarrow.parquet").read_metadata(path)
    metadata = footer.metadata or {}
    if DIGITS not in metadata:
        raise OSError(f"{path} is not a file of this archive")
    if not footer.schema.to_arrow_schema().equals(arrow_schema(table)):
        raise OSError(f"{path} has other columns than {table.name} of this version")
    return {name: (before, after) for name, (before, after) in json.loads(metadata[DIGITS]).items()}


def check_footer(path: Path) -> None:
    """Compare a file's footer with its checksum; one written before there were any is believed.

    Raises:
        OSError: the file can't be read, has no footer, or another than was written.
    """
    with path.open("rb") as file:
        _, footer = _footer(file)
    place = _place_of_crc(footer)
    if place is not None and _crc(footer, place) != footer[place : place + len(NO_CRC)]:
        raise OSError(f"the footer of {path} fails its checksum")


def _footer(file: IO[bytes]) -> tuple[int, bytes]:
    """Return where a file's footer starts, and the footer."""
    tail = len(MAGIC) + 4
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - tail))
    end = file.read()
    start = size - tail - int.from_bytes(end[:4], "little")
    if not end.endswith(MAGIC) or start < len(MAGIC):
        raise OSError("the file does not end as a Parquet file does")
    file.seek(start)
    return start, file.read(size - tail - start)


def _place_of_crc(footer: bytes) -> int | None:
    """Return where in the footer its checksum is: behind its name, its type and its length."""
    name = footer.rfind(FOOTER_CRC)
    return name + len(FOOTER_CRC) + 2 if name >= 0 else None


def _crc(footer: bytes, place: int) -> bytes:
    zeroed = footer[:place] + NO_CRC + footer[place + len(NO_CRC) :]
    return f"{zlib.crc32(zeroed):08x}".encode()


def dataset(table: Table, paths: Sequence[Path]) -> Arrow:
    """Return the rows of files as an Arrow dataset; a page whose checksum is wrong can't be read.

    DuckDB's own reader does not look at the checksums: of 400 files with one bit changed, it gave wrong rows
    for 145.
    """
    ds = library("pyarrow.dataset")
    checked = ds.ParquetFragmentScanOptions(page_checksum_verification=True)
    return ds.dataset(
        [str(path) for path in paths],
        schema=arrow_schema(table),
        format=ds.ParquetFileFormat(default_fragment_scan_options=checked),
    )


def _digits(column: Arrow) -> tuple[int, int]:
    pc = library("pyarrow.compute")
    texts = pc.unique(column).drop_null()
    if not len(texts):
        return 1, 0
    bare = pc.utf8_ltrim(texts, characters="-")
    points = pc.find_substring(bare, ".")
    whole = pc.if_else(pc.less(points, 0), pc.utf8_length(bare), points)
    after = pc.if_else(pc.less(points, 0), 0, pc.subtract(pc.subtract(pc.utf8_length(bare), points), 1))
    return int(pc.max(whole).as_py()), int(pc.max(after).as_py())
