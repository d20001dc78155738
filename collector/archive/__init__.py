"""The archive: what workers stored in Redis, kept as Parquet for as long as there is disk.

    <data_dir>/archive/channel=trades/date=2026-09-21/13.parquet      an hour (UTC)
                                                     /day.parquet     the day, once its hours are compacted

    schema              what a row is, per channel                        pure
    merge               archived rows and newer ones into one             pure
    partitions          where a row lives, what is left out               pure
    resample, research  SQL of longer candles and of the macros           pure
    source              an hour of Redis, or of trades fetched by REST
    files, sorted_rows  Parquet: read, replace in one step, lock; a part at a time
    hours, archiver     bring hours up to a source; all of Redis, days, retention
    exchange_candles    the exchange's own candles
    sql                 DuckDB over files and what is newer in Redis
    frames, backtests   the same as polars or Arrow tables, or as backtesting libraries read it

The Celery tasks, and who calls them: `tasks.archive_jobs`.

Parquet, DuckDB and polars come with the extra `history`; nothing here imports them before it needs them.
"""

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from collector.errors import ConfigurationError, PipelineError

EXTRA = "history"


class ArchiveUnavailable(PipelineError):
    """A file of the archive can't be written or read; what was there before is still there."""


class ArchiveBusy(PipelineError):
    """Another process writes the archive at this moment."""


def library(name: str) -> ModuleType:
    """Import a library of the extra.

    Raises:
        ConfigurationError: it is not installed; the message has the command to install it.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise ConfigurationError(
            f"the archive needs {name.partition('.')[0]} ({error}): pip install 'bithumb-collector[{EXTRA}]'"
        ) from error


def is_installed() -> bool:
    """Whether the archive can be written here."""
    return find_spec("pyarrow") is not None
