"""`collector top`: a frame that fits any terminal, figures that are right, and a quick way out."""

import os
import pty
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from fcntl import ioctl
from functools import partial
from io import StringIO
from termios import TIOCSWINSZ

import pytest
from rich.console import Console

from collector.analytics.market_states import MarketState
from collector.cli.render.top import TopFrame, View, growth, summed
from collector.cli.render.values import NOTHING
from collector.cli.watcher import Watcher
from collector.errors import BrokerUnavailable
from collector.store.read import Health, MarketRow, TickerRow

from .conftest import T0, Run

D = Decimal
LISTENER = {
    "id": "host-1-1of1", "state": "streaming", "mode": "merge", "frames_per_s": 262.3, "lag_ms_p50": 16,
    "lag_ms_p99": 1500, "spool_bytes": 5 << 20, "last_frame_ms": T0,
    "connections": [{"state": "streaming"}, {"state": "waiting"}],
}  # fmt: skip
WORKER = {
    "hostname": "ingest1@host",
    "tasks_done": 1234,
    "tasks_active": 1,
    "last_task_ms": T0,
    "queues": ["trade"],
}
COUNTERS = {
    "frames": 452_686,
    "trades_counted": 14_464,
    "books_merged": 7,
    "tickers_merged": 5,
    "trade_rows_lost": 3,
}
QUEUES = {"trade": 12, "orderbook": 0, "ticker": 0, "analysis": 0, "unacked": 2, "dead-letters": 1}


def ticker(number: int) -> TickerRow:
    value = D(10**9 * (number + 1))
    return TickerRow(
        f"KRW-M{number}", D("116209000"), "rise", D(1000), D("0.0117"), D(100), D(100), D(120), D(90),
        D(5), value, T0, T0,
    )  # fmt: skip


def view(**changes: object) -> View:
    report = Health([LISTENER], QUEUES, [WORKER], COUNTERS)
    shown = {"now_ms": T0 + 500, "health": report, "tickers": [ticker(number) for number in range(100)]}
    return View(**{**shown, "where": "redis 127.0.0.1:6379", "rates": {"frames": 262.6}, **changes})


def drawn(shown: View, width: int, height: int | None) -> list[str]:
    console = Console(file=StringIO(), width=width, height=height or 25, highlight=False)
    console.print(TopFrame(shown, height))
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30), (140, 40), (250, 70), (60, 20)])
def test_frame_fits_the_terminal(width: int, height: int) -> None:
    """No line is longer, no line is below the end, and the busiest market is in it."""
    lines = drawn(view(), width, height)
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    assert any("KRW-M99 " in line for line in lines)


def test_markets_fill_what_the_rest_leaves() -> None:
    """On a small screen the frame ends with its last line; busiest first."""
    lines = drawn(view(), 80, 24)
    markets = [line.split()[0] for line in lines if line.startswith(" KRW-")]
    assert len(lines) == 24
    assert markets == [f"KRW-M{99 - number}" for number in range(len(markets))]


def test_a_market_in_its_first_day_is_shown_without_its_change() -> None:
    """What the exchange did not give is a dash, and such a market comes last."""
    unknown = TickerRow("KRW-NEW", D(7), *(None,) * 9, T0, T0)
    lines = drawn(view(tickers=[unknown, ticker(1)]), 100, None)
    rows = [line for line in lines if line.startswith(" KRW-")]
    assert [row.split()[0] for row in rows] == ["KRW-M1", "KRW-NEW"]
    assert NOTHING in rows[1]


def test_frame_has_the_figures() -> None:
    """State, mode, sockets, rates, lag, spool, queues, what was merged and lost, workers."""
    text = " ".join(" ".join(drawn(view(), 100, None)).split())
    for figure in (
        "streaming",
        "merge",
        "1/2",
        "262",
        "1.5 s",
        "5.0 MB",
        "14,464",
        "262.6",
        "ingest1@host",
        "+1.17 %",
    ):
        assert figure in text
    assert "12 0 0 0 2 1" in text  # queues
    assert "0 0 12 0 0 3" in text  # copies, repeats, merged, spooled, refused, lost


def test_empty_system_says_what_to_start() -> None:
    """No listener, no worker, no market: three hints."""
    text = "\n".join(drawn(view(health=Health([], {}, [], {}), tickers=[]), 80, 24))
    assert "no listener is running: `collector up`" in text
    assert "no worker is running" in text
    assert "no market so far" in text


def test_growth_is_per_second_and_never_negative() -> None:
    """A listener that began anew counts from zero: that is no growth."""
    assert growth({"a": 30, "b": 5, "new": 4}, {"a": 10, "b": 50}, 2) == {"a": 10, "b": 0, "new": 2}


def test_counters_are_summed_by_pattern() -> None:
    """`*_merged` takes the merged of all channels."""
    assert summed(COUNTERS, ("*_merged",)) == 12
    assert summed(COUNTERS, ("frames", "trades_counted")) == 467_150


class _Reader:
    """Answers until it is told not to."""

    def __init__(self) -> None:
        self.frames = 0
        self.away = False

    def health(self) -> Health:
        if self.away:
            raise BrokerUnavailable("Redis: gone")
        self.frames += 10
        return Health([], {}, [], {"frames": self.frames})

    def tickers(self) -> list[TickerRow]:
        return []

    def market_rows(self) -> list[MarketRow]:
        return []


def test_markets_that_do_not_trade_are_marked() -> None:
    """With their state, or with what the exchange warns of; on every terminal."""
    states = {
        "KRW-M99": MarketRow("KRW-M99", MarketState.SUSPENDED, "caution", None, T0),
        "KRW-M98": MarketRow("KRW-M98", MarketState.ACTIVE, "caution", None, T0),
    }
    for width in (80, 140):
        lines = drawn(view(states=states), width, 40)
        assert sum("suspended" in line for line in lines) == 1
        assert sum("caution" in line for line in lines) == 1
        assert max(map(len, lines)) <= width


def test_last_figures_stay_while_redis_is_away() -> None:
    """The headline says why; before the first figures there is nothing to show, which is an error."""
    reader = _Reader()
    watcher = Watcher(reader, "redis")
    first = watcher.look()
    reader.away = True
    later = watcher.look()
    assert (later.health, later.trouble) == (first.health, "Redis: gone")
    assert "Redis: gone" in drawn(later, 80, 24)[0]
    with pytest.raises(BrokerUnavailable):
        Watcher(reader, "redis").look()


def test_once_prints_one_frame(run: Run, filled: str) -> None:
    """Without a terminal, or on request: one frame, plain."""
    ended = run("top", "--once")
    assert ended.code == 0
    assert "KRW-BTC" in ended.out
    assert "\x1b" not in ended.out


@pytest.fixture
def terminal(filled: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """`collector top` on a terminal of its own, which has drawn its first frame."""
    ours, theirs = pty.openpty()
    ioctl(ours, TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    argv = [sys.executable, "-m", "collector", "top"]
    hear = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a shell's background jobs ignore it
    with subprocess.Popen(
        argv, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, preexec_fn=hear
    ) as process:
        os.close(theirs)
        try:
            assert "KRW-BTC" in _read_until(ours, "KRW-BTC")
            yield process, ours
        finally:
            process.kill()
            os.close(ours)


def _read_until(terminal: int, word: str, within_s: float = 20) -> str:
    text, deadline = "", time.monotonic() + within_s
    while word not in text and time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.2)[0]:
            text += os.read(terminal, 65_536).decode(errors="replace")
    return text


def test_q_leaves(terminal: tuple[subprocess.Popen[bytes], int]) -> None:
    """At once, with exit code 0, and the screen is given back."""
    process, ours = terminal
    os.write(ours, b"q")
    assert "\x1b[?1049l" in _read_until(ours, "\x1b[?1049l", 5)
    assert process.wait(5) == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_signal_leaves_with_the_screen_given_back(
    terminal: tuple[subprocess.Popen[bytes], int], number: signal.Signals, code: int
) -> None:
    """Ctrl-C is 130 like everywhere."""
    process, ours = terminal
    process.send_signal(number)
    assert "\x1b[?1049l" in _read_until(ours, "\x1b[?1049l", 5)
    assert process.wait(5) == code
