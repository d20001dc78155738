"""Run the services of one machine as processes of their own: start, restart, stop in order.

A service is a command. Services start stage by stage and stop in the opposite order, so the listener can
still flush into a Redis that lives and workers can still hand back what they hold:

    start   REDIS ──> SERVICES (workers, flower, simulator) ──> LISTENER
    stop    LISTENER ──> SERVICES ──> REDIS         then whatever is left is killed

Each service leads a process group of its own: Ctrl-C in the terminal reaches the supervisor alone, and what
a service leaves behind is swept with its group. `collector.host.parent_death` ends the services of a
supervisor that was killed. A service's output goes to `<log_dir>/<name>.log`, which the service itself opens
for append (no pipe that can fill up or break) and which is cut when it passes `LOG_BYTES_MAX`, the part
before kept as `.log.1`. A service with `log=False` writes to the supervisor's own stdout and stderr.
"""

import asyncio
import logging
import os
import shutil
import signal
import time
from asyncio.subprocess import DEVNULL, STDOUT, Process
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from collector.errors import CollectorError, ConfigurationError, PipelineError
from collector.host.parent_death import bound
from collector.host.redis_server import last_line
from collector.util import backoff
from collector.util.signals import StopSignals

LOG_BYTES_MAX = 5 << 20
LOG_CHECK_S = 5.0
READY_POLL_S = 0.05
KILL_TIMEOUT_S = 1.0
#: Starts that end at once before a role is given up that others wait for.
START_ATTEMPTS = 3

logger = logging.getLogger(__name__)


class Stage(IntEnum):
    """When a role starts; roles stop in the opposite order."""

    REDIS = 0
    SERVICES = 1
    LISTENER = 2


@dataclass(frozen=True, slots=True)
class Service:
    """One command to keep running.

    Attributes:
        name: unique; names the log file and the log lines.
        argv: the command.
        env: variables added to the supervisor's own.
        stop_signal: asks it to stop gracefully.
        stop_timeout_s: how long it may take before it is killed.
        stage: when it starts and stops.
        death_signal: what the kernel sends it when the supervisor was killed.
        ready: answers whether it is up; the next stage waits for it (called in a thread).
        ready_timeout_s: limit of that wait.
        fatal: exit statuses that a restart can't put right (2: wrong settings or usage).
        pass_fds: descriptors it inherits.
        log: whether its output goes to a file of its own.
        reason: returns why it is not up, where its output does not contain it.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout_s: float = 3
    stage: Stage = Stage.SERVICES
    death_signal: signal.Signals = signal.SIGTERM
    ready: Callable[[], bool] | None = None
    ready_timeout_s: float = 10
    fatal: frozenset[int] = frozenset({2})
    pass_fds: tuple[int, ...] = ()
    log: bool = True
    reason: Callable[[], str] | None = None


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """How long a role that died waits: longer after each short life, from the beginning after a long one."""

    initial_s: float = 0.5
    factor: float = 2
    max_s: float = 15
    healthy_after_s: float = 20

    def failures(self, before: int, lived_s: float) -> int:
        """Return the number of failures in a row, given those `before` and how long the role lived."""
        return 1 if lived_s >= self.healthy_after_s else before + 1

    def delay_s(self, failures: int) -> float:
        """Return the wait after so many failures in a row."""
        return backoff.delay_s(failures, self.initial_s, self.max_s, factor=self.factor)


class Supervisor:
    """Keep `roles` running until `stop()`, SIGINT or SIGTERM; a second signal leaves at once.

    Args:
        roles: what to run.
        log_dir: where their output goes.
        policy: how long a role that died waits.
        on_signal: called at the first signal instead of `stop()`, by an owner with something to finish first.

    Attributes:
        is_interrupted: whether SIGINT (Ctrl-C) was among the signals.
        killed: the roles that did not stop in their time.
    """

    def __init__(
        self,
        roles: Sequence[Service],
        log_dir: Path,
        policy: RestartPolicy | None = None,
        *,
        on_signal: Callable[[], None] | None = None,
    ) -> None:
        self.is_interrupted = False
        self.killed: list[str] = []
        self._log_dir = log_dir
        self._on_first_signal = on_signal or self.stop
        policy = policy or RestartPolicy()
        self._runners = [_Runner(role, _log_of(role, log_dir), policy, self._fail) for role in roles]
        self._stop = asyncio.Event()
        self._signals = StopSignals()
        self._failure: CollectorError | None = None

    @property
    def pids(self) -> dict[str, int]:
        """The process of each role that runs now."""
        return {runner.role.name: runner.process.pid for runner in self._runners if runner.process}

    @property
    def restarts(self) -> dict[str, int]:
        """How often each role had to be started again."""
        return {runner.role.name: runner.restarts for runner in self._runners}

    def stop(self) -> None:
        """Begin the graceful stop; `run()` returns when it is done."""
        self._stop.set()

    async def run(self) -> bool:
        """Run until asked to stop; return True, or False where a second signal cut the graceful stop short.

        Raises:
            ConfigurationError: the log folder can't be written, or a service reports invalid settings.
            PipelineError: a role did not come up in time; all others have been stopped.
        """
        _make(self._log_dir)
        with self._signal_handlers():
            async with asyncio.TaskGroup() as group:
                bounding = group.create_task(self._bound_logs())
                try:
                    await self._start(group)
                    await self._stop.wait()
                finally:
                    await self._end()
                    bounding.cancel()
        if self._failure is not None:
            raise self._failure
        return self._signals.wishes < 2

    async def _start(self, group: asyncio.TaskGroup) -> None:
        for stage in Stage:
            members = self._of(stage)
            for runner in members:
                runner.task = group.create_task(runner.keep(), name=runner.role.name)
            for runner in members:
                if not await self._becomes_ready(runner):
                    return

    async def _becomes_ready(self, runner: "_Runner") -> bool:
        """Wait for a role; False where it is too late or a stop came in between."""
        deadline = time.monotonic() + runner.role.ready_timeout_s
        while not self._stop.is_set():
            if runner.role.ready is None or await asyncio.to_thread(runner.role.ready):
                return True
            if runner.restarts >= START_ATTEMPTS:  # it ends again and again: waiting changes nothing
                self._fail(PipelineError(f"{runner.role.name} does not start: {runner.output()}"))
            elif time.monotonic() > deadline:
                limit = f"{runner.role.ready_timeout_s:g} s"
                self._fail(
                    PipelineError(f"{runner.role.name} did not come up within {limit} ({runner.output()})")
                )
            await asyncio.sleep(READY_POLL_S)
        return False

    async def _end(self) -> None:
        for stage in reversed(Stage):
            runners = self._of(stage)
            in_time = await asyncio.gather(*(runner.end() for runner in runners))
            self.killed += [runner.role.name for runner, ok in zip(runners, in_time, strict=True) if not ok]

    def _of(self, stage: Stage) -> list["_Runner"]:
        return [runner for runner in self._runners if runner.role.stage == stage]

    def _fail(self, failure: CollectorError) -> None:
        self._failure = self._failure or failure
        self._stop.set()

    async def _bound_logs(self) -> None:
        while True:
            for runner in self._runners:
                if runner.log is not None:
                    _bound(runner.log)
            await asyncio.sleep(LOG_CHECK_S)

    @contextmanager
    def _signal_handlers(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        signals = (signal.SIGINT, signal.SIGTERM)
        for number in signals:
            loop.add_signal_handler(number, self._on_signal, number)
        try:
            yield
        finally:
            for number in signals:
                loop.remove_signal_handler(number)

    def _on_signal(self, number: signal.Signals) -> None:
        self.is_interrupted |= number == signal.SIGINT
        wish = self._signals.arrived()
        if wish == 1:
            self._on_first_signal()
        elif wish > 1:
            self._stop.set()
            for runner in self._runners:
                runner.kill()


class _Runner:
    """One role's life: spawn, wait, wait a little, spawn again."""

    def __init__(
        self, role: Service, log: Path | None, policy: RestartPolicy, fail: Callable[[CollectorError], None]
    ) -> None:
        self.role = role
        self.log = log
        self.process: Process | None = None
        self.task: asyncio.Task[None] | None = None
        self.restarts = 0
        self._policy = policy
        self._fail = fail
        self._stopping = asyncio.Event()
        self._status = 0

    async def keep(self) -> None:
        """Run the command again and again until `end()`."""
        failures = 0
        while not self._stopping.is_set():
            started = time.monotonic()
            await self._live()
            if self._stopping.is_set():
                return
            if self._status in self.role.fatal:
                # Without a log it has printed its error on our own stderr, where one line is enough.
                self._fail(ConfigurationError(self.last_words() if self.log else ""))
                return
            failures = self._policy.failures(failures, time.monotonic() - started)
            await self._pause(self._policy.delay_s(failures))

    async def end(self) -> bool:
        """Stop the command gracefully, or by force after its time; return whether it was in time."""
        self._stopping.set()
        if self.task is None:
            return True
        self._signal(self.role.stop_signal)
        _, late = await asyncio.wait({self.task}, timeout=self.role.stop_timeout_s)
        if late:
            logger.warning("%s did not stop within %g s: killed", self.role.name, self.role.stop_timeout_s)
            self.kill()
            await asyncio.wait({self.task}, timeout=KILL_TIMEOUT_S)
            self.task.cancel()  # a process that even SIGKILL does not end must not hold us
        return not late

    def kill(self) -> None:
        """End the command and all it started."""
        if self.process is not None:
            _kill_group(self.process.pid)

    def last_words(self) -> str:
        """Say how the command ended."""
        return f"{self.role.name} ended with {_reading(self._status)} ({self.output()})"

    def output(self) -> str:
        """Return the last line the command wrote, or the way to it."""
        if self.role.reason is not None:
            return self.role.reason()
        return last_line(self.log) if self.log else "its output is above"

    async def _live(self) -> None:
        with self._output() as output:
            self.process = process = await asyncio.create_subprocess_exec(
                *bound(list(self.role.argv), self.role.death_signal),
                env={**os.environ, **self.role.env},
                stdin=DEVNULL,
                stdout=output,
                stderr=STDOUT if output is not None else None,
                pass_fds=self.role.pass_fds,
                start_new_session=True,
            )
        if self._stopping.is_set():  # the stop came while it was being started
            self._signal(self.role.stop_signal)
        try:
            self._status = await process.wait()
        finally:
            self.process = None
            _kill_group(process.pid)

    @contextmanager
    def _output(self) -> Iterator[int | None]:
        if self.log is None:
            yield None
            return
        with self.log.open("ab") as file:
            yield file.fileno()

    async def _pause(self, delay_s: float) -> None:
        logger.warning("%s; starts again in %g s", self.last_words(), delay_s)
        self.restarts += 1
        with suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await self._stopping.wait()

    def _signal(self, number: signal.Signals) -> None:
        if self.process is not None:
            with suppress(ProcessLookupError):
                self.process.send_signal(number)


def _kill_group(leader: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # gone, or on macOS a zombie
        os.killpg(leader, signal.SIGKILL)


def _reading(status: int) -> str:
    return f"status {status}" if status >= 0 else signal.Signals(-status).name


def _log_of(role: Service, log_dir: Path) -> Path | None:
    return log_dir / f"{role.name}.log" if role.log else None


def _make(log_dir: Path) -> None:
    try:
        log_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"the folder {log_dir} can't be written ({error.strerror}): set COLLECTOR_DATA_DIR"
        ) from error


def _bound(log: Path) -> None:
    """Copy a log that has grown past its bound to `.log.1` and cut it; its writer appends, so it goes on."""
    with suppress(FileNotFoundError):
        if log.stat().st_size > LOG_BYTES_MAX:
            shutil.copyfile(log, log.with_suffix(".log.1"))
            os.truncate(log, 0)
