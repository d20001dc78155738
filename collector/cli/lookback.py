"""What the commands that look back share: a session over archive and Redis, exact text."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import redis

from collector.archive import library
from collector.archive.decimals import shortest
from collector.archive.partitions import FOLDER
from collector.archive.schema import Table
from collector.archive.sql import QuerySession, open_session
from collector.archive.views import quoted
from collector.cli.store import open_redis
from collector.errors import BrokerUnavailable
from collector.settings import Settings
from collector.util.times import Span

log = logging.getLogger(__name__)


@contextmanager
def open_history(
    settings: Settings,
    from_ms: int | None = None,
    to_ms: int | None = None,
    *,
    time_zone: str | None = None,
) -> Iterator[QuerySession]:
    """Yield a session over the archive and what is newer in Redis; where there is none, over the archive.

    Arguments as `open_session` has them.

    Raises:
        ConfigurationError: the extra is not installed.
        BrokerUnavailable: neither Redis nor an archive.
    """
    with open_both(settings, from_ms, to_ms, time_zone=time_zone) as (session, _):
        yield session


@contextmanager
def open_both(
    settings: Settings,
    from_ms: int | None = None,
    to_ms: int | None = None,
    *,
    time_zone: str | None = None,
) -> Iterator[tuple[QuerySession, redis.Redis | None]]:
    """Yield what `open_history` does, and the client of the Redis it looks at, where there is one."""
    library("duckdb")  # before a server is started for nothing
    library("pyarrow").set_cpu_count(settings.archive.query_threads)  # it reads the files, DuckDB the rows
    with ExitStack() as stack:
        client = None
        try:
            client = stack.enter_context(open_redis(settings))
        except BrokerUnavailable as error:
            if not any((settings.data_dir / FOLDER).glob("channel=*/**/*.parquet")):
                raise
            log.warning("the archive only, without newer data in Redis: %s", error)
        session = stack.enter_context(open_session(settings, client, from_ms, to_ms, time_zone=time_zone))
        yield session, client


def jsonable(value: object) -> Any:  # noqa: ANN401 - the shape follows the input
    """Return a value of DuckDB as JSON has it.

    Decimals are text; times with a zone are ISO 8601 in UTC, times without one ISO 8601 without an offset.
    """
    match value:
        case Decimal():
            return shortest(value)
        case bool() | int() | str() | None:
            return value
        case float():
            return value if value - value == 0 else None  # JSON has neither infinity nor NaN
        case datetime():
            return _iso(value)
        case dict():
            return {str(name): jsonable(inner) for name, inner in value.items()}
        case list() | tuple():
            return [jsonable(inner) for inner in value]
        case timedelta():
            return value.total_seconds()
        case _:
            return str(value)


def _iso(value: datetime) -> str:
    unit = "microseconds" if value.microsecond % 1000 else "milliseconds"
    if value.tzinfo is None:
        return value.isoformat(timespec=unit)
    return f"{value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec=unit)}Z"


def stretch(session: QuerySession, table: Table, markets: Sequence[str]) -> Span | None:
    """Return the first and the last time there is a row of one of `markets`, None where there is none."""
    wanted = f"market IN ({', '.join(map(quoted, markets))})"
    ((first_ms, last_ms),) = session.rows(
        f"SELECT min({table.time}), max({table.time}) FROM {table.name} WHERE {wanted}"  # noqa: S608
    )
    return None if first_ms is None else Span(first_ms, last_ms)
