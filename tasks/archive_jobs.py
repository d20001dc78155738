"""The archive's Celery tasks, on their own queue, and the clock that calls them.

A worker that takes the queue `archive` sends itself `tasks.archive.run` every `interval_s`
(`tasks.periodic_sender`). A run that comes while another is at it leaves the work to that one.
"""

import logging
from typing import Any

from celery.signals import worker_ready, worker_shutting_down

from collector import routing
from collector.archive import EXTRA, ArchiveBusy, ArchiveUnavailable, is_installed, library
from collector.archive.archiver import Archiver
from collector.archive.files import Files
from collector.archive.partitions import FOLDER
from collector.archive.source import ArchiveSource
from collector.errors import BrokerUnavailable, CollectorError
from collector.settings import Settings, current
from collector.store.keys import Keys
from collector.store.redis_client import client, translated
from tasks.app import app
from tasks.expiry import deadline
from tasks.periodic_sender import PeriodicSender, claim

log = logging.getLogger(__name__)

#: How often all that Redis keeps is compared, at the least: single trades may be kept for an hour only.
SWEEP_S = 1800


@app.task(name=routing.ARCHIVE_RUN, ignore_result=True, throws=(CollectorError,))
def run(**_: object) -> None:
    """Archive the newest hours; now and then all that Redis keeps, with compaction and retention."""
    settings = current()
    if not settings.archive.enabled:
        return
    # Of a million trades an hour, the peak is 25 MB lower than with Arrow's own allocator.
    library("pyarrow").set_memory_pool(library("pyarrow").system_memory_pool())
    archive = Archiver(Files(settings.data_dir / FOLDER), ArchiveSource(client(), settings), settings.archive)
    everything = claim(client(), Keys(settings.store.key_prefix).archive("sweep"), SWEEP_S)
    try:
        failed = archive.run(everything=everything)
    except ArchiveBusy as error:
        log.info("archive: %s", error)
        failed = []
    except CollectorError:
        _release(settings, everything)
        raise
    if failed:
        _release(settings, everything)
        raise ArchiveUnavailable("; ".join(failed))


@app.task(name=routing.ARCHIVE_SWEEP, ignore_result=True, throws=(CollectorError,))
def sweep(**_: object) -> None:
    """Archive all that Redis keeps, compact and prune, at once; for `celery -A tasks call`."""
    _release(current(), everything=True)
    run()


_running: list[PeriodicSender] = []


@worker_ready.connect
def start(sender: Any, **_: object) -> None:  # noqa: ANN401 - Celery's consumer
    """Start the clock of a worker that takes the archive's queue; Celery calls this once it consumes."""
    settings = current()
    if routing.ARCHIVE not in sender.app.amqp.queues.consume_from or not settings.archive.enabled:
        return
    if not is_installed():
        log.warning("nothing is archived: pip install 'bithumb-collector[%s]'", EXTRA)
        return
    interval_s = settings.archive.interval_s
    key = Keys(settings.store.key_prefix).archive("run")
    clock = PeriodicSender("archive", client(), key, interval_s, lambda: _send(interval_s))
    clock.start()
    _running.append(clock)


def _send(expires_s: float) -> None:
    """Send a run; one that waited longer than the interval would only do the work of the next."""
    app.send_task(routing.ARCHIVE_RUN, queue=routing.ARCHIVE, expires=deadline(expires_s))


@worker_shutting_down.connect
def stop(**_: object) -> None:
    """Stop the clock; Celery calls this when a stop begins."""
    while _running:
        _running.pop().stop()


def _release(settings: Settings, everything: bool) -> None:
    """Have the next run do the large sweep, where this one did not finish it."""
    if not everything:
        return
    try:
        with translated():
            client().delete(Keys(settings.store.key_prefix).archive("sweep"))
    except BrokerUnavailable as error:
        log.warning("archive: %s", error)
