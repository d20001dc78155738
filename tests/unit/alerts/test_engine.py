"""When rules fire, computed by hand."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.alerts.engine import Engine, Memory
from collector.alerts.rules import Rule, parse
from collector.analytics.candles import Edge, Mark, Minute
from collector.analytics.market_states import MarketRow, MarketState

T0 = 1_796_100_000_000
BTC, ETH = "KRW-BTC", "KRW-ETH"


class Row(NamedTuple):
    """A trade."""

    market: str
    price: Decimal
    volume: Decimal
    exchange_ms: int


def engine_of(*texts: str, memories: dict[str, Memory] | None = None) -> Engine:
    """Return an engine with these rules."""
    return Engine(by_id(texts), {} if memories is None else memories)


def by_id(texts: Iterable[str]) -> dict[str, Rule]:
    """Return the rules."""
    return {rule.id: rule for rule in map(parse, texts)}


def fired(engine: Engine, rows: Iterable[tuple[float, object]], market: str = BTC) -> list[float]:
    """Return at which seconds something fired; rows are seconds and prices."""
    return [
        (firing.ms - T0) / 1000
        for number, (second, price) in enumerate(rows)
        for firing in engine.trade(
            Row(market, Decimal(str(price)), Decimal(1), T0 + round(second * 1000)), f"{number}-0-0"
        )
    ]


def test_a_price_has_to_cross() -> None:
    """It does not fire where it began beyond, and again only after it was back."""
    engine = engine_of("price btc above 100 rearm 1% cooldown 0s")
    prices = [(0, 101), (1, 99), (2, 99.5), (3, 100), (4, 105), (5, 99.5), (6, 101), (7, 99), (8, 100)]
    assert fired(engine, prices) == [3, 8]


def test_below_is_the_mirror_image() -> None:
    """Likewise."""
    engine = engine_of("price btc below 100 rearm 1% cooldown 0s")
    assert fired(engine, [(0, 99), (1, 101), (2, 100), (3, 95), (4, 100.5), (5, 99), (6, 102), (7, 99)]) == [
        2,
        7,
    ]


def test_a_cooldown_delays() -> None:
    """What is still beyond when it is over fires then."""
    engine = engine_of("price btc above 100 rearm 0% cooldown 10s")
    assert fired(engine, [(0, 99), (1, 101), (2, 99), (3, 102), (10, 103), (11, 104), (12, 105)]) == [1, 11]


def test_single_trades_need_no_way_back() -> None:
    """Only the cool-down is between them; the amount is in the quote currency."""
    engine = engine_of("trade btc above 1000 cooldown 5s")
    assert fired(engine, [(0, 999), (1, 1000), (2, 5000), (6, 1001), (7, 10)]) == [1, 6]


def test_a_change_needs_a_price_from_before_the_window() -> None:
    """Before that nothing is known; 110 against 100 is 10 %."""
    engine = engine_of("change btc above 10% in 60s cooldown 0s")
    assert fired(engine, [(0, 100), (30, 150)]) == []
    assert fired(engine_of("change btc above 10% in 60s"), [(0, 100), (59, 109), (62, 109.9), (63, 110)]) == [
        63
    ]
    assert fired(engine_of("change btc below -10% in 60s"), [(0, 100), (62, 90.1), (63, 90)]) == [63]


def test_a_volume_is_compared_with_the_windows_before() -> None:
    """One unit each second, then nine more in one: with 10 s windows the factor is near 2."""
    engine = engine_of("volume btc above 1.8x in 10s cooldown 0s")
    steady = [(second, 1) for second in range(300)]
    assert fired(engine, steady) == []
    burst = [(300 + number / 100, 1) for number in range(10)]
    assert fired(engine, burst) == [300.08]


def test_too_short_a_past_is_no_baseline() -> None:
    """Five windows at the least."""
    engine = engine_of("volume btc above 2x in 10s")
    assert fired(engine, [(0, 1), *[(30 + number / 10, 1) for number in range(50)]]) == []


def test_stored_minutes_fill_the_windows_at_a_start() -> None:
    """A rule with a window fires at once, where there is a past."""
    asked: list[tuple[str, int]] = []

    def seed(market: str, needs_ms: int) -> Mapping[int, Minute]:
        asked.append((market, needs_ms))
        return {T0 - ms: minute("100", "6") for ms in range(60 * 60_000, 0, -60_000)}

    rules = by_id(["change btc above 5% in 5m", "volume btc above 10x in 1m"])
    engine = Engine(rules, {}, seed)
    row = Row(BTC, Decimal(106), Decimal(70), T0 + 1000)
    texts = [firing.text for firing in engine.trade(row, "1-0-0")]
    assert texts == ["KRW-BTC change 6% in 5m, above 5%", "KRW-BTC volume 12.566667x in 1m, above 10x"]
    assert asked == [(BTC, 21 * 60_000)]


def minute(price: str, volume: str) -> Minute:
    """Return a stored candle."""
    edge = Edge(0, Mark(1, 0, 1, Decimal(price)))
    return Minute(edge, edge, Decimal(price), Decimal(price), Decimal(0), Decimal(volume), Decimal(0), 1, 1)


def test_patterns_take_markets_apart() -> None:
    """What is remembered is remembered of each market; others are not looked at."""
    engine = engine_of("price KRW-E* above 100")
    assert fired(engine, [(0, 1), (1, 200)], ETH) == [1]
    assert fired(engine, [(0, 1), (1, 200)], BTC) == []
    assert fired(engine, [(2, 1), (3, 200)], "KRW-ENA") == [3]


def test_what_was_remembered_goes_on() -> None:
    """After a restart nothing fires twice: memories alone decide."""
    rules = ("price btc above 100 cooldown 1h", "trade btc above 50 cooldown 1h")
    memories: dict[str, Memory] = {}
    engine = engine_of(*rules, memories=memories)
    assert fired(engine, [(0, 99), (1, 101)]) == [0, 1]
    kept = engine.changed()
    assert engine.changed() == {}
    again = engine_of(*rules, memories={name: Memory(*_fields(memory)) for name, memory in kept.items()})
    assert fired(again, [(1, 101), (2, 99), (3, 102)]) == []


def _fields(memory: Memory) -> tuple[bool | None, int, str]:
    return memory.is_armed, memory.fired_ms, memory.seen


def test_the_past_fills_windows_and_fires_nothing() -> None:
    """Trades that were evaluated before a restart."""
    engine = engine_of("change btc above 10% in 60s", "price btc above 1")
    for second, price in ((0, 100), (62, 120)):
        assert engine.trade(Row(BTC, Decimal(price), Decimal(1), T0 + second * 1000), "", is_past=True) == []
    assert fired(engine, [(63, 121)]) == [63]


def test_an_id_names_rule_market_and_trade() -> None:
    """So the same trade gives the same id."""
    engine = engine_of("trade btc above 1")
    (firing,) = engine.trade(Row(BTC, Decimal(5), Decimal(1), T0), "1796127043146-0-1")
    assert firing.id == f"{parse('trade btc above 1').id}.KRW-BTC.1796127043146-0-1"
    assert (firing.value, firing.ms, firing.event_id) == ("5", T0, "1796127043146-0-1")


@given(
    st.lists(st.integers(1, 60), max_size=60),
    st.lists(st.tuples(st.booleans(), st.integers(1, 60), st.integers(0, 50)), max_size=6),
)
def test_many_rules_fire_as_each_alone(prices: list[int], thresholds: list[tuple[bool, int, int]]) -> None:
    """Leaving values out that can change nothing leaves nothing out."""
    texts = {
        f"price btc {'above' if up else 'below'} {at} rearm {back}% cooldown 3s"
        for up, at, back in thresholds
    }
    rows = list(enumerate(prices))
    together = engine_of(*texts)
    found = sorted(
        (firing.rule_id, firing.ms)
        for second, price in rows
        for firing in together.trade(
            Row(BTC, Decimal(price), Decimal(1), T0 + second * 1000), f"{second}-0-0"
        )
    )
    alone = sorted(
        (parse(text).id, T0 + second * 1000) for text in texts for second in plainly(parse(text), prices)
    )
    assert found == alone


def plainly(rule: Rule, prices: list[int]) -> list[int]:
    """Return the seconds at which a rule fires, by its definition; one price a second."""
    assert rule.threshold is not None
    sign = 1 if rule.is_above else -1
    armed, last, found = None, -1_000, []
    for second, price in enumerate(prices):
        beyond = price * sign >= rule.threshold * sign
        back = price * sign <= rule.threshold * sign - rule.threshold * rule.rearm
        if armed is None:
            armed = not beyond
        if not armed:
            armed = back
        elif beyond and second - last >= rule.cooldown_s:
            armed, last = False, second
            found.append(second)
    return found


def market(
    name: str, state: str = "active", warning: str | None = None, date: str | None = None
) -> MarketRow:
    """Return the state of a market."""
    return MarketRow(name, MarketState(state), warning, date, None)


def test_states_fire_when_they_change() -> None:
    """The first look is where a rule begins; a market that is new later is news."""
    memories: dict[str, Memory] = {}
    engine = engine_of("halt *", "warning *", "listed", "delisted", memories=memories)
    begin = [market(BTC), market(ETH, "suspended", "caution")]
    assert engine.states(begin, T0) == []
    after = [market(BTC, "suspended"), market(ETH, "active", "caution"), market("KRW-NEW")]
    assert [firing.text for firing in engine.states(after, T0 + 1)] == [
        "KRW-BTC is suspended",
        "KRW-NEW is newly listed",
    ]
    again = engine_of("halt *", "warning *", "listed", "delisted", memories=memories)
    assert again.states(after, T0 + 2) == []
    ends = [
        market(BTC, date="2026-12-24"),
        market(ETH, "unlisted", "caution"),
        market("KRW-NEW", warning="risk"),
    ]
    assert sorted(firing.text for firing in again.states(ends, T0 + 3)) == [
        "KRW-BTC is to be delisted on 2026-12-24",
        "KRW-ETH is unlisted",
        "KRW-NEW has the warning risk",
    ]


@pytest.mark.parametrize(
    ("text", "values", "times"),
    [
        ("spread btc above 50bps cooldown 0s", [(60, 0), (40, 0), (50, 0)], [0, 2]),
        ("imbalance btc below -0.5 cooldown 0s", [(1, "-0.4"), (1, "-0.5"), (None, None), (1, "-0.9")], [1]),
    ],
)
def test_books(text: str, values: list[tuple[object, object]], times: list[int]) -> None:
    """A measure that a book does not have changes nothing."""
    engine = engine_of(text)
    assert engine.wants_book(BTC)
    assert not engine.wants_book(ETH)
    found = [
        second
        for second, (spread, imbalance) in enumerate(values)
        for _ in engine.book(BTC, T0 + second * 1000, _decimal(spread), _decimal(imbalance))
    ]
    assert found == times


def _decimal(value: object) -> Decimal | None:
    return None if value is None else Decimal(str(value))
