"""Troubles of the system: when they are reported, and their end."""

from typing import Any

from collector.alerts import troubles
from collector.alerts.rules import parse
from collector.alerts.troubles import Trouble
from collector.analytics.proof import Proof
from collector.settings import Settings
from collector.store.condition import condition_of
from collector.store.rows import Health

T0 = 1_796_100_000_000
RULES = {rule.id: rule for rule in (parse("system"), parse("price btc above 1"))}
WELL = {"used_memory": 1, "maxmemory": 1 << 30, "maxmemory_policy": "noeviction", "aof_enabled": 1}


def health(*, recovered: int = 0, gaps: int = 0, **other: Any) -> Health:
    """Return the health of a system that is well but for `other`."""
    values: dict[str, Any] = {
        "listeners": [{}],
        "workers": [{"queues": ["trade"]}],
        "queues": {"trade": 1, "dead-letters": 0},
        "redis": condition_of(WELL, 0.8),
    }
    proof = Proof(T0, 0, gaps, 0, recovered, [], None)
    return Health(**values | other, counters={}, proof=proof)


def found(state: Health, as_of_ms: int | None = T0, now_ms: int = T0) -> dict[str, str]:
    """Return the names and sentences."""
    return troubles.found(state, as_of_ms, now_ms=now_ms, silence_s=60, backlog=200, zone=Settings().zone)


def test_each_trouble_has_a_name_and_a_sentence() -> None:
    """A system that is well has none."""
    assert found(health()) == {}
    assert found(health(), now_ms=T0 + 61_000) == {"silence": "no data since 13:40:00"}
    assert list(found(health(listeners=[]))) == ["listener"]
    assert list(found(health(workers=[{"queues": ["analysis"]}]))) == ["workers"]
    assert list(found(health(queues={"trade": 150, "trade.0": 60}))) == ["backlog"]
    assert list(found(health(queues={"dead-letters": 2}))) == ["dead-letters"]
    assert list(found(health(gaps=3))) == ["gaps"]
    assert list(found(health(redis=condition_of(WELL | {"aof_last_write_status": "err"}, 0.8)))) == [
        "redis-disk"
    ]
    assert found(health(redis=condition_of(WELL | {"aof_enabled": 0}, 0.8))) == {}


def test_a_trouble_is_reported_once_and_its_end_too() -> None:
    """With what was recovered meanwhile; only rules of the kind system report it."""
    now: dict[str, Trouble] = {}
    texts: list[tuple[int, str, str]] = []
    looks = [(0, 0, 5), (59, 0, 5), (60, 0, 5), (65, 0, 5), (70, 417, 0), (75, 417, 0)]
    for second, recovered, gaps in looks:
        state = health(recovered=recovered, gaps=gaps)
        now, firings = troubles.compare(now, found(state), RULES, state, T0 + second * 1000)
        texts += [(second, firing.state, firing.text) for firing in firings]
    assert texts == [
        (60, "firing", "trades may be missing in 5 stretches"),
        (
            70,
            "resolved",
            "over after 70 s: trades may be missing in 5 stretches; "
            "recovered 417 trades, 0 stretches missing",
        ),
    ]


def test_what_passes_by_itself_is_not_reported() -> None:
    """Neither its beginning nor its end."""
    now: dict[str, Trouble] = {}
    for second, listeners in ((0, []), (14, []), (15, [{}]), (16, [])):
        state = health(listeners=listeners)
        now, firings = troubles.compare(now, found(state), RULES, state, T0 + second * 1000)
        assert firings == []


def test_ids_are_those_of_the_trouble() -> None:
    """Beginning and end differ; a later one of the same name has other ids."""
    state = health(queues={"dead-letters": 1})
    now, _ = troubles.compare({}, found(state), RULES, state, T0)
    now, (begin,) = troubles.compare(now, found(state), RULES, state, T0 + 20_000)
    _, (end,) = troubles.compare(now, {}, RULES, health(), T0 + 30_000)
    assert (begin.id, end.id) == (f"{begin.rule_id}.dead-letters.{T0}", f"{begin.id}.end")
