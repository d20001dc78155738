"""Which stretches of time did no socket cover? Judged on data frames of all sockets together. Pure.

A socket vouches for the time between two of its data frames if it stayed connected and the silence between
them is no longer than usual. Whatever no socket vouches for is a hole: a cut of all sockets, a silent stall,
a start. A hole may be reported slightly too long, never too short: filling it again costs a REST call, and
a trade that comes twice is recognised.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

#: No silence shorter than this is suspicious, unless sockets are given up sooner.
_LEAST_SUSPICIOUS_S = 3.0
#: No leap of the exchange's time is shorter than this; the longest silence counts half after so many seconds.
_LEAST_LEAP_S, _FADING_S = 1.0, 15.0
#: Frames closer together than this are one: in a burst nothing more can be learned from each.
_INSTANT_S = 0.001
#: The same for trades, of which only silences of seconds are asked about; a hole may begin so much too early.
_TOGETHER_S = 0.1
_TOLERANCE = 10.0
_SMOOTHING = 0.02
#: A silence sets the limit to at least this many times its length; one that was called a hole, to its length.
_MARGIN = 3.0
#: An event this far from the time we know is believed only if the next doubted one agrees.
_DOUBTED_MS, _AGREES_MS = 60_000, 10_000


class ExchangeTime:
    """The exchange's clock, carried on by monotonic seconds so that a jump of ours does not matter."""

    def __init__(self, wall_ms: int, now_s: float) -> None:
        self._anchor_ms = wall_ms
        self._anchor_s = now_s
        self._from_data = False
        #: The last event that was doubted, as an offset to monotonic time.
        self._doubted_offset_ms: float | None = None

    def saw(self, exchange_ms: int, now_s: float) -> None:
        """Learn from an event's time: the newest counts, and wins against our own clock.

        One event alone, far in the future or the old trade of a snapshot, does not move the time.
        """
        if self._from_data and exchange_ms <= self._anchor_ms:
            return
        if self._is_believable(exchange_ms, now_s):
            self._anchor_ms, self._anchor_s, self._from_data = exchange_ms, now_s, True

    def _is_believable(self, exchange_ms: int, now_s: float) -> bool:
        if abs(exchange_ms - self.at(now_s)) <= _DOUBTED_MS:
            return True
        offset_ms = exchange_ms - now_s * 1000
        before_ms, self._doubted_offset_ms = self._doubted_offset_ms, offset_ms
        return before_ms is not None and abs(offset_ms - before_ms) <= _AGREES_MS

    def at(self, moment_s: float) -> int:
        """Return the exchange's epoch milliseconds at a monotonic moment, about."""
        return self._anchor_ms + round((moment_s - self._anchor_s) * 1000)


@dataclass(frozen=True, slots=True)
class Hole:
    """A stretch no socket vouches for, in monotonic seconds."""

    from_s: float
    to_s: float
    reason: str


class Silence:
    """How long a stream is usually silent; what is far longer is suspicious."""

    def __init__(self, least_s: float = _LEAST_SUSPICIOUS_S) -> None:
        self.newest_s: float | None = None
        self._least_s = least_s
        self._usual_s = 0.0

    @property
    def limit_s(self) -> float:
        """The longest silence that is not suspicious now."""
        return max(self._least_s, self._usual_s * _TOLERANCE)

    def heard(self, now_s: float) -> float:
        """Learn the silence that ends now; return the limit that held for it.

        A long one must not hide the next: it lengthens the limit by little if it was suspicious, so that a
        stream that is merely quiet gets longer limits step by step.
        """
        limit_s = self.limit_s
        if self.newest_s is not None:
            silence_s = now_s - self.newest_s
            share = _MARGIN / _TOLERANCE if silence_s <= limit_s else 1 / _TOLERANCE
            least_s = min(silence_s, 2 * limit_s) * share
            self._usual_s = max(least_s, self._usual_s + (silence_s - self._usual_s) * _SMOOTHING)
        self.newest_s = now_s
        return limit_s


class TradeSilence:
    """Suspicious silences of trades while other data may flow: of all markets together, and of each."""

    def __init__(self) -> None:
        self._all = Silence()
        self._by_market: dict[str, Silence] = {}

    def on_trade(self, market: str, now_s: float, told: Hole | None) -> tuple[str | None, Hole] | None:
        """Return the hole that a trade shows, with its market, or None for all markets.

        Args:
            told: the last stretch that is known as a hole already.
        """
        of_one = self._by_market.get(market)
        if of_one is None:
            of_one = self._by_market[market] = Silence()
        elif of_one.newest_s is not None and now_s - of_one.newest_s < _TOGETHER_S:
            return None
        of_all = _suspicious(self._all, now_s, told)
        of_market = _suspicious(of_one, now_s, told)
        if of_all is not None:
            return None, of_all
        return None if of_market is None else (market, of_market)


def _suspicious(silence: Silence, now_s: float, told: Hole | None) -> Hole | None:
    """Return the silence that ends now as a hole if it is suspicious; what was told is none of it."""
    since_s = silence.newest_s
    if since_s is not None and now_s - since_s < _INSTANT_S:
        return None
    limit_s = silence.heard(now_s)
    if since_s is not None and told is not None and since_s < told.to_s and told.from_s - since_s <= limit_s:
        since_s = told.to_s
    if since_s is None or now_s - since_s <= limit_s:
        return None
    return Hole(since_s, now_s, "stalled")


class Leaps:
    """Silences that are shorter than what `Coverage` suspects, and in which data were left out all the same.

    Only of a stream that has not been quiet for a while, and only if the exchange's own time is as much later
    as ours: a network that was slow brings what it held back, and a listener that was slow finds it waiting.
    """

    def __init__(self) -> None:
        self._heard_s: float | None = None
        #: Of all sockets together; fades.
        self._longest_s = _LEAST_SUSPICIOUS_S / _MARGIN

    def heard(self, now_s: float) -> bool:
        """Note data of any socket; tell whether the silence that ends now is worth a look."""
        silence_s = 0.0 if self._heard_s is None else now_s - self._heard_s
        if 0 < silence_s < _INSTANT_S:
            return False
        self._heard_s = now_s
        limit_s = max(_LEAST_LEAP_S, _MARGIN * self._longest_s)
        self._longest_s = max(silence_s, self._longest_s * 0.5 ** (silence_s / _FADING_S))
        return silence_s > limit_s

    @staticmethod
    def is_leap(before_ms: int, times_ms: Iterable[int]) -> bool:
        """Tell whether the exchange's time leaps from `before_ms` over the times of what came, or in them.

        Nothing that came tells a time: then it may have.
        """
        times = sorted(times_ms)
        leaps = (later - earlier > _LEAST_LEAP_S * 1000 for earlier, later in pairwise((before_ms, *times)))
        return not times or any(leaps)


class Coverage:
    """What the sockets of one subscription cover together.

    Args:
        stall_min_s: silence after which a socket may be given up. Data that come just before that happens
            must not vouch for such a silence.
    """

    def __init__(self, start_s: float, stall_min_s: float = _LEAST_SUSPICIOUS_S) -> None:
        self._covered_until_s = start_s
        self._last_s: dict[int, float] = {}
        self._reason = "start"
        self._silence = Silence(min(stall_min_s, _LEAST_SUSPICIOUS_S))

    def on_data(self, connection: int, now_s: float) -> Hole | None:
        """Note a data frame; return the hole it shows, if it shows one."""
        previous_s = self._last_s.get(connection)
        if previous_s is not None and now_s - previous_s < _INSTANT_S:
            return None
        limit_s = self._silence.heard(now_s)
        self._last_s[connection] = now_s
        vouches = previous_s is not None and now_s - previous_s <= limit_s
        start_s = previous_s if vouches and previous_s is not None else now_s
        if start_s > self._covered_until_s and self._another_may_vouch(connection, now_s, limit_s):
            return None
        hole = None
        if start_s > self._covered_until_s:
            hole = Hole(self._covered_until_s, start_s, self._reason)
            self._reason = "stalled"
        self._covered_until_s = max(self._covered_until_s, now_s)
        return hole

    def on_lost(self, connection: int, reason: str) -> None:
        """Note the end of a socket; `reason` names the hole if the socket was the last that gave data."""
        was_heard = self._last_s.pop(connection, None) is not None
        if was_heard and not self._last_s:
            self._reason = reason

    @property
    def covered_until_s(self) -> float:
        """Until when all is known, in monotonic seconds."""
        return self._covered_until_s

    def _another_may_vouch(self, connection: int, now_s: float, limit_s: float) -> bool:
        """Tell whether a socket that was heard before the stretch in question is only quiet so far."""
        return any(
            other != connection and last_s <= self._covered_until_s and now_s - last_s <= limit_s
            for other, last_s in self._last_s.items()
        )

    @property
    def limit_s(self) -> float:
        """The longest silence of a socket that is not suspicious now."""
        return self._silence.limit_s
