"""What each of our errors is to a client: an HTTP status and a stable word. Pure."""

from typing import NamedTuple

from collector.errors import BrokerUnavailable, ConfigurationError, NoData, PipelineError


class Answer(NamedTuple):
    """`status` of HTTP, and the `code` of an answer's body, of a `problem` or of an `error`."""

    status: int
    code: str


_ANSWERS: dict[type, Answer] = {
    NoData: Answer(404, "no_data"),
    ConfigurationError: Answer(400, "invalid_argument"),
    BrokerUnavailable: Answer(503, "unavailable"),
    PipelineError: Answer(502, "no_answer"),
}
_FAILED = Answer(500, "failed")


def answer_of(error: BaseException) -> Answer:
    """Return the answer of the nearest class of an error that has one."""
    return next((_ANSWERS[kind] for kind in type(error).__mro__ if kind in _ANSWERS), _FAILED)
