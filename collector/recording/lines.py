"""Lines of a file that may be compressed; the magic number decides, not the name."""

import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from collector.errors import ConfigurationError
from collector.recording.format import Broken, Damaged, Unintelligible
from collector.recording.sealed import MAGIC, open_checked
from collector.util.compression import zstd

MAX_LINE_BYTES = 16 << 20
_GZIP_MAGIC = b"\x1f\x8b"


def read_lines(path: Path, read: Callable[[int], object] | None = None) -> Iterator[str]:
    """Yield the lines of a plain, gzipped or zstd-compressed file; a last one without its newline too.

    Args:
        path: the file.
        read: called now and then with the number of further bytes that were read.

    Raises:
        Broken: the compressed data end in the middle.
        Unintelligible: not text, damaged, or a line without end.
        ConfigurationError: the file can't be opened.
    """
    try:
        told = 0
        with path.open("rb") as file, _decompressed(file) as source:
            while line := source.readline(MAX_LINE_BYTES):
                if len(line) == MAX_LINE_BYTES:
                    raise Unintelligible(f"a line is longer than {MAX_LINE_BYTES} bytes")
                if read is not None and (at := file.tell()) > told:
                    read(at - told)
                    told = at
                yield line.decode()
    except EOFError:
        raise Broken from None
    except (zstd.ZstdError, zlib.error, gzip.BadGzipFile):
        raise Damaged("its compression is damaged") from None
    except UnicodeDecodeError:
        raise Unintelligible("it is not text") from None
    except OSError as error:
        raise ConfigurationError(f"Recording {path} can't be opened: {error.strerror}") from None


def _decompressed(file: io.BufferedReader) -> io.BufferedIOBase:
    magic = file.peek(4)[:4]
    if magic == MAGIC:
        return open_checked(file)
    if magic.startswith(_GZIP_MAGIC):
        return gzip.GzipFile(fileobj=file)
    return file
