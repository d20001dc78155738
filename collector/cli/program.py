"""How a person types a command of ours again: as this one was started, and so that it reads the same data."""

import os
import shlex
import shutil
import sys
from pathlib import Path

from collector.settings import PREFIX, Settings

NAME = "collector"


def program(argv: str | None = None, interpreter: str = sys.executable) -> str:
    """Return `collector` where the shell finds this very program under that name, else the way to it.

    Args:
        argv: as the process was started, `sys.argv[0]` by default.
        interpreter: the Python of this process.
    """
    started = Path(sys.argv[0] if argv is None else argv)
    if started.name == "__main__.py":
        return f"{shlex.quote(near(Path(interpreter)))} -m {NAME}"
    found = shutil.which(NAME)
    if not started.parent.name or (found and _is_same(Path(found), started)):
        return NAME
    way = near(started)
    return shlex.quote(way if os.sep in way else f".{os.sep}{way}")


def typed(settings: Settings, arguments: str) -> str:
    """Return a whole command on the data of `settings`; a folder that is not the default is named."""
    folder = settings.data_dir
    if folder.absolute() == type(settings).model_fields["data_dir"].default.absolute():
        return f"{program()} {arguments}"
    return f"{PREFIX}DATA_DIR={shlex.quote(near(folder))} {program()} {arguments}"


def near(path: Path) -> str:
    """Return a path as it is typed from here where it lies below this folder."""
    path = Path(os.path.abspath(path))
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False
