"""The processes of a test: started with their output in a file, always ended, never orphaned."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from collector.host.parent_death import bound
from tests.acceptance.scenarios import waits

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 12.0
TAIL_LINES = 25


class Process:
    """One command: start it, stop it, kill it, start it again.

    Args:
        name: also the name of its log file in `folder`, to which every life of it appends.
        argv: arguments after the Python interpreter.
        env: variables added to a clean environment.
        python: the interpreter, by default this one.
    """

    def __init__(
        self,
        name: str,
        argv: tuple[str, ...],
        env: Mapping[str, str],
        folder: Path,
        python: str = sys.executable,
    ) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self.lives = 0
        self._argv = (python, *argv)
        self._env = {**clean_environment(), **env}
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the running command."""
        return self._process.pid if self._process else None

    @property
    def status(self) -> int | None:
        """Exit status, None while it runs."""
        return None if self.is_alive or self._process is None else self._process.returncode

    @property
    def is_alive(self) -> bool:
        """Whether it runs now."""
        if self._process is None or self._process.returncode is not None:
            return False
        if self._process.poll() is None:
            return True
        self._signal_group(signal.SIGKILL)  # what it left behind; never later, its number may be another's
        return False

    def start(self) -> Self:
        """Start it; its working folder has no `.env` of ours."""
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                bound([*self._argv], signal.SIGKILL),
                env=self._env,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.lives += 1
        return self

    def wait_until(self, ready: Callable[[], object], within_s: float = START_TIMEOUT_S) -> None:
        """Wait until it is ready; a command that ends meanwhile fails at once, with what it said."""

        def settled() -> bool:
            return bool(ready()) or not self.is_alive

        waits.until(settled, within_s, f"{self.name} is ready", self.output)
        if not self.is_alive:
            raise AssertionError(f"{self.name} ended with status {self.status}:\n{self.output()}")

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> int | None:
        """Ask it to stop gracefully, kill it after its time; return the exit status."""
        if self._process is None:
            return None
        if self.is_alive:
            self._process.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + timeout_s
            while self.is_alive and time.monotonic() < deadline:
                time.sleep(waits.POLL_S)
        return self.kill()

    def kill(self) -> int | None:
        """`kill -9` it and all it started."""
        if self._process is None:
            return None
        if self.is_alive:
            self._signal_group(signal.SIGKILL)
            self._process.wait(5)
        return self._process.returncode

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to it and to all it started."""
        if self.is_alive:
            self._signal_group(number)

    def _signal_group(self, number: int) -> None:
        assert self._process is not None
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def output(self) -> str:
        """Return the last lines it wrote."""
        if not self.log.exists():
            return "(nothing)"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-TAIL_LINES:])

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def clean_environment() -> dict[str, str]:
    """Return this process's environment without any setting of ours."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("COLLECTOR_") and name != "REDIS_URL"
    }


def run(argv: tuple[str, ...], env: Mapping[str, str], folder: Path, timeout_s: float) -> str:
    """Run a command to its end and return what it printed; a failure shows all of it."""
    process = Process("run-" + argv[-1].rpartition("/")[2][:40], argv, env, folder).start()
    try:
        deadline = time.monotonic() + timeout_s
        while process.is_alive and time.monotonic() < deadline:
            time.sleep(0.05)
        if process.status != 0:
            raise AssertionError(f"{' '.join(argv)} ended with {process.status}:\n{process.output()}")
        return process.output()
    finally:
        process.kill()
