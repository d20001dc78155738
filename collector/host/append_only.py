"""The append-only file of the private server after a power cut: a damaged end is cut off.

The server takes a file that ends in the middle of a command, and refuses one that ends in anything else. Some
file systems leave zeros there: they wrote down how long the file had become, and not yet what stands in it.

    appendonlydir/appendonly.aof.manifest     which files there are, the newest last
    appendonlydir/appendonly.aof.N.incr.aof   commands as they came, `*<words>` and each word after its length
"""

import logging
import mmap
import os
import re
import time
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

from collector.errors import ConfigurationError

log = logging.getLogger(__name__)

FOLDER = "appendonlydir"
MANIFEST = "appendonly.aof.manifest"
_END = b"\r\n"
_INCREMENT = re.compile(r"file (\S+) seq \d+ type i")
_COMMAND = re.compile(rb"\*\d{1,9}\r\n\$\d{1,9}\r\n")
#: What a line may begin with that the file ends in.
_BEGUN = re.compile(rb"(?:[*$]\d*\r?|#[ -~]*\r?)?")
_HEAD_BYTES_MAX, _NOTE_BYTES_MAX = 32, 1024
#: Sound commands behind a damage show that it is no damaged end.
_COMMANDS_BEHIND = 3


class AppendOnlyState(Enum):
    """How a file ends."""

    WHOLE = auto()
    #: In the middle of a command: the server cuts that off by itself.
    SHORT = auto()
    #: In something that is no command.
    DAMAGED = auto()


@dataclass(frozen=True, slots=True)
class Found:
    """What was read of a file: its sound bytes, commands of a transaction that never ended left out."""

    state: AppendOnlyState
    sound_bytes: int


def mend(folder: Path) -> None:
    """Cut a damaged end off the newest file below the server's folder; what is cut is kept beside it.

    Raises:
        ConfigurationError: the damage has sound commands behind it: more than an end would be lost.
        OSError: the file can't be read or written.
    """
    path = _newest(folder / FOLDER)
    if path is None or _ends_well(path):
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        found = read(data)
        if found.state is not AppendOnlyState.DAMAGED:
            return
        if _has_commands(data, found.sound_bytes):
            raise ConfigurationError(
                f"{path} is damaged at byte {found.sound_bytes} of {len(data)}: put a copy in its place,"
                f" or move {path.parent} away to begin without stored results"
            )
        _cut(path, data, found.sound_bytes)


class _Unreadable(Exception):
    def __init__(self, state: AppendOnlyState) -> None:
        super().__init__(state)
        self.state = state


def read(data: mmap.mmap | bytes, start: int = 0, commands_max: int | None = None) -> Found:
    """Read commands from `start` on, at the most `commands_max`."""
    at = sound = start
    is_open = False
    count = 0
    while at < len(data) and (commands_max is None or count < commands_max):
        try:
            at, word = _command(data, at)
        except _Unreadable as failure:
            return Found(failure.state, sound)
        count += 1
        is_open = word == b"MULTI" or (is_open and word != b"EXEC")
        if not is_open:
            sound = at
    return Found(AppendOnlyState.SHORT if is_open else AppendOnlyState.WHOLE, sound)


def _command(data: mmap.mmap | bytes, at: int) -> tuple[int, bytes]:
    """Return where the command at `at` ends, and its first word."""
    if data[at : at + 1] == b"#":  # a note of the server
        return _line(data, at, _NOTE_BYTES_MAX)[1], b""
    words, at = _number(data, at, b"*")
    first = b""
    for word in range(words):
        length, at = _number(data, at, b"$")
        end = at + length
        if end + len(_END) > len(data):
            raise _Unreadable(AppendOnlyState.SHORT)
        if data[end : end + len(_END)] != _END:
            raise _Unreadable(AppendOnlyState.DAMAGED)
        first = first if word else bytes(data[at:end]).upper()
        at = end + len(_END)
    return at, first


def _number(data: mmap.mmap | bytes, at: int, kind: bytes) -> tuple[int, int]:
    """Read `*3` or `$5`; return the number and where the next line begins."""
    line, following = _line(data, at, _HEAD_BYTES_MAX)
    if line[:1] != kind or not line[1:].isdigit():
        raise _Unreadable(AppendOnlyState.DAMAGED)
    return int(line[1:]), following


def _line(data: mmap.mmap | bytes, at: int, bytes_max: int) -> tuple[bytes, int]:
    """Return the line at `at` and where the next one begins."""
    end = data.find(_END, at, at + bytes_max)
    if end < 0:
        rest = data[at : at + bytes_max]
        is_short = at + len(rest) == len(data) and _BEGUN.fullmatch(rest)
        raise _Unreadable(AppendOnlyState.SHORT if is_short else AppendOnlyState.DAMAGED)
    return bytes(data[at:end]), end + len(_END)


def _has_commands(data: mmap.mmap, start: int) -> bool:
    """Whether sound commands stand anywhere behind `start`."""
    for found in _COMMAND.finditer(data, start + 1):
        behind = read(data, found.start(), _COMMANDS_BEHIND)
        if behind.state is AppendOnlyState.WHOLE and behind.sound_bytes > found.start():
            return True
    return False


def _cut(path: Path, data: mmap.mmap, sound_bytes: int) -> None:
    kept = path.with_name(f"{path.name}.{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.cut")
    kept.write_bytes(data[sound_bytes:])
    with path.open("r+b") as file:
        file.truncate(sound_bytes)
        os.fsync(file.fileno())
    log.warning(
        "the last %d bytes of %s are damaged, as a power cut leaves them: cut off and kept in %s",
        len(data) - sound_bytes,
        path,
        kept.name,
    )


def _newest(folder: Path) -> Path | None:
    """Return the file that was written last; None where there is none, or what there is can't be read."""
    try:
        names = _INCREMENT.findall((folder / MANIFEST).read_text())
    except (OSError, UnicodeError):
        return None
    path = folder / names[-1] if names else None
    return path if path is not None and path.is_file() and path.stat().st_size else None


def _ends_well(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-min(2, path.stat().st_size), os.SEEK_END)
        return file.read() == _END
