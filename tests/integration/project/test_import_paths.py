"""Import paths that outsiders rely on, and what importing them loads; each in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from collector.host import services
from collector.settings import Settings

pytestmark = pytest.mark.server

ROOT = Path(__file__).resolve().parents[3]
LIMIT_S = 60
CELERY = "celery", "kombu", "billiard"
LOADED = f"; import sys; print(*sorted({{name.split('.')[0] for name in sys.modules}} & {set(CELERY)}))"


def run(folder: Path, *words: str, **environment: str) -> str:
    """Return what Python prints in `folder`, which stands before our packages on its path."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join((str(folder), str(ROOT))), **environment}
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env=env, capture_output=True, text=True, timeout=LIMIT_S
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    "statement",
    [
        "from collector.store.read import Reader",
        "from tasks.read import Reader, to_json",
        "from tasks import frames",
        "import tasks.frames",
        "from collector.analyses.catalog import find",
        "import collector.archive.sql, collector.archive.archiver",
        "import collector.cli.show, collector.cli.top, collector.cli.audit",
        "import tasks",
        "import bithumb_collector",
    ],
)
def test_who_reads_loads_no_celery(tmp_path: Path, statement: str) -> None:
    """Results, archive and their frames are read without Celery, kombu and billiard."""
    assert run(tmp_path, "-c", statement + LOADED) == ""


@pytest.mark.parametrize(
    "statement",
    [
        "from tasks.ask import ask, result",
        "from tasks.app import app; assert app.main == 'tasks'",
        "from tasks import app; assert app.main == 'tasks'",
        "import tasks.ingest, tasks; assert tasks.celery.main == 'tasks'",
        "from celery.app.utils import find_app; assert find_app('tasks').main == 'tasks'",
        "import tasks.app; from celery.app.utils import find_app; assert find_app('tasks').main == 'tasks'",
        "from collector.cli import main; assert callable(main)",
        "import collector.cli.entry; from collector.cli import main; assert callable(main)",
    ],
)
def test_documented_import_paths_work(tmp_path: Path, statement: str) -> None:
    """Wherever the code has moved to."""
    run(tmp_path, "-c", statement)


def test_celeryconfig_names_the_same_settings(tmp_path: Path) -> None:
    """The root module is for who names it."""
    statement = (
        "from celery import Celery; a, b = Celery('a', config_source='celeryconfig'), "
        "Celery('b', config_source='collector.broker.config'); "
        "print(a.conf.task_acks_late, set(a.conf.table()) == set(b.conf.table()), len(a.conf.table()) > 25)"
    )
    printed = run(tmp_path, "-c", statement, REDIS_URL="redis://127.0.0.1:1/0")
    assert printed == "True True True"


def test_a_foreign_celeryconfig_in_the_working_folder_changes_nothing(tmp_path: Path) -> None:
    """Somebody else's broker and early acks stay somebody else's."""
    (tmp_path / "celeryconfig.py").write_text("broker_url = 'redis://foreign/0'\ntask_acks_late = False\n")
    for app in ("tasks.app", "collector.broker.client"):
        statement = f"from {app} import app; print(app.conf.broker_url, app.conf.task_acks_late)"
        printed = run(tmp_path, "-c", statement, REDIS_URL="redis://127.0.0.1:1/0")
        assert printed == "redis://127.0.0.1:1/0 True"


def test_a_foreign_tasks_module_keeps_nobody_from_reading(tmp_path: Path) -> None:
    """Every Celery tutorial has a `tasks.py`: the `collector` command needs none."""
    (tmp_path / "tasks.py").write_text("raise SystemExit('a foreign tasks.py was imported')\n")
    assert "vwap" in run(tmp_path, "-m", "collector", "analyze", "--list")
    run(tmp_path, "-c", "from collector.store.read import Reader; from collector.broker.ask import ask")
    run(tmp_path, "-c", "import collector.cli.run, collector.listener.app, collector.publish.sender")


def test_foreign_modules_in_the_working_folder_are_not_those_of_our_workers(tmp_path: Path) -> None:
    """What `collector up` starts has our tasks and our settings."""
    for name in ("tasks", "celeryconfig", "redis"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('a foreign {name}.py was imported')\n")
    found = services.roles(
        Settings(data_dir=tmp_path),
        url="redis://127.0.0.1:1/0",
        workers=1,
        python=sys.executable,
        flower=True,
    )
    celery = [role for role in found if "celery" in role.argv]
    assert {role.name for role in celery} == {"ingest1", "analysis", "flower"}
    for role in celery:
        command = role.argv[: role.argv.index("-A") + 2]
        env = {**os.environ, "PYTHONPATH": str(ROOT), **role.env}
        ended = subprocess.run(
            [*command, "report"], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=LIMIT_S
        )
        assert ended.returncode == 0, ended.stderr
        assert "redis://127.0.0.1:1/0" in ended.stdout
        assert "task_acks_late: True" in ended.stdout
