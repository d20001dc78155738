"""What the log tells of the sockets: few lines, each with what it brought."""

import logging

import pytest

from collector.listener.outages import ALONE_S, PATIENCE_S, SETTLE_S, START_S, Outages, Socket, View

UP, LOST = Socket(True), Socket(False, "disconnected: no close frame received or sent")


class Log:
    """Shows an `Outages` the seconds one after the other and keeps its lines."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.lines: list[str] = []
        self.levels: list[int] = []
        self._outages = Outages(0.0)

    def go(
        self,
        seconds: float,
        *sockets: Socket,
        fetched: int = 0,
        waiting: int = 0,
        **more: int,
    ) -> list[str]:
        """Let so many seconds pass and return the lines of this time."""
        before = len(self.lines)
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            self.now_s = min(self.now_s + 0.2, until_s)
            view = View(self.now_s, dict(enumerate(sockets)), fetched, waiting, **more)
            for line in self._outages.look(view):
                self.lines.append(line.text)
                self.levels.append(line.level)
        return self.lines[before:]


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def started(log: Log) -> Log:
    """One that streams, its start done."""
    log.go(SETTLE_S + 1, UP, UP)
    log.lines.clear()
    return log


def test_a_start_is_two_lines(log: Log) -> None:
    """That data flow, and what the time before brought; then nothing more."""
    assert log.go(1, Socket(False), Socket(False)) == []
    assert log.go(1, UP, Socket(False), waiting=24) == ["the exchange is streaming"]
    assert log.go(5, UP, UP, fetched=298, waiting=2) == []
    assert log.go(60, UP, UP, fetched=300) == [
        "from before the start: 300 trades fetched from REST; no gap is left open"
    ]
    assert log.levels == [logging.INFO] * 2


def test_an_outage_is_two_lines(started: Log) -> None:
    """Forty seconds, fifteen failed tries: when it began and why, when it ended and what that brought."""
    said = started.go(1, LOST, UP) + started.go(40, LOST, LOST)
    assert said == ["no data any more: disconnected: no close frame received or sent; connecting again"]
    said = started.go(1, UP, LOST, waiting=20) + started.go(4, UP, UP, fetched=100, waiting=9)
    assert said == []
    assert started.go(100, UP, UP, fetched=312) == [
        "data again after 40.0 s: 312 trades fetched from REST; no gap is left open"
    ]
    assert started.levels[-2:] == [logging.WARNING] * 2


def test_gaps_that_stay_open_are_counted_and_their_end_is_told(started: Log) -> None:
    """REST is away for longer than the sockets were."""
    started.go(10, LOST, LOST)
    assert started.go(PATIENCE_S + 1, UP, UP, fetched=5, waiting=7) == [
        "data again after 10.0 s: 5 trades fetched from REST; gaps still open: 7"
    ]
    assert started.go(600, UP, UP, fetched=5, waiting=1) == []
    assert started.go(600, UP, UP, fetched=90) == [
        "all gaps have been looked up: 90 trades fetched from REST; no gap is left open"
    ]


def test_what_it_brought_are_the_trades_that_were_missing(log: Log) -> None:
    """A backfill fetches some on either side too: where the store can be asked, they are left out."""
    log.go(SETTLE_S + 1, UP, recovered=100)
    assert log.lines[-1] == "from before the start: missing trades fetched from REST: 0; no gap is left open"
    log.go(1, LOST, recovered=105)
    log.go(SETTLE_S + 1, UP, fetched=900, recovered=112)
    assert log.lines[-1].endswith("s: missing trades fetched from REST: 7; no gap is left open")
    log.go(1, LOST, fetched=900)
    log.go(SETTLE_S + 1, UP, fetched=950, recovered=120)
    assert log.lines[-1].endswith("s: 50 trades fetched from REST; no gap is left open")


def test_gaps_that_can_not_be_filled_stay_open(started: Log) -> None:
    """A backfill that is done has not always found everything: what it gave up since is counted."""
    started.go(1, LOST, given_up=3)
    assert started.go(SETTLE_S + 1, UP, given_up=11)[-1].endswith(
        "0 trades fetched from REST; gaps still open: 8"
    )
    started.go(1, LOST, given_up=11)
    started.go(PATIENCE_S + 1, UP, waiting=2, given_up=11)
    assert started.lines[-1].endswith("gaps still open: 2")
    started.go(1, UP, given_up=12)
    assert started.lines[-1] == "all gaps have been looked up: 0 trades fetched from REST; gaps still open: 1"


def test_gaps_of_the_start_that_stay_open_are_no_alarm(log: Log) -> None:
    """Their end is told at the level of the start."""
    log.go(PATIENCE_S + 1, UP, waiting=4)
    log.go(1, UP)
    assert log.lines[-1] == "all gaps have been looked up: 0 trades fetched from REST; no gap is left open"
    assert log.levels == [logging.INFO] * 3


def test_an_outage_that_flickers_is_one(started: Log) -> None:
    """Data for a second in between do not end it."""
    for _ in range(5):
        started.go(8, LOST, LOST)
        started.go(1, UP, LOST)
    said = started.go(20, UP, UP)
    assert len(started.lines) == 2
    assert said == ["data again after 44.0 s: 0 trades fetched from REST; no gap is left open"]


def test_one_socket_of_two_is_told_if_it_stays_away(started: Log) -> None:
    """Nothing is missing meanwhile: a short loss is not worth a line."""
    assert started.go(ALONE_S - 1, UP, LOST) + started.go(5, UP, UP) == []
    assert started.go(60, UP, LOST) == [
        "socket 1 is lost (disconnected: no close frame received or sent); 1 of 2 go on"
    ]
    assert started.go(60, UP, UP) == ["socket 1 is back after 60 s"]
    assert started.levels[-2:] == [logging.INFO] * 2


def test_a_start_without_data_gives_its_reason_once(log: Log) -> None:
    """A wrong address, no network."""
    refused = Socket(False, "connect_failed: [Errno 111] Connect call failed")
    assert log.go(START_S - 1, refused) == []
    assert log.go(600, refused) == ["no data yet: connect_failed: [Errno 111] Connect call failed; trying on"]
    assert log.go(1, UP) == ["the exchange is streaming"]


def test_a_healthy_listener_is_quiet(started: Log) -> None:
    """A day with lookups of single markets, and sockets that are replaced."""
    for number in range(50):
        assert started.go(60, UP, UP, fetched=number, waiting=number % 3) == []


def test_maintenance_is_one_more_line(started: Log) -> None:
    """Once for each outage, when REST is seen to be quiet too."""
    assert started.go(60, LOST, LOST) == [
        "no data any more: disconnected: no close frame received or sent; connecting again"
    ]
    assert started.go(600, LOST, LOST, is_maintenance=True) == [
        "REST is quiet too: taken for maintenance of the exchange"
    ]
