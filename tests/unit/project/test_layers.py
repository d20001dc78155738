"""Who may import whom, checked by walking every import of `collector/` and `tasks/`.

The tables below are the rule. Every package has its room, every loose module is listed by name, and a room
may import itself, the rooms in its row, and nothing else of ours. Imports inside functions and under
`TYPE_CHECKING` count like all others.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
FILES = sorted(
    file for package in ("bithumb_collector", "collector", "tasks") for file in (ROOT / package).rglob("*.py")
)

#: Loose modules of `collector/`: a new one is an error until it is listed here, or better, has a room.
VOCABULARY = (
    *("model", "market_names", "batch", "errors", "clock", "settings", "counters", "routing", "__version__"),
)
#: Loose modules of `tasks/`.
WORKERS = (
    *(
        "app",
        "alerts",
        "analysis",
        "archive_jobs",
        "consumer_watchdog",
        "delivery",
        "events",
        "expiry",
        "heartbeat",
    ),
    *("ingest", "json_logs", "periodic", "periodic_sender", "shutdown", "__main__"),
)
#: Import paths that were documented before their modules moved; nothing of ours imports them.
OLD_PATHS = ("ask", "frames", "read")

#: Room of a module: the longest of these names that is the module or one of its parents.
ROOMS = {
    **{f"collector.{name}": "vocabulary" for name in VOCABULARY},
    "collector.util": "util",
    **{f"collector.util.{name}": "util, pure" for name in ("backoff", "korean_time")},
    "collector.host": "host",
    "collector.protocol": "protocol",
    "collector.stream": "stream",
    "collector.feed": "feed, I/O",
    **{
        f"collector.feed.{name}": "feed, pure"
        for name in ("framing", "paging", "reconnect", "arbitration", "session", "watchdog")
    },
    "collector.publish": "publish",
    "collector.recording": "recording",
    "collector.simulator": "simulator",
    "collector.analytics": "analytics",
    "collector.store": "store",
    "collector.alerts": "alerts",
    "collector.archive": "archive",
    "collector.analyses": "analyses",
    "collector.broker": "broker",
    "collector.listener": "listener",
    "collector.live": "live",
    "collector.serve": "serve",
    "collector.cli": "cli",
    "collector.__main__": "cli",
    "bithumb_collector": "public face",
    **{f"tasks.{name}": "tasks" for name in WORKERS},
    **{f"tasks.{name}": "old paths" for name in OLD_PATHS},
}
#: The packages themselves; they are no room for what lies loose in them.
ROOTS = {"collector": "vocabulary", "tasks": "tasks"}

#: Lower floors first. Never: protocol to feed, feed to publish or back, analytics to store, and no room of
#: `collector/` to `tasks/`.
MAY_IMPORT = {
    "util, pure": set(),
    "vocabulary": {"util, pure"},
    "util": {"vocabulary"},
    "host": {"vocabulary", "util"},
    "protocol": {"vocabulary"},
    "analytics": {"vocabulary"},
    "stream": {"vocabulary", "protocol"},
    "recording": {"vocabulary", "util", "protocol"},
    "feed, pure": {"vocabulary", "protocol", "stream"},
    "feed, I/O": {"vocabulary", "util", "protocol", "stream", "feed, pure"},
    "simulator": {"vocabulary", "util", "protocol", "recording"},
    "store": {"vocabulary", "util", "host", "analytics"},
    "live": {"vocabulary", "util", "host", "analytics", "store"},
    "alerts": {"vocabulary", "util", "host", "analytics", "store"},
    "archive": {"vocabulary", "util", "host", "analytics", "store"},
    "analyses": {"vocabulary", "util", "analytics", "store"},
    "broker": {"vocabulary", "util", "host", "analyses"},
    "publish": {"vocabulary", "util", "stream"},
    "serve": {"vocabulary", "util", "analytics", "store", "live", "broker"},
}
MAY_IMPORT["tasks"] = {
    *("vocabulary", "util", "host", "analytics", "store", "alerts", "archive", "analyses", "broker"),
}
MAY_IMPORT["old paths"] = {"store", "archive", "broker"}
MAY_IMPORT["public face"] = {"vocabulary", "util", "host", "store", "live", "archive", "broker", "cli"}
MAY_IMPORT["listener"] = set(MAY_IMPORT) - {
    "public face",
    "simulator",
    "alerts",
    "archive",
    "broker",
    "live",
    "serve",
    "tasks",
    "old paths",
}
MAY_IMPORT["cli"] = set(MAY_IMPORT) - {"tasks", "old paths", "public face"}

for _below in MAY_IMPORT.values():
    _below.add("util, pure")
MAY_IMPORT["util, pure"] = set()

#: Deciders: they take `now` and return values, so none of this is theirs. Nor is any other module that
#: says `Pure` in its docstring, wherever it lies.
PURE_ROOMS = {"util, pure", "protocol", "stream", "feed, pure", "analytics"}
INPUT_OUTPUT = {
    *("asyncio", "socket", "ssl", "subprocess", "threading", "selectors", "signal", "shutil", "tempfile"),
    *("redis", "celery", "kombu", "billiard", "websockets", "httpx", "random", "time", "os"),
    *("pyarrow", "duckdb", "polars"),
}

#: Libraries with few importers (the simulator is a server of its own and may import `websockets` too).
ONLY_IMPORTER = {
    "websockets": ("collector.feed.connection", "collector.simulator"),
    "celery": ("collector.broker", "collector.publish.sender", "tasks"),
    "kombu": ("collector.broker", "collector.publish.sender", "tasks"),
    "billiard": ("tasks",),
    "flower": (),
}


def module_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_within(module: str, parent: str) -> bool:
    return module == parent or module.startswith(parent + ".")


def find_room(module: str) -> str | None:
    """Return the room of a module, None where none is listed."""
    names = [name for name in ROOMS if is_within(module, name)]
    return ROOMS[max(names, key=len)] if names else ROOTS.get(module)


def room_of(name: str) -> str | None:
    """Return the room of an imported name: of a module, or of something in a package itself."""
    return find_room(name) or ROOTS.get(name.rpartition(".")[0])


def imports(file: Path) -> Iterator[str]:
    """Yield the full name of everything a file imports (`from a import b` is `a.b`)."""
    package = module_of(file) if file.name == "__init__.py" else module_of(file).rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = (
                ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            )
            source = ".".join(filter(None, (base, node.module)))
            yield from (f"{source}.{name.name}" for name in node.names)


def ours(names: Iterable[str]) -> Iterator[str]:
    return (name for name in names if name.split(".")[0] in {"bithumb_collector", "collector", "tasks"})


def says_pure(file: Path) -> bool:
    return (
        re.search(r"\bpure\b", ast.get_docstring(ast.parse(file.read_text())) or "", re.IGNORECASE)
        is not None
    )


def is_pure(file: Path) -> bool:
    """Whether a module is one of the deciders, by its room or by its own word."""
    return find_room(module_of(file)) in PURE_ROOMS or (says_pure(file) and file.name != "__init__.py")


def is_dealt_chances(file: Path) -> bool:
    """Whether a module names `random.Random`, a generator with a seed, and nothing else of `random`."""
    used = {
        node.attr
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "random"
    }
    return used <= {"Random"}


@pytest.mark.parametrize("file", FILES, ids=module_of)
def test_every_module_has_a_room(file: Path) -> None:
    """A loose file is listed by name, or it has no place here."""
    assert find_room(module_of(file)) is not None, "give it a room, or list it among the loose modules"


def test_every_listed_module_is_there() -> None:
    """The table names no module that has gone."""
    there = {module_of(file) for file in FILES}
    assert set(ROOMS) - there - {"collector.__version__"} == set()


@pytest.mark.parametrize("file", FILES, ids=module_of)
def test_room_imports_only_rooms_below(file: Path) -> None:
    """Every import of ours leads to the same room or to one in its row of the table."""
    room = find_room(module_of(file))
    assert room is not None
    allowed = MAY_IMPORT[room] | {room}
    assert [name for name in ours(imports(file)) if room_of(name) not in allowed] == []


@pytest.mark.parametrize("file", [file for file in FILES if is_pure(file)], ids=module_of)
def test_deciders_do_no_input_or_output(file: Path) -> None:
    """Pure modules import nothing that reads a clock, a socket, a file, a process or a random number."""
    forbidden = {name for name in imports(file) if name.split(".")[0] in INPUT_OUTPUT}
    if is_dealt_chances(file):
        forbidden -= {"random"}
    assert forbidden == set()


@pytest.mark.parametrize("file", FILES, ids=module_of)
def test_library_has_few_importers(file: Path) -> None:
    """`websockets` is for connection, `celery` for broker, sender and tasks: replaceable in one place."""
    module = module_of(file)
    strangers = [
        name
        for name in imports(file)
        if (importers := ONLY_IMPORTER.get(name.split(".")[0])) is not None
        and not any(is_within(module, importer) for importer in importers)
    ]
    assert strangers == []


def test_table_has_no_cycle() -> None:
    """The rooms form layers: following the table down always ends."""
    left = {room: below - {room} for room, below in MAY_IMPORT.items()}
    while left:
        ready = {room for room, below in left.items() if not below & left.keys()}
        assert ready, f"cycle among {sorted(left)}"
        left = {room: below for room, below in left.items() if room not in ready}


def test_imports_are_found_in_every_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The walk sees absolute, relative, renamed and nested imports."""
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    file = tmp_path / "collector" / "stream" / "book.py"
    file.parent.mkdir(parents=True)
    file.write_text(
        "import a.b as c\nfrom . import d\nfrom ..feed import e\ndef f():\n    from tasks import g\n"
    )
    assert list(imports(file)) == ["a.b", "collector.stream.d", "collector.feed.e", "tasks.g"]


@pytest.mark.parametrize("module", ["collector.newcomer", "tasks.newcomer", "collector.newcomer.part"])
def test_a_newcomer_has_no_room(module: str) -> None:
    """What nobody listed is found."""
    assert find_room(module) is None
