"""The totals ledger against an exchange that counts by either rule, loses, lags, rounds and begins anew."""

import json
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Context
from decimal import Decimal as D
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.model import Side, Source, Trade
from collector.stream.totals import GRACE_S, PATIENCE_S, Missing, Totals
from tests.samples.events import T0

EXACT = Context(prec=200)
#: 00:00 KST of some day.
MIDNIGHT_MS = 1_790_175_600_000
DAY_MS = 86_400_000
TICK_S = 0.25


@dataclass
class Rule:
    """How an exchange counts and shows its totals.

    Attributes:
        lags_by: how many of the newest trades a ticker leaves out.
        decimals: places of the printed turnover; None for all.
        before: trades and tickers travel apart: how many of the newest trades come after the ticker.
    """

    lags_by: int = 0
    decimals: int | None = None
    before: int = 0
    #: The totals begin anew so long after midnight in Korea.
    reset_late_ms: int = 0


@dataclass
class Exchange:
    """Markets that trade, tickers of both sources, and a listener's ledger beside it."""

    rule: Rule = field(default_factory=Rule)
    seed: int = 1
    began_ms: int = T0
    places: int = 8
    totals: Totals = field(default_factory=Totals)
    now_s: float = 0.0
    #: What the exchange counted: per market the trades, and the turnover of today before we listened.
    made: dict[str, list[Trade]] = field(default_factory=dict)
    earlier: dict[str, D] = field(default_factory=dict)
    losses: list[tuple[float, Missing]] = field(default_factory=list)
    lost: list[tuple[float, Trade]] = field(default_factory=list)
    brought: list[Trade] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.dice = Random(self.seed)
        self.late: deque[Trade] = deque()
        self.number = 0

    @property
    def now_ms(self) -> int:
        return self.began_ms + round(self.now_s * 1000)

    def wait(self, seconds: float) -> None:
        """Let time pass; the ledger is looked at as the listener does."""
        end_s = self.now_s + seconds
        while self.now_s < end_s - 1e-9:
            self.now_s = round(min(end_s, self.now_s + TICK_S), 6)
            self.losses += [(self.now_s, loss) for loss in self.totals.tick(self.now_s)]

    def trade(self, market: str = "KRW-BTC", *, lose: bool = False, volume: D | None = None) -> Trade:
        """Execute one; the listener gets it unless it is lost."""
        self.number += 1
        size = volume or D(self.dice.randint(1, 10 ** (self.places - 2))).scaleb(-self.places)
        price = D(self.dice.randint(90_000, 110_000))
        side = self.dice.choice((Side.BUY, Side.SELL))
        trade = Trade(market, self.number, price, size, side, self.now_ms, self.now_ms + 100)
        self.made.setdefault(market, []).append(trade)
        if lose:
            self.lost.append((self.now_s, trade))
        elif self.rule.before:
            self.late.append(trade)
            if len(self.late) > self.rule.before:
                self.totals.trade(self.late.popleft(), self.now_ms)
        else:
            self.totals.trade(trade, self.now_ms)
        return trade

    def deliver(self) -> None:
        """Bring the trades that are on their way."""
        while self.late:
            self.totals.trade(self.late.popleft(), self.now_ms)

    def turnover(self, market: str, lags_by: int) -> D:
        made = self.made.get(market, [])
        counted = made[: len(made) - lags_by] if lags_by else made
        late_ms = self.rule.reset_late_ms
        day_ms = (self.now_ms - late_ms + 9 * 3_600_000) // DAY_MS * DAY_MS - 9 * 3_600_000 + late_ms
        total = self.earlier.get(market, D(0)) if day_ms <= self.began_ms else D(0)
        for trade in counted:
            if trade.exchange_ms >= day_ms:
                total = EXACT.add(total, EXACT.multiply(trade.price, trade.volume))
        if self.rule.decimals is not None:
            total = total.quantize(D(1).scaleb(-self.rule.decimals), ROUND_HALF_EVEN, EXACT)
        return total.normalize(EXACT)

    def ticker(
        self, market: str = "KRW-BTC", source: Source = Source.STREAM, lags_by: int | None = None
    ) -> None:
        """Show the totals as they are now."""
        lags_by = self.rule.lags_by if lags_by is None else lags_by
        made = self.made.get(market, [])
        named_ms = made[-1].exchange_ms if made else None
        self.totals.ticker(market, self.turnover(market, lags_by), self.now_ms, named_ms, source, self.now_s)

    def run(self, seconds: float, markets: tuple[str, ...] = ("KRW-BTC",), *, share: float = 0.0) -> None:
        """Trade twenty times a second; a ticker for about two trades; lose a share of the trades."""
        for _ in range(round(seconds * 20)):
            market = self.dice.choice(markets)
            for _ in range(self.dice.choice((1, 1, 1, 3))):
                self.trade(market, lose=self.dice.random() < share)
            if self.dice.random() < 0.7:
                self.ticker(market)
            self.wait(0.05)
        self.deliver()

    def settle(self, market: str = "KRW-BTC") -> None:
        """The last word about a market, as the exchange says it when trading stops."""
        self.ticker(market, lags_by=0)

    def fetch(
        self, market: str = "KRW-BTC", *, loss: Missing | None = None, until_ms: int = 0
    ) -> bool | None:
        """Bring all trades of a loss as REST does, with some overlap, and compare."""
        loss = loss or (self.losses[-1][1] if self.losses else Missing(market, 0, until_ms, None))
        rows = [
            Trade(it.market, it.id % 7, it.price, it.volume, it.side, it.exchange_ms, 0, source=Source.REST)
            for it in self.made[market]
            if loss.from_ms - 5_000 <= it.exchange_ms <= loss.to_ms + 5_000
        ]
        self.dice.shuffle(rows)
        self.brought += rows
        self.totals.recovered(rows, self.now_ms)
        return self.totals.settle(market, loss.to_ms)


RULES = [
    Rule(),
    Rule(lags_by=1),
    Rule(lags_by=5),
    Rule(before=4),
    Rule(lags_by=1, before=3),
    Rule(decimals=4),
    Rule(decimals=4, lags_by=1),
    Rule(decimals=0),
]


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_nothing_is_lost_and_nothing_is_said(rule: Rule) -> None:
    """However the exchange counts, in the middle of a day."""
    exchange = Exchange(rule, earlier={"KRW-BTC": D("14330306973.41015")})
    exchange.run(60)
    exchange.settle()
    exchange.wait(30)
    assert exchange.losses == []
    counts = exchange.totals.counts
    assert counts["totals_agree"] > 500
    assert set(counts) == {"totals_agree"}


@pytest.mark.parametrize("rule", RULES[:-1], ids=str)
def test_one_lost_trade_is_found_fetched_and_proven(rule: Rule) -> None:
    """Its size and its time, within the grace and a tick or two."""
    exchange = Exchange(rule, earlier={"KRW-BTC": D("14330306973.41015")})
    exchange.run(20)
    lost_s, lost = exchange.now_s, exchange.trade(lose=True)
    exchange.run(GRACE_S + 1)
    ((found_s, loss),) = exchange.losses
    assert found_s - lost_s < GRACE_S + 1
    assert loss.from_ms <= lost.exchange_ms <= loss.to_ms
    assert loss.to_ms - loss.from_ms < 5_000
    if loss.turnover is not None and rule.decimals is None:
        assert loss.turnover == lost.price * lost.volume
    assert exchange.fetch() is True
    exchange.run(20)
    assert len(exchange.losses) == 1
    assert exchange.totals.counts["totals_recovered"] == 1
    assert exchange.totals.counts["totals_unexplained"] == 0


def test_the_size_of_a_loss_is_known_where_tickers_leave_one_answer() -> None:
    """Two tickers with different totals do."""
    exchange = Exchange()
    exchange.run(20)
    lost = exchange.trade(lose=True)
    exchange.run(GRACE_S + 1)
    assert [loss.turnover for _, loss in exchange.losses] == [lost.price * lost.volume]


def test_a_quiet_market_needs_one_ticker_alone() -> None:
    """Others have shown how the exchange counts; its own first ticker was the snapshot's."""
    exchange = Exchange(earlier={"KRW-XLM": D("123456.5")})
    exchange.ticker("KRW-XLM")
    exchange.run(20)
    lost = exchange.trade("KRW-XLM", lose=True)
    exchange.ticker("KRW-XLM")
    exchange.wait(GRACE_S + 1)
    ((_, loss),) = exchange.losses
    assert (loss.market, loss.turnover) == ("KRW-XLM", lost.price * lost.volume)
    assert loss.from_ms <= lost.exchange_ms <= loss.to_ms
    assert exchange.fetch("KRW-XLM") is True


def test_a_ticker_of_rest_finds_what_no_socket_said() -> None:
    """The trade, and the ticker that names it, are left out of both sockets. REST itself is proven first."""
    exchange = Exchange(earlier={"KRW-XLM": D("123456.5")})
    exchange.ticker("KRW-XLM")
    for _ in range(8):
        exchange.run(2)
        exchange.ticker(source=Source.REST)
    lost = exchange.trade("KRW-XLM", lose=True)
    exchange.wait(20)
    assert exchange.losses == []
    exchange.ticker("KRW-XLM", Source.REST)
    exchange.wait(GRACE_S + 1)
    ((_, loss),) = exchange.losses
    assert loss.from_ms <= lost.exchange_ms <= loss.to_ms


def test_rest_alone_earns_trust_and_finds_losses() -> None:
    """Without the ticker channel: a look each minute."""
    exchange = Exchange(earlier={"KRW-BTC": D(5)})
    for minute in range(12):
        for _ in range(60):
            exchange.trade()
            exchange.wait(1)
        if minute == 10:
            exchange.trade(lose=True)
        exchange.ticker(source=Source.REST, lags_by=7)
    exchange.wait(GRACE_S + 1)
    assert len(exchange.losses) == 1


def test_a_reply_out_of_a_cache_is_no_loss() -> None:
    """REST may be minutes behind; what is older than all that is remembered says nothing."""
    exchange = Exchange(earlier={"KRW-BTC": D(5)})
    exchange.run(10)
    for lags_by in (1, 20, 100, 200):
        exchange.ticker(source=Source.REST, lags_by=lags_by)
    old, old_ms = exchange.turnover("KRW-BTC", 0), exchange.now_ms
    exchange.run(400)
    exchange.totals.ticker("KRW-BTC", old, old_ms, old_ms, Source.REST, exchange.now_s)
    exchange.wait(10)
    assert exchange.losses == []
    assert exchange.totals.counts["totals_disagree"] == 0


def test_totals_that_never_agree_disturb_nothing() -> None:
    """Another currency, doubles, a window of 24 hours: it is counted, that is all."""
    exchange = Exchange()
    for _ in range(2_000):
        exchange.trade()
        turnover = exchange.turnover("KRW-BTC", 0) * D("1.0001")
        exchange.totals.ticker("KRW-BTC", turnover, exchange.now_ms, None, Source.STREAM, exchange.now_s)
        exchange.wait(0.05)
    exchange.wait(10)
    assert exchange.losses == []
    assert exchange.totals.counts["totals_disagree"] > 10


def test_one_source_that_never_agrees_does_not_disturb_the_other() -> None:
    """REST counts otherwise; the sockets' tickers still find a loss."""
    exchange = Exchange()
    for _ in range(200):
        exchange.trade()
        exchange.ticker()
        exchange.totals.ticker(
            "KRW-BTC", D(exchange.number), exchange.now_ms, None, Source.REST, exchange.now_s
        )
        exchange.wait(0.25)
    assert exchange.losses == []
    exchange.trade(lose=True)
    exchange.run(5)
    assert len(exchange.losses) == 1


def test_one_market_that_counts_otherwise_is_let_alone_after_a_while() -> None:
    """Block trades that no stream shows: looked up some times, never again."""
    exchange = Exchange()
    exchange.run(20, ("KRW-BTC", "KRW-ETH"))
    for _ in range(12):
        exchange.trade("KRW-ETH", lose=True)
        exchange.made["KRW-BTC"] = exchange.made.get("KRW-BTC", [])
        exchange.run(GRACE_S + 2, ("KRW-BTC", "KRW-ETH"))
        for _, loss in exchange.losses[-1:]:
            exchange.totals.settle(loss.market, loss.to_ms, is_last=True, is_complete=False)
    assert 3 <= len(exchange.losses) <= 9
    assert exchange.totals.counts["totals_unexplained"] >= 3


def test_what_was_counted_twice_is_told_apart_from_a_loss() -> None:
    """A second copy under another id."""
    exchange = Exchange()
    exchange.run(20)
    exchange.totals.trade(exchange.made["KRW-BTC"][-1], exchange.now_ms)
    exchange.run(10)
    assert exchange.losses == []
    assert exchange.totals.counts["totals_counted_twice"] == 1


def test_sizes_finer_than_they_are_printed_are_learned() -> None:
    """One trade in nine; REST has no more than we have, so it is the printing: asked three times, no more."""
    exchange = Exchange(places=10)
    for _ in range(1_500):
        trade = exchange.trade(lose=True)
        printed = Trade(
            *(trade.market, trade.id, trade.price, trade.volume.quantize(D("1e-8")), trade.side),
            *(trade.exchange_ms, trade.received_ms),
        )
        if exchange.number % 9:
            exchange.made["KRW-BTC"][-1] = printed
        exchange.totals.trade(printed, exchange.now_ms)
        exchange.ticker()
        before = len(exchange.losses)
        exchange.wait(0.25)
        if len(exchange.losses) > before:
            until_ms = exchange.losses[-1][1].to_ms
            assert exchange.totals.settle("KRW-BTC", until_ms, is_last=True) is True
    assert len(exchange.losses) <= 4
    assert exchange.totals.counts["totals_rounded"] > 3
    assert exchange.totals.counts["totals_unexplained"] == 0


@pytest.mark.parametrize(
    "rule", [Rule(), Rule(lags_by=1), Rule(reset_late_ms=1_500), Rule(before=3)], ids=str
)
def test_the_totals_begin_anew_at_midnight_in_korea(rule: Rule) -> None:
    """Nothing is said, and a loss right before, at and after it is found."""
    exchange = Exchange(rule, began_ms=MIDNIGHT_MS - 30_000, earlier={"KRW-BTC": D("5000000.25")})
    exchange.run(60)
    assert exchange.losses == []
    assert exchange.totals.counts["totals_disagree"] == 0
    exchange.trade(lose=True)
    exchange.run(5)
    assert len(exchange.losses) == 1
    assert exchange.fetch() is True


@pytest.mark.parametrize("at_s", [28.0, 29.9, 30.1, 31.0])
def test_a_loss_around_midnight_is_found(at_s: float) -> None:
    """By the totals of one day or of the other."""
    exchange = Exchange(began_ms=MIDNIGHT_MS - 30_000, earlier={"KRW-BTC": D("5000000.25")})
    exchange.run(at_s - 10)
    exchange.run(10 - 0.1)
    exchange.wait(at_s - exchange.now_s)
    exchange.trade(lose=True)
    exchange.run(6)
    assert len(exchange.losses) == 1
    assert exchange.fetch() is not False
    exchange.run(10)
    assert len(exchange.losses) == 1


def test_a_market_that_is_quiet_over_midnight() -> None:
    """Its tickers show yesterday's totals until it trades, or 0: neither is a loss."""
    exchange = Exchange(began_ms=MIDNIGHT_MS - 30_000, earlier={"KRW-XLM": D("5000.25")})
    exchange.trade("KRW-XLM")
    exchange.ticker("KRW-XLM")
    exchange.run(20)
    yesterday = exchange.turnover("KRW-XLM", 0)
    exchange.run(20)
    for turnover in (yesterday, D(0), yesterday, D(0)):
        exchange.totals.ticker("KRW-XLM", turnover, exchange.now_ms, None, Source.REST, exchange.now_s)
        exchange.wait(GRACE_S + 1)
    assert exchange.losses == []
    for _ in range(3):
        exchange.trade("KRW-XLM")
        exchange.ticker("KRW-XLM")
        exchange.wait(60)
    assert exchange.losses == []
    exchange.trade("KRW-XLM", lose=True)
    exchange.ticker("KRW-XLM")
    exchange.wait(GRACE_S + 1)
    assert [loss.market for _, loss in exchange.losses] == ["KRW-XLM"]


def test_during_an_outage_nothing_is_concluded_and_its_fetch_is_proven() -> None:
    """The gap is known; what the backfill brings has to add up."""
    exchange = Exchange(earlier={"KRW-BTC": D(7)})
    exchange.run(20)
    for _ in range(100):
        exchange.trade(lose=True)
        exchange.wait(0.05)
    exchange.totals.pause("KRW-BTC", exchange.now_s)
    until_ms = exchange.now_ms
    exchange.run(5)
    assert exchange.losses == []
    assert exchange.totals.settle("KRW-BTC", until_ms) is False
    assert exchange.fetch(until_ms=until_ms) is True
    exchange.run(20)
    assert exchange.losses == []


def test_a_fetch_that_brings_all_but_one_trade_is_not_proven() -> None:
    """It is asked again; when it is given up, the gap stays and the ledger goes on."""
    exchange = Exchange()
    exchange.run(20)
    exchange.totals.pause("KRW-BTC", exchange.now_s)
    until_ms = exchange.now_ms
    gone = exchange.trade(lose=True)
    exchange.run(5)
    assert exchange.totals.settle("KRW-BTC", until_ms) is False
    assert exchange.totals.settle("KRW-BTC", until_ms, is_last=True, is_complete=False) is False
    exchange.made["KRW-BTC"].remove(gone)
    exchange.earlier["KRW-BTC"] = gone.price * gone.volume
    exchange.run(10)
    assert exchange.losses == []
    exchange.trade(lose=True)
    exchange.run(5)
    assert len(exchange.losses) == 1


def test_a_backfill_that_cannot_reach_the_exchange_does_not_blind_the_ledger() -> None:
    """After a minute what is missing is a loss of its own; a later one is found once that is fetched."""
    exchange = Exchange()
    exchange.run(20)
    lost = [exchange.trade(lose=True) for _ in range(5)]
    exchange.totals.pause("KRW-BTC", exchange.now_s)
    exchange.run(PATIENCE_S + 10)
    ((_, loss),) = exchange.losses
    assert loss.from_ms <= lost[0].exchange_ms <= lost[-1].exchange_ms <= loss.to_ms
    later = exchange.trade(lose=True)
    exchange.run(5)
    exchange.totals.recovered(lost, exchange.now_ms)
    assert exchange.totals.settle("KRW-BTC", loss.to_ms) is True
    exchange.run(5)
    _, (_, second) = exchange.losses
    assert second.from_ms <= later.exchange_ms <= second.to_ms
    assert exchange.fetch() is True
    exchange.run(20)
    assert len(exchange.losses) == 2


def test_losses_that_go_on_do_not_keep_a_gap_from_being_proven() -> None:
    """A trade is lost each second, also while others are fetched: each gap is proven by itself."""
    exchange = Exchange()
    exchange.run(20)
    fetched = 0
    for _ in range(60):
        exchange.trade(lose=True)
        exchange.run(1)
        for at_s, loss in exchange.losses[fetched:]:
            if exchange.now_s - at_s >= 3:
                assert exchange.fetch(loss=loss) is True
                fetched += 1
    assert fetched > 5
    assert exchange.totals.counts["totals_unexplained"] == 0


def test_a_trade_stamped_a_day_ahead_is_counted_where_the_exchange_counted_it() -> None:
    """Its turnover is in the totals now, whatever its stamp says."""
    exchange = Exchange(Rule(lags_by=1))
    exchange.run(10)
    odd = exchange.trade(lose=True)
    ahead = Trade(
        odd.market, odd.id, odd.price, odd.volume, odd.side, odd.exchange_ms + DAY_MS, odd.received_ms
    )
    exchange.totals.trade(ahead, exchange.now_ms)
    exchange.run(20)
    assert exchange.losses == []
    assert exchange.totals.counts["totals_disagree"] == 0


def test_old_trades_of_snapshots_are_part_of_the_start() -> None:
    """A second socket brings the last trade of a quiet market, of an hour ago."""
    exchange = Exchange(earlier={"KRW-XLM": D("5000.25")})
    exchange.ticker("KRW-XLM")
    exchange.run(10)
    old = Trade("KRW-XLM", 1, D(100), D(2), Side.BUY, exchange.now_ms - 3_600_000, exchange.now_ms)
    exchange.totals.trade(old, exchange.now_ms)
    exchange.ticker("KRW-XLM")
    exchange.trade("KRW-XLM")
    exchange.ticker("KRW-XLM")
    exchange.wait(10)
    assert exchange.losses == []
    assert exchange.totals.counts["totals_disagree"] == 0


def test_a_trade_that_rest_brings_before_a_socket_counts_once() -> None:
    """A backfill reaches until now, and the socket is a moment behind; of equal trades each counts."""
    exchange = Exchange()
    exchange.run(10)
    twins = [exchange.trade(lose=True) for _ in range(2)]
    twins[1] = Trade(
        *(
            getattr(twins[0], name)
            for name in ("market", "id", "price", "volume", "side", "exchange_ms", "received_ms")
        )
    )
    exchange.made["KRW-BTC"][-1] = twins[1]
    assert exchange.totals.recovered(twins, exchange.now_ms) == 2
    for trade in twins:
        exchange.totals.trade(trade, exchange.now_ms)
    exchange.run(10)
    assert exchange.losses == []
    assert set(exchange.totals.counts) == {"totals_agree"}


def test_equal_fills_of_one_millisecond_that_come_late_all_count() -> None:
    """They differ in their ids alone."""
    exchange = Exchange()
    exchange.run(10)
    twin = exchange.trade(volume=D("0.25"))
    exchange.made["KRW-BTC"].append(twin)
    exchange.wait(0.05)
    exchange.trade()
    exchange.totals.trade(twin, exchange.now_ms)
    exchange.run(10)
    assert exchange.losses == []
    assert set(exchange.totals.counts) == {"totals_agree"}


@pytest.mark.parametrize("lags_by", [0, 1])
@pytest.mark.parametrize("fills", [1, 2, 3])
def test_fills_of_the_millisecond_in_which_a_start_is_taken(lags_by: int, fills: int) -> None:
    """A subscription begins amid an order: its last fill is in the snapshot, the others come from REST."""
    exchange = Exchange(Rule(lags_by=lags_by), earlier={"KRW-ETH": D("50.5")})
    exchange.run(10)
    swept = [exchange.trade("KRW-ETH", lose=True) for _ in range(fills)]
    exchange.ticker("KRW-ETH")
    exchange.wait(0.1)
    exchange.totals.trade(swept[-1], exchange.now_ms)
    exchange.trade("KRW-ETH")
    exchange.ticker("KRW-ETH")
    exchange.totals.recovered(swept, exchange.now_ms)
    exchange.run(20, ("KRW-BTC", "KRW-ETH"))
    exchange.settle("KRW-ETH")
    exchange.wait(10)
    assert exchange.losses == []
    assert set(exchange.totals.counts) == {"totals_agree"}
    assert exchange.totals.whole_until_ms("KRW-ETH")


def test_what_is_known_already_is_not_new() -> None:
    """Rows of REST are matched by time, price, volume and side, as often as they come."""
    exchange = Exchange()
    twins = [exchange.trade(volume=D("0.5")) for _ in range(3)]
    same = [
        Trade(it.market, 9, twins[0].price, it.volume, twins[0].side, it.exchange_ms, 0, source=Source.REST)
        for it in twins
    ]
    assert exchange.totals.recovered(twins, exchange.now_ms) == 0
    known = sum((it.price, it.side) == (twins[0].price, twins[0].side) for it in twins)
    assert exchange.totals.recovered(same, exchange.now_ms) == 3 - known


def simulate(markets: int, seconds: float, share: float, seed: int) -> Exchange:
    """A busy exchange: few markets carry most trades; what is lost is fetched some seconds later."""
    names = [f"KRW-M{number:03d}" for number in range(markets)]
    weights = [(number + 1) ** -0.9 for number in range(markets)]
    exchange = Exchange(
        seed=seed, earlier={name: D(exchange_dice) for exchange_dice, name in enumerate(names)}
    )
    for name in names:
        exchange.ticker(name)
    fetches: deque[tuple[float, Missing]] = deque()
    stale: dict[str, None] = {}
    for _ in range(round(seconds * 20)):
        for name in exchange.dice.choices(names, weights, k=8):
            exchange.trade(name, lose=exchange.dice.random() < share)
            stale[name] = None
        for name in list(stale)[:4]:
            del stale[name]
            exchange.ticker(name)
        before = len(exchange.losses)
        exchange.wait(0.05)
        fetches += [(exchange.now_s + 3, loss) for _, loss in exchange.losses[before:]]
        while fetches and fetches[0][0] <= exchange.now_s:
            loss = fetches.popleft()[1]
            assert exchange.fetch(loss.market, loss=loss) in (True, None)
    return exchange


def test_losses_are_found_within_ten_seconds_at_493_markets() -> None:
    """160 trades a second, one in a hundred lost: from the first ticker that counts a trade to its gap."""
    exchange = simulate(493, 90, 0.01, seed=7)
    brought = {(it.market, it.exchange_ms, it.price, it.volume) for it in exchange.brought}
    delays = []
    for lost_s, lost in exchange.lost:
        if 10 < lost_s < 75:
            found = [
                found_s - lost_s
                for found_s, loss in exchange.losses
                if loss.market == lost.market
                and loss.from_ms - 5_000 <= lost.exchange_ms <= loss.to_ms + 5_000
            ]
            delays.append(max(min(found), 0))
            assert (lost.market, lost.exchange_ms, lost.price, lost.volume) in brought
    delays.sort()
    assert len(delays) > 50
    assert delays[int(len(delays) * 0.99)] < 10
    assert exchange.totals.counts["totals_unexplained"] == 0


def frames(path: Path) -> Iterator[list[dict[str, str]]]:
    """Yield the pairs of real frames of one market and day."""
    pairs: dict[str, list[dict[str, str]]] = {}
    for line in path.read_text().splitlines():
        frame = json.loads(line)
        if "pair" in frame:
            pairs.setdefault(frame["pair"], []).append(frame)
    yield from pairs.values()


def test_real_frames_agree_by_either_rule(shared_dir: Path) -> None:
    """Pairs of real tickers with one trade between them, by the rule that each exchange follows."""
    agreed = []
    for first, second in frames(shared_dir / "data/ticker-totals/frames.jsonl"):
        step = D(second["atp"]) - D(first["atp"])
        named = [D(each["tp"]) * D(each["tv"]) for each in (first, second)]
        if step not in named:
            continue
        totals = Totals()
        for number, frame in enumerate((first, second)):
            ms = int(frame["ttms"])
            trade = Trade(frame["code"], number, D(frame["tp"]), D(frame["tv"]), Side.BUY, ms, ms)
            totals.trade(trade, ms)
            totals.ticker(frame["code"], D(frame["atp"]), ms, ms, Source.STREAM, number * 1.0)
        for tenths in range(100):
            assert totals.tick(2 + tenths / 10) == []
        agreed.append(first["pair"])
        assert totals.counts["totals_disagree"] == 0
    assert set(agreed) == {"upbit-2018", "b2"}


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_no_false_alarm_on_any_consistent_stream(data: st.DataObject) -> None:
    """Any rule, any order of tickers of two sources, any pauses, over midnight or not."""
    rule = Rule(
        lags_by=data.draw(st.integers(0, 6)),
        decimals=data.draw(st.sampled_from((None, 8, 4))),
        before=data.draw(st.integers(0, 4)),
        reset_late_ms=data.draw(st.sampled_from((0, 0, 700, 4_000))),
    )
    exchange = Exchange(
        rule,
        seed=data.draw(st.integers(0, 10**6)),
        began_ms=MIDNIGHT_MS - data.draw(st.sampled_from((15_000, 40_000, 4 * 3_600_000))),
        places=data.draw(st.sampled_from((4, 8, 12))),
        earlier={"KRW-BTC": D(data.draw(st.integers(0, 10**16))).scaleb(-6)},
    )
    for _ in range(data.draw(st.integers(20, 120))):
        for _ in range(exchange.dice.choice((0, 1, 1, 2, 8))):
            exchange.trade()
        if exchange.dice.random() < 0.8:
            exchange.ticker()
        if exchange.dice.random() < 0.1:
            exchange.ticker(source=Source.REST, lags_by=exchange.dice.randint(0, 30))
        exchange.wait(exchange.dice.choice((0.01, 0.1, 0.5)))
        if exchange.dice.random() < 0.3:  # nothing is on its way for long
            exchange.deliver()
            exchange.wait(exchange.dice.choice((0, 3, 10)))
    exchange.deliver()
    exchange.settle()
    exchange.wait(20)
    assert exchange.losses == []


@given(st.integers(0, 10**6), st.sampled_from(RULES[:6]), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_every_loss_is_found_and_proven_by_its_fetch(seed: int, rule: Rule, count: int) -> None:
    """Wherever it falls, and however many there are at once."""
    exchange = Exchange(rule, seed=seed, earlier={"KRW-BTC": D("77.5")})
    exchange.run(15)
    lost = [exchange.trade(lose=True) for _ in range(count)]
    exchange.run(6)
    ((_, loss),) = exchange.losses
    assert loss.from_ms <= lost[0].exchange_ms
    assert lost[-1].exchange_ms <= loss.to_ms
    assert exchange.fetch() is True
    exchange.run(6)
    exchange.settle()
    exchange.wait(10)
    assert len(exchange.losses) == 1
