"""Who may import whom, checked by walking every import of `collector/` and `tasks/`.

The table below is the rule: a room may import itself, the rooms in its row, and nothing else of ours.
Imports inside functions and under `TYPE_CHECKING` count like all others.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted(file for package in ("collector", "tasks") for file in (ROOT / package).rglob("*.py"))

BOTTOM = (
    *("model", "market_names", "errors", "clock", "loop", "batch", "settings", "metrics"),
    *("lifeline", "logs", "compression", "redis_client", "web", "__version__"),
)

#: Room of a module: the longest of these names that is the module or one of its parents.
ROOMS = {
    **{f"collector.{name}": "bottom" for name in BOTTOM},
    "collector.protocol": "protocol",
    "collector.stream": "stream",
    "collector.feed": "feed, pure",
    "collector.feed.connection": "feed, I/O",
    "collector.feed.fleet": "feed, I/O",
    "collector.feed.rest_client": "feed, I/O",
    "collector.feed.backfill": "feed, I/O",
    "collector.publish": "publish",
    "collector.recording": "recording",
    "collector.simulator": "simulator",
    "collector.redis_server": "redis server",
    "collector.supervisor": "supervisor",
    "collector.roles": "supervisor",
    "collector": "app",  # whatever has no room of its own composes the others
    "collector.render": "render",
    "collector.commands": "cli",
    "collector.cli": "cli",
    "collector.__main__": "cli",
    "tasks": "tasks",
    "tasks.enrich": "enrich",
    "tasks.counters": "bottom",  # a table of names, which the metrics list too
}

#: Lower layers first. Never: protocol to feed, feed to publish or back, enrich to store.
MAY_IMPORT = {
    "bottom": set(),
    "protocol": {"bottom"},
    "stream": {"bottom", "protocol"},
    "feed, pure": {"bottom", "protocol", "stream"},
    "feed, I/O": {"bottom", "protocol", "stream", "feed, pure"},
    "publish": {"bottom", "stream"},
    "recording": {"bottom", "protocol"},
    "redis server": {"bottom"},
    "supervisor": {"bottom", "redis server"},
    "simulator": {"bottom", "protocol", "recording"},
    "enrich": {"bottom"},
    "tasks": {"bottom", "enrich", "redis server"},
}
EVERYTHING = set(ROOMS.values())
MAY_IMPORT["render"] = {"bottom", "tasks", "enrich"}
MAY_IMPORT["app"] = EVERYTHING - {"simulator", "supervisor", "render", "cli"}
MAY_IMPORT["cli"] = EVERYTHING

#: Deciders: they take `now` and return values, so none of this is theirs.
PURE_ROOMS = {"protocol", "stream", "feed, pure", "enrich"}
INPUT_OUTPUT = {
    *("asyncio", "socket", "ssl", "subprocess", "threading", "selectors", "signal", "shutil", "tempfile"),
    *("redis", "celery", "kombu", "websockets", "httpx", "random", "time"),
}

#: Libraries with one importer (the simulator is a server of its own and may import `websockets` too).
ONLY_IMPORTER = {
    "websockets": ("collector.feed.connection", "collector.simulator"),
    "celery": ("collector.publish.sender", "tasks"),
    "kombu": ("collector.publish.sender", "tasks"),
    "flower": (),
}


def module_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_within(module: str, parent: str) -> bool:
    return module == parent or module.startswith(parent + ".")


def room_of(module: str) -> str:
    return ROOMS[max((name for name in ROOMS if is_within(module, name)), key=len)]


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


def ours(names: Iterator[str]) -> Iterator[str]:
    return (name for name in names if name.split(".")[0] in {"collector", "tasks"})


@pytest.mark.parametrize("file", FILES, ids=module_of)
def test_room_imports_only_rooms_below(file: Path) -> None:
    """Every import of ours leads to the same room or to one in its row of the table."""
    room = room_of(module_of(file))
    allowed = MAY_IMPORT[room] | {room}
    assert [name for name in ours(imports(file)) if room_of(name) not in allowed] == []


@pytest.mark.parametrize(
    "file", [file for file in FILES if room_of(module_of(file)) in PURE_ROOMS], ids=module_of
)
def test_deciders_do_no_input_or_output(file: Path) -> None:
    """Pure modules import nothing that reads a clock, a socket, a process or a random number."""
    assert [name for name in imports(file) if name.split(".")[0] in INPUT_OUTPUT] == []


@pytest.mark.parametrize("file", FILES, ids=module_of)
def test_library_has_one_importer(file: Path) -> None:
    """`websockets` is for connection, `celery` for sender and tasks: replaceable in one place."""
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
