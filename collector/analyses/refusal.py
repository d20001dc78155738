"""The answer to a question that can't be answered because of how it was asked.

A mistyped market is the caller's mistake, not a failure of the worker: the task succeeds, and its answer is

    {"error": "KRW-BTX is not a market we have data of: …", "kind": "NoData"}

`kind` is the class in `collector.errors` that `collector.broker.ask.ask` raises from it.
"""

from collections.abc import Mapping

from collector.errors import CollectorError, ConfigurationError, NoData

#: What is the caller's to put right; anything else fails the task.
MISTAKES = (ConfigurationError, NoData)
_KINDS = {kind.__name__: kind for kind in MISTAKES}


def refusal(error: CollectorError) -> dict[str, str]:
    """Return the answer that carries one of `MISTAKES`."""
    return {"error": str(error), "kind": type(error).__name__}


def refused(answer: Mapping[str, object]) -> CollectorError | None:
    """Return the error that an answer carries, None where it is an answer proper."""
    if "error" not in answer:
        return None
    return _KINDS.get(str(answer.get("kind")), ConfigurationError)(answer["error"])
