"""SQL over the archive and what is newer in Redis: DuckDB views, one per channel, duplicates left out.

Nothing but reading is possible: one SELECT at a time, no files but the archive's, no network, no settings.
"""

import logging
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import redis

from collector.archive import (
    ArchiveUnavailable,
    decimals,
    exchange_candles,
    legacy,
    library,
    parquet,
    resample,
    research,
    views,
)
from collector.archive.archiver import GAP_REACH_MS, Archiver
from collector.archive.files import Files, damage, first_line, unreadable
from collector.archive.parquet import Arrow, Footer
from collector.archive.partitions import FOLDER, hours_between, span_of
from collector.archive.redis_overlay import Recent, read_recent
from collector.archive.schema import CANDLES, EXCHANGE_CANDLES, GAPS, ROUNDED, TABLES, Table
from collector.archive.source import ArchiveSource
from collector.archive.views import quoted
from collector.errors import ConfigurationError, PipelineError
from collector.settings import ArchiveSettings, Settings

log = logging.getLogger(__name__)

T = TypeVar("T")

#: The default time zone of a session: the exchange's.
TIME_ZONE = "Asia/Seoul"
#: Readings of files that change meanwhile, before giving up.
ATTEMPTS = 3
#: How soon Ctrl-C is heeded.
LOOK_S = 0.1
#: Errors of DuckDB that no damaged file causes.
FAULTS_OF_SQL = {
    *("ParserException", "SyntaxException", "CatalogException", "BinderException", "PermissionException"),
    *("ConversionException", "OutOfRangeException", "OutOfMemoryException", "InterruptException"),
    *("NotImplementedException", "TypeMismatchException"),
}
HARDENING = (
    "SET temp_directory = ''",
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET python_enable_replacements = false",
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)


def open_session(
    settings: Settings,
    client: redis.Redis | None,
    from_ms: int | None = None,
    to_ms: int | None = None,
    *,
    time_zone: str | None = None,
) -> "QuerySession":
    """Return a session over the archive and, with a `client`, over what Redis has on top.

    Args:
        settings: where the archive is, the time zone, and what a query may take.
        client: the Redis that has what is newer; None for the archive alone.
        from_ms, to_ms: files without anything of this stretch are not looked at.
        time_zone: instead of that of the settings.

    Raises:
        ConfigurationError: the extra is not installed.
        BrokerUnavailable: Redis does not answer.
    """
    library("duckdb")
    files = Files(settings.data_dir / FOLDER, read_only=True)
    recent = None
    if client is not None:
        source = ArchiveSource(client, settings)
        archive = Archiver(files, source, settings.archive)
        recent = read_recent(files, source, archive, from_ms, to_ms)
    zone = time_zone or settings.time_zone
    return QuerySession(files, recent, from_ms, to_ms, time_zone=zone, limits=settings.archive)


class QuerySession:
    """The views, over the files there were when it was opened.

    Args:
        files: the archive.
        recent: what Redis has on top.
        from_ms, to_ms: files without anything of this stretch are not looked at.
        time_zone: zone of times that have one, and in which times without one are read.
        limits: memory and threads of a query.

    Attributes:
        damaged: sentences about files that are left out.
        rounded: how many numbers do not fit their column, by `view.column`, from footers and Redis: a row
            that is in both counts twice.
    """

    def __init__(
        self,
        files: Files,
        recent: Recent | None = None,
        from_ms: int | None = None,
        to_ms: int | None = None,
        *,
        time_zone: str = TIME_ZONE,
        limits: ArchiveSettings | None = None,
    ) -> None:
        self.damaged: dict[Path, str] = {}
        self.rounded: Counter[str] = Counter()
        self._engine = _engine(time_zone, limits or ArchiveSettings())
        self._files = files
        self._recent = recent or Recent()
        self._span = from_ms, to_ms
        self._duckdb = library("duckdb")
        self._found: dict[Table, dict[Path, Footer]] = {}
        self._exchange_files: list[Path] = []
        self._connection = self._connect()

    def __enter__(self) -> "QuerySession":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    @property
    def is_empty(self) -> bool:
        """Whether there is no file and nothing newer: no query has anything to answer with."""
        return not any((*self._found.values(), self._exchange_files)) and not any(self._recent.rows.values())

    def bytes_of(self, table: Table) -> int:
        """Return the size of a channel's files."""
        return sum(path.stat().st_size for path in self._found[table])

    def select(self, sql: str, batch_rows: int = 10_000) -> "Result":
        """Run one SELECT; several results may be read side by side, `batch_rows` at a time.

        Raises:
            ConfigurationError: it is not one SELECT, or DuckDB finds fault with it.
            PipelineError: it needs more memory than there is.
        """
        return self._answer(sql, lambda cursor: Result(self, cursor.execute(sql), batch_rows))

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Run one SELECT; return all its rows.

        Raises:
            As `select`.
        """
        return self._answer(sql, lambda cursor: cursor.execute(sql).fetchall())

    def arrow(self, sql: str) -> Arrow:
        """Run one SELECT; return all its rows as an Arrow table.

        Raises:
            As `select`.
        """
        found = self._answer(sql, lambda cursor: cursor.sql(sql).to_arrow_table())
        return found.rename_columns(apart(found.column_names))

    def markets(self) -> list[str]:
        """Return the markets that have candles or tickers, sorted."""
        sql = (
            "SELECT market FROM raw.candles UNION SELECT market FROM raw.tickers"
            " UNION SELECT market FROM fetched ORDER BY 1"
        )
        return [market for (market,) in self.rows(sql)]

    def _answer(self, sql: str, work: Callable[[Any], T]) -> T:
        """Return what `work` gives; where files turn out to be damaged or gone, once more without them."""
        self._check(sql)
        for _ in range(ATTEMPTS):
            with self._explained():
                cursor = self._connection.cursor()
                try:
                    return interruptible(cursor, lambda: work(cursor))  # noqa: B023 - over before the next
                except self._duckdb.Error as error:
                    if not self._reopened(error):
                        raise
        raise ArchiveUnavailable("the archive changes faster than it can be read: try again")

    def _more(self, cursor: Any, batch_rows: int) -> list[tuple[Any, ...]]:  # noqa: ANN401
        """Return the next rows of a query whose first are given: too late to ask once more.

        Raises:
            ArchiveUnavailable: files turn out to be damaged or gone.
            PipelineError: it needs more memory than there is.
        """
        known = set(self.damaged)
        with self._explained():
            try:
                return interruptible(cursor, lambda: cursor.fetchmany(batch_rows))
            except self._duckdb.Error as error:
                if not self._reopened(error):
                    raise
        if found := [path for path in self.damaged if path not in known]:
            raise ArchiveUnavailable(
                f"rows are missing from this answer: {', '.join(map(str, found))} is damaged; "
                "move it away and ask again"
            )
        raise ArchiveUnavailable("rows are missing from this answer: the archive has changed; ask again")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn DuckDB's errors into one line of ours."""
        duckdb = self._duckdb
        try:
            yield
        except duckdb.InterruptException:
            raise KeyboardInterrupt from None
        except duckdb.OutOfMemoryException as error:
            raise PipelineError(
                "the query needs more memory than COLLECTOR_ARCHIVE__QUERY_MEMORY_MB allows: narrow it down"
                f" or raise that ({_line(error)})"
            ) from None
        except duckdb.Error as error:
            raise ConfigurationError(f"the query can't be answered: {_line(error)}") from None

    def _check(self, sql: str) -> None:
        with self._explained():
            statements = self._connection.extract_statements(sql)
        if len(statements) != 1 or statements[0].type != self._duckdb.StatementType.SELECT:
            raise ConfigurationError(
                "a query is one SELECT (the archive is read-only); the views: " + ", ".join(views.NAMES)
            )

    def _reopened(self, error: Exception) -> bool:
        """Look for files that are gone or damaged; open again without them, if there are any."""
        lost = self._has_lost(error)
        if lost:
            self._connection.close()
            self._connection = self._connect()
        return lost

    def _has_lost(self, error: Exception) -> bool:
        """Leave out missing and damaged files; return whether there are any."""
        look_inside = type(error).__name__ not in FAULTS_OF_SQL
        lost = False
        for table, paths in (*self._found.items(), (EXCHANGE_CANDLES, self._exchange_files)):
            for path in paths:
                lost |= not path.exists()
                if look_inside and (reason := damage(table, path)):
                    self._leave_out(path, reason)
                    lost = True
        return lost

    def _leave_out(self, path: Path, reason: str) -> None:
        if path not in self.damaged:
            self.damaged[path] = reason
            log.warning("%s is damaged and left out: %s", path, reason)

    def _connect(self) -> Any:  # noqa: ANN401 - DuckDB has no types to name
        connection = self._duckdb.connect()
        for statement in self._engine:
            connection.execute(statement)
        self.rounded.clear()
        for schema in ("raw", "recent", "settled", "lagging", "lossy"):
            connection.execute(f"CREATE SCHEMA {schema}")
        slots = library("pyarrow").table(
            {
                "market": [market for market, _ in self._recent.slots],
                "open_ms": [open_ms for _, open_ms in self._recent.slots],
            },
            schema=library("pyarrow").schema([("market", "string"), ("open_ms", "int64")]),
        )
        _keep(connection, "recent.slots", slots)
        for table in TABLES:
            self._make_raw(connection, table)
        self._make_exchange_candles(connection)
        try:
            self._keep_missing(connection)
        except self._duckdb.Error as error:
            connection.close()
            if self._has_lost(error):
                return self._connect()
            raise
        for table in (*TABLES, EXCHANGE_CANDLES):
            connection.execute(f"CREATE VIEW {table.name} AS {views.view(table)}")
        _keep(connection, "recent.markets", parquet.markets(self._recent.markets))
        connection.execute(f"CREATE VIEW {views.MARKETS} AS {views.MARKETS_SQL}")
        for statement in (*resample.macros(), *research.macros(), *HARDENING):
            connection.execute(statement)
        return connection

    def _make_raw(self, connection: Any, table: Table) -> None:  # noqa: ANN401
        rows = parquet.to_arrow(table, self._recent.rows.get(table, []))
        footers = self._readable(table)
        self._found[table] = footers
        self._count_rounded(table, rows, footers.values())
        _keep(connection, f"recent.{table.name}", rows)
        newer = self._recent.hours(table)
        for schema in ("settled", "lagging"):
            some = {
                path: footer
                for path, footer in footers.items()
                if _lags(path, newer) == (schema == "lagging")
            }
            _make_union(connection, schema, table, some)
        connection.execute(f"CREATE VIEW raw.{table.name} AS {views.raw(table)}")

    def _make_exchange_candles(self, connection: Any) -> None:  # noqa: ANN401
        """Make the view of the exchange's candles; market and interval of a file are those of its folders."""
        paths = [
            path
            for path in exchange_candles.files_within(self._files.root, *self._span)
            if path not in self.damaged
        ]
        self._exchange_files = paths
        rows = parquet.dataset(parquet.arrow_schema(EXCHANGE_CANDLES), paths, folders=("interval", "market"))
        connection.execute("SET schema = raw")
        connection.from_arrow(rows).create_view(EXCHANGE_CANDLES.name)
        connection.execute("SET schema = main")
        fetched = parquet.fetched(exchange_candles.fetched_rows(self._files.root))
        _keep(connection, f"recent.{views.FETCHED}", fetched)
        connection.execute(f"CREATE VIEW {views.FETCHED} AS {views.FETCHED_SQL}")

    def _keep_missing(self, connection: Any) -> None:  # noqa: ANN401
        """Keep the minutes of which every trade is missing; only files of their hours are looked at."""
        found = connection.execute(views.OPEN_GAPS).fetchall()
        as_of_ms = self._recent.as_of_ms
        cut = [(market, from_ms, min(to_ms, as_of_ms or to_ms)) for market, from_ms, to_ms in found]
        stretches = self._within([*cut, *self._recent.lasting_stretches()])
        _keep(connection, "recent.losses", parquet.stretches(stretches))
        hours = {hour for _, from_ms, to_ms in stretches for hour in hours_between(from_ms, to_ms)}
        files = {path: footer for path, footer in self._found[CANDLES].items() if _lags(path, hours)}
        _make_union(connection, "lossy", CANDLES, files)
        connection.execute(f"CREATE TABLE {views.MISSING} AS {views.MISSING_SQL}")

    def _within(self, stretches: Iterable[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
        """Return stretches cut to the span of the session."""
        first_ms, last_ms = self._span
        cut = (
            (market, max(from_ms, first_ms or 0), to_ms if last_ms is None else min(to_ms, last_ms))
            for market, from_ms, to_ms in stretches
        )
        return [stretch for stretch in cut if stretch[1] <= stretch[2]]

    def _count_rounded(self, table: Table, rows: Arrow, footers: Iterable[Footer]) -> None:
        newer = rows.column(ROUNDED).drop_null().to_pylist() if table.may_round else []
        for found in (decimals.count(newer), *(footer.rounded for footer in footers)):
            self.rounded.update({f"{table.name}.{name}": number for name, number in found.items()})

    def _readable(self, table: Table) -> dict[Path, Footer]:
        """Return the files whose footer can be read, with the footers."""
        footers = {}
        first_ms, last_ms = self._span
        if table is GAPS and first_ms is not None:  # one that begins before reaches into it
            first_ms -= GAP_REACH_MS
        for path in self._files.within(table, first_ms, last_ms):
            if path in self.damaged:
                continue
            try:
                footers[path] = parquet.footer(table, path)
            except FileNotFoundError:
                continue
            except unreadable() as error:
                self._leave_out(path, first_line(error))
        return footers


class Result:
    """The rows of a query, a batch at a time.

    The first batch is read at the start, because DuckDB may report a damaged file only then.
    """

    def __init__(self, session: QuerySession, cursor: Any, batch_rows: int) -> None:  # noqa: ANN401
        self._session = session
        self._cursor = cursor
        self._batch_rows = batch_rows
        self.columns = apart([column[0] for column in cursor.description])
        self._first = cursor.fetchmany(batch_rows)

    def batches(self) -> Iterator[list[tuple[Any, ...]]]:
        """Yield the rows.

        Raises:
            ArchiveUnavailable: a file is damaged or gone, and rows have been given already.
            PipelineError: it needs more memory than there is.
        """
        rows = self._first
        while rows:
            yield rows
            rows = self._session._more(self._cursor, self._batch_rows)


def apart(names: Sequence[str]) -> list[str]:
    """Return the names of columns, a repeated one with a number behind it, as in DuckDB's subqueries."""
    taken = {name.lower() for name in names}
    seen: set[str] = set()
    found = []
    for name in names:
        unlike = name
        if name.lower() in seen:
            unlike = next(new for n in count(1) if (new := f"{name}_{n}").lower() not in taken)
        seen.add(unlike.lower())
        taken.add(unlike.lower())
        found.append(unlike)
    return found


def interruptible(cursor: Any, work: Callable[[], T]) -> T:  # noqa: ANN401
    """Return what `work` gives, done in a thread: DuckDB does not look at signals, the main thread does.

    Raises:
        KeyboardInterrupt: Ctrl-C; the query has been stopped.
    """
    with ThreadPoolExecutor(1, "query") as pool, _noted_interrupts() as interrupted:
        done = pool.submit(work)
        while not wait([done], timeout=LOOK_S).done:
            if interrupted.is_set():
                cursor.interrupt()
        if interrupted.is_set():
            raise KeyboardInterrupt
        return done.result()


@contextmanager
def _noted_interrupts() -> Iterator[threading.Event]:
    """Yield an event that Ctrl-C sets instead of breaking in; outside the main thread nothing sets it."""
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return
    usual = signal.signal(signal.SIGINT, lambda *_: interrupted.set())
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, usual)


def _engine(time_zone: str, limits: ArchiveSettings) -> tuple[str, ...]:
    """Return the settings of DuckDB that do not depend on the host."""
    return (
        f"SET GLOBAL TimeZone = {quoted(time_zone)}",  # `SET` alone is for one cursor
        f"SET memory_limit = '{limits.query_memory_mb}MB'",
        f"SET threads = {limits.query_threads}",
    )


def _lags(path: Path, hours: Iterable[int]) -> bool:
    """Whether a file holds any of these hours."""
    first_ms, last_ms = span_of(path)
    return any(first_ms <= hour_ms <= last_ms for hour_ms in hours)


def _make_union(connection: Any, schema: str, table: Table, footers: Mapping[Path, Footer]) -> None:  # noqa: ANN401
    """Make the view of some files of a channel, the numbers of older ones in today's types."""

    def scan(name: str, arrow_schema: Arrow, *, is_text: bool) -> bool:
        paths = [path for path, footer in footers.items() if footer.is_text is is_text]
        connection.from_arrow(parquet.dataset(arrow_schema, paths)).create_view(name)
        return bool(paths)

    today, text = f"{schema}.{table.name}_today", f"{schema}.{table.name}_text"
    connection.execute(f"SET schema = {schema}")
    scan(f"{table.name}_today", parquet.arrow_schema(table), is_text=False)
    parts = [views.select(table, today)]
    if scan(f"{table.name}_text", legacy.arrow_schema(table), is_text=True):
        parts.append(legacy.select(table, text))
    connection.execute("SET schema = main")
    connection.execute(f"CREATE VIEW {schema}.{table.name} AS {' UNION ALL '.join(parts)}")


def _keep(connection: Any, name: str, rows: Arrow) -> None:  # noqa: ANN401
    """Copy an Arrow table into the session's memory."""
    connection.register("incoming", rows)
    connection.execute(f"CREATE TABLE {name} AS SELECT * FROM incoming")  # noqa: S608 - a name of ours
    connection.unregister("incoming")


def _line(error: Exception) -> str:
    """Return DuckDB's message in one line, without the picture of where the error is."""
    return " ".join(str(error).partition("\n\nLINE ")[0].split())
