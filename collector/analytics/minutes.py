"""One minute of one market, and what new copies of trades make of it."""

from collections.abc import Iterable
from typing import NamedTuple

from collector.analytics.candles import Minute, merge
from collector.analytics.dedup import Row, admit
from collector.model import Source, Trade


class Absorbed(NamedTuple):
    """What has to be stored: the candle, and the copies that were not known.

    Of the `counted` trades `recovered` came from REST, no socket having brought them before.
    """

    minute: Minute | None
    copies: list[Trade]
    #: Those of `copies` that are executions not seen before.
    counted: list[Trade]
    duplicates: int
    recovered: int = 0


def absorb(minute: Minute | None, rows: dict[int, list[Row]], trades: Iterable[Trade]) -> Absorbed:
    """Merge `trades` of one minute into its candle and its `rows` by millisecond, which then hold them too.

    `rows` must hold every known trade of the milliseconds that `trades` touch.
    """
    counted: list[Trade] = []
    copies: list[Trade] = []
    duplicates = 0
    for trade in trades:
        counts = admit(rows.setdefault(trade.exchange_ms, []), trade)
        if counts is None:
            duplicates += 1
            continue
        copies.append(trade)
        if counts:
            counted.append(trade)
    if not copies:
        return Absorbed(minute, [], [], duplicates)
    duplicates += len(copies) - len(counted)
    recovered = sum(trade.source is Source.REST for trade in counted)
    return Absorbed(merge(minute, counted, copies), copies, counted, duplicates, recovered)
