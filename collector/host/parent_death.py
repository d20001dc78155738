"""Tie a child's life to its parent's: when the parent dies, even by `kill -9`, the kernel signals the child.

Linux keeps one "parent death signal" per process (`prctl(PR_SET_PDEATHSIG)`, man 2 prctl). It survives
`exec`, so this file, run as a script, sets it on itself and then becomes the program: nothing runs between
`fork` and `exec` in the parent, which is not safe where threads are. Elsewhere the command is left as it is
and leftovers are recognised at the next start.

The signal follows the *thread* that started the child: start children from a thread that lives as long as
they should, in practice the main thread or its event loop.
"""

import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def bound(argv: list[str], death_signal: signal.Signals = signal.SIGTERM) -> list[str]:
    """Return the command that runs `argv` and gets `death_signal` when the calling process dies."""
    if sys.platform != "linux":
        return argv
    return [sys.executable, "-I", "-S", __file__, str(int(death_signal)), str(os.getpid()), *argv]


def _main(death_signal: str, parent: str, *argv: str) -> None:
    import ctypes  # here alone: the parent that imports `bound` does not need it

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(death_signal))
    if os.getppid() != int(parent):  # it died before the death signal was set
        sys.exit(128 + int(death_signal))
    try:
        os.execvp(argv[0], argv)  # noqa: S606  # a shell is what must not come between
    except OSError as error:
        sys.exit(f"{argv[0]} can't be started: {error.strerror}")


if __name__ == "__main__":
    _main(*sys.argv[1:])
