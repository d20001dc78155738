"""The whole line as users run it: `collector replay` and `celery -A tasks worker`, each its own process."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import redis

from collector.settings import Settings
from collector.store.keys import Keys
from collector.store.read import Reader
from tests.acceptance.scenarios import waits
from tests.acceptance.scenarios.processes import Process, run

QUEUES = "trade,orderbook,ticker"
REPLAY_TIMEOUT_S = 90.0
SETTLE_TIMEOUT_S = 20.0
CALM_LOOKS = 4


class Line:
    """Redis and one worker; `replay` sends a recording through them."""

    def __init__(self, url: str, folder: Path) -> None:
        self.env: Mapping[str, str] = {"REDIS_URL": url, "COLLECTOR_DATA_DIR": str(folder)}
        self.redis = redis.Redis.from_url(url)
        self.reader = Reader(self.redis, Settings())
        self._folder = folder
        self._keys = Keys(Settings().store.key_prefix)

    def replay(self, recording: Path) -> str:
        """Forget the results of the recording before, play this one, return the summary it printed."""
        self.forget()
        return self.replay_again(recording)

    def replay_again(self, recording: Path) -> str:
        """Play a recording into what is stored already."""
        printed = run(("-m", "collector", "replay", str(recording)), self.env, self._folder, REPLAY_TIMEOUT_S)
        self.settle()
        return printed.splitlines()[-1]

    def settle(self) -> None:
        """Wait until no batch waits or is being worked on.

        On its way from the queue to the worker a batch is in neither count: only rest that lasts is rest.
        """
        looks = [1] * CALM_LOOKS

        def rests() -> bool:
            looks.append(sum(self.reader.queues().values()))
            return not any(looks[-CALM_LOOKS:])

        waits.until(
            rests,
            SETTLE_TIMEOUT_S,
            "the queues are empty",
            self._state,
        )

    def forget(self) -> None:
        """Delete all results; Celery's own keys stay, because its worker is still running."""
        keys = list(self.redis.scan_iter(f"{self._keys.prefix}*"))
        if keys:
            self.redis.delete(*keys)

    def _state(self) -> str:
        return f"{self.reader.queues()}"


@contextmanager
def open_line(url: str, folder: Path) -> Iterator[Line]:
    """Yield a line whose worker is up; end the worker afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    line = Line(url, folder)
    argv = ("-m", "celery", "-A", "tasks", "worker", "-Q", QUEUES, "-c", "2", "--loglevel", "WARNING")
    with Process("worker", argv, line.env, folder) as worker:
        worker.wait_until(lambda: any(line.redis.scan_iter(Keys("bithumb:").worker("*"))))
        yield line
    line.redis.close()
