"""`collector alert`: rules, a test of them over the past, what fired and where it went."""

import logging
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import NamedTuple

from collector.alerts import channels
from collector.alerts.delivery import send
from collector.alerts.engine import Engine, Firing
from collector.alerts.ledger import Delivery, Ledger, Logged
from collector.alerts.rules import OF_BOOKS, OF_TRADES, Kind, Rule, parse
from collector.archive.schema import BOOKS, TRADES
from collector.archive.sql import QuerySession
from collector.archive.views import quoted
from collector.cli.lookback import open_history
from collector.cli.render import output
from collector.cli.render.moments import moments
from collector.cli.render.results import FALL, QUIET, RISE, WARN
from collector.cli.render.table import Column, RenderedTable
from collector.cli.store import open_redis
from collector.clock import SystemClock
from collector.errors import ConfigurationError, NoData
from collector.market_names import several
from collector.settings import Settings
from collector.store.read import to_json
from collector.util.times import Span

log = logging.getLogger(__name__)

_NO_CHANNELS = "no channel is set (COLLECTOR_ALERT__CHANNELS): firings are in `collector alert log` alone"
_STYLES = {"delivered": RISE, "waiting": WARN, "dead": FALL}


class _Traded(NamedTuple):
    """A trade out of the archive."""

    market: str
    price: Decimal
    volume: Decimal
    exchange_ms: int


def add(settings: Settings, text: str) -> int:
    """Add a rule; return the exit code.

    Raises:
        ConfigurationError: it is none, or names a channel that is not set.
    """
    rule = parse(text)
    known = _channels(settings)
    for name in rule.channels:
        if name not in known:
            raise ConfigurationError(
                f"there is no channel {name}: COLLECTOR_ALERT__CHANNELS has {', '.join(known) or 'none'}"
            )
    with open_redis(settings) as client:
        is_new = Ledger(client, settings).add(rule)
    output.write(f"{rule.id} {rule.text}" + ("" if is_new else " (was there already)"))
    if not known:
        log.warning("%s", _NO_CHANNELS)
    return 0


def show_rules(settings: Settings, *, as_json: bool) -> int:
    """Print the rules and the names of the channels; return the exit code."""
    names = _channels(settings)
    with open_redis(settings) as client:
        ledger = Ledger(client, settings)
        rules, added = ledger.rules(), ledger.added()
    if as_json:
        rows = [
            {"id": rule_id, "rule": rule.text, "from": "command" if rule_id in added else "settings"}
            for rule_id, rule in rules.items()
        ]
        output.write(to_json(rows))
        return 0
    table = RenderedTable(
        "Alert rules",
        (
            Column("id", list(rules), right=False),
            Column("rule", [rule.text for rule in rules.values()], right=False, wraps=True),
            Column(
                "from",
                ["" if rule_id in added else "settings" for rule_id in rules],
                right=False,
                styles=[QUIET] * len(rules),
                rank=1,
            ),
        ),
        f"channels: {', '.join(f'{each.name} ({each.kind})' for each in names.values())}"
        if names
        else _NO_CHANNELS,
    )
    output.show([table if rules else "No alert rules."])
    return 0


def remove(settings: Settings, rule_id: str) -> int:
    """Remove a rule; return the exit code.

    Raises:
        NoData: there is none that was added.
    """
    with open_redis(settings) as client:
        ledger = Ledger(client, settings)
        if not ledger.remove(rule_id):
            where = "COLLECTOR_ALERT__RULES has it" if rule_id in ledger.rules() else "see `alert list`"
            raise NoData(f"no rule {rule_id} was added by `collector alert add`: {where}")
    output.write(f"{rule_id} removed")
    return 0


def show_log(settings: Settings, limit: int, *, as_json: bool) -> int:
    """Print what fired; return the exit code."""
    with open_redis(settings) as client:
        found = Ledger(client, settings).log(limit)
    if as_json:
        output.write(
            to_json([{**channels.payload(each.firing), "deliveries": each.deliveries} for each in found])
        )
    else:
        output.show([_log(found) if found else "Nothing has fired."])
    return 0


def retry(settings: Settings, firing_id: str | None) -> int:
    """Make dead deliveries due again; return the exit code.

    Raises:
        NoData: the firing has none.
    """
    with open_redis(settings) as client:
        count = Ledger(client, settings).retry(firing_id, SystemClock().now_ms())
    if firing_id is not None and not count:
        raise NoData(f"{firing_id} has no delivery that was given up: see `collector alert log`")
    output.write(f"{count} will be delivered again")
    return 0


def send_test(settings: Settings, name: str) -> int:
    """Send a test message to a channel; return the exit code.

    Raises:
        ConfigurationError: there is no such channel.
        NoData: it did not take the message.
    """
    known = _channels(settings)
    if name not in known:
        raise ConfigurationError(f"there is no channel {name}: there is {', '.join(known) or 'none'}")
    now_ms = SystemClock().now_ms()
    rule = Rule(Kind.SYSTEM, ())
    firing = Firing(
        f"test.{now_ms}", rule.id, rule.text, rule.kind, None, "test of collector alert", "", now_ms
    )
    outcome = send(known[name], firing, settings.alert)
    if not outcome.is_accepted:
        raise NoData(f"{name} did not take the message: {outcome.detail}")
    output.write(f"{name} took the message {firing.id}")
    return 0


def try_rule(settings: Settings, text: str, span: Span, *, as_json: bool) -> int:
    """Print when a rule would have fired; return the exit code.

    Raises:
        ConfigurationError: it is no rule, or one that nothing is kept for.
        NoData: its markets are unknown.
    """
    rule = _rule(settings, text)
    if rule.kind not in OF_TRADES | OF_BOOKS:
        raise ConfigurationError(f"{rule.kind} can't be tested: past states are not kept")
    with open_history(settings, *span) as session:
        markets = several(",".join(rule.markets), session.markets())
        firings, rows = _would_fire(session, rule, markets, span)
    if as_json:
        output.write(to_json([channels.payload(firing) for firing in firings]))
        return 0
    what = "trades" if rule.kind in OF_TRADES else "sampled books"
    over = f"{rows:,} {what} of {len(markets)} markets{span.text(settings.zone)}"
    title = f"{rule.text}: {len(firings)} firings over {over}"
    output.show([_fired(title, firings) if firings else f"{rule.text}: would not have fired over {over}."])
    return 0


def _rule(settings: Settings, text: str) -> Rule:
    if " " in text.strip():
        return parse(text)
    with open_redis(settings) as client:
        rules = Ledger(client, settings).rules()
    return rules[text] if text in rules else parse(text)


def _would_fire(
    session: QuerySession, rule: Rule, markets: Sequence[str], span: Span
) -> tuple[list[Firing], int]:
    engine = Engine({rule.id: rule}, {})
    firings, count = [], 0
    is_of_trades = rule.kind in OF_TRADES
    for row in _rows(session, is_of_trades, markets, span):
        count += 1
        if is_of_trades:
            market, price, volume, ms, number = row
            firings += engine.trade(_Traded(market, price, volume, ms), f"{ms}-{number}")
        else:
            market, spread_bps, imbalance, ms, _ = row
            firings += engine.book(market, ms, _decimal(spread_bps), _decimal(imbalance))
    return firings, count


def _rows(
    session: QuerySession, is_of_trades: bool, markets: Sequence[str], span: Span
) -> Iterator[tuple[str, Decimal, Decimal, int, int]]:
    table = TRADES if is_of_trades else BOOKS
    columns = "price, volume, exchange_ms, id" if is_of_trades else "spread_bps, imbalance, exchange_ms, 0"
    order = "exchange_ms, exchange_order, id" if is_of_trades else "exchange_ms"
    bounds = [f"market IN ({', '.join(map(quoted, markets))})"]
    bounds += [f"exchange_ms >= {span.from_ms}"] if span.from_ms is not None else []
    bounds += [f"exchange_ms <= {span.to_ms}"] if span.to_ms is not None else []
    sql = f"SELECT market, {columns} FROM {table.name} WHERE {' AND '.join(bounds)} ORDER BY {order}"  # noqa: S608
    for rows in session.select(sql).batches():
        yield from rows


def _decimal(value: object) -> Decimal | None:
    return None if value is None else Decimal(str(value))


def _channels(settings: Settings) -> dict[str, channels.Channel]:
    return channels.parse(settings.alert.channels.get_secret_value())


def _fired(title: str, firings: Sequence[Firing]) -> RenderedTable:
    return RenderedTable(
        title,
        (
            moments("time", [firing.ms for firing in firings]),
            Column("what", [firing.text for firing in firings], right=False, wraps=True),
        ),
    )


def _log(rows: Sequence[Logged]) -> RenderedTable:
    return RenderedTable(
        "Alerts",
        (
            moments("time", [row.firing.ms for row in rows]),
            Column("what", [row.firing.text for row in rows], right=False, wraps=True),
            Column(
                "delivered",
                ["; ".join(map(_delivery, row.deliveries)) or "no channel" for row in rows],
                right=False,
                styles=[_style(row.deliveries) for row in rows],
                wraps=True,
            ),
            Column("id", [row.firing.id for row in rows], right=False, rank=2),
        ),
    )


def _delivery(each: Delivery) -> str:
    match each.state:
        case "delivered":
            return each.channel
        case "dead":
            return f"{each.channel}: given up, {each.detail}"
        case _:
            return f"{each.channel}: waiting{f', {each.detail}' if each.detail else ''}"


def _style(deliveries: Sequence[Delivery]) -> str:
    states = {each.state for each in deliveries}
    return next((_STYLES[state] for state in ("dead", "waiting", "delivered") if state in states), QUIET)
