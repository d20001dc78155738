"""Which stretches of time did no socket cover? Judged on sockets that were lost, bounded by data. Pure.

As long as a socket streams, what it leaves out is the business of the totals (`collector.stream.totals`). A
stretch in which none streams is an outage. So is one that ends with a socket's first data, if another socket
was lost before and nothing came from any in between: those that were still connected may have stalled.

Its bounds are the exchange's own times: of the newest data before, and of the first after. A host that slept,
or started with a wrong clock, has that time a moment later: an outage is reported a moment after its end.
"""

from dataclasses import dataclass

from collector.stream.exchange_time import ExchangeTime

#: Events come after their time, some later than others: so much before the newest may still be on its way.
LAG_MS = 1_000
#: Reason of a socket's end that was planned.
REPLACED = "replaced"
#: An outage is reported so long after its end, once events are believed; at the latest after `_LONGEST_S`.
_SETTLE_S, _LONGEST_S = 0.5, 10.0


@dataclass(frozen=True, slots=True)
class EndedOutage:
    """A stretch that no socket covered, by the exchange's time; `from_ms` is None before any data."""

    from_ms: int | None
    to_ms: int
    reason: str
    #: The monotonic moment of its end, and whether a socket was connected that brought nothing.
    ended_s: float = 0.0
    is_unsure: bool = False


@dataclass(frozen=True, slots=True)
class Outage:
    """A stretch that no socket covers now."""

    since_ms: int | None
    reason: str


class Coverage:
    """What the sockets of one subscription cover together."""

    def __init__(self, time: ExchangeTime) -> None:
        #: Time of the newest data, None before any.
        self.newest_ms: int | None = None
        self._time = time
        self._streaming: set[int] = set()
        self._out: Outage | None = Outage(None, "start")
        #: What ended and is not reported yet: with the moment of its end, and whether a socket was connected.
        self._ended: list[tuple[Outage, float, bool]] = []
        #: The newest data and the reason when a socket was lost while others streamed; None once data came.
        self._unsure: Outage | None = None

    def is_usual(self, connection: int) -> bool:
        """Return whether data of a socket are no news; else `on_data` has to be called."""
        return self._unsure is None and connection in self._streaming

    def on_data(self, connection: int, now_s: float) -> None:
        """Note data of a socket, before `newest_ms` is moved on by them."""
        is_new = connection not in self._streaming
        self._streaming.add(connection)
        broken, is_unsure = self._out or (self._unsure if is_new else None), self._out is None
        self._out = self._unsure = None
        if broken is not None:
            self._ended.append((broken, now_s, is_unsure))

    def on_disconnected(self, connection: int, reason: str) -> None:
        """Note the end of a socket; it names the outage if the socket was the last that gave data.

        One that is `replaced` has a successor that streams already.
        """
        if connection not in self._streaming:
            return
        self._streaming.discard(connection)
        broken = Outage(self._unsure.since_ms if self._unsure else self._covered_ms(), reason)
        if self._streaming:
            self._unsure = self._unsure if reason == REPLACED else broken
        else:
            self._out, self._unsure = broken, None

    def ended(self, now_s: float) -> list[EndedOutage]:
        """Return the outages that have ended and whose bounds are known by now."""
        ended = []
        while self._ended:
            broken, ended_s, is_unsure = self._ended[0]
            wait_s = _SETTLE_S if self._time.believed_s >= ended_s else _LONGEST_S
            if now_s - ended_s < wait_s:
                break
            to_ms = max(self._time.at(ended_s), broken.since_ms or 0)
            ended.append(EndedOutage(broken.since_ms, to_ms, broken.reason, ended_s, is_unsure))
            del self._ended[0]
        return ended

    def outage(self) -> Outage | None:
        """Return the stretch that is not covered now, or that has ended and is not reported yet."""
        return self._ended[0][0] if self._ended else self._out

    def covered_until_ms(self, now_s: float) -> int | None:
        """Return until when all data came, by the exchange's time; None while nothing has come."""
        outage = self.outage()
        if outage is not None:
            return outage.since_ms
        covered_ms = self._covered_ms()
        return None if covered_ms is None else min(covered_ms, self._time.at(now_s))

    def _covered_ms(self) -> int | None:
        return None if self.newest_ms is None else self.newest_ms - LAG_MS
