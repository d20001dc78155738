"""Keeps tests that are not marked `server` from starting processes and opening network sockets.

So that `make check` stays what it is: tests of one process, in seconds. Python itself reports (PEP 578) what
the product starts as well as what a test starts. Unix sockets are free: an event loop has a pair of them.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

PROCESSES = {"subprocess.Popen", "os.posix_spawn", "os.fork", "os.forkpty", "os.exec", "os.system"}
SOCKETS = {"socket.bind", "socket.connect"}
#: By which matplotlib looks for fonts when it is first used on a machine.
FREE = {"fc-list"}

#: What the running test did that it may not do; None while anything is allowed.
_seen: list[str] | None = None


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if _seen is None or event not in PROCESSES | SOCKETS:
        return
    if arguments[0] in FREE or (event in SOCKETS and not isinstance(arguments[1], tuple)):
        return
    _seen.append(f"{event}{arguments[:2]}")
    raise AssertionError(_reason(_seen))


def _reason(seen: list[str]) -> str:
    return f"this test needs `@pytest.mark.server`, because it starts a process or uses a socket: {seen[0]}"


@contextmanager
def nothing_started(*, unless: object) -> Iterator[None]:
    """Fail where a process is started or a network socket is used, also where the failure is swallowed.

    Args:
        unless: where this is true, anything may be started.
    """
    global _seen
    seen: list[str] = []
    _seen = None if unless else seen
    try:
        yield
    finally:
        _seen = None
    if seen:
        pytest.fail(_reason(seen))


sys.addaudithook(_note)
