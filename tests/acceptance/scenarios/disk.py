"""A disk that is soon full: a file system of its own, in memory."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TIMEOUT_S = 10


@contextmanager
def small_disk(folder: Path, size_kb: int) -> Iterator[None]:
    """Make `folder` a file system of `size_kb`; only root can."""
    folder.mkdir()
    mount = ("mount", "-t", "tmpfs", "-o", f"size={size_kb}k", "tmpfs", str(folder))
    subprocess.run(mount, check=True, timeout=TIMEOUT_S, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(("umount", "--lazy", str(folder)), check=True, timeout=TIMEOUT_S)


def can_mount(folder: Path) -> bool:
    """Tell whether this process may make file systems."""
    try:
        with small_disk(folder / "can-mount", 64):
            return True
    except (OSError, subprocess.SubprocessError):
        return False
