"""What each look at REST's tickers tells of the exchange."""

from collections.abc import Sequence
from decimal import Decimal

import pytest

from collector.clock import ManualClock
from collector.errors import RestError, RestLimited, RestUnreachable
from collector.listener.maintenance import RestQuiet
from collector.listener.pipeline import EventPipeline
from collector.listener.witness import Witness
from collector.protocol.rest import DayTotal
from collector.publish.handoff import HandoffQueue
from collector.settings import BatchSettings
from collector.stream.batcher import Batcher

MARKETS = [f"KRW-M{number:03d}" for number in range(300)]
Reply = Exception | int


class Rest:
    """Answers call by call: a turnover of all markets, or an error."""

    def __init__(self, *replies: Reply) -> None:
        self._replies = list(replies)

    async def day_totals(self, markets: Sequence[str]) -> Sequence[DayTotal]:
        reply = self._replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return [DayTotal(market, Decimal(reply), 1_790_000_000_000) for market in markets]


class Quiet(RestQuiet):
    """Keeps what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[str] = []

    def on_totals(self, turnovers: object, now_s: float) -> None:
        self.shown.append(f"totals of {len(turnovers)}")  # type: ignore[arg-type]

    def on_refused(self, now_s: float) -> None:
        self.shown.append("refused")

    def on_unreachable(self) -> None:
        self.shown.append("unreachable")


@pytest.mark.parametrize(
    ("replies", "shown"),
    [
        ((1, 1), ["totals of 300"]),
        ((1, RestError("HTTP 503")), ["totals of 200"]),
        ((RestError("HTTP 503"), 1), ["totals of 100"]),
        ((RestError("HTTP 503"), RestError("HTTP 503")), ["refused"]),
        ((RestUnreachable("no route"), RestUnreachable("no route")), ["unreachable"]),
        ((RestLimited("too many"),), []),
        ((1, RestLimited("too many")), []),
    ],
)
async def test_a_look(replies: tuple[Reply, ...], shown: list[str]) -> None:
    """One part that fails costs the others nothing; too many calls say nothing of the exchange."""
    clock, quiet = ManualClock(), Quiet()
    pipeline = EventPipeline(Batcher(BatchSettings(), "listener"), HandoffQueue(8), clock)
    await Witness(Rest(*replies), pipeline, 60, quiet).look(MARKETS)
    assert quiet.shown == shown
