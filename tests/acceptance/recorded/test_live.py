"""The captures once more the way live data comes: `collector simulate` plays, `collector run` listens."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.recorded import compare
from tests.acceptance.recorded.line import Line
from tests.acceptance.recorded.sources import LEGACY, UPBIT, Source
from tests.acceptance.scenarios import waits
from tests.acceptance.scenarios.processes import Process
from tests.doubles.ports import free_port

SPEED = 20
ARRIVE_S = 40

pytestmark = pytest.mark.timeout(120)


@pytest.mark.parametrize(
    ("source", "path", "protocol"),
    [(UPBIT, "websocket/v1", "current"), (LEGACY, "pub/ws", "legacy")],
    ids=["current", "legacy"],
)
def test_a_capture_over_sockets_gives_the_figures_of_a_plain_computation(
    line: Line, shared_dir: Path, tmp_path: Path, source: Source, path: str, protocol: str
) -> None:
    """Two redundant sockets, live batching: the same candles, volumes, trades and books to the last digit."""
    session = source.read(source.path(shared_dir))
    line.forget()
    with live(line, source.path(shared_dir), path, protocol, tmp_path) as listener:

        def differing() -> list[object]:
            if not {*session.markets, *session.last_books()} <= {*line.reader.markets()}:
                return ["markets"]
            pairs = compare.everything(line.reader, session)
            return [name for name, (stored, expected) in pairs.items() if stored != expected]

        waits.until(
            lambda: not differing(), ARRIVE_S, "all is equal", lambda: f"{differing()}\n{listener.output()}"
        )
        # Changes alone make no book: each socket counts every one it hears; the second may start later.
        # Counters are published at intervals, so they come a moment after the results.
        waits.until(
            lambda: unbuilt(line) >= session.changes,
            ARRIVE_S,
            "all changes are counted",
            lambda: f"{unbuilt(line)} of {session.changes}\n{listener.output()}",
        )
        assert unbuilt(line) <= 2 * session.changes
        assert line.reader.health().counters["trades_counted"] == len(session.trades)
        assert len(line.reader.book()) == len(session.last_books())


def unbuilt(line: Line) -> int:
    """Book changes that found no book to change, as the listener last published."""
    return line.reader.health().counters.get("surprise:change_before_book", 0)


@contextmanager
def live(line: Line, recording: Path, path: str, protocol: str, folder: Path) -> Iterator[Process]:
    """Run exchange and listener for `recording`; yield the listener."""
    port = free_port()
    argv = ("-m", "collector", "simulate", "--port", str(port), "--recording", str(recording))
    env = {
        **line.env,
        "COLLECTOR_DATA_DIR": str(folder),
        "COLLECTOR_MARKETS": "*",
        "COLLECTOR_EXCHANGE__PROTOCOL": protocol,
        "COLLECTOR_EXCHANGE__WEBSOCKET_URL": f"ws://127.0.0.1:{port}/{path}",
        "COLLECTOR_EXCHANGE__REST_URL": f"http://127.0.0.1:{port}",
        "COLLECTOR_CONNECTION__CONNECTS_PER_S": "5",
        "COLLECTOR_CONNECTION__STAGGER_S": "0",
        "COLLECTOR_HEALTH__INTERVAL_S": "0.5",
    }
    with Process("exchange", (*argv, "--speed", str(SPEED)), {}, folder) as exchange:
        exchange.wait_until(lambda: "rest " in exchange.output())
        with Process("listener", ("-m", "collector", "run"), env, folder) as listener:
            yield listener
