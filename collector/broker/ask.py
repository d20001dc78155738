"""Ask the workers for an analysis and wait for the answer.

from tasks.ask import ask

print(ask("vwap", "KRW-BTC", "15m")["vwap"])
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from celery.exceptions import TimeoutError as CeleryTimeout
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from collector.analyses.catalog import find
from collector.analyses.refusal import refused
from collector.analyses.results import Result
from collector.broker.client import app
from collector.clock import SystemClock
from collector.errors import BrokerUnavailable, CollectorError, PipelineError
from collector.host.redis_client import connect
from collector.host.redis_clock import RedisClock
from collector.host.redis_server import find_url
from collector.routing import ANALYSES
from collector.settings import current

NO_ANSWER = (
    "no worker answered within {:g} s: start one with `celery -A tasks worker -Q analysis`, "
    "or everything with `collector up`"
)


def ask(name: str, *arguments: str, timeout_s: float = 10, **named: object) -> dict[str, Any]:
    """Return the answer of the analysis `name`, for instance `vwap`, as docs/analyses.md describes it.

    Market and window may go by position, the rest goes by name: `ask("vpin", "KRW-BTC", buckets=20)`.

    A task that no worker took within `timeout_s` expires: asking again does not pile up work.

    Raises:
        ConfigurationError: no such analysis, or arguments it does not understand.
        NoData: an unknown market, or nothing in the window.
        BrokerUnavailable: Redis refuses, is full or does not answer.
        PipelineError: no worker answered in time, or the task failed.
    """
    find(name).check(named)
    with sending("the question"):
        answer = _answer(name, arguments, named, timeout_s)
    return _checked(name, answer)


def result(name: str, *arguments: str, timeout_s: float = 10, **named: object) -> Result:
    """Return the same as `ask` as the pydantic model of the analysis (`collector.analyses.results`)."""
    return find(name).result.model_validate(ask(name, *arguments, timeout_s=timeout_s, **named))


def _answer(name: str, arguments: tuple[str, ...], named: dict[str, object], timeout_s: float) -> object:
    """Return what the worker returned or raised.

    Nothing is raised here: the traceback would keep Celery's result alive until the interpreter is half gone,
    when it cannot unsubscribe any more and prints a traceback of its own.
    """
    expires = datetime.fromtimestamp(_redis_clock().now_ms() / 1000 + timeout_s, UTC)
    result = app.send_task(f"{ANALYSES}{name}", args=arguments, kwargs=named, expires=expires, retry=False)
    try:
        return result.get(timeout=timeout_s, propagate=False)
    except CeleryTimeout:
        return PipelineError(NO_ANSWER.format(timeout_s))
    finally:
        result.forget()


@lru_cache(maxsize=1)
def _redis_clock() -> RedisClock:
    """Return Redis' time, by which the worker judges whether a question came too late."""
    settings = current()
    return RedisClock(connect(find_url(settings), settings), SystemClock())


@contextmanager
def sending(what: str) -> Iterator[None]:
    """Turn the errors of Celery's way to Redis into `BrokerUnavailable`."""
    try:
        yield
    except (OperationalError, RedisError, OSError) as error:
        raise BrokerUnavailable(f"Redis did not take {what}: {error}") from error


def _checked(name: str, answer: object) -> dict[str, Any]:
    """Return a dict as it is; raise what it carries, or what the task raised."""
    if isinstance(answer, dict):
        if error := refused(answer):
            raise error
        return answer
    if isinstance(answer, CollectorError):
        raise answer
    raise PipelineError(f"the analysis {name} failed in its worker: {type(answer).__name__}: {answer}")
