"""Analyses that repeat by themselves, and samples of the order books.

A worker that takes the queue `analysis` sends itself both tasks (`tasks.periodic_sender`). Their results
are lists of bounded length in Redis: `collector analyze NAME MARKET --kept` shows the answers, the analyses
`spread` and `book_changes` are made of the samples.
"""

import logging
from typing import Any

import msgspec
import redis
from celery.signals import worker_ready, worker_shutting_down

from collector import routing
from collector.analyses.catalog import find
from collector.analyses.questions import Question, questions
from collector.analytics.book_window import sample
from collector.errors import CollectorError, ConfigurationError
from collector.settings import Settings, current
from collector.store.keys import Keys
from collector.store.read import Reader, decode_sample
from collector.store.redis_client import client, translated
from tasks.app import app
from tasks.expiry import deadline
from tasks.periodic_sender import PeriodicSender

log = logging.getLogger(__name__)

#: Lists live this many times as long as it takes to fill them: what nobody adds to is forgotten.
LIVES = 2


@app.task(name=routing.PERIODIC_RUN, ignore_result=True, throws=(CollectorError,))
def run(**_: object) -> None:
    """Answer every periodic question once and keep the answers."""
    keep_answers(client(), current())


@app.task(name=routing.PERIODIC_SAMPLE, ignore_result=True, throws=(CollectorError,))
def sample_books(**_: object) -> None:
    """Sample the newest book of every market, where it is another than at the last sample."""
    keep_samples(client(), current())


def keep_answers(client: redis.Redis, settings: Settings) -> None:
    """Answer every periodic question and keep the answers; one without an answer is logged."""
    for question in questions(settings.analysis.periodic):
        try:
            _keep(client, settings, question, find(question.name).run(*question.arguments))
        except CollectorError as error:
            log.warning("%s %s: %s", question.name, " ".join(question.arguments), error)


def _keep(client: redis.Redis, settings: Settings, question: Question, answer: dict[str, Any]) -> None:
    """Add an answer to the kept ones of its question, unless it is of the same time as the newest."""
    key = Keys(settings.store.key_prefix).answers(question.name, question.arguments)
    chosen = settings.analysis
    with translated():
        newest = client.lindex(key, -1)
        if newest is not None and _time(msgspec.json.decode(newest)) == _time(answer):
            return
        pipeline = client.pipeline(transaction=True)
        pipeline.rpush(key, msgspec.json.encode(answer))
        pipeline.ltrim(key, -chosen.periodic_kept, -1)
        pipeline.pexpire(key, _life_ms(chosen.periodic_s, chosen.periodic_kept))
        pipeline.execute()


def keep_samples(client: redis.Redis, settings: Settings) -> None:
    """Add a sample of each book that has changed since the last one."""
    keys, chosen = Keys(settings.store.key_prefix), settings.analysis
    books = Reader(client, settings).books()
    with translated():
        pipeline = client.pipeline(transaction=False)
        for book in books:
            pipeline.lindex(keys.book_samples(book.market), -1)
        newest = pipeline.execute()
        for book, last in zip(books, newest, strict=True):
            if last is not None and decode_sample(last).exchange_ms >= book.exchange_ms:
                continue
            key = keys.book_samples(book.market)
            pipeline.rpush(key, msgspec.json.encode(sample(book)))
            pipeline.ltrim(key, -chosen.book_samples_kept, -1)
            pipeline.pexpire(key, _life_ms(chosen.book_samples_s, chosen.book_samples_kept))
        pipeline.execute()


def _life_ms(interval_s: float, kept: int) -> int:
    return int(interval_s * kept * LIVES * 1000)


def _time(answer: dict[str, Any]) -> object:
    return answer.get("to_ms", answer.get("exchange_ms"))


_running: list[PeriodicSender] = []


@worker_ready.connect
def start(sender: Any, **_: object) -> None:  # noqa: ANN401 - Celery's consumer
    """Start the clocks of a worker that takes the queue `analysis`; Celery calls this once it consumes."""
    if routing.ANALYSIS not in sender.app.amqp.queues.consume_from:
        return
    settings = current()
    keys, chosen = Keys(settings.store.key_prefix), settings.analysis
    wanted = []
    try:
        wanted = list(questions(chosen.periodic))
    except ConfigurationError as error:
        log.error("COLLECTOR_ANALYSIS__PERIODIC: %s: nothing is repeated", error)
    for name, task, interval_s, is_wanted in (
        ("run", routing.PERIODIC_RUN, chosen.periodic_s, bool(wanted)),
        ("sample", routing.PERIODIC_SAMPLE, chosen.book_samples_s, chosen.book_samples_s > 0),
    ):
        if is_wanted:
            _running.append(
                PeriodicSender(name, client(), keys.periodic(name), interval_s, _sender(task, interval_s))
            )
            _running[-1].start()


def _sender(task: str, expires_s: float) -> Any:  # noqa: ANN401 - whatever Celery returns
    """Return a function that sends `task`; one that waited longer than `expires_s` is not worth doing."""
    return lambda: app.send_task(task, queue=routing.ANALYSIS, expires=deadline(expires_s))


@worker_shutting_down.connect
def stop(**_: object) -> None:
    """Stop the clocks; Celery calls this when a stop begins."""
    while _running:
        _running.pop().stop()
