"""Files that are whole or not there: written beside their place and renamed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Ends the name of a file that is being written, or that a killed writer left; it begins with a dot.
TEMPORARY = ".tmp"


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Yield a path to write to; what is there afterwards takes the place of `path` in one step.

    Where the block raises, `path` stays as it was and nothing is left beside it.

    Args:
        durable: bring the file and its name to the disk, so that a power cut leaves the one before or this.

    Raises:
        OSError: the file can't be written or renamed.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        yield temporary
        if durable:
            sync(temporary)
        temporary.replace(path)
        if durable:
            sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk.

    Raises:
        OSError: the disk refuses.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
