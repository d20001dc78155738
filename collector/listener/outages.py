"""The few log lines about the sockets: one when an outage begins, one when it ends with what it brought.

A decider without effects: it is shown the sockets and the backfill again and again, and returns what is to be
logged. An outage is a time in which no socket streams. It ends when data flow again and the gaps it left are
fetched; where that takes longer than `PATIENCE_S`, it ends with their number, and one more line follows when
the last of them is done with.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto

#: A listener that has no data for so long after its start reports why.
START_S = 10.0
#: A socket that is lost for longer while others stream is reported.
ALONE_S = 3.0
#: Gaps are known so long after data flow again.
SETTLE_S = 3.0
PATIENCE_S = 20.0


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the log; `level` is one of `logging`."""

    level: int
    text: str


@dataclass(frozen=True, slots=True)
class Socket:
    """What there is to see of one socket; `last_loss` is empty where it was never lost."""

    is_streaming: bool
    last_loss: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """One look at a moment.

    Attributes:
        now_s: monotonic seconds.
        sockets: by their number.
        fetched: trades that backfills have brought so far, those that were known too.
        waiting: gaps that are not fetched yet.
        given_up: gaps that could not be filled so far; they stay open.
        recovered: of the fetched those that the store did not have; None while it can't be asked.
        is_maintenance: whether the exchange's REST is quiet too.
    """

    now_s: float
    sockets: Mapping[int, Socket]
    fetched: int = 0
    waiting: int = 0
    given_up: int = 0
    recovered: int | None = None
    is_maintenance: bool = False

    @property
    def is_streaming(self) -> bool:
        """Whether any socket streams."""
        return any(socket.is_streaming for socket in self.sockets.values())


class _Phase(Enum):
    STARTING = auto()
    UP = auto()
    DOWN = auto()
    #: Data flow again, gaps are being fetched.
    MENDING = auto()


class Outages:
    """Remembers what was logged; `look` returns what comes next."""

    def __init__(self, now_s: float) -> None:
        self._phase = _Phase.STARTING
        self._began_s = now_s
        self._ended_s = now_s
        self._before: View | None = None
        self._is_start = True
        self._is_late = False
        self._is_resting = False
        #: Whether gaps of an outage were still open when its end was logged.
        self._is_owed = False
        self._lost_s: dict[int, float] = {}
        self._reported: set[int] = set()

    def look(self, view: View) -> list[Line]:
        """Return the lines that this view makes due."""
        self._before = self._before or view
        return [*self._of_all(view), *self._of_each(view)]

    def _of_all(self, view: View) -> Iterator[Line]:
        match self._phase:
            case _Phase.STARTING:
                yield from self._start(view)
            case _Phase.UP if not view.is_streaming:
                self._phase, self._began_s, self._before = _Phase.DOWN, view.now_s, view
                self._is_start = self._is_resting = False
                yield Line(logging.WARNING, f"no data any more: {_why(view.sockets)}; connecting again")
            case _Phase.UP if self._is_owed and not view.waiting:
                self._is_owed = False
                level = logging.INFO if self._is_start else logging.WARNING
                yield Line(level, f"all gaps have been looked up: {self._brought(view)}; {self._left(view)}")
            case _Phase.DOWN if view.is_streaming:
                self._phase, self._ended_s = _Phase.MENDING, view.now_s
            case _Phase.DOWN if view.is_maintenance and not self._is_resting:
                self._is_resting = True
                yield Line(logging.WARNING, "REST is quiet too: taken for maintenance of the exchange")
            case _Phase.MENDING:
                yield from self._mend(view)

    def _start(self, view: View) -> Iterator[Line]:
        if view.is_streaming:
            self._phase, self._ended_s = _Phase.MENDING, view.now_s
            yield Line(logging.INFO, "the exchange is streaming")
        elif not self._is_late and view.now_s - self._began_s >= START_S:
            self._is_late = True
            yield Line(logging.WARNING, f"no data yet: {_why(view.sockets)}; trying on")

    def _mend(self, view: View) -> Iterator[Line]:
        since_s = view.now_s - self._ended_s
        if not view.is_streaming and not self._is_start:
            self._phase = _Phase.DOWN
        elif since_s >= PATIENCE_S or (since_s >= SETTLE_S and not view.waiting):
            self._phase, self._is_owed = _Phase.UP, view.waiting > 0
            yield self._end(view)

    def _end(self, view: View) -> Line:
        if self._is_start:
            level, what = logging.INFO, "from before the start"
        else:
            level, what = logging.WARNING, f"data again after {self._ended_s - self._began_s:.1f} s"
        return Line(level, f"{what}: {self._brought(view)}; {self._left(view)}")

    def _left(self, view: View) -> str:
        left = view.waiting + view.given_up - (self._before or view).given_up
        return f"gaps still open: {left:,}" if left else "no gap is left open"

    def _brought(self, view: View) -> str:
        before = self._before or view
        if view.recovered is None or before.recovered is None:
            return f"{view.fetched - before.fetched:,} trades fetched from REST"
        return f"missing trades fetched from REST: {view.recovered - before.recovered:,}"

    def _of_each(self, view: View) -> Iterator[Line]:
        """Yield lines about sockets that are lost while others stream."""
        streaming = {number for number, socket in view.sockets.items() if socket.is_streaming}
        if self._phase is not _Phase.UP or not streaming:
            self._lost_s.clear()
            self._reported.clear()
            return
        for number in sorted(self._reported & streaming):
            yield Line(
                logging.INFO, f"socket {number} is back after {view.now_s - self._lost_s[number]:.0f} s"
            )
        lost = view.sockets.keys() - streaming
        self._lost_s = {number: self._lost_s.get(number, view.now_s) for number in lost}
        self._reported &= lost
        for number in sorted(lost - self._reported):
            if view.now_s - self._lost_s[number] >= ALONE_S:
                self._reported.add(number)
                rest = f"{len(streaming)} of {len(view.sockets)} go on"
                yield Line(
                    logging.INFO, f"socket {number} is lost ({_why({number: view.sockets[number]})}); {rest}"
                )


def _why(sockets: Mapping[int, Socket]) -> str:
    """Return why sockets are not connected, each reason once."""
    reasons: Sequence[str] = list(
        dict.fromkeys(socket.last_loss for socket in sockets.values() if socket.last_loss)
    )
    return "; ".join(reasons) or "no socket is connected yet"
