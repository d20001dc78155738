"""The error tree: one root, three families, all of it drawn in the docstring."""

import inspect
import pickle
import re

import pytest

from collector import errors
from collector.errors import (
    CollectorError,
    ConfigurationError,
    ConnectFailed,
    ExchangeError,
    MalformedMessage,
    PipelineError,
)

CLASSES = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, CollectorError)]
FAMILIES = (ConfigurationError, ExchangeError, PipelineError)


def drawn_tree() -> dict[str, str]:
    """Return child -> parent as the module's docstring draws them."""
    parents, path = {}, [CollectorError.__name__]
    for line in errors.__doc__.splitlines():
        match = re.match(r"^    ((?:│   |    )*)[├└]── (\w+)", line)
        if match:
            depth = len(match[1]) // 4 + 1
            path[depth:] = [match[2]]
            parents[match[2]] = path[depth - 1]
    return parents


def test_the_drawing_is_the_truth():
    """Each class is drawn under its parent, and nothing is drawn that is not there."""
    assert drawn_tree() == {
        cls.__name__: cls.__base__.__name__ for cls in CLASSES if cls is not CollectorError
    }


@pytest.mark.parametrize(
    "cls", [cls for cls in CLASSES if cls is not CollectorError], ids=lambda cls: cls.__name__
)
def test_every_error_has_a_family_and_a_sentence(cls):
    """An error belongs to one of three families and says in its docstring what it means."""
    assert sum(issubclass(cls, family) for family in FAMILIES) == 1
    assert cls.__doc__


def test_exit_codes():
    """Wrong settings end a command with 2, all else with 1, as the interface promises."""
    assert {cls.exit_code for cls in CLASSES if issubclass(cls, ConfigurationError)} == {2}
    assert {cls.exit_code for cls in CLASSES if not issubclass(cls, ConfigurationError)} == {1}


def test_connect_failed_keeps_the_answer():
    """The status and the wait a server asked for are there for the reconnect policy."""
    error = ConnectFailed("refused", status=429, retry_after_s=60.0)
    assert (str(error), error.status, error.retry_after_s) == ("refused", 429, 60.0)
    assert (ConnectFailed("x").status, ConnectFailed("x").retry_after_s) == (None, None)


@pytest.mark.parametrize("raw", ["가" * 10_000, b"\xff" * 10_000])
def test_malformed_message_keeps_a_bounded_part(raw):
    """The reason is a stable word, and of the offending bytes only the first are kept."""
    error = MalformedMessage("not_json", "line 1", raw)
    assert (str(error), error.reason, error.detail) == ("not_json: line 1", "not_json", "line 1")
    assert len(error.raw) == MalformedMessage.KEPT_BYTES


@pytest.mark.parametrize("cls", [cls for cls in CLASSES if issubclass(cls, PipelineError)])
def test_errors_of_tasks_cross_processes(cls):
    """An error that a Celery pool hands from a child to its parent arrives as itself."""
    back = pickle.loads(pickle.dumps(cls("a sentence")))  # noqa: S301  our own bytes
    assert (type(back), str(back)) == (cls, "a sentence")
