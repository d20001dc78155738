"""Waiting with an end: what did not come true in time fails, and says what it was."""

import time
from collections.abc import Callable

POLL_S = 0.05


def until(
    condition: Callable[[], object], within_s: float, what: str, more: Callable[[], str] = lambda: ""
) -> float:
    """Wait until `condition()` is true; return the seconds it took."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > within_s:
            raise AssertionError(f"not within {within_s:g} s: {what}\n{more()}")
        time.sleep(POLL_S)
    return time.monotonic() - started
