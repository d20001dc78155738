"""A store that another checkout filled, gone on with by this one: `python -m benchmarks.upgrade DIR`.

DIR is a clone with its own `.venv`. Its `collector up` collects from a simulated exchange, and ends in the
middle of a minute: asked to, or with `--kill` after its ingest worker stood still, so that its messages are
left in Redis. Then this checkout's `collector up` goes on in the same folder. In the end every minute is
compared with what the exchange made. No figure of speed: exit 1 where a trade is lost, doubled or wrong.
"""

import argparse
import re
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil
import redis

from benchmarks.against import commit_of, python_of
from collector.errors import BrokerUnavailable
from collector.host.redis_server import find_url
from collector.model import MINUTE_MS
from collector.settings import Settings
from collector.store.read import Reader
from tests.acceptance.scenarios.processes import Process
from tests.acceptance.scenarios.truth import TruthFile, compare_all
from tests.acceptance.scenarios.waits import until

MARKETS, RATE, SEED = 25, 150, 7
#: So long each build collects, at least.
SECONDS = 80.0
#: Messages that wait when everything is killed are of so many seconds.
STILL_S = 4.0
#: Until then the last trades of the exchange must be stored.
SETTLE_S = 60.0
#: The first build ends between these seconds of a minute, so that the second goes on in it.
MIDDLE_S = (20, 40)
_PLACE = re.compile(r"127\.0\.0\.1:\d+")


def main() -> None:
    """Print the verdict."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rival", type=Path, metavar="DIR", help="another checkout, with its own .venv")
    parser.add_argument("--kill", action="store_true", help="kill the first build, messages in its queues")
    chosen = parser.parse_args()
    rival = chosen.rival.resolve()
    print(f"{commit_of(rival)}, {'killed' if chosen.kill else 'stopped'}; then this checkout", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        arguments = ("--markets", str(MARKETS), "--rate", str(RATE), "--seed", str(SEED))
        argv = ("-m", "collector", "simulate", *arguments, "--truth", str(folder / "truth.jsonl"))
        with Process("exchange", argv, {}, folder) as exchange:
            exchange.wait_until(lambda: _PLACE.search(exchange.output()), 60)
            found = _PLACE.search(exchange.output())
            assert found is not None
            _go_on(folder, found[0], python_of(rival), exchange, is_killed=chosen.kill)


def _go_on(folder: Path, place: str, rival: str, exchange: Process, *, is_killed: bool) -> None:
    settings = Settings(data_dir=folder / "data")
    env = {
        "COLLECTOR_DATA_DIR": str(settings.data_dir),
        "COLLECTOR_MARKETS": "*",
        "COLLECTOR_EXCHANGE__WEBSOCKET_URL": f"ws://{place}/websocket/v1",
        "COLLECTOR_EXCHANGE__REST_URL": f"http://{place}",
    }
    argv = ("-m", "collector", "up")
    with Process("before", argv, env, folder, rival) as before:
        before.wait_until(lambda: _counted(settings), 60)
        from_ms = (time.time_ns() // 1_000_000 // MINUTE_MS + 1) * MINUTE_MS
        time.sleep(SECONDS)
        until(lambda: MIDDLE_S[0] < time.time() % 60 < MIDDLE_S[1], 60, "the middle of a minute")
        if is_killed:
            _leave_messages(before, settings)
        print(f"ended with {before.kill() if is_killed else before.stop(30)}", flush=True)
    with Process("after", argv, env, folder) as after:
        after.wait_until(lambda: _counted(settings), 60)
        time.sleep(SECONDS)
        exchange.stop()
        truth = TruthFile(folder / "truth.jsonl")
        reader = Reader(find_url(settings), settings)
        truth.read()
        deadline_s = time.monotonic() + SETTLE_S
        while (verdict := compare_all(truth, reader, from_ms)).wrong and time.monotonic() < deadline_s:
            time.sleep(1)
        letters = len(reader.dead_letters())
    print(
        f"{verdict.sent:,} trades: {verdict.lost} lost, {verdict.doubled} doubled, "
        f"{verdict.admitted} admitted, {letters} dead letters; {len(verdict.wrong)} minutes wrong"
    )
    if verdict.wrong or verdict.doubled or letters:
        raise SystemExit("\n".join(verdict.wrong) or 1)


def _counted(settings: Settings) -> bool:
    """Tell whether trades are in candles."""
    with suppress(BrokerUnavailable, redis.ConnectionError):
        return Reader(find_url(settings), settings).counters().get("trades_counted", 0) > 0
    return False


def _leave_messages(up: Process, settings: Settings) -> None:
    """Let the ingest worker stand still, so that its queues fill, and end all that `up` started."""
    children = psutil.Process(up.pid).children(recursive=True)
    for child in children:
        if "ingest1" in " ".join(child.cmdline()):
            child.suspend()
    time.sleep(STILL_S)
    print("left in Redis:", Reader(find_url(settings), settings).queues(), flush=True)
    for child in children:
        with suppress(psutil.NoSuchProcess):
            child.kill()


if __name__ == "__main__":
    main()
