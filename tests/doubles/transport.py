"""Celery as other programs use it, and a listener's way out with it, to be put behind the in_flight."""

from collections.abc import Mapping

from celery import Celery

from collector.publish.sender import TASKS, Envelope


def plain_app(url: str) -> Celery:
    """Return any other program's Celery app on this Redis; to be closed."""
    app = Celery("other", broker=url, backend=url, set_as_current=False)
    app.conf.update(task_serializer="json", accept_content=["json"])
    return app


class AppTransport:
    """Sends letters as `collector.publish.sender.Sender` does."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def send(self, *letters: Envelope) -> None:
        """Publish batches under the ids by which the in-flight log knows them."""
        for letter in letters:
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
