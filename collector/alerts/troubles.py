"""The system's own troubles, and their end, for rules of the kind `system`. Pure."""

from collections.abc import Mapping
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from msgspec import Struct

from collector.alerts.engine import Firing
from collector.alerts.rules import Kind, Rule
from collector.routing import TRADE
from collector.store.condition import LOSING
from collector.store.condition import Kind as RedisKind
from collector.store.rows import Health

DEAD_LETTERS = "dead-letters"
#: How long a trouble has to last before it is reported: less passes by itself, at a start for instance.
_LASTS_MS = {"gaps": 60_000}
_LASTS_USUALLY_MS = 15_000
_REDIS_KINDS = LOSING | {RedisKind.NEARLY_FULL}


class Trouble(Struct):
    """One trouble.

    Attributes:
        text: what is wrong, for people.
        since_ms: when it was noticed, epoch ms.
        recovered: trades that a backfill had brought by then.
        is_reported: whether it lasted long enough.
    """

    text: str
    since_ms: int
    recovered: int = 0
    is_reported: bool = False


def found(
    health: Health, as_of_ms: int | None, *, now_ms: int, silence_s: float, backlog: int, zone: ZoneInfo
) -> dict[str, str]:
    """Return what is wrong now: a name that stays the same -> a sentence.

    Args:
        as_of_ms: time of the newest trade or ticker, epoch ms.
        silence_s: data older than this are a trouble.
        backlog: batches in a trade queue that are a trouble.
        zone: of times in the sentences.
    """
    wrong: dict[str, str] = {}
    if as_of_ms is not None and now_ms - as_of_ms > silence_s * 1000:
        wrong["silence"] = f"no data since {_clock(as_of_ms, zone)}"
    if not health.listeners:
        wrong["listener"] = "no listener runs: start `collector up` or `collector run`"
    if not any(TRADE in worker.get("queues", ()) for worker in health.workers):
        wrong["workers"] = "no worker takes the queue trade: nothing is counted until one does"
    for problem in health.redis.problems if health.redis else ():
        if problem.kind in _REDIS_KINDS:
            wrong[f"redis-{problem.kind}"] = f"Redis: {problem.detail}"
    if dead := health.queues.get(DEAD_LETTERS, 0):
        wrong["dead-letters"] = f"{dead} batches could not be stored: see `collector dead-letters list`"
    waiting = sum(length for name, length in health.queues.items() if name.partition(".")[0] == TRADE)
    if waiting > backlog:
        wrong["backlog"] = f"{waiting} batches of trades wait for the workers"
    if health.proof and health.proof.open_gaps:
        wrong["gaps"] = f"trades may be missing in {health.proof.open_gaps} stretches"
    return wrong


def compare(
    before: Mapping[str, Trouble],
    wrong: Mapping[str, str],
    rules: Mapping[str, Rule],
    health: Health,
    now_ms: int,
) -> tuple[dict[str, Trouble], list[Firing]]:
    """Return the troubles there are now, and what each rule of the kind `system` reports of them."""
    recovered = health.proof.recovered_trades if health.proof else 0
    open_gaps = health.proof.open_gaps if health.proof else 0
    now: dict[str, Trouble] = {}
    firings: list[Firing] = []
    ours = {rule_id: rule for rule_id, rule in rules.items() if rule.kind is Kind.SYSTEM}
    for name, text in wrong.items():
        trouble = before.get(name) or Trouble(text, now_ms, recovered)
        now[name] = trouble
        lasts_ms = _LASTS_MS.get(name, _LASTS_USUALLY_MS)
        if not trouble.is_reported and now_ms - trouble.since_ms >= lasts_ms:
            trouble.is_reported, trouble.text = True, text
            firings += [_firing(each, ours[each], name, trouble, text, now_ms) for each in ours]
    for name, trouble in before.items():
        if name not in wrong and trouble.is_reported:
            seconds = (now_ms - trouble.since_ms) // 1000
            text = (
                f"over after {seconds} s: {trouble.text}; "
                f"recovered {recovered - trouble.recovered:,} trades, {open_gaps} stretches missing"
            )
            firings += [_firing(each, ours[each], name, trouble, text, now_ms, is_over=True) for each in ours]
    return now, firings


def _firing(
    rule_id: str, rule: Rule, name: str, trouble: Trouble, text: str, now_ms: int, *, is_over: bool = False
) -> Firing:
    return Firing(
        id=f"{rule_id}.{name}.{trouble.since_ms}{'.end' if is_over else ''}",
        rule_id=rule_id,
        rule=rule.text,
        kind=rule.kind,
        market=None,
        text=text,
        value=name,
        ms=now_ms,
        state="resolved" if is_over else "firing",
    )


def _clock(ms: int, zone: ZoneInfo) -> str:
    return f"{datetime.fromtimestamp(ms / 1000, UTC).astimezone(zone):%H:%M:%S}"
