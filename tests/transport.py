"""A listener's way out with a test's own Celery app, to be put behind the ledger."""

from collections.abc import Mapping

from celery import Celery

from collector.publish.sender import TASKS, Letter


class AppTransport:
    """Sends letters as `collector.publish.sender.Sender` does."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def send(self, letter: Letter) -> None:
        """Publish one batch under the id by which the ledger knows it."""
        self._app.send_task(
            TASKS[letter.kind],
            args=(letter.text,),
            task_id=letter.id,
            queue=letter.queue,
            ignore_result=True,
            compression="zstd",
        )

    def limit_rates(self, limits: Mapping[str, str]) -> None:
        """No analyses here."""
