"""Whether what is read is fed by a collector that runs, and if not, since when it is not."""

from collector.cli.render import values
from collector.store.condition import Condition, Kind
from collector.store.read import Reader

#: A listener whose data are older than this and that is not streaming is reported.
STALE_MS = 15_000
#: States of a listener that has left.
GONE = ("stopped", "gave_up")


def notice(reader: Reader, now_ms: int) -> str:
    """Return a sentence where nothing feeds the results that are read; empty where a listener streams.

    Raises:
        BrokerUnavailable: Redis does not answer.
    """
    states = {str(row.get("state")) for row in reader.listeners()} - set(GONE)
    if "streaming" in states:
        return ""
    as_of_ms = reader.as_of_ms()
    if states and as_of_ms is not None and now_ms - as_of_ms < STALE_MS:
        return ""  # between two sockets
    if states:
        who = "The collector has no data from the exchange"
    elif _takes_nothing(reader.condition()):
        who = "Redis can't write to its disk, so a running collector is not seen"
    else:
        who = "No collector is running"
    return f"{who}{_since(as_of_ms, now_ms)}."


def _takes_nothing(condition: Condition | None) -> bool:
    return condition is not None and any(problem.kind == Kind.DISK for problem in condition.problems)


def _since(as_of_ms: int | None, now_ms: int) -> str:
    if as_of_ms is None:
        return ", and nothing is stored yet"
    end = f"{values.second(as_of_ms)} {values.zone_name()}"
    return f"; the data end at {end}, {values.ago(max(0, now_ms - as_of_ms))}"
