"""Which markets are ours: patterns, the exchange's list, and this listener's share of it. Pure."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

from collector.errors import ConfigurationError
from collector.stream.batcher import shard_of


def choose(
    patterns: Iterable[str], listed: Iterable[str], *, index: int = 0, count: int = 1, strict: bool = True
) -> tuple[str, ...]:
    """Return the listed markets that match a pattern and fall to share `index` of `count`, sorted.

    Raises:
        ConfigurationError: `strict`, and a pattern matches no market; without it, a market may be delisted.
    """
    listed = frozenset(listed)
    chosen: set[str] = set()
    for pattern in patterns:
        matching = {market for market in listed if fnmatchcase(market, pattern)}
        if strict and not matching:
            kind = "matches no market" if "*" in pattern else "is not a market"
            raise ConfigurationError(
                f"COLLECTOR_MARKETS: {pattern} {kind} of the exchange{_examples(listed)}"
            )
        chosen |= matching
    return tuple(sorted(market for market in chosen if shard_of(market, count) == index))


def plain_names(patterns: Iterable[str]) -> tuple[str, ...] | None:
    """Return the patterns as they are if none needs the exchange's list, else None."""
    names = tuple(sorted(set(patterns)))
    return None if any("*" in name for name in names) else names


def _examples(listed: frozenset[str]) -> str:
    return (
        f", which lists {', '.join(sorted(listed)[:3])} and {max(len(listed) - 3, 0)} more" if listed else ""
    )
