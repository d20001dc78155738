"""What a comparison with the exchange's candles found, and of which of our figures. Pure.

The verdicts of a market and a Korean day are one hash (`collector.store.verified`), written by the listener's
rotating audit, the daily one and `collector audit`:

    field               value
    {minute open}       `1` (our minute is the exchange's) or `0` (it is not), `:`, fingerprint of our minute
    span:{from_ms}      {to_ms}: minutes from_ms <= open < to_ms that neither side had a trade in

A verdict holds for the figures it was found for: if our minute has changed since, it has not been compared.
How to read it: `Verdicts(fields).of(open_ms, minute)` is the `verified` of a one-minute candle,
`collector.analytics.completeness.all_verified` makes that of a longer one of all its minutes.
"""

from bisect import bisect_right
from collections.abc import Mapping
from decimal import Decimal
from hashlib import blake2b
from typing import Any

from collector.analytics.candles import Minute
from collector.analytics.exact import EXACT

SPAN = "span:"
_NO_MINUTE = "-"
_EVER_MS = 1 << 62


def fingerprint(
    open: Decimal,
    high: Decimal,
    low: Decimal,
    close: Decimal,
    quote_volume: Decimal,
    buy_volume: Decimal,
    sell_volume: Decimal,
    trade_count: int,
) -> str:
    """Return a fingerprint of the figures of a minute; trailing zeros do not matter."""
    numbers = (open, high, low, close, quote_volume, buy_volume, sell_volume)
    text = "|".join(format(EXACT.normalize(number), "f") for number in numbers)
    return blake2b(f"{text}|{trade_count}".encode(), digest_size=5).hexdigest()


def fingerprint_of(candle: Minute | Any | None) -> str:  # noqa: ANN401 - whatever has the figures of a candle
    """Return the fingerprint of a stored minute or of a one-minute candle as it is read; None is no trade."""
    if candle is None:
        return _NO_MINUTE
    if isinstance(candle, Minute):
        first, last = candle.first.price, candle.last.price
    else:
        first, last = candle.open, candle.close
    return fingerprint(
        first,
        candle.high,
        candle.low,
        last,
        candle.quote_volume,
        candle.buy_volume,
        candle.sell_volume,
        candle.trade_count,
    )


def written(is_equal: bool, candle: Minute | Any | None) -> str:  # noqa: ANN401 - as `fingerprint_of`
    """Return a verdict as it is stored."""
    return f"{int(is_equal)}:{fingerprint_of(candle)}"


class Verdicts:
    """The verdicts of one market, of any days.

    Args:
        fields: of the hashes of these days, together.
    """

    def __init__(self, fields: Mapping[str, str]) -> None:
        self._by_minute = {int(name): value for name, value in fields.items() if not name.startswith(SPAN)}
        self._quiet: list[tuple[int, int]] = []
        names = (name for name in fields if name.startswith(SPAN))
        spans = ((int(name.removeprefix(SPAN)), int(fields[name])) for name in names)
        for from_ms, to_ms in sorted(spans):
            reached_ms = max(to_ms, self._quiet[-1][1]) if self._quiet else to_ms
            self._quiet.append((from_ms, reached_ms))

    def of(self, open_ms: int, candle: Minute | Any | None) -> bool | None:  # noqa: ANN401 - a candle
        """Return whether the exchange's figures of a minute are ours; None where that is not known.

        Args:
            candle: our minute as it is now, None where we have no trade of it.
        """
        known = self._by_minute.get(open_ms)
        if known is not None:
            verdict, _, compared = known.partition(":")
            return verdict == "1" if compared == fingerprint_of(candle) else None
        return True if candle is None and self._is_quiet(open_ms) else None

    def _is_quiet(self, open_ms: int) -> bool:
        place = bisect_right(self._quiet, (open_ms, _EVER_MS)) - 1
        return place >= 0 and open_ms < self._quiet[place][1]
