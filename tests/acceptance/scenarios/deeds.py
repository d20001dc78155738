"""What can be done to our processes and to the network: name -> how it begins and how it ends."""

import json
import os
import shutil
import signal
from base64 import b64decode, b64encode
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import redis

from collector.publish import segment
from collector.util.compression import zstd
from tests.acceptance.scenarios.system import REDIS_MEMORY_MB, System

#: About half a second of a scenario's writes.
CUT_BYTES = 60_000


def _signal_redis(system: System, number: signal.Signals) -> None:
    """Send a signal; one that another deed has killed just then gets none."""
    if system.server.pid is not None:
        with suppress(ProcessLookupError):
            os.kill(system.server.pid, number)


def _restart_redis(system: System) -> None:
    """Start it again on the same files and port."""
    system.server.stop()
    system.server.start()


def _flush_redis(system: System) -> None:
    """Everything is gone, Celery's own keys too; one that is away just then is spared."""
    with suppress(redis.RedisError):
        system.redis.flushall()


def _cut_redis(system: System) -> None:
    """Kill it, and take the tail of its file away, as a power cut may; not what is of the run before."""
    _kill_redis(system)
    newest = system.newest_file()
    os.truncate(newest, max(newest.stat().st_size - CUT_BYTES, system.server_bytes.get(newest, 0)))


def _copy_redis(system: System) -> None:
    """Keep what is in its files now, as a replica that lags does."""
    shutil.rmtree(_copy(system), ignore_errors=True)
    shutil.copytree(system.server.folder / "appendonlydir", _copy(system))


def _put_redis_back(system: System) -> None:
    """Kill it, and start what was kept."""
    _kill_redis(system)
    shutil.rmtree(system.server.folder / "appendonlydir")
    shutil.copytree(_copy(system), system.server.folder / "appendonlydir")
    _restart_redis(system)


def _copy(system: System) -> Path:
    return system.folder / "copy of redis"


def _kill_redis(system: System) -> None:
    _signal_redis(system, signal.SIGKILL)
    if system.server._process is not None:
        system.server._process.wait()


def _damage_spools(system: System) -> None:
    """Change a byte in the middle of every third record that waits on a listener's disk."""
    for path in system.folder.rglob("*.spool"):
        content = bytearray(path.read_bytes())
        for record in list(segment.scan(bytes(content)))[::3]:
            content[(record.offset + record.end) // 2] ^= 1
        path.write_bytes(content)


def _age_batches(system: System) -> None:
    """Make every third batch of trades that waits one of another version."""
    waiting: list[bytes] = system.redis.lrange("trade", 0, -1)  # type: ignore[assignment]
    for place, message in enumerate(waiting):
        if place % 3 == 0:
            system.redis.lset("trade", place, _of_another_version(message))  # type: ignore[arg-type]


def _of_another_version(message: bytes) -> bytes:
    outer = json.loads(message)
    body = zstd.decompress(b64decode(outer["body"])).replace(b'\\"v\\":1', b'\\"v\\":9')
    return json.dumps({**outer, "body": b64encode(zstd.compress(body, 1)).decode()}).encode()


def _pause_workers(system: System, number: signal.Signals) -> None:
    for worker in system.workers:
        worker.send_signal(number)


def _limit_redis(system: System, bytes_: int) -> None:
    """Below what is in use, every write is refused."""
    system.redis.config_set("maxmemory", bytes_)


def _kill_pool_processes(system: System) -> None:
    """Their parents notice, and give their batches back."""
    for worker in system.workers:
        if worker.pid is not None:
            with suppress(psutil.NoSuchProcess):
                for child in psutil.Process(worker.pid).children(recursive=True):
                    child.kill()


def _kill_active_listener(system: System) -> None:
    """Of several listeners, kill the one that serves the share: it alone tells how it is."""
    health = system.health()
    reports = health.listeners if health else []
    active = {listener["pid"] for listener in reports if listener["state"] != "stopped"}
    system.kill([listener for listener in system.listeners if listener.pid in active])


def _black_hole(system: System) -> None:
    """Let all bytes between listener and exchange vanish, unannounced."""
    assert system.proxy is not None
    system.proxy.blackhole()


def _no_black_hole(system: System) -> None:
    """Serve new connections again; the old ones are dead."""
    assert system.proxy is not None
    system.proxy.resume()


def _nothing(_: System) -> None:
    """The deed has no end."""


DEEDS: dict[str, tuple[Callable[[System], None], Callable[[System], None]]] = {
    "kill redis": (lambda it: _signal_redis(it, signal.SIGKILL), _restart_redis),
    "pause redis": (
        lambda it: _signal_redis(it, signal.SIGSTOP),
        lambda it: _signal_redis(it, signal.SIGCONT),
    ),
    "flush redis": (_flush_redis, _nothing),
    "cut redis": (_cut_redis, _restart_redis),
    "set redis back": (_copy_redis, _put_redis_back),
    # While a Redis is away; what was damaged is noticed when it is back.
    "damage spools": (_damage_spools, _nothing),
    # While workers are paused, so that some batches wait.
    "age batches": (_age_batches, _nothing),
    "pause workers": (
        lambda it: _pause_workers(it, signal.SIGSTOP),
        lambda it: _pause_workers(it, signal.SIGCONT),
    ),
    "fill redis": (
        lambda it: _limit_redis(it, 1 << 20),
        lambda it: _limit_redis(it, REDIS_MEMORY_MB << 20),
    ),
    "kill workers": (lambda it: it.kill(it.workers), lambda it: it.restart(it.workers)),
    "kill worker children": (_kill_pool_processes, _nothing),
    # One of them, for longer than the visibility timeout of what it holds.
    "pause worker": (
        lambda it: it.workers[0].send_signal(signal.SIGSTOP),
        lambda it: it.workers[0].send_signal(signal.SIGCONT),
    ),
    "kill listener": (lambda it: it.kill(it.listeners), lambda it: it.restart(it.listeners)),
    "kill active listener": (_kill_active_listener, _nothing),
    "stop listener": (lambda it: it.stop(it.listeners), lambda it: it.restart(it.listeners)),
    "black hole": (_black_hole, _no_black_hole),
    "suspend host": (lambda it: it.suspend(), lambda it: it.wake()),
    # From its start to its end, or for ever where it has none.
    "clock a minute slow": (lambda it: it.step_clock(-60), lambda it: it.step_clock(60)),
    "clock a minute fast": (lambda it: it.step_clock(60), lambda it: it.step_clock(-60)),
    "put clock right": (lambda it: it.put_clock_right(), _nothing),
}
