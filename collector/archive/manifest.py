"""The manifest of a day folder: what each of its files looks like, so that a damaged footer is noticed.

Parquet's own checksums are those of pages alone; a wrong bit in the footer can hide rows, or end the process
that reads it. Only the one writer of the archive changes a manifest. It names what a file may become before
the file is replaced, and only what the file is afterwards: whoever reads in between finds either.
"""

import logging
import os
import zlib
from pathlib import Path
from typing import IO, NamedTuple

import msgspec

from collector.util.atomic_file import replacing

log = logging.getLogger(__name__)

#: Readers of Parquet folders leave out names that begin with `_`.
NAME = "_manifest.json"
MAGIC = b"PAR1"


class Entry(msgspec.Struct, frozen=True):
    """Size of a file, and the CRC-32 of its footer in hexadecimal."""

    bytes: int
    footer_crc32: str


class _Manifest(msgspec.Struct):
    version: int = 1
    #: File name -> what it is; two while it is being replaced.
    files: dict[str, list[Entry]] = {}


class Footer(NamedTuple):
    """A file's footer, and the size of the file."""

    footer: bytes
    size: int


def read_footer(path: Path) -> Footer:
    """Return the footer of a Parquet file.

    Raises:
        OSError: the file can't be read, or does not end as a Parquet file does.
    """
    with path.open("rb") as file:
        return _footer(file)


def entry_of(path: Path) -> Entry:
    """Return the entry of a file as it is.

    Raises:
        OSError: the file can't be read, or does not end as a Parquet file does.
    """
    footer, size = read_footer(path)
    return Entry(size, f"{zlib.crc32(footer):08x}")


def expected(path: Path) -> list[Entry]:
    """Return what a file may be; nothing where no manifest names it."""
    return _read(path.parent).files.get(path.name, [])


def allow(path: Path, entry: Entry) -> None:
    """Name what a file is about to become, beside what it is.

    Raises:
        OSError: the manifest can't be written.
    """
    manifest = _read(path.parent)
    before = manifest.files.get(path.name)
    if before is None and path.exists():  # of a version without manifests: it is believed by its own checksum
        return
    manifest.files[path.name] = [*(before or []), entry][-2:]
    _write(path.parent, manifest)


def settle(path: Path, entry: Entry) -> None:
    """Name what a file has become, alone.

    Raises:
        OSError: the manifest can't be written.
    """
    manifest = _read(path.parent)
    manifest.files[path.name] = [entry]
    _write(path.parent, manifest)


def prune(folder: Path) -> None:
    """Forget files that are gone.

    Raises:
        OSError: the manifest can't be written.
    """
    manifest = _read(folder)
    there = set(os.listdir(folder))
    kept = {name: entries for name, entries in manifest.files.items() if name in there}
    if kept != manifest.files:
        manifest.files = kept
        _write(folder, manifest)


def _read(folder: Path) -> _Manifest:
    """Return a folder's manifest; an empty one where there is none, or it can't be read."""
    path = folder / NAME
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Manifest)
    except FileNotFoundError:
        return _Manifest()
    except (OSError, msgspec.MsgspecError, UnicodeError) as error:
        log.warning("%s can't be read (%s): footers of its files are not checked", path, error)
        return _Manifest()


def _write(folder: Path, manifest: _Manifest) -> None:
    with replacing(folder / NAME) as new:
        new.write_bytes(msgspec.json.encode(manifest, order="deterministic"))


def _footer(file: IO[bytes]) -> Footer:
    tail = len(MAGIC) + 4
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - tail))
    end = file.read()
    start = size - tail - int.from_bytes(end[:4], "little")
    if not end.endswith(MAGIC) or start < len(MAGIC):
        raise OSError("the file does not end as a Parquet file does")
    file.seek(start)
    return Footer(file.read(size - tail - start), size)
