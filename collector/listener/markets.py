"""Which markets are ours: patterns, the exchange's list, and this listener's share of it. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from collector.errors import ConfigurationError
from collector.market_names import ANY, did_you_mean, find, tidy
from collector.stream.batcher import partition_of

_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Choice:
    """Markets to listen to, sorted, and a sentence about each name that is no market of the exchange."""

    markets: tuple[str, ...]
    missing: tuple[str, ...] = ()


def choose(names: Iterable[str], listed: Iterable[str], *, index: int = 0, count: int = 1) -> Choice:
    """Return the listed markets that `names` and patterns stand for and that fall to share `index`.

    A name that is not listed, for instance of a market that was delisted, costs only itself.

    Raises:
        ConfigurationError: nothing is left, whatever the share.
    """
    listed = frozenset(listed)
    chosen: set[str] = set()
    missing: list[str] = []
    for name in names:
        match = find(name, listed)
        chosen |= set(match.markets)
        if not match.markets:
            missing.append(_sentence(name, match.close))
    if not chosen:
        raise ConfigurationError(f"COLLECTOR_MARKETS: {'; '.join(missing)}{_examples(listed)}")
    ours = tuple(sorted(market for market in chosen if partition_of(market, count) == index))
    return Choice(ours, tuple(missing))


def plain_names(names: Iterable[str]) -> tuple[str, ...] | None:
    """Return the codes that `names` most likely stand for, or None if a pattern needs the list."""
    names = set(names)
    return None if any(ANY in name for name in names) else tuple(sorted(set(map(tidy, names))))


def _sentence(name: str, close: tuple[str, ...]) -> str:
    kind = "matches no market" if ANY in name else "is not a market"
    return f"{name} {kind} of the exchange{f' ({did_you_mean(close)})' if close else ''}"


def _examples(listed: frozenset[str]) -> str:
    more = max(len(listed) - _EXAMPLES, 0)
    return f", which lists {', '.join(sorted(listed)[:_EXAMPLES])} and {more} more" if listed else ""
