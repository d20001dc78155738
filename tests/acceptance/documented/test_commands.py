"""Every command line of the documents runs: here, or in the test that `pages.ELSEWHERE` names."""

import importlib.util
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from collector.routing import all_queues
from tests.acceptance.documented import pages
from tests.acceptance.documented.conftest import RUN_S, SYSTEM, Documented, started
from tests.doubles.ports import free_port

pytestmark = pytest.mark.timeout(180)

OWN = [command for command in pages.own() if command != SYSTEM]
#: What runs until it is stopped, and what it says or writes when it works.
LASTING = (
    r"(\w+=('[^']*'|\S+) )*(collector (up|run|metrics|serve|simulate)|celery -A tasks (worker|flower))\b.*"
)
WORKERS = [command for command in OWN if " worker " in command]
SERVERS = [c for c in OWN if re.fullmatch(LASTING, c) and c not in WORKERS and not c.startswith("curl")]
CURLS = [command for command in OWN if command.startswith("curl ")]
PRINTERS = [command for command in OWN if command.startswith("python -m")]
ENDING = [c for c in OWN if c not in (*WORKERS, *SERVERS, *CURLS, *PRINTERS)]
DEMOS = [command for command in pages.everything() if command.startswith("collector demo ")]
#: Workers of `SYSTEM`: two that ingest, one for analyses and archive, one for alerts.
SERVICES = 4
TASK_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def test_none_is_left_out() -> None:
    """There are as many as there should be, and each that is run elsewhere is run there."""
    assert len(pages.everything()) >= 80
    assert SYSTEM in pages.everything()
    for command in pages.everything():
        if place := pages.elsewhere(command):
            assert place[1] in (pages.ROOT / place[0]).read_text(encoding="utf-8"), command


@pytest.mark.parametrize("command", ENDING)
def test_command_runs_to_its_end(documented: Documented, command: str) -> None:
    """It ends well and says something; nothing comes on stderr."""
    ended = documented.run(command)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip()
    assert "Traceback" not in ended.stderr
    if " call " in command:
        assert TASK_ID.search(ended.stdout)


@pytest.mark.parametrize("command", PRINTERS)
def test_page_is_made_as_it_says(documented: Documented, command: str) -> None:
    """What `… > docs/PAGE.md` prints is that page."""
    ended = documented.run(command)
    assert ended.returncode == 0, ended.stderr
    page = re.search(r"> (docs/\S+)$", command)
    if page:
        assert ended.stdout.strip() == (pages.ROOT / page[1]).read_text(encoding="utf-8").strip()


@pytest.mark.parametrize("command", SERVERS)
def test_command_works_until_it_is_stopped(documented: Documented, tmp_path: Path, command: str) -> None:
    """It comes to work, and SIGTERM ends it with status 0 (Celery's Flower ends by the signal)."""
    words, env = documented.argv(command)
    if "run" in words:  # another listener of the same system: it works, or is on standby
        env = {**env, "COLLECTOR_DATA_DIR": str(tmp_path), "REDIS_URL": documented.redis_url}
        ready = lambda said: "is streaming" in said or "on standby" in said  # noqa: E731
    elif "metrics" in words:
        ready = lambda _: _status(f"http://127.0.0.1:{documented.metrics_port}/readyz") == 200  # noqa: E731
    elif "serve" in words:
        port = free_port()
        env = {**env, "COLLECTOR_SERVE__PORT": str(port)}
        ready = lambda _: _status(f"http://127.0.0.1:{port}/v1/info") == 200  # noqa: E731
    elif "simulate" in words:
        words += [f"--port={free_port()}"]  # the last of two counts
        ready = lambda said: "rest " in said  # noqa: E731
    else:
        port = free_port()
        words += [f"--port={port}"]
        ready = lambda _: _status(f"http://127.0.0.1:{port}/healthcheck") == 200  # noqa: E731
    with started(words, env, documented.folder, ready) as process:
        pass
    assert process.returncode == 0 or "flower" in words


@pytest.fixture(scope="module")
def workers_seen(documented: Documented, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Start every worker of the documents at once; what each said, after they were stopped."""
    folder, running, said = tmp_path_factory.mktemp("workers"), {}, {}
    for number, command in enumerate(WORKERS):
        words, env = documented.argv(command)
        words += [] if "-n" in words else ["-n", f"w{number}@%h"]
        env = {**env, "REDIS_URL": documented.redis_url, "COLLECTOR_DATA_DIR": str(folder / str(number))}
        log = folder / f"{number}.log"
        with log.open("wb") as output:
            argv = [*words, "--loglevel", "INFO"]
            running[command] = (
                subprocess.Popen(
                    argv, cwd=folder, env={**env, "REMAP_SIGTERM": "SIGQUIT"}, stdout=output, stderr=output
                ),
                log,
            )
    try:
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline and not all(
            b" ready." in log.read_bytes() for _, log in running.values()
        ):
            time.sleep(0.2)
    finally:
        for process, _ in running.values():
            process.terminate()
        for process, _ in running.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
    for command, (process, log) in running.items():
        said[command] = f"{log.read_text(errors='replace')}\nexit status {process.returncode}"
    return said


@pytest.mark.parametrize("command", WORKERS)
def test_worker_comes_to_work(workers_seen: dict[str, str], command: str) -> None:
    """Each takes the queues it was given."""
    said = workers_seen[command]
    assert " ready." in said
    queues = re.search(r"-Q (\S+)", command)[1].split(",")
    assert [queue for queue in queues if f". {queue} " not in said and f"> {queue} " not in said] == []
    assert "exit status 0" in said


@pytest.mark.parametrize("command", CURLS)
def test_address_answers(documented: Documented, command: str) -> None:
    """Flower's API with the password, and the port of the metrics."""
    replacing = {}
    if "TASK-ID" in command:
        sent = documented.run(next(c for c in CURLS if "send-task" in c))
        task = TASK_ID.search(sent.stdout)[0]
        url = next(word for word in documented.argv(command)[0] if "TASK-ID" in word)
        replacing = {url: url.replace("TASK-ID", task)}
    if "readyz" in command:
        words, env = documented.argv("collector metrics")
        address = f"http://127.0.0.1:{documented.metrics_port}/readyz"
        with started(words, env, documented.folder, lambda _: _status(address) is not None):
            assert documented.run(command).stdout == "ready\n"
        return
    deadline = time.monotonic() + RUN_S
    while not _is_whole(answer := _read(documented.run(command, replacing).stdout), command):
        assert time.monotonic() < deadline, answer
        time.sleep(0.5)


def _read(said: str) -> dict[str, Any]:
    """Return an answer of Flower's API; nothing before it answers."""
    return json.loads(said) if said.startswith("{") else {}


def _is_whole(answer: dict[str, Any], command: str) -> bool:
    """Whether Flower answered what the command asks for; it learns of workers and results by and by."""
    if "send-task" in command:
        return TASK_ID.fullmatch(answer.get("task-id", "")) is not None
    if "/task/" in command:
        return answer.get("state") == "SUCCESS" and answer["result"]["market"] == "KRW-BTC"
    if "workers" in command:
        known = [" ".join(worker.get("registered", [])) for worker in answer.values()]
        return sum("tasks.analysis.vwap" in tasks for tasks in known) >= SERVICES
    return {queue["name"] for queue in answer.get("active_queues", [])} >= set(all_queues(1))


def test_demos_end_with_every_trade_counted(environment: dict[str, str], tmp_path: Path) -> None:
    """The demos with faults, side by side and for 14 seconds."""
    env = {name: value for name, value in environment.items() if "EXCHANGE" not in name}
    running = []
    for number, command in enumerate(DEMOS):
        folder = tmp_path / str(number)
        folder.mkdir()
        with (folder / "said").open("wb") as said:
            words = [*pages.split(command)[1], "--seconds", "14"]
            running.append(subprocess.Popen(words, cwd=folder, env=env, stdout=said, stderr=said))
    try:
        statuses = [process.wait(120) for process in running]
    finally:
        for process in running:
            process.kill()
    ends = [(tmp_path / str(number) / "said").read_text() for number in range(len(DEMOS))]
    assert statuses == [0] * len(DEMOS), ends
    assert all("every trade counted exactly once" in end for end in ends)


@pytest.mark.parametrize("verb", sorted({c.split()[1] for c in pages.everything() if c.startswith("make ")}))
def test_verbs_are_what_they_say(verb: str) -> None:
    """`make -n` shows what a verb does: programs of the environment, and modules that exist."""
    shown = subprocess.run(["make", "-n", verb], cwd=pages.ROOT, capture_output=True, text=True, timeout=30)
    assert shown.returncode == 0, shown.stderr
    assert verb == "install" or ".venv/bin/" in shown.stdout


@pytest.mark.parametrize("command", [c for c in pages.everything() if re.search(r"\bpytest ", c)])
def test_pytest_paths_are_tests(command: str) -> None:
    """What a document has run with pytest is in the suite, or in its soak."""
    paths = re.findall(r"tests/\S+", command)
    assert paths
    assert all((pages.ROOT / path).exists() for path in paths)
    for name in pages.split(command)[0]:
        assert any(name in file.read_text() for file in (pages.ROOT / "tests").rglob("*.py")), name


@pytest.mark.parametrize("command", [c for c in pages.everything() if c.startswith("python -m benchmarks")])
def test_benchmarks_are_there(command: str) -> None:
    """The module knows the options of the document; what it measures would take minutes."""
    words = pages.split(command)[1]
    module = importlib.util.find_spec(words[2])
    assert module is not None
    text = Path(str(module.origin)).read_text(encoding="utf-8")
    assert [word for word in words if word.startswith("--") and f'"{word}"' not in text] == []


@pytest.mark.parametrize("page", [p for p in pages.PAGES if p.startswith("docs/")])
def test_python_of_the_documents_runs(documented: Documented, page: str) -> None:
    """Snippets of Python, fenced or indented, read from the running system."""
    text = (pages.ROOT / page).read_text(encoding="utf-8")
    snippets = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    blocks = re.findall(r"(?:^    .*\n)+", text, re.MULTILINE)
    snippets += [
        re.sub("^    ", "", b, flags=re.MULTILINE) for b in blocks if re.match("    (from|import) ", b)
    ]
    for snippet in snippets:
        words = [sys.executable, "-c", snippet]
        ended = subprocess.run(
            words,
            cwd=documented.folder,
            env=dict(documented.env),
            capture_output=True,
            text=True,
            timeout=RUN_S,
        )
        assert (ended.returncode, ended.stderr) == (0, ""), snippet


def _status(url: str) -> int | None:
    try:
        return httpx.get(url, timeout=2, trust_env=False).status_code
    except httpx.TransportError:
        return None
