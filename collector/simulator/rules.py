"""What is not known about the exchange, to be chosen: one string, parsed here. Pure.

    rules = rule {"," rule}
    rule  = name "=" value

`RULES` lists the names, what they mean and what they can be. Examples:

    rest-lag=15s                          REST shows what was 15 s ago
    rest-ids=shared,cursor=inclusive      one id for all trades of a millisecond; a cursor shows its own row
    midnight=ends,limit=error             pages end at midnight in Korea; too many calls get HTTP 200
    totals=lagging,kst=ticker             tickers leave out the trade they name, and are stamped 9 h ahead
"""

import difflib
import re
from dataclasses import dataclass, fields
from typing import Any

from collector.errors import ConfigurationError

#: Name -> (what it is about, the values there are; the first is the default. `s` is a number of seconds,
#: `n` a whole number).
RULES: dict[str, tuple[str, tuple[str, ...]]] = {
    "rest-lag": ("how far REST's trades, candles and tickers are behind the socket", ("s",)),
    "rest-ids": (
        "ids of trades in REST: of its own; the socket's; one for all of a millisecond; none",
        ("own", "stream", "shared", "none"),
    ),
    "cursor": (
        "`cursor` leaves its own row out; has it on the page; is refused; is not heeded",
        ("exclusive", "inclusive", "refused", "ignored"),
    ),
    "midnight": (
        "pages of trades cross midnight in Korea; end there; end there and `to` 00:00:00 is an empty page",
        ("crosses", "ends", "strict"),
    ),
    "limit": (
        "too many REST calls get HTTP 429; HTTP 200 with an error object, its name a number; or a text",
        ("429", "error", "error-text"),
    ),
    "first-day": (
        "so many markets, from the second busiest on, have no previous close: null, and what follows from it",
        ("n",),
    ),
    "snapshot-trades": ("so many last trades of each market open a subscription", ("n",)),
    "totals": (
        "tickers' totals of the day have the trade that they name; lag by that one",
        ("included", "lagging"),
    ),
    "totals-decimals": (
        "totals of the day have all their decimals; volumes have four, rounded; turnover too",
        ("all", "volumes", "4"),
    ),
    "kst": (
        "what is stamped in Korean time as if it were UTC, in the current protocol's frames",
        ("none", "trade", "ticker", "orderbook"),
    ),
    "candle-volumes": ("volumes of candles are exact; have four decimals", ("exact", "rounded")),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The rules in force; see `RULES`."""

    rest_lag_s: float = 0
    rest_ids: str = "own"
    cursor: str = "exclusive"
    midnight: str = "crosses"
    limit: str = "429"
    candle_volumes: str = "exact"
    totals: str = "included"
    totals_decimals: str = "all"
    kst: str = "none"
    first_day: int = 0
    snapshot_trades: int = 1

    @property
    def rest_lag_ms(self) -> int:
        """How far REST is behind."""
        return round(self.rest_lag_s * 1000)


def parse_rules(text: str) -> Rules:
    """Read rules; empty text is those the exchange was observed to have.

    Raises:
        ConfigurationError: a rule is unknown or has no such value.
    """
    chosen: dict[str, Any] = {}
    names = {field.name for field in fields(Rules)}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = part.partition("=")
        if name not in RULES:
            near = difflib.get_close_matches(name, RULES, 1)
            hint = f", did you mean {near[0]}?" if near else "."
            raise ConfigurationError(f"Unknown rule {name!r}{hint} Known: {', '.join(RULES)}")
        field = name.replace("-", "_")
        if RULES[name][1] == ("n",):
            chosen[field] = _number(name, value)
        elif field in names:
            chosen[field] = _choice(name, value)
        else:
            chosen[f"{field}_s"] = _seconds(name, value)
    return Rules(**chosen)


def _choice(name: str, value: str) -> str:
    values = RULES[name][1]
    if value not in values:
        raise ConfigurationError(f"Rule {name}={value}: {name} is one of {', '.join(values)}")
    return value


def _number(name: str, value: str) -> int:
    if not re.fullmatch(r"\d{1,6}", value, re.ASCII):
        raise ConfigurationError(f"Rule {name}={value}: a whole number is needed, like {name}=2")
    return int(value)


def _seconds(name: str, value: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s)?", value)
    if found is None:
        raise ConfigurationError(f"Rule {name}={value}: a number of seconds is needed, like {name}=15s")
    return float(found[1]) / (1000 if found[2] == "ms" else 1)
