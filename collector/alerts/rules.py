"""Alert rules as people write them, one line each. Pure.

    KIND [MARKETS] [above|below NUMBER] [in DURATION] [rearm N%] [cooldown DURATION] [quiet HH:MM-HH:MM]
         [to CHANNEL,…]

    price btc above 160,000,000               crosses a price
    change KRW-* below -5% in 10m             change of price over a window
    volume KRW-* above 8x in 5m               volume of a window over the mean of the 20 windows before
    trade KRW-BTC above 500,000,000           one trade, in the quote currency
    spread KRW-* above 80bps                  of the best prices, over their mid
    imbalance KRW-BTC below -0.8              of the order book, from -1 (all asks) to 1 (all bids)
    halt KRW-*, warning KRW-*, listed, delisted   state of a market at the exchange
    system                                    troubles of this system, and their end

A rule that has fired fires again once its value was back by `rearm` of the threshold and `cooldown` is over.
What fires within `quiet` hours is sent when they end.
"""

import hashlib
import re
from collections.abc import Iterable
from datetime import datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from zoneinfo import ZoneInfo

from msgspec import Struct

from collector.errors import ConfigurationError
from collector.market_names import is_name, parts, tidy

#: What is written where there is to be no rule.
NONE = "none"
ALL_MARKETS = ("*",)


class Kind(StrEnum):
    """What a rule looks at."""

    PRICE = "price"
    CHANGE = "change"
    VOLUME = "volume"
    TRADE = "trade"
    SPREAD = "spread"
    IMBALANCE = "imbalance"
    HALT = "halt"
    WARNING = "warning"
    LISTED = "listed"
    DELISTED = "delisted"
    SYSTEM = "system"


OF_TRADES = frozenset({Kind.PRICE, Kind.CHANGE, Kind.VOLUME, Kind.TRADE})
OF_BOOKS = frozenset({Kind.SPREAD, Kind.IMBALANCE})
OF_STATES = frozenset({Kind.HALT, Kind.WARNING, Kind.LISTED, Kind.DELISTED})
WINDOWED = frozenset({Kind.CHANGE, Kind.VOLUME})
#: Unit of a threshold, and what its number is divided by.
_UNITS = {Kind.CHANGE: ("%", 100), Kind.VOLUME: ("x", 1), Kind.SPREAD: ("bps", 1)}
_ABOVE_ONLY = frozenset({Kind.VOLUME, Kind.TRADE, Kind.SPREAD})
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
#: A volume's baseline is 20 windows long, and candles are kept for three days.
_WINDOW_MAX_S = {Kind.CHANGE: 86_400, Kind.VOLUME: 3600}
_WINDOW_MIN_S = 10
_COOLDOWN_MAX_S = 7 * 86_400
_REARM = Decimal("0.005")
_COOLDOWN_S = 60
_DURATION = re.compile(r"([0-9]{1,6})([smhd])")
_QUIET = re.compile(r"([0-9]{2}:[0-9]{2})-([0-9]{2}:[0-9]{2})")
_CHANNELS = re.compile(r"[\w-]+(,[\w-]+)*", re.ASCII)
_WORDS = ("above", "below", "in", "rearm", "cooldown", "quiet", "to")
_SIGNS = {">": "above", "<": "below"}


class Quiet(Struct, frozen=True):
    """Hours of each day, over midnight where `until` is before `since`."""

    since: time
    until: time

    def ends_ms(self, now_ms: int, zone: ZoneInfo) -> int | None:
        """Return when the quiet hours that `now_ms` lies in end, None where it lies in none."""
        now = datetime.fromtimestamp(now_ms / 1000, zone)
        at, since, until = now.time(), self.since, self.until
        is_quiet = since <= at < until if since < until else at >= since or at < until
        if not is_quiet:
            return None
        day = now.date() if at < until else now.date() + timedelta(days=1)
        return round(datetime.combine(day, until, zone).timestamp() * 1000)

    def __str__(self) -> str:
        return f"{self.since:%H:%M}-{self.until:%H:%M}"


class Rule(Struct, frozen=True):
    """One rule.

    Attributes:
        markets: codes and patterns; empty for `system`.
        is_above: whether values above the threshold fire, else those below it.
        threshold: of `change` a ratio (0.03 = 3 %), of `spread` basis points; None for states and `system`.
        window_s: of `change` and `volume`.
        rearm: share of the threshold by which a value has to go back.
        channels: where firings go; empty means to all.
    """

    kind: Kind
    markets: tuple[str, ...]
    is_above: bool = True
    threshold: Decimal | None = None
    window_s: int = 0
    rearm: Decimal = _REARM
    cooldown_s: int = _COOLDOWN_S
    quiet: Quiet | None = None
    channels: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The rule in its usual form; `parse` reads it again."""
        words = [self.kind.value, *([",".join(self.markets)] if self.markets else [])]
        if self.threshold is not None:
            words += ["above" if self.is_above else "below", self.amount(self.threshold)]
        if self.window_s:
            words += ["in", _duration(self.window_s)]
        if self.rearm != _REARM:
            words += ["rearm", f"{_plain(self.rearm * 100)}%"]
        if self.cooldown_s != _COOLDOWN_S:
            words += ["cooldown", _duration(self.cooldown_s)]
        if self.quiet:
            words += ["quiet", str(self.quiet)]
        if self.channels:
            words += ["to", ",".join(self.channels)]
        return " ".join(words)

    @property
    def id(self) -> str:
        """A name made of the text: the same rule has the same id everywhere."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:8]

    def amount(self, value: Decimal) -> str:
        """Return a value in the rule's unit, as `parse` reads it."""
        unit, factor = _UNITS.get(self.kind, ("", 1))
        scaled = value * factor
        return f"{_plain(scaled)}{unit}"


def parse(text: str) -> Rule:
    """Read one rule.

    Raises:
        ConfigurationError: it is none; the message has what is wrong.
    """
    words = text.split()
    kind = _kind(words[0] if words else "", text)
    given, rest = _options(words[1:], text)
    if kind is Kind.SYSTEM and rest:
        raise ConfigurationError(f"{text!r}: system has no markets")
    if len(rest) > 1:
        raise ConfigurationError(f"{text!r}: {rest[1]!r} is not expected; {_usage(kind)}")
    markets = () if kind is Kind.SYSTEM else _markets(rest[0] if rest else "", kind)
    is_measured = kind not in OF_STATES | {Kind.SYSTEM}
    sides = [word for word in ("above", "below") if word in given]
    if len(sides) != is_measured or ("in" in given) != (kind in WINDOWED):
        raise ConfigurationError(f"{text!r}: {_usage(kind)}")
    if sides == ["below"] and kind in _ABOVE_ONLY:
        raise ConfigurationError(f"{text!r}: {kind} has no below; {_usage(kind)}")
    threshold = _number(given[sides[0]], kind) if sides else None
    return Rule(
        kind=kind,
        markets=markets,
        is_above=sides != ["below"],
        threshold=threshold,
        window_s=_seconds(given["in"], _WINDOW_MIN_S, _WINDOW_MAX_S[kind]) if kind in WINDOWED else 0,
        rearm=_share(given["rearm"]) if "rearm" in given else _REARM,
        cooldown_s=_seconds(given["cooldown"], 0, _COOLDOWN_MAX_S) if "cooldown" in given else _COOLDOWN_S,
        quiet=_quiet(given["quiet"]) if "quiet" in given else None,
        channels=_channels(given["to"]) if "to" in given else (),
    )


def parse_all(text: str) -> list[Rule]:
    """Read several rules, separated by semicolons, each once; `none` means none.

    Raises:
        ConfigurationError: one of them is none.
    """
    if text.strip().lower() == NONE:
        return []
    rules = [parse(part) for part in text.split(";") if part.strip()]
    return list({rule.id: rule for rule in rules}.values())


def _kind(word: str, text: str) -> Kind:
    try:
        return Kind(word.lower())
    except ValueError:
        raise ConfigurationError(
            f"{text!r} is not a rule: it begins with one of {', '.join(Kind)}, for instance"
            " `price KRW-BTC above 160,000,000`"
        ) from None


def _usage(kind: Kind) -> str:
    examples = {
        Kind.PRICE: "price KRW-BTC above 160,000,000",
        Kind.CHANGE: "change KRW-* below -5% in 10m",
        Kind.VOLUME: "volume KRW-* above 8x in 5m",
        Kind.TRADE: "trade KRW-BTC above 500,000,000",
        Kind.SPREAD: "spread KRW-* above 80bps",
        Kind.IMBALANCE: "imbalance KRW-BTC below -0.8",
        Kind.SYSTEM: "system",
    }
    return f"write `{examples.get(kind, f'{kind} KRW-*')}`"


def _options(words: Iterable[str], text: str) -> tuple[dict[str, str], list[str]]:
    """Return the words behind each keyword, and what stands before the first."""
    given: dict[str, str] = {}
    rest: list[str] = []
    waiting = ""
    for word in words:
        name = _SIGNS.get(word, word.lower())
        if waiting:
            given[waiting], waiting = word, ""
        elif name in _WORDS and name not in given:
            waiting = name
        else:
            rest.append(word)
    if waiting:
        raise ConfigurationError(f"{text!r}: a value is missing behind {waiting!r}")
    return given, rest


def _markets(text: str, kind: Kind) -> tuple[str, ...]:
    if not text:
        if kind in (Kind.LISTED, Kind.DELISTED):
            return ALL_MARKETS
        raise ConfigurationError(f"{kind} needs markets: {_usage(kind)}")
    for part in parts(text):
        if not is_name(part):
            raise ConfigurationError(f"{part!r} is not a market like KRW-BTC or a pattern like KRW-*")
    return tuple(dict.fromkeys(map(tidy, parts(text))))


def _number(text: str, kind: Kind) -> Decimal:
    unit, factor = _UNITS.get(kind, ("", 1))
    try:
        value = Decimal(text.lower().removesuffix(unit).replace(",", "")) / factor
    except InvalidOperation:
        raise ConfigurationError(f"{text!r} is not a number like 10{unit}") from None
    if not value.is_finite() or (value <= 0 and kind not in (Kind.CHANGE, Kind.IMBALANCE)):
        raise ConfigurationError(f"{text!r}: a {kind} is compared with a number above 0")
    if kind is Kind.IMBALANCE and abs(value) > 1:
        raise ConfigurationError(f"{text!r}: an imbalance lies between -1 and 1")
    return value


def _seconds(text: str, least: int, most: int) -> int:
    found = _DURATION.fullmatch(text.lower())
    seconds = int(found[1]) * _SECONDS[found[2]] if found else -1
    if not least <= seconds <= most:
        raise ConfigurationError(
            f"{text!r} is not a duration from {_duration(least)} to {_duration(most)}, such as 5m"
        )
    return seconds


def _duration(seconds: int) -> str:
    unit = next(unit for unit in "dhms" if seconds % _SECONDS[unit] == 0 and (seconds or unit == "s"))
    return f"{seconds // _SECONDS[unit]}{unit}"


def _share(text: str) -> Decimal:
    try:
        value = Decimal(text.removesuffix("%")) / 100
    except InvalidOperation:
        raise ConfigurationError(f"{text!r} is not a share like 1%") from None
    if not 0 <= value <= 1:
        raise ConfigurationError(f"{text!r} is not a share from 0% to 100%")
    return value


def _quiet(text: str) -> Quiet:
    try:
        found = _QUIET.fullmatch(text)
        quiet = found and Quiet(time.fromisoformat(found[1]), time.fromisoformat(found[2]))
    except ValueError:
        quiet = None
    if not quiet or quiet.since == quiet.until:
        raise ConfigurationError(f"{text!r} are no hours like 23:00-07:00")
    return quiet


def _channels(text: str) -> tuple[str, ...]:
    if not _CHANNELS.fullmatch(text):
        raise ConfigurationError(f"{text!r} are no names of channels like slack,ops")
    return tuple(dict.fromkeys(text.split(",")))


def _plain(value: Decimal) -> str:
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
