"""The commands as a user runs them: processes, output, exit codes."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress

import httpx
import pytest
import redis

from collector.errors import BrokerUnavailable
from collector.host.redis_server import PrivateRedis, find_url
from collector.settings import Settings
from collector.store.keys import Keys
from collector.store.read import Reader
from tests.integration.cli.conftest import fill

COLLECTOR = (sys.executable, "-m", "collector")


def environment_in(folder):
    """Return an environment of its own: a fresh data folder, no Redis."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("COLLECTOR_", "REDIS"))}
    return {**clean, "COLLECTOR_DATA_DIR": str(folder / "data"), "NO_COLOR": "1"}


def runs_in(folder):
    """Return a function that runs a command to its end and returns (exit code, stdout, stderr)."""

    def call(*arguments, timeout_s=60, **variables):
        done = subprocess.run(
            [*COLLECTOR, *arguments],
            env={**environment_in(folder), **variables},
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
        return done.returncode, done.stdout, done.stderr

    return call


@pytest.fixture
def environment(tmp_path):
    """The environment of the test's folder."""
    return environment_in(tmp_path)


@pytest.fixture
def run(tmp_path):
    """Runs commands in the test's folder."""
    return runs_in(tmp_path)


@pytest.fixture
def start(environment, tmp_path):
    """Start a command; whatever still runs at the end of the test is killed."""
    running = []

    def call(*arguments, **variables):
        process = subprocess.Popen(
            [*COLLECTOR, *arguments],
            env={**environment, **variables},
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    yield call
    for process in running:
        process.kill()
        process.communicate(timeout=10)


@pytest.fixture(scope="module")
def exchange(tmp_path_factory):
    """A simulated exchange, the same for all; returns the variables that lead to it."""
    folder = tmp_path_factory.mktemp("exchange")
    argv = [*COLLECTOR, "simulate", "--markets", "5", "--rate", "40"]
    with subprocess.Popen(
        argv, env=environment_in(folder), cwd=folder, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            urls = dict(process.stdout.readline().split() for _ in range(3))
            yield {
                "COLLECTOR_EXCHANGE__WEBSOCKET_URL": urls["websocket"],
                "COLLECTOR_EXCHANGE__REST_URL": urls["rest"],
            }
        finally:
            process.kill()


@pytest.fixture(scope="module")
def session(exchange, tmp_path_factory):
    """Three seconds of the exchange, recorded; returns the file and what `record` printed."""
    folder = tmp_path_factory.mktemp("session")
    code, output, errors = runs_in(folder)("record", "session.zst", "--seconds", "3", **exchange)
    assert code == 0, errors
    return folder / "session.zst", output


def one_line(text):
    """Assert that `text` is one line for the user, and return it."""
    lines = text.strip().splitlines()
    assert len(lines) == 1, text
    assert lines[0].startswith("collector: ")
    return lines[0]


def wait_for_redis(folder, within_s=20):
    """Wait until the private server of a data folder answers; return its address."""
    settings, found = Settings(data_dir=folder), []

    def answers():
        with suppress(BrokerUnavailable):
            found.append(find_url(settings))
        return found

    wait_until(answers, within_s)
    return found[0]


def wait_until(condition, within_s):
    """Wait until `condition()` is true."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s} s"
        time.sleep(0.05)


def test_demo_counts_every_trade_once_and_its_results_stay_readable(run, environment, tmp_path):
    """Status 0; `collector show` reads what it left, typed as the demo prints it."""
    code, demo, errors = run("demo", "--seconds", "6", "--rate", "60", timeout_s=100)
    assert code == 0, demo + errors
    assert "360 trades made, 0 lost, 0 doubled: every trade counted exactly once" in demo
    code, output, errors = run("show", "candles", "KRW-BTC", "--json")
    assert code == 0, errors
    assert sum(candle["trade_count"] for candle in json.loads(output)) > 0
    (command,) = re.findall(r"^  its candles +(.*)", demo, re.MULTILINE)
    bare = {name: value for name, value in environment.items() if name != "COLLECTOR_DATA_DIR"}
    shown = subprocess.run(
        ["sh", "-c", command], env=bare, cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "KRW-BTC, 1m candles" in shown.stdout


def test_demo_tells_its_end_to_programs(run):
    """With `--json` stdout is one object; what people watch is on stderr."""
    code, output, errors = run("demo", "--seconds", "5", "--rate", "50", "--json", timeout_s=80)
    assert code == 0, errors
    told = json.loads(output)
    assert (told["made"], told["lost"], told["doubled"], told["exact"]) == (250, 0, 0, True)
    assert told["counted"] == sum(row["counted"] for row in told["markets"]) == 250


def test_demo_stops_cleanly_when_interrupted(start):
    """Ctrl-C in the middle of a demo ends all within ten seconds, status 130, nothing left behind."""
    process = start("demo", "--seconds", "60")
    time.sleep(6)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=15)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors


def test_run_stops_gracefully_on_sigterm(start, exchange, redis_url):
    """A listener flushes and leaves with status 0 on SIGTERM."""
    process = start("run", REDIS_URL=redis_url, **exchange)
    for line in process.stderr:
        if "is streaming" in line:
            break
    process.terminate()
    _, errors = process.communicate(timeout=12)
    assert process.returncode == 0, errors
    assert "everything flushed" in errors


def test_record_and_replay_agree(run, session):
    """What `record` wrote, `replay` sends through the pipeline."""
    path, recorded = session
    frames = int(recorded.split()[0])
    code, output, errors = run("replay", str(path), timeout_s=100)
    assert code == 0, errors
    assert output.startswith(f"{frames} frames: ")
    assert output.rstrip().endswith("0 refused")


def answers(address):
    """Whether a server answers."""
    with suppress(httpx.TransportError):
        return httpx.get(address, timeout=2).status_code == 200


def test_a_replay_is_live_too(start, session):
    """Its trades are events of the page's stream; SIGTERM ends all."""
    process = start("replay", str(session[0]), "--serve")
    for line in process.stderr:
        if "serving http" in line:
            break
    address = line.split("serving ")[1].strip()
    query = {"channels": "trade", "start": "earliest"}
    wait_until(lambda: answers(f"{address}v1/info"), 30)
    with httpx.stream("GET", f"{address}v1/stream", params=query, timeout=30) as events:
        assert any(event.startswith("data: ") for event in events.iter_lines())
    process.terminate()
    process.communicate(timeout=15)
    assert process.returncode == 130


def test_a_rotated_recording_is_replayed_as_one(run, exchange):
    """A second a file: the index leads to all frames, and a stretch of it to some."""
    options = ("--seconds", "3", "--rotate-s", "1", "--json")
    code, output, errors = run("record", "session.zst", *options, **exchange)
    assert code == 0, errors
    recorded = json.loads(output)
    code, output, errors = run("replay", "session.zst", "--json", timeout_s=100)
    assert code == 0, errors
    replayed = json.loads(output)
    assert (replayed["frames"], replayed["refused"]) == (recorded["frames"], 0)
    code, output, errors = run("replay", "session.zst", "--to", "2020-01-01", "--json", timeout_s=100)
    assert (code, json.loads(output)["frames"]) == (0, 0)
    assert "no frames to 2020-01-01 23:59:59.999 (Asia/Seoul)" in errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_replay_sends_what_it_read_and_leaves(start, session, tmp_path, number):
    """A signal in the middle ends replay, workers and Redis within ten seconds; what was read is counted."""
    process = start("replay", str(session[0]), "--speed", "0.05")
    with redis.Redis.from_url(wait_for_redis(tmp_path / "data")) as client:
        wait_until(lambda: Reader(client, Settings()).markets(), 30)  # something has been read and counted
    begin = time.monotonic()
    process.send_signal(number)
    output, errors = process.communicate(timeout=15)
    assert time.monotonic() - begin < 10
    assert process.returncode == 130, errors
    assert int(output.split()[0]) > 0
    assert errors == ""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_simulator_that_is_stopped_tells_ctrl_c_from_a_plain_stop(start, number, code):
    """130 for Ctrl-C, 0 where somebody ended a service that has no end of its own."""
    process = start("simulate", "--markets", "3")
    assert process.stdout.readline().startswith("websocket")
    process.send_signal(number)
    _, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (code, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_waits_for_an_answer_can_be_stopped(start, redis_url, settings, number):
    """Either signal ends it at once, status 130, without a stack trace."""
    fill(redis_url, settings)
    process = start("analyze", "vwap", "KRW-BTC", "--timeout", "60", REDIS_URL=redis_url)
    with redis.Redis.from_url(redis_url) as client:
        wait_until(lambda: client.llen("analysis"), 20)
    process.send_signal(number)
    output, errors = process.communicate(timeout=10)
    assert (process.returncode, output, errors) == (130, "", "")


@pytest.mark.parametrize(
    ("arguments", "variables", "code", "says"),
    [
        (["run"], {"REDIS_URL": "redis://127.0.0.1:1/0"}, 1, "can't be reached"),
        (["up"], {"REDIS_URL": "redis://127.0.0.1:1/0"}, 1, "can't be reached"),
        (["demo"], {"REDIS_URL": "redis://127.0.0.1:1/0"}, 1, "can't be reached"),
        (["run"], {}, 1, "no Redis"),
        (["up", "--markets", ""], {}, 2, "--markets is empty"),
        (["run", "--channels", "candles"], {"REDIS_URL": "redis://127.0.0.1:1"}, 2, "COLLECTOR_CHANNELS"),
        (["run", "--markets", "krw:btc"], {"REDIS_URL": "redis://127.0.0.1:1"}, 2, "COLLECTOR_MARKETS"),
        (["run"], {"COLLECTOR_BACTH__MAX_ROWS": "5"}, 2, "COLLECTOR_BACTH__MAX_ROWS is not a setting"),
        (["run"], {"COLLECTOR_BATCH__MAX_ROWS": "0"}, 2, "COLLECTOR_BATCH__MAX_ROWS"),
        (["run", "--nope"], {}, 2, "--nope"),
        (["nope"], {}, 2, "nope"),
        (["up"], {"COLLECTOR_DATA_DIR": "/proc/nowhere"}, 2, "COLLECTOR_DATA_DIR"),
        (["demo"], {"COLLECTOR_DATA_DIR": "/proc/nowhere"}, 2, "COLLECTOR_DATA_DIR"),
        (["demo", "--faults", "earthquake@3s"], {}, 2, "earthquake"),
        (["replay", "missing.zst"], {}, 2, "missing.zst"),
        (["simulate", "--faults", "earthquake@3s"], {}, 2, "earthquake"),
    ],
)
def test_bad_input_is_one_clear_line(run, arguments, variables, code, says):
    """Whatever is wrong, one line says what, and the exit code which kind."""
    status, output, errors = run(*arguments, timeout_s=30, **variables)
    assert says in one_line(errors)
    assert (status, output) == (code, "")


@pytest.mark.parametrize("command", ["run", "up", "replay"])
@pytest.mark.parametrize("password", ["", ":wrong@"])
def test_a_refused_password_is_one_clear_line(run, redis_server, tmp_path, command, password):
    """Whoever needs Redis says that the password is not right, at once, and shows none."""
    file = tmp_path / "frames.jsonl"
    file.write_text(json.dumps({"raw": "{}", "endpoint": "", "observed_utc": "2026-09-23T03:18:33Z"}) + "\n")
    port = redis_server.url.rpartition(":")[2]
    arguments = [command, *([file.name] if command == "replay" else [])]
    code, output, errors = run(*arguments, timeout_s=30, REDIS_URL=f"redis://{password}127.0.0.1:{port}")
    assert (code, output) == (1, "")
    assert "refuses the password" in one_line(errors)
    assert "wrong" not in errors


@pytest.mark.parametrize("command", ["demo", "replay"])
def test_a_full_redis_is_said_before_half_the_work_is_done(run, redis_url, tmp_path, command):
    """What has an end does not begin where it could not store anything."""
    file = tmp_path / "frames.jsonl"
    file.write_text(json.dumps({"raw": "{}", "endpoint": "", "observed_utc": "2026-09-23T03:18:33Z"}) + "\n")
    with redis.Redis.from_url(redis_url) as client:
        limit = client.config_get("maxmemory")["maxmemory"]
        client.config_set("maxmemory", "1mb")
        try:
            arguments = [command, *([file.name] if command == "replay" else [])]
            code, output, errors = run(*arguments, timeout_s=30, REDIS_URL=redis_url)
        finally:
            client.config_set("maxmemory", limit)
    assert (code, output) == (1, "")
    assert "is full" in one_line(errors)


def test_a_demo_does_not_touch_real_results(run, redis_url, settings):
    """Where `REDIS_URL` holds results, simulated trades would mix with them: the demo refuses."""
    fill(redis_url, settings)
    code, output, errors = run("demo", REDIS_URL=redis_url)
    assert (code, output) == (2, "")
    assert "unset REDIS_URL" in one_line(errors)


def test_a_listener_without_a_spool_leaves_its_share_to_others(run, exchange, redis_url):
    """One line for the folder that can't be written, and no lease that keeps a standby waiting."""
    nowhere = {"COLLECTOR_DATA_DIR": "/proc/nowhere", "REDIS_URL": redis_url}
    code, output, errors = run("run", timeout_s=30, **{**exchange, **nowhere})
    assert (code, output) == (2, "")
    assert "/proc/nowhere" in one_line(errors)
    with redis.Redis.from_url(redis_url) as client:
        assert list(client.scan_iter("*lease*")) == []


def test_unknown_market_is_named(run, exchange, redis_url):
    """A market that the exchange does not list ends the listener with a line that names it."""
    code, _, errors = run("run", "--markets", "KRW-NOPE", REDIS_URL=redis_url, **exchange)
    assert code == 2
    assert "KRW-NOPE is not a market" in errors.strip().splitlines()[-1]


def test_unknown_market_ends_the_whole_system_with_one_line(run, exchange):
    """`up` adds nothing to what its listener says, and stops all it has started."""
    code, _, errors = run("up", "--markets", "KRW-NOPE", **exchange)
    assert code == 2
    complaints = [line for line in errors.splitlines() if line.startswith("collector: ")]
    assert len(complaints) == 1, errors
    assert "KRW-NOPE is not a market" in complaints[0]


def test_port_in_use_is_one_clear_line(run):
    """`collector simulate` on a taken port says so."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, _, errors = run("simulate", "--port", str(taken.getsockname()[1]), timeout_s=30)
    assert code in (1, 2)
    assert "use" in one_line(errors)


def test_cut_recording_delivers_what_is_whole(run, session, tmp_path):
    """Half a recording is replayed to its cut, then one line says so and the status is not 0."""
    whole = session[0].read_bytes()
    (tmp_path / "cut.zst").write_bytes(whole[: len(whole) * 3 // 4])
    code, output, errors = run("replay", "cut.zst", timeout_s=100)
    assert code == 2
    assert "is cut" in errors.strip().splitlines()[-1]
    assert int(output.split()[0]) > 0


def test_up_says_in_one_line_that_the_exchange_cannot_be_reached(start):
    """Without a way to the exchange `up` keeps trying, says so once, and stops on Ctrl-C."""
    nowhere = {
        "COLLECTOR_EXCHANGE__WEBSOCKET_URL": "ws://127.0.0.1:1/websocket/v1",
        "COLLECTOR_EXCHANGE__REST_URL": "http://127.0.0.1:1",
    }
    process = start("up", **nowhere)
    before = []
    for line in process.stderr:
        before.append(line)
        if "can't be reached" in line:
            break
    time.sleep(4)  # several more tries, which say nothing
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=15)
    assert process.returncode == 130
    assert "".join([*before, errors]).count("can't be reached") == 1


@pytest.fixture
def own_redis(tmp_path):
    """A Redis of this test, to be frozen and killed; its process goes on when the test ends."""
    with PrivateRedis(Settings(data_dir=tmp_path / "own")) as server:
        yield server
        with suppress(ProcessLookupError):
            os.kill(server.pid, signal.SIGCONT)


def said(process, words, within_s=30):
    """Read what a process logs until `words` come; return the line."""
    deadline = time.monotonic() + within_s
    for line in process.stderr:
        if words in line:
            return line
        assert time.monotonic() < deadline
    raise AssertionError(f"{words!r} was not said")


def test_a_stop_while_redis_is_frozen_leaves_the_rest_on_disk_and_says_so(start, exchange, own_redis):
    """In time, with status 0; the next start sends what waits there."""
    process = start("run", REDIS_URL=own_redis.url, **exchange)
    said(process, "is streaming")
    os.kill(own_redis.pid, signal.SIGSTOP)
    time.sleep(0.6)  # some trades come meanwhile
    begun_s = time.monotonic()
    process.terminate()
    _, errors = process.communicate(timeout=12)
    assert process.returncode == 0, errors
    assert time.monotonic() - begun_s < 5
    assert re.search(r"stopped; \d+ batches could not be sent and wait in .*spool", errors.splitlines()[-1])
    assert "Traceback" not in errors
    os.kill(own_redis.pid, signal.SIGCONT)
    again = start("run", REDIS_URL=own_redis.url, **exchange)
    said(again, "batches of an earlier run wait in the spool")
    with redis.Redis.from_url(own_redis.url) as client:
        reader = Reader(client, Settings())
        sent = lambda row: row["pid"] == again.pid and row["spool_bytes"] == 0  # noqa: E731
        wait_until(lambda: any(map(sent, reader.listeners())), 20)
    again.terminate()
    _, errors = again.communicate(timeout=12)
    assert (again.returncode, "everything flushed" in errors) == (0, True), errors


def test_a_standby_outlives_redis_and_ends_well(start, exchange, own_redis):
    """It waits while Redis is frozen, and a stop in the middle of that is status 0, at once."""
    with redis.Redis.from_url(own_redis.url) as client:
        client.set(Keys("bithumb:").lease("1/1"), "somebody else", px=60_000)
    process = start("run", REDIS_URL=own_redis.url, COLLECTOR_PUBLISH__SOCKET_TIMEOUT_S="1", **exchange)
    said(process, "share 1/1 is served by somebody else: on standby")
    os.kill(own_redis.pid, signal.SIGSTOP)
    said(process, "Redis does not answer")
    begun_s = time.monotonic()
    process.terminate()
    _, errors = process.communicate(timeout=12)
    assert process.returncode == 0, errors
    assert time.monotonic() - begun_s < 3
    assert "Traceback" not in errors
