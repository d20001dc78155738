"""The supervisor: order, restarts, bounded stops, and no orphans whatever happens to it."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from subprocess import STDOUT

import psutil
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from collector.errors import ConfigurationError, PipelineError
from collector.host import supervisor
from collector.host.redis_server import PrivateRedis
from collector.host.services import redis_role
from collector.host.supervisor import RestartPolicy, Service, Stage, Supervisor
from collector.settings import RedisSettings, Settings
from collector.util.signals import COPY_S
from tests.doubles.durable import wait_until_on_disk

pytestmark = pytest.mark.server

Waiter = Callable[..., Awaitable[None]]
#: How long a role of these tests lives if nobody ends it.
ROLE_S = 60
QUICK = RestartPolicy(initial_s=0.05, max_s=0.2)


def script(name: str, program: str, *arguments: object, **options: object) -> Service:
    """A role that runs a few lines of Python."""
    argv = (sys.executable, "-u", "-c", textwrap.dedent(program), *map(str, arguments))
    return Service(name, argv, **options)


def diary(name: str, file: Path, stage: Stage) -> Service:
    """A role that writes down when it starts and when it is asked to stop."""
    program = """
        import signal, sys, time
        def note(word):
            with open(sys.argv[1], "a") as file: file.write(f"{word} {sys.argv[2]}\\n")
        def leave(*_):
            note("stop"); sys.exit()
        signal.signal(signal.SIGTERM, leave)
        note("start")
        time.sleep(60)
    """
    return script(name, program, file, name, stage=stage, ready=lambda: f"start {name}" in read(file))


def read(file: Path) -> str:
    return file.read_text() if file.exists() else ""


async def test_stages_start_in_order_and_stop_in_the_opposite(
    tmp_path: Path, eventually_async: Waiter
) -> None:
    """Redis first, then services, then the listener; the listener leaves first, Redis last."""
    file = tmp_path / "diary"
    roles = [diary(stage.name, file, stage) for stage in (Stage.LISTENER, Stage.SERVICES, Stage.REDIS)]
    system = Supervisor(roles, tmp_path)
    running = asyncio.create_task(system.run())
    await eventually_async(lambda: "start LISTENER" in read(file))
    system.stop()
    assert await running is True
    order = "start REDIS, start SERVICES, start LISTENER, stop LISTENER, stop SERVICES, stop REDIS"
    assert ", ".join(read(file).splitlines()) == order


async def test_dead_role_is_started_again_and_says_why(
    tmp_path: Path, eventually_async: Waiter, caplog: pytest.LogCaptureFixture
) -> None:
    """A role that dies comes back; one line gives its status, its last words and the wait."""
    system = Supervisor([script("weak", "raise SystemExit('no more tea')")], tmp_path, QUICK)
    running = asyncio.create_task(system.run())
    await eventually_async(lambda: system.restarts["weak"] >= 2)
    system.stop()
    await running
    assert "weak ended with status 1 (no more tea); starts again in 0.05 s" in caplog.messages


async def test_stubborn_role_is_killed_after_its_time(
    tmp_path: Path, eventually_async: Waiter, caplog: pytest.LogCaptureFixture
) -> None:
    """A role that ignores the stop signal costs its own time limit, no more, and is named."""
    program = f"import signal, time; signal.signal(15, signal.SIG_IGN); print('up'); time.sleep({ROLE_S})"
    system = Supervisor([script("mule", program, stop_timeout_s=0.3)], tmp_path)
    running = asyncio.create_task(system.run())
    await eventually_async(lambda: read(tmp_path / "mule.log") == "up\n")
    pid = system.pids["mule"]
    begin = time.monotonic()
    system.stop()
    assert await running is True
    assert 0.3 <= time.monotonic() - begin < ROLE_S / 2
    assert not psutil.pid_exists(pid)
    assert "mule did not stop within 0.3 s: killed" in caplog.messages


async def test_second_signal_leaves_at_once(tmp_path: Path, eventually_async: Waiter) -> None:
    """The first Ctrl-C waits for a role that takes its time, the second does not."""
    program = f"import signal, time; signal.signal(15, signal.SIG_IGN); print('up'); time.sleep({ROLE_S})"
    system = Supervisor([script("mule", program, stop_timeout_s=ROLE_S)], tmp_path)
    running = asyncio.create_task(system.run())
    await eventually_async(lambda: read(tmp_path / "mule.log") == "up\n")
    begin = time.monotonic()
    os.kill(os.getpid(), signal.SIGINT)
    await asyncio.sleep(COPY_S + 0.1)
    assert not running.done()
    os.kill(os.getpid(), signal.SIGTERM)
    assert await running is False
    assert time.monotonic() - begin < ROLE_S / 2


async def test_a_copy_of_the_signal_cuts_no_stop_short(tmp_path: Path, eventually_async: Waiter) -> None:
    """`timeout 60 collector up` sends SIGTERM twice at once: what is held is flushed all the same."""
    program = (
        "import signal, sys, time\n"
        "signal.signal(15, lambda *_: (time.sleep(0.3), print('flushed', flush=True), sys.exit()))\n"
        f"print('up', flush=True); time.sleep({ROLE_S})"
    )
    system = Supervisor([script("steady", program, stop_timeout_s=ROLE_S)], tmp_path)
    running = asyncio.create_task(system.run())
    await eventually_async(lambda: read(tmp_path / "steady.log") == "up\n")
    for number in (signal.SIGTERM, signal.SIGINT):  # two of one number may arrive as one
        os.kill(os.getpid(), number)
    assert await running is True
    assert read(tmp_path / "steady.log") == "up\nflushed\n"


async def test_wrong_settings_end_everything(tmp_path: Path) -> None:
    """Status 2 means that no restart can help: all roles stop and the error carries the last words."""
    healthy = script("healthy", "import time; time.sleep(60)")
    wrong = script("wrong", "import sys; print('COLLECTOR_X is not a setting'); sys.exit(2)")
    with pytest.raises(ConfigurationError, match=r"wrong ended with status 2 \(COLLECTOR_X is not"):
        await asyncio.wait_for(Supervisor([healthy, wrong], tmp_path).run(), 10)


async def test_a_role_without_a_log_has_said_what_is_wrong(tmp_path: Path) -> None:
    """Its line stands on our own stderr already: the error adds no second one."""
    wrong = script("wrong", "import sys; sys.exit(2)", log=False)
    with pytest.raises(ConfigurationError) as caught:
        await asyncio.wait_for(Supervisor([wrong], tmp_path).run(), 10)
    assert str(caught.value) == ""


async def test_an_owner_with_something_to_finish_gets_the_first_signal(
    tmp_path: Path, eventually_async: Waiter
) -> None:
    """Roles go on until the owner says `stop()`; the owner is told which signal it was."""
    told: list[str] = []
    system = Supervisor(
        [script("steady", "print('up'); import time; time.sleep(60)")],
        tmp_path,
        on_signal=lambda: told.append("once"),
    )
    running = asyncio.create_task(system.run())
    await eventually_async(lambda: read(tmp_path / "steady.log") == "up\n")
    os.kill(os.getpid(), signal.SIGINT)
    await eventually_async(lambda: told == ["once"])
    await asyncio.sleep(0.1)
    assert system.pids
    assert not running.done()
    system.stop()
    assert await running is True
    assert system.is_interrupted


async def test_role_that_never_comes_up_is_named(tmp_path: Path) -> None:
    """A role that is not ready in time fails the start within its limit; later stages never begin."""
    never = script(
        "never", "print('hm'); import time; time.sleep(60)", ready=lambda: False, ready_timeout_s=0.5
    )
    later = script("later", "open(__import__('sys').argv[1], 'w')", tmp_path / "began", stage=Stage.LISTENER)
    with pytest.raises(PipelineError, match=r"never did not come up within 0.5 s \(hm\)"):
        await asyncio.wait_for(Supervisor([never, later], tmp_path).run(), 10)
    assert not (tmp_path / "began").exists()


async def test_what_a_role_leaves_behind_is_swept(tmp_path: Path, eventually_async: Waiter) -> None:
    """A child that a dead role forgot does not live on beside the role's successor."""
    program = """
        import subprocess, sys, time
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        print(child.pid)
        time.sleep(0.1)
        sys.exit(1)
    """
    system = Supervisor([script("parent", program)], tmp_path, RestartPolicy(initial_s=30, max_s=30))
    running = asyncio.create_task(system.run())
    await eventually_async(lambda: system.restarts["parent"] == 1)
    await eventually_async(lambda: not is_alive(int(read(tmp_path / "parent.log"))))
    system.stop()
    await running


async def test_cancelling_stops_the_roles(tmp_path: Path, eventually_async: Waiter) -> None:
    """A caller that cancels `run()` gets the graceful stop too."""
    file = tmp_path / "diary"
    running = asyncio.create_task(Supervisor([diary("one", file, Stage.SERVICES)], tmp_path).run())
    await eventually_async(lambda: "start one" in read(file))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert "stop one" in read(file)


async def test_log_is_bounded(
    tmp_path: Path, eventually_async: Waiter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A role that talks without end fills two files of bounded size."""
    monkeypatch.setattr(supervisor, "LOG_BYTES_MAX", 10_000)
    monkeypatch.setattr(supervisor, "LOG_CHECK_S", 0.02)
    system = Supervisor(
        [script("loud", "import time\nwhile True: print('x' * 99); time.sleep(.0005)")], tmp_path
    )
    running = asyncio.create_task(system.run())
    await eventually_async(lambda: (tmp_path / "loud.log.1").exists())
    await eventually_async(lambda: (tmp_path / "loud.log").stat().st_size < 10_000)
    system.stop()
    await running
    assert set(read(tmp_path / "loud.log.1").splitlines()) == {"x" * 99}


async def test_unwritable_log_folder_is_named(tmp_path: Path) -> None:
    """A data folder that can't be written is one clear line."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"file/logs can't be written .*COLLECTOR_DATA_DIR"):
        await Supervisor([], tmp_path / "file" / "logs").run()


async def test_killed_redis_comes_back_with_its_data(
    tmp_path: Path, eventually_async: Waiter, caplog: pytest.LogCaptureFixture
) -> None:
    """The private server as a role: killed, it is back at the same address with what was written."""
    server = PrivateRedis(Settings(data_dir=tmp_path, redis=RedisSettings(max_memory_mb=64)))
    server.prepare()
    system = Supervisor([redis_role(server, start_timeout_s=10)], tmp_path / "logs", QUICK)
    running = asyncio.create_task(system.run())
    await eventually_async(server.answers)
    with redis.Redis.from_url(server.url) as client:
        client.set("a", "b")
        await asyncio.to_thread(wait_until_on_disk, client)
    os.kill(system.pids["redis"], signal.SIGKILL)
    await eventually_async(lambda: system.restarts["redis"] == 1)
    await eventually_async(server.answers)
    with redis.Redis.from_url(server.url) as client:
        assert client.get("a") == b"b"
    system.stop()
    assert await running is True
    server.release()
    assert any(line.startswith("redis ended with SIGKILL") for line in caplog.messages)


SYSTEM = """
    import asyncio, sys
    from pathlib import Path
    from collector.host.supervisor import Service, Supervisor
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)"
    roles = [
        Service("polite", (sys.executable, "-c", "import time; time.sleep(60)")),
        Service("stubborn", (sys.executable, "-c", stubborn), death_signal=9),
    ]
    async def main():
        system = Supervisor(roles, Path(sys.argv[1]))
        running = asyncio.create_task(system.run())
        while len(system.pids) < 2: await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)
        print(*system.pids.values(), flush=True)
        await running
    asyncio.run(main())
"""


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent death signal is Linux's")
def test_killed_supervisor_leaves_no_orphan(tmp_path: Path, eventually: Callable[..., None]) -> None:
    """`kill -9` of the supervisor ends every role, also one that ignores SIGTERM."""
    argv = [sys.executable, "-c", textwrap.dedent(SYSTEM), str(tmp_path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pids = [int(word) for word in process.stdout.readline().split()]
        assert len(pids) == 2
        process.kill()
    eventually(lambda: not any(map(is_alive, pids)), what="the end of all roles")


@given(st.lists(st.floats(0, 100), max_size=200))
def test_delay_grows_to_its_ceiling_and_starts_again_after_a_long_life(lives_s: list[float]) -> None:
    """After any history the delay lies between floor and ceiling, and a long life brings back the floor."""
    policy = RestartPolicy()
    failures = 0
    for lived_s in lives_s:
        before = failures
        failures = policy.failures(before, lived_s)
        delay_s = policy.delay_s(failures)
        assert policy.initial_s <= delay_s <= policy.max_s
        if lived_s >= policy.healthy_after_s:
            assert delay_s == policy.initial_s
        elif before:
            assert delay_s >= policy.delay_s(before)


@pytest.fixture(autouse=True)
def _warnings(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "collector.host.supervisor")


#: Redis, listener, two workers, and the two processes of the analysis worker's pool.
MEMBERS = 6


def family(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Everything a running system consists of, pool processes of the workers included."""
    return psutil.Process(process.pid).children(recursive=True)


@pytest.fixture
def exchange() -> Iterator[str]:
    """Port of a simulated exchange."""
    argv = [sys.executable, "-m", "collector", "simulate", "--rate", "20"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split(":")[-1].split("/")[0]
        process.terminate()


@pytest.fixture
def whole_system(
    exchange: str, tmp_path: Path, eventually: Callable[..., None]
) -> Iterator[subprocess.Popen[bytes]]:
    """`collector up`, up and running: Redis, workers and listener."""
    environment = {
        **os.environ,
        "COLLECTOR_DATA_DIR": str(tmp_path / "data"),
        "COLLECTOR_EXCHANGE__WEBSOCKET_URL": f"ws://127.0.0.1:{exchange}/websocket/v1",
        "COLLECTOR_EXCHANGE__REST_URL": f"http://127.0.0.1:{exchange}",
    }
    argv = [sys.executable, "-m", "collector", "up"]
    with (tmp_path / "output").open("wb") as output:
        process = subprocess.Popen(
            argv, env=environment, stdout=output, stderr=STDOUT, start_new_session=True
        )
    try:
        eventually(lambda: "is streaming" in read(tmp_path / "output"), 60, "a streaming system")
        eventually(lambda: len(family(process)) >= MEMBERS, 60, "every process of the system")
        yield process
    finally:
        for member in [*family(process), process] if process.poll() is None else []:
            member.kill()
        process.wait()


def roles_of(members: list[psutil.Process]) -> set[str]:
    """The roles that can be told apart by their command lines."""
    lines = [" ".join(member.cmdline()) for member in members]
    signs = {
        "listener": "collector run",
        "ingest": "-Q trade,orderbook,ticker",
        "analysis": "-Q analysis",
        "redis": "127.0.0.1:",
    }
    return {role for role, sign in signs.items() if any(sign in line for line in lines)}


@pytest.mark.timeout(150)
def test_interrupted_system_stops_within_ten_seconds(whole_system: subprocess.Popen[bytes]) -> None:
    """One Ctrl-C ends every role of a running system within 10 s and leaves no process."""
    members = family(whole_system)
    assert roles_of(members) == {"listener", "ingest", "analysis", "redis"}
    begin = time.monotonic()
    whole_system.send_signal(signal.SIGINT)
    assert whole_system.wait(20) == 130
    assert time.monotonic() - begin < 10
    assert [member for member in members if is_alive(member.pid)] == []


@pytest.mark.timeout(150)
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent death signal is Linux's")
def test_killed_system_leaves_no_orphan(
    whole_system: subprocess.Popen[bytes], eventually: Callable[..., None]
) -> None:
    """`kill -9` of the command ends all it started: listener, workers with their pools, Redis."""
    members = family(whole_system)
    whole_system.kill()
    whole_system.wait()
    eventually(lambda: not any(is_alive(member.pid) for member in members), 10, "the end of every role")
