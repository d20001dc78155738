"""What containers need of this machine, looked up once: a client, its Compose plugin, an engine that answers.

Whatever a test of containers needs, it asks for here; where it is missing the test is skipped, saying what.
"""

import gc
import shutil
import subprocess
import warnings
from functools import cache

import docker
import pytest

CLIENT_S = 30
ENGINE_S = 20


@cache
def without_client() -> str:
    """Return why there is no `docker` command; empty where there is one."""
    return "" if shutil.which("docker") else "no `docker` command on PATH"


@cache
def without_compose() -> str:
    """Return why `docker compose` can't be run; empty where it can, with an engine or without one."""
    if missing := without_client():
        return missing
    # A client without the plugin ends `docker compose up --help` with its own help and status 0.
    words = ["docker", "compose", "version"]
    try:
        asked = subprocess.run(words, capture_output=True, text=True, timeout=CLIENT_S, check=False)
    except subprocess.TimeoutExpired:
        return f"`docker compose version` did not end within {CLIENT_S} s"
    if asked.returncode or "Compose" not in asked.stdout:
        return "the `docker` command has no Compose plugin (`docker compose version` fails)"
    return ""


@cache
def without_engine() -> str:
    """Return why no engine answers; empty where one does, with a `docker` command or without one."""
    # A socket that nobody answers is left open by the library, until it is collected.
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        missing = _ask_engine()
        gc.collect()
    return missing


def _ask_engine() -> str:
    try:
        docker.from_env(timeout=ENGINE_S).close()  # it asks for the engine's version
    except docker.errors.DockerException as error:
        return f"no Docker engine answers ({_innermost(error)})"
    return ""


def _innermost(error: BaseException) -> str:
    while error.__context__ is not None:
        error = error.__context__
    return str(error)


def need_client(untested: str) -> None:
    """Skip the test where there is no `docker` command; `untested` names what was not tested then."""
    _need(without_client(), untested)


def need_compose(untested: str) -> None:
    """Skip the test where `docker compose` can't be run."""
    _need(without_compose(), untested)


def need_engine(untested: str) -> None:
    """Skip the test where no Docker engine answers."""
    _need(without_engine(), untested)


def _need(missing: str, untested: str) -> None:
    if missing:
        pytest.skip(f"{missing}; not tested: {untested}")
