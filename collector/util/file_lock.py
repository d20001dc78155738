"""A lock between processes that the kernel gives back, however its holder ends (flock)."""

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self


class FileLock:
    """The lock of one file; a child that inherits `fd` holds it too."""

    def __init__(self, path: Path) -> None:
        self._path = path
        #: The descriptor that holds it; -1 while it is not ours.
        self.fd = -1

    def acquire(self) -> bool:
        """Take the lock without waiting; return whether it is ours now.

        Raises:
            OSError: the file can't be opened, or its file system has no locks.
        """
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(fd)
            if isinstance(error, BlockingIOError):
                return False
            raise
        self.fd = fd
        return True

    def release(self) -> None:
        """Close our descriptor; the lock ends with its last holder."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
