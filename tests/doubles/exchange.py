"""Past trades of one market, paged as the exchange might; what is not documented can be chosen. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal as D
from typing import Literal

from collector.clock import ManualClock
from collector.errors import RestRefused
from collector.model import Side, Source, Trade
from collector.protocol.rest import TradePage, numbered

S, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
KST = 9 * HOUR

Ids = Literal["unique", "shared", "none", "unordered"]
Cursor = Literal["exclusive", "inclusive", "refused", "ignored"]
Midnight = Literal["crosses", "ends", "strict"]


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What is open about the exchange.

    Attributes:
        ids: one for each trade; one for all of a millisecond; none; one for each, but not in order of time.
        cursor: whether its own row is on the page; or the exchange refuses it, or does not heed it.
        midnight: whether pages cross it; end there, `to` 00:00:00 being the end of the day before; or end
            there, `to` 00:00:00 being before the first trade of an empty day.
        lag_ms: how far REST is behind.
        heeds_to: whether `to` and `daysAgo` mean anything.
        rows_max: rows of a page at the most.
    """

    ids: Ids = "unique"
    cursor: Cursor = "exclusive"
    midnight: Midnight = "crosses"
    lag_ms: int = 0
    heeds_to: bool = True
    rows_max: int = 5


@dataclass
class Exchange:
    """`TradeSource` over `made`, (ms, price) each, oldest first; those in `lost` REST does not have."""

    made: Iterable[tuple[int, int]]
    clock: ManualClock
    rules: Rules = Rules()
    lost: frozenset[int] = frozenset()
    failures: list[Exception | None] = field(default_factory=list)
    rejected: int = 0
    market: str = "KRW-BTC"
    queries: list[dict[str, str | int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.trades_made = [
            self._trade(place, ms, price) for place, (ms, price) in enumerate(sorted(self.made))
        ]

    async def trades(self, market: str, **query: str | int) -> TradePage:
        self.queries.append({"market": market, **query})
        if self.failures and (failure := self.failures.pop(0)):
            raise failure
        kept = self._before(query)
        if "cursor" in query:
            kept = self._older(kept, int(query["cursor"]))
        page = list(reversed(kept[-self.rules.rows_max :]))
        return TradePage(numbered(page), self.rejected)

    def _trade(self, place: int, ms: int, price: int) -> Trade:
        ids = {
            "unique": ms * 10_000 + place,
            "shared": ms * 10_000,
            "none": 0,
            "unordered": 10**6 - place * 7 % 97,
        }
        return Trade(self.market, ids[self.rules.ids], D(price), D(1), Side.BUY, ms, ms, source=Source.REST)

    def _older(self, kept: list[Trade], cursor: int) -> list[Trade]:
        match self.rules.cursor:
            case "refused":
                raise RestRefused("400 cursor")
            case "ignored":
                return kept
            case rule:
                return [it for it in kept if it.id < cursor or (rule == "inclusive" and it.id == cursor)]

    def _before(self, query: dict[str, str | int]) -> list[Trade]:
        assert 0 <= int(query.get("daysAgo", 0)) <= 7
        if not self.rules.heeds_to:
            query = {}
        now_ms, days = self.clock.now_ms(), int(query.get("daysAgo", 0))
        base_ms = now_ms - (now_ms + KST) % DAY - days * DAY
        before_ms = now_ms + 1
        if "to" in query:
            hours, minutes, seconds = map(int, str(query["to"]).split(":"))
            before_ms = base_ms + ((hours * 60 + minutes) * 60 + seconds) * S
        elif days:
            before_ms = base_ms
        least_ms = {
            "crosses": 0,
            "ends": before_ms - 1 - (before_ms - 1 + KST) % DAY,
            "strict": base_ms,
        }[self.rules.midnight]
        shown_ms = min(before_ms, now_ms + 1 - self.rules.lag_ms)
        return [
            it
            for place, it in enumerate(self.trades_made)
            if least_ms <= it.exchange_ms < shown_ms and place not in self.lost
        ]
