"""`run`, for tests that need no server."""

from tests.doubles.command_line import run

__all__ = ["run"]
