"""Rules as text: what is read, and what is refused with which sentence."""

from datetime import datetime, time
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from collector.alerts.rules import Kind, Quiet, Rule, parse, parse_all
from collector.errors import ConfigurationError

SEOUL = ZoneInfo("Asia/Seoul")


@pytest.mark.parametrize(
    ("text", "usual"),
    [
        ("price btc above 160,000,000", "price KRW-BTC above 160000000"),
        ("price btc > 160000000", "price KRW-BTC above 160000000"),
        ("PRICE BTC,eth below 0.00001234", "price KRW-BTC,KRW-ETH below 0.00001234"),
        ("change KRW-* below -5% in 600s", "change KRW-* below -5% in 10m"),
        ("change btc above 2.50 in 1h", "change KRW-BTC above 2.5% in 1h"),
        ("volume KRW-* above 8x in 5m cooldown 60s", "volume KRW-* above 8x in 5m"),
        ("spread KRW-* above 80bps rearm 10%", "spread KRW-* above 80bps rearm 10%"),
        ("imbalance btc below -0.8 cooldown 0s", "imbalance KRW-BTC below -0.8 cooldown 0s"),
        ("trade btc above 500,000,000 to ops,slack", "trade KRW-BTC above 500000000 to ops,slack"),
        ("halt btc quiet 23:00-07:00", "halt KRW-BTC quiet 23:00-07:00"),
        ("listed", "listed *"),
        ("system", "system"),
    ],
)
def test_a_rule_has_one_usual_form(text: str, usual: str) -> None:
    """However it is written, and read again it is the same rule with the same id."""
    rule = parse(text)
    assert rule.text == usual
    assert parse(usual) == rule
    assert parse(usual).id == rule.id


def test_units_become_numbers() -> None:
    """Percent are ratios, windows are seconds."""
    rule = parse("change btc below -5% in 10m rearm 1% cooldown 2h")
    assert rule == Rule(
        Kind.CHANGE,
        ("KRW-BTC",),
        is_above=False,
        threshold=Decimal("-0.05"),
        window_s=600,
        rearm=Decimal("0.01"),
        cooldown_s=7200,
    )


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "is not a rule"),
        ("prices btc above 1", "is not a rule"),
        ("price above 1", "price needs markets"),
        ("price btc", "write `price KRW-BTC above"),
        ("price btc above", "a value is missing behind 'above'"),
        ("price btc above ten", "is not a number"),
        ("price btc above nan", "above 0"),
        ("price btc above -1", "above 0"),
        ("price btc above 1 below 2", "write `price"),
        ("price btc eth above 1", "'eth' is not expected"),
        ("price b!c above 1", "'b!c' is not a market"),
        ("price btc above 1 in 5m", "write `price"),
        ("change btc above 1%", "write `change"),
        ("change btc above 1% in 5", "is not a duration from 10s to 1d"),
        ("volume btc above 3x in 2h", "is not a duration from 10s to 1h"),
        ("volume btc below 3x in 5m", "volume has no below"),
        ("imbalance btc above 2", "between -1 and 1"),
        ("price btc above 1 quiet 25:00-07:00", "are no hours"),
        ("price btc above 1 quiet 07:00-07:00", "are no hours"),
        ("price btc above 1 rearm 200%", "from 0% to 100%"),
        ("price btc above 1 to a/b", "are no names of channels"),
        ("system btc", "system has no markets"),
    ],
)
def test_what_is_no_rule_is_refused(text: str, part: str) -> None:
    """The sentence has what is wrong."""
    with pytest.raises(ConfigurationError) as caught:
        parse(text)
    assert part in str(caught.value)


def test_several_rules_are_separated_by_semicolons() -> None:
    """Each once."""
    rules = parse_all("system; price btc above 1; ;system")
    assert [rule.text for rule in rules] == ["system", "price KRW-BTC above 1"]
    assert parse_all("none") == []


@pytest.mark.parametrize(
    ("now", "ends"),
    [
        ("2026-12-01 22:59", None),
        ("2026-12-01 23:00", "2026-12-02 07:00"),
        ("2026-12-02 06:59", "2026-12-02 07:00"),
        ("2026-12-02 07:00", None),
    ],
)
def test_quiet_hours_go_over_midnight(now: str, ends: str | None) -> None:
    """They end on the next morning."""
    quiet = Quiet(time(23), time(7))
    found = quiet.ends_ms(_ms(now), SEOUL)
    assert found == (None if ends is None else _ms(ends))


def _ms(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=SEOUL).timestamp() * 1000)
