"""Every command the guides name exists with its options, every setting is one, every link leads somewhere."""

import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import typer
from celery.bin.celery import celery as celery_command
from flower.options import options as flower_options

from collector import settings
from collector.cli.entry import app
from collector.host import metrics
from collector.host.web import Web
from collector.model import EncodedBook, Gap, Ticker, Trade
from collector.store import keys
from collector.store.read import (
    Book,
    Candle,
    Change,
    Completeness,
    GapRow,
    Health,
    MarketRow,
    TickerRow,
    TradeRow,
    Volume,
)
from tests.doubles import containers

ROOT = Path(__file__).resolve().parents[3]
GUIDES = ("operate", "grow", "troubleshooting", "comparison", "data-model")
PAGES = sorted(path.stem for path in (ROOT / "docs").glob("*.md"))
SETTINGS = {name for name, _ in settings.variable_names()} | set(settings.old_names())
#: Celery and Flower have their own settings, which they read themselves.
FOREIGN = re.compile(r"^(FLOWER_BASIC_AUTH|FLOWER_UNAUTHENTICATED_API)$")


def test_every_page_is_in_the_index() -> None:
    """`docs/README.md` leads to all of them."""
    linked = re.findall(r"\]\(([\w.-]+)\.md\)", page("README"))
    assert [name for name in PAGES if name not in (*linked, "README")] == []


def page(name: str) -> str:
    return (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")


def commands(name: str) -> list[str]:
    """Every command line of a guide: indented blocks, and what stands between backticks."""
    text = page(name)
    blocks = re.sub(r"\\\n\s*", "", "\n".join(re.findall(r"^    .*", text, re.MULTILINE)))
    inline = re.findall(r"`((?:collector|celery|docker|make|pytest|curl|promtool) [^`\n]+)`", text)
    lines = [re.sub(r"\s+#.*", "", line).strip() for line in blocks.splitlines()]
    return list(dict.fromkeys([*lines, *(re.sub(r"…", "candles", line) for line in inline)]))


ALL = [(name, command) for name in GUIDES for command in commands(name)]


def options_of(command: object, words: list[str]) -> set[str]:
    """Long options a click command knows."""
    return {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}


def check_collector(words: list[str]) -> None:
    group = typer.main.get_command(app)
    command = group.commands[words[0]]
    rest = words[1:]
    if hasattr(command, "commands"):
        command, rest = command.commands[words[1]], words[2:]
    assert {word.split("=")[0] for word in rest if word.startswith("--")} <= options_of(command, rest)


def check_celery(words: list[str]) -> None:
    assert words[:2] == ["-A", "tasks"]
    command, rest = words[2], words[3:]
    named = {word.split("=")[0] for word in rest if word.startswith("-")}
    if command == "flower":
        assert {name.lstrip("-").replace("_", "-") for name in named} - {"A"} <= set(flower_options._options)
    else:
        assert named <= options_of(celery_command.commands[command], rest)
    if "-Q" in rest:
        queues = rest[rest.index("-Q") + 1].split(",")
        assert {queue.split(".")[0] for queue in queues} <= {
            "trade",
            "orderbook",
            "ticker",
            "analysis",
            "archive",
            "alert",
        }


def compose(words: list[str]) -> tuple[list[str], set[str]]:
    """Return a `docker compose` line from its own command on, and the profiles before it."""
    assert words[0] == "compose"
    profiles = {after for before, after in pairwise(words) if before == "--profile"}
    rest = [
        word
        for before, word in pairwise(words)
        if not {before, word} & {"-p", "--profile"}  # their values, and themselves
    ]
    return rest, profiles


def check_compose(words: list[str]) -> None:
    """Profiles, services and the command inside; options are the client's, and looked up in its own help."""
    rest, profiles = compose(words)
    text = (ROOT / "docker-compose.yml").read_text()
    assert profiles <= set(re.findall(r"profiles: \[(\w+)\]", text))
    named = {word.split("=")[0] for word in rest[1:] if not word.startswith("-")}
    if rest[0] == "exec":
        named = {rest[1]}
        check(" ".join(rest[2:]))
    assert named <= set(re.findall(r"^  (\w+):$", text, re.MULTILINE))


def check_pytest(words: list[str]) -> None:
    assert all((ROOT / word).exists() for word in words)


def check_systemctl(words: list[str]) -> None:
    units = {unit.stem for unit in (ROOT / "deploy" / "systemd").glob("*.service")}
    named = {re.sub(r"@\d+$", "@", word) for word in words if word.startswith("bithumb")}
    assert named <= units


def check_curl(words: list[str]) -> None:
    path = next(re.sub(r"^http://127\.0\.0\.1:\d+", "", word) for word in words if word.startswith("http"))
    ours = {"/metrics", "/healthz", "/readyz"}
    flower = r"/api/(workers(\?refresh=1)?|queues/length|task/(apply|send-task|result)/[\w.-]+)"
    assert path in ours or re.fullmatch(flower, path)


def check_make(words: list[str]) -> None:
    assert re.search(rf"^{words[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def check_promtool(words: list[str]) -> None:
    assert (ROOT / words[-1]).is_file()


def check_pip(words: list[str]) -> None:
    """One that puts a tool beside ours, and runs it over a file of ours; nothing is fetched here."""
    assert words[:4] == ["install", "pip-audit", "&&", "pip-audit"]
    assert (ROOT / words[words.index("-r") + 1]).is_file()


def check_python(words: list[str]) -> None:
    assert words[0] == "-m"
    assert importlib.util.find_spec(words[1])


CHECKS: dict[str, Callable[[list[str]], None]] = {
    "collector": check_collector,
    "celery": check_celery,
    "docker": check_compose,
    "systemctl": check_systemctl,
    "curl": check_curl,
    "pytest": check_pytest,
    "make": check_make,
    "promtool": check_promtool,
    "python": check_python,
    "pip": check_pip,
    "ACL": lambda words: None,  # given to a real server by test_secured_redis.py
}


def check(command: str) -> None:
    """Look at one command line; variables before it must be settings."""
    words = shlex.split(command)
    while words and re.match(r"^[A-Z_]+=", words[0]):
        name = words.pop(0).split("=")[0]
        assert name in SETTINGS or FOREIGN.match(name), name
    if words:
        CHECKS[words[0]](words[1:])


@pytest.mark.parametrize(
    ("guide", "command"), ALL, ids=[f"{guide}: {command[:50]}" for guide, command in ALL]
)
def test_command_of_a_guide_exists(guide: str, command: str) -> None:
    """The command, its options, services, units, files and variables are there."""
    check(command)


@pytest.mark.server
def test_options_of_compose_exist() -> None:
    """Every `docker compose` line of the guides has options that the client lists."""
    containers.need_compose("that `docker compose` has the options of the guides")
    lines = [shlex.split(command) for _, command in ALL if command.startswith("docker ")]
    assert len(lines) >= 6
    for words in lines:
        rest, _ = compose(words[1:])
        options = set() if rest[0] == "exec" else {word for word in rest if word.startswith("--")}
        helped = subprocess.run(["docker", "compose", rest[0], "--help"], capture_output=True, text=True)
        assert helped.returncode == 0, helped.stderr
        assert options <= set(re.findall(r"--[a-z-]+", helped.stdout)), words


@pytest.mark.parametrize("guide", PAGES)
def test_settings_and_links_of_a_guide_exist(guide: str) -> None:
    """No setting was renamed away, no page or picture moved."""
    text = page(guide)
    names = set(re.findall(r"COLLECTOR_[A-Z_]*[A-Z]\b", text)) - {"COLLECTOR_IMAGE", *settings.old_names()}
    assert names <= SETTINGS
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (ROOT / "docs" / target).exists(), target


def test_compose_reads_the_variables_the_guide_names() -> None:
    """Each variable in the table of `operate.md` stands in docker-compose.yml."""
    compose = (ROOT / "docker-compose.yml").read_text()
    table = page("operate").split("| variable |")[1].split("\n\n")[0]
    names = re.findall(r"`([A-Z_]+)`", table)
    assert len(names) >= 9
    assert [name for name in names if name not in compose] == []


def test_data_model_lists_every_key() -> None:
    """Every key in the table of `collector/store/keys.py` is on the page."""
    rows = re.findall(r"^    (\S.*?) {2,}(?:HASH|SET|LIST|STRING|ZSET)", keys.__doc__ or "", re.MULTILINE)
    named = [key.strip() for row in rows for key in row.split(", ")]
    assert len(named) >= 15
    assert [key for key in named if f"`{key}`" not in page("data-model")] == []


@pytest.mark.parametrize(
    ("label", "struct"),
    [
        ("`tasks.ingest.trades`", Trade),
        ("`tasks.ingest.orderbooks`", EncodedBook),
        ("`tasks.ingest.tickers`", Ticker),
        ("`tasks.ingest.gaps`", Gap),
        ("| `candles`", Candle),
        ("| `ticker`", TickerRow),
        ("| `book`", Book),
        ("| `volume`", Volume),
        ("| `changes`", Change),
        ("| `trades`", TradeRow),
        ("| `gaps`", GapRow),
        ("| `markets`", MarketRow),
        ("| `completeness`", Completeness),
        ("| `health`", Health),
    ],
)
def test_data_model_lists_every_field(label: str, struct: type) -> None:
    """Rows and JSON objects are listed with all fields in their order."""
    fields = " ".join(f"`{name}`" for name in struct.__struct_fields__)
    assert f"{label} | {fields} |" in page("data-model")


@pytest.mark.server
def test_paths_of_the_port_are_those_of_the_guide() -> None:
    """The three paths the guide names are served, and no fourth."""
    web = Web(0, metrics.Snapshot, lambda: 0)
    try:
        program = (
            "import sys, urllib.request, urllib.error\n"
            "for path in sys.argv[2:]:\n"
            "    try: print(urllib.request.urlopen(sys.argv[1] + path).status)\n"
            "    except urllib.error.HTTPError as error: print(error.code)\n"
        )
        argv = [sys.executable, "-c", program, f"http://127.0.0.1:{web.port}"]
        paths = ["/metrics", "/healthz", "/readyz", "/"]
        shown = subprocess.run([*argv, *paths], capture_output=True, text=True, timeout=20).stdout.split()
    finally:
        web.close()
    assert shown == ["200", "200", "503", "404"]
