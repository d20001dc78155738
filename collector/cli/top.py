"""`collector top`: the state of everything, once a second, until `q` or Ctrl-C."""

import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import redis
from rich.console import Console
from rich.live import Live

from collector.cli.render import output
from collector.cli.render.top import TopFrame, View, growth
from collector.cli.store import masked, open_running
from collector.clock import SystemClock
from collector.errors import BrokerUnavailable
from collector.settings import Settings
from collector.store.read import Health, Reader

REFRESH_S = 1.0
#: How soon a key or a new size of the terminal is noticed.
KEY_S = 0.1
NOTHING_YET = Health([], {}, [], {})


class Watcher:
    """Read view after view; while Redis does not answer, the last figures stay and are marked as old."""

    def __init__(self, reader: Reader, where: str) -> None:
        self._reader = reader
        self._where = where
        self._clock = SystemClock()
        self._view: View | None = None
        self._read_s = 0.0

    def look(self) -> View:
        """Return the state of now.

        Raises:
            BrokerUnavailable: no answer, and none so far.
        """
        now_s, now_ms = self._clock.monotonic(), self._clock.now_ms()
        before = self._view
        try:
            health, tickers = self._reader.health(), self._reader.tickers()
            states = {row.market: row for row in self._reader.market_rows()}
        except BrokerUnavailable as error:
            if before is None:
                raise
            return replace(before, now_ms=now_ms, where="", rates={}, trouble=str(error))
        rates = growth(health.counters, before.health.counters, now_s - self._read_s) if before else {}
        self._read_s = now_s
        self._view = View(
            now_ms=now_ms, health=health, tickers=tickers, where=self._where, states=states, rates=rates
        )
        return self._view


def top(settings: Settings, *, once: bool) -> int:
    """Show the state until `q`, or once; return the exit code.

    Raises:
        BrokerUnavailable: no Redis is running.
        KeyboardInterrupt: Ctrl-C.
    """
    with open_running(settings) as client:
        watcher = Watcher(Reader(client, settings), _address(client))
        if once or not sys.stdout.isatty():
            watcher.look()
            time.sleep(REFRESH_S)  # rates need two looks
            output.show([TopFrame(watcher.look())])
        else:
            _watch(watcher)
    return 0


def _watch(watcher: Watcher) -> None:
    """Draw frames until `q`; a SIGTERM ends it too, the terminal in order."""
    console = Console(highlight=False)
    signal.signal(signal.SIGTERM, _leave)
    with _keys(), Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            view = watcher.look()
            deadline_s, size = time.monotonic() + REFRESH_S, None
            while time.monotonic() < deadline_s:
                if size != console.size:
                    size = console.size
                    with undisturbed():
                        live.update(TopFrame(view, size.height), refresh=True)
                if _pressed(KEY_S) in ("q", "Q"):
                    return


@contextmanager
def undisturbed() -> Iterator[None]:
    """Hold Ctrl-C and SIGTERM back for a moment.

    What ends the drawing of a frame half-way keeps rich from giving the screen back: it goes on collecting.
    """
    came: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda number, _: came.append(number)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


def _leave(*_: object) -> None:
    raise SystemExit(0)


@contextmanager
def _keys() -> Iterator[None]:
    """Have keys at once instead of a line at a time; a no-op where stdin is no terminal."""
    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _pressed(within_s: float) -> str:
    """Return the key pressed within so many seconds, or nothing."""
    if not sys.stdin.isatty():
        time.sleep(within_s)
        return ""
    ready, _, _ = select.select([sys.stdin], [], [], within_s)
    return sys.stdin.read(1) if ready else ""


def _address(client: redis.Redis) -> str:
    options = client.get_connection_kwargs()
    return masked(f"redis {options.get('host', options.get('path'))}:{options.get('port', '')}")
