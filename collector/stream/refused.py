"""Trades whose frames had to be refused: stretches of time to fetch again. Pure.

One refused frame is one trade that is missing. A flood of them must not become thousands of gaps: while
refusals of a market go on, its gap is opened ahead of them, each time a bit further, and what falls into it
needs no other.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

#: A trade is executed so long before its frame comes, at the most usual.
LAG_MS = 2_000
#: A gap that is opened again is opened so far ahead: from the first, doubled up to the last.
_FIRST_AHEAD_MS, _LONGEST_AHEAD_MS = 1_000, 30_000
#: Refusals further apart than this belong to different gaps, and no gap grows longer than this.
_APART_MS, _LENGTH_MAX_MS = 60_000, 600_000


class Stretch(NamedTuple):
    """A stretch in which trades of `market` are missing, of every market where that is None; epoch ms."""

    market: str | None
    from_ms: int
    to_ms: int


class RefusedTrades:
    """What is open because of refusals, by market."""

    def __init__(self) -> None:
        self._open: dict[str | None, Stretch] = {}

    def on_refused(
        self, markets: Iterable[str | None], known: Iterable[str], now_ms: int
    ) -> Iterator[Stretch]:
        """Yield the gaps to open, wider versions of open ones among them: same market and start.

        Args:
            markets: whose trades were refused; None where that could not be read.
            known: the markets that are collected; a trade of any other may be one of theirs, garbled.
            now_ms: the exchange's time.
        """
        known = frozenset(known)
        for market in {market if market in known else None for market in markets}:
            stretch = self._stretched(market, now_ms)
            if stretch is not None:
                self._open[market] = stretch
                yield stretch

    def _stretched(self, market: str | None, now_ms: int) -> Stretch | None:
        for each in {market, None}:
            known = self._open.get(each)
            if known is not None and known.from_ms + LAG_MS <= now_ms <= known.to_ms:
                return None
        known = self._open.get(market)
        if (
            known is None
            or not 0 <= now_ms - known.to_ms <= _APART_MS
            or now_ms - known.from_ms > _LENGTH_MAX_MS
        ):
            return Stretch(market, now_ms - LAG_MS, now_ms)
        ahead_ms = min(max(known.to_ms - known.from_ms - LAG_MS, _FIRST_AHEAD_MS), _LONGEST_AHEAD_MS)
        return Stretch(market, known.from_ms, now_ms + ahead_ms)
