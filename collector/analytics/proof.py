"""How far trades are proven: what `show completeness` and `show health` answer. Pure.

A minute is proven if no trade of it can be missing (`collector.analytics.completeness`) and the exchange's
own candle agrees to the last digit, or has no trade in it as we have none (`collector.analytics.verdicts`).
"""

from collections.abc import Callable, Iterable, Mapping

from msgspec import Struct

from collector.analytics.candles import Minute
from collector.analytics.completeness import Known, Watch, all_verified, outage_of, waiting_of
from collector.model import MINUTE_MS
from collector.util.korean_time import DAY_MS

#: What is looked at, back from the newest data.
REACH_MS = DAY_MS

Verdict = Callable[[int, Minute | None], bool | None]


class Completeness(Struct, frozen=True):
    """How far the trades of a market are proven.

    Attributes:
        proven_until_ms: end of the newest minute that is proven, epoch ms; None where none is.
        unproven_minutes: how many minutes before it are not proven, of the last 24 hours of data.
        open_gaps: stretches in which trades are missing, an outage that lasts included.
        recovered_trades: how many trades a backfill brought that no socket had brought, ever.
        verified: true if the exchange agrees in all these minutes that have trades, false if it differs in
            any, else None.
    """

    market: str
    proven_until_ms: int | None
    unproven_minutes: int
    open_gaps: int
    recovered_trades: int
    verified: bool | None


def completeness(
    market: str,
    minutes: Mapping[int, Minute],
    verdict_of: Verdict,
    known: Known,
    *,
    open_gaps: int,
    recovered_trades: int,
    opens: range,
) -> Completeness:
    """Return how far `market` is proven.

    Args:
        market: whose trades.
        minutes: its stored minutes by open, epoch ms.
        verdict_of: what a comparison with the exchange found of a minute as it is now.
        known: what may be missing, and where our data begin.
        open_gaps: how many stretches are missing, an outage that lasts included.
        recovered_trades: how many trades a backfill brought.
        opens: of the minutes to look at, `opens_between` makes them.
    """
    verdicts = {open_ms: verdict_of(open_ms, minutes.get(open_ms)) for open_ms in opens}
    proven = [
        open_ms
        for open_ms, verdict in verdicts.items()
        if verdict and known.is_complete(open_ms, open_ms + MINUTE_MS - 1)
    ]
    newest = proven[-1] if proven else None
    before = [open_ms for open_ms in opens if newest is not None and open_ms <= newest]
    differing = [verdict for verdict in verdicts.values() if verdict is False]
    return Completeness(
        market=market,
        proven_until_ms=None if newest is None else newest + MINUTE_MS,
        unproven_minutes=len(before) - len(proven),
        open_gaps=open_gaps,
        recovered_trades=recovered_trades,
        verified=all_verified([*differing, *(verdicts[each] for each in before if each in minutes)]),
    )


def opens_between(known: Known, as_of_ms: int) -> range:
    """Return the opens of the minutes to look at: all of the data, at most `REACH_MS` of them.

    A minute in which our data begin is left out: its beginning is another's.
    """
    begin_ms = max(known.from_ms, as_of_ms - REACH_MS)
    return range(-(-begin_ms // MINUTE_MS) * MINUTE_MS, as_of_ms + 1, MINUTE_MS)


class OutageRow(Struct, frozen=True):
    """An outage that lasts: no socket brings data of these markets."""

    since_ms: int
    reason: str
    markets: int


class Proof(Struct, frozen=True):
    """How far all that is collected is proven, what is open, and what was recovered.

    Attributes:
        proven_until_ms: up to here the newest comparison with the exchange's candles agreed for every market
            that is collected and was ever compared; None where none was.
        unproven_markets: collected markets that were never compared.
        open_gaps: stretches in which trades are missing, over all markets, outages included.
        recovered_gaps: stretches in which trades were missing and were fetched again.
        recovered_trades: how many trades that brought which no socket had brought.
        outages: those that last.
        waiting_since_ms: time of the oldest trade that waits to be stored, where some are held up.
    """

    proven_until_ms: int | None
    unproven_markets: int
    open_gaps: int
    recovered_gaps: int
    recovered_trades: int
    outages: list[OutageRow]
    waiting_since_ms: int | None


def proof(
    watches: Iterable[Watch],
    proven_until: Mapping[str, int],
    gap_counts: tuple[int, int],
    recovered_trades: Iterable[int],
) -> Proof:
    """Return how far all that is collected is proven.

    Args:
        watches: of all shares; those whose listener is gone count only where none lives.
        proven_until: end of the newest minute of each market that was found to be the exchange's.
        gap_counts: gaps in trades that are open, and that are recovered.
        recovered_trades: of each market.
    """
    watches = list(watches)
    alive = [watch for watch in watches if watch.is_alive] or watches
    markets = {market for watch in alive for market in watch.markets}
    compared = [proven_until[market] for market in markets & proven_until.keys()]
    outages = [
        OutageRow(loss.from_ms, loss.reason, len(watch.markets))
        for watch in alive
        if (loss := outage_of(watch))
    ]
    waiting = [loss.from_ms for watch in alive if (loss := waiting_of(watch))]
    still_open, are_recovered = gap_counts
    return Proof(
        proven_until_ms=min(compared, default=None),
        unproven_markets=len(markets) - len(compared),
        open_gaps=still_open + sum(outage.markets for outage in outages),
        recovered_gaps=are_recovered,
        recovered_trades=sum(recovered_trades),
        outages=outages,
        waiting_since_ms=min(waiting, default=None),
    )
