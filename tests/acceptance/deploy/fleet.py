"""The roles as an operator starts them by hand, each a process of its own: exchange, listeners, workers."""

from collections.abc import Mapping
from pathlib import Path

from tests.acceptance.scenarios.processes import Process
from tests.acceptance.scenarios.system import SHORT_TIMES
from tests.acceptance.scenarios.truth import TruthFile
from tests.doubles.ports import free_port

MARKETS = 6


class Exchange:
    """A simulated exchange that makes `trades` trades at `rate` a second and writes them down."""

    def __init__(self, folder: Path, *, rate: float, trades: int) -> None:
        self.trades = trades
        self.port = free_port()
        self.truth = TruthFile(folder / "truth.jsonl")
        options = {"port": self.port, "markets": MARKETS, "rate": rate, "stop-after": trades}
        words = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
        argv = ("-m", "collector", "simulate", *words, "--truth", str(folder / "truth.jsonl"))
        self.process = Process("exchange", argv, {}, folder)

    def __enter__(self) -> "Exchange":
        self.process.start().wait_until(lambda: "rest " in self.process.output())
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stop()

    @property
    def env(self) -> dict[str, str]:
        """What a listener needs to find it."""
        return {
            "COLLECTOR_MARKETS": "*",
            "COLLECTOR_EXCHANGE__WEBSOCKET_URL": f"ws://127.0.0.1:{self.port}/websocket/v1",
            "COLLECTOR_EXCHANGE__REST_URL": f"http://127.0.0.1:{self.port}",
        }


def listener(name: str, env: Mapping[str, str], folder: Path) -> Process:
    """Return `collector run` with a data folder of its own, not started yet."""
    own = {"COLLECTOR_DATA_DIR": str(folder / name)}
    return Process(name, ("-m", "collector", "run"), {**SHORT_TIMES, **env, **own}, folder)


def worker(name: str, queues: str, env: Mapping[str, str], folder: Path) -> Process:
    """Return a Celery worker, not started yet."""
    own = {"COLLECTOR_DATA_DIR": str(folder / name), "REMAP_SIGTERM": "SIGQUIT"}
    argv = (
        "-m",
        "celery",
        "-A",
        "tasks",
        "worker",
        "-n",
        f"{name}@%h",
        "-Q",
        queues,
        "-c",
        "2",
        "-l",
        "WARNING",
    )
    return Process(name, argv, {**SHORT_TIMES, **env, **own}, folder)
