"""Which markets stay subscribed while the exchange's list changes. Pure.

One list without a market proves little: lists have been incomplete. So a market stays until `LISTS_WITHOUT`
lists in a row lack it, or one lacks it whose delisting was announced. One that comes back has to be fetched
from the last list that had it, whether it was given up meanwhile or not. A market of the run before stays
likewise if the first list of this run lacks it.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import NamedTuple

LISTS_WITHOUT = 3
#: Of several markets, a list that lacks more than this share of them is not believed.
SHARE_GONE_MAX = 0.5


class Absence(NamedTuple):
    """A market that newest lists lack: when the last one that had it was read, and how many lack it."""

    since_s: float
    lists: int


@dataclass(frozen=True, slots=True)
class Change:
    """What a list changes.

    Attributes:
        markets: to listen to from now on, sorted.
        listed: new ones; when the list before was read, which had none of them.
        returned: those that were away; when the last list that had them was read.
        gone: those that are given up.
    """

    markets: tuple[str, ...]
    listed: dict[str, float] = field(default_factory=dict)
    returned: dict[str, float] = field(default_factory=dict)
    gone: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.listed or self.returned or self.gone)


class Listings:
    """Remembers what the lists had.

    Args:
        markets: what is listened to already.
        now_s: monotonic seconds when their list was read.
    """

    def __init__(self, markets: Collection[str], now_s: float) -> None:
        self._markets = frozenset(markets)
        self._read_s = now_s
        self._away: dict[str, Absence] = {}
        #: Since when markets are away that were given up.
        self._given_up: dict[str, float] = {}

    def keep(self, markets: Collection[str], now_s: float) -> Change:
        """Return what it changes that an earlier run listened to these markets, which the last list lacks.

        Args:
            now_s: monotonic seconds.
        """
        kept = dict.fromkeys(sorted(frozenset(markets) - self._markets), now_s)
        self._markets |= kept.keys()
        self._away |= {market: Absence(now_s, 1) for market in kept}
        return Change(tuple(sorted(self._markets)), returned=kept)

    def look(self, listed: Collection[str], ending: Collection[str], now_s: float) -> Change:
        """Return what a list changes that was read at `now_s`.

        Args:
            listed: those of it that are ours.
            ending: those that are delisted by now.
            now_s: monotonic seconds.
        """
        lacking = self._markets.difference(listed)
        if len(self._markets) > 1 and len(lacking) > SHARE_GONE_MAX * len(self._markets):
            return Change(tuple(sorted(self._markets)))
        returned = {market: away.since_s for market, away in self._away.items() if market not in lacking}
        self._away = {
            market: Absence(before.since_s, before.lists + 1)
            for market in lacking
            for before in [self._away.get(market, Absence(self._read_s, 0))]
        }
        gone = {
            market: away.since_s
            for market, away in self._away.items()
            if market in ending or away.lists >= LISTS_WITHOUT
        }
        new = frozenset(listed) - self._markets
        returned |= {market: self._given_up.pop(market) for market in new & self._given_up.keys()}
        change = Change(
            markets=tuple(sorted(self._markets - gone.keys() | new)),
            listed=dict.fromkeys(sorted(new - returned.keys()), self._read_s),
            returned=returned,
            gone=tuple(sorted(gone)),
        )
        self._given_up |= gone
        self._away = {market: away for market, away in self._away.items() if market not in gone}
        self._markets = frozenset(change.markets)
        self._read_s = now_s
        return change
