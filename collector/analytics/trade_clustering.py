"""How trades follow each other: bursts of arrivals, sweeps through the book, runs of one side.

Trades are given in the order of the exchange: by time, then as `collector.analytics.dedup.executions`
orders a millisecond.
"""

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal, localcontext
from itertools import groupby

from msgspec import Struct

from collector.analytics.exact import EXACT, RATIO, ratio
from collector.analytics.traded import Traded, TradedT, sums
from collector.model import Side

BPS = 10_000


class Burst(Struct, frozen=True):
    """Trades in quick succession. `relative_rate` is their rate by the mean rate of all trades given."""

    from_ms: int
    to_ms: int
    trade_count: int
    relative_rate: Decimal | None
    buy_volume: Decimal
    sell_volume: Decimal
    quote_volume: Decimal
    from_price: Decimal
    to_price: Decimal


class Sweep(Struct, frozen=True):
    """One taker through several price levels. `cost_bps` is the way from the first to the last price."""

    side: Side
    from_ms: int
    to_ms: int
    levels: int
    trade_count: int
    base_volume: Decimal
    quote_volume: Decimal
    from_price: Decimal
    to_price: Decimal
    cost_bps: Decimal | None


class Run(Struct, frozen=True):
    """Consecutive trades of one side."""

    side: Side
    from_ms: int
    to_ms: int
    trade_count: int
    base_volume: Decimal


class Runs(Struct, frozen=True):
    """Runs of one side, in order. `z_score` is None where a side is missing or of two trades only."""

    trade_count: int
    buy_count: int
    sell_count: int
    run_count: int
    expected_run_count: Decimal | None
    z_score: Decimal | None
    runs: list[Run]


def bursts(trades: Sequence[Traded], gap_ms: int, min_trades: int) -> list[Burst]:
    """Return the bursts of arrivals in `trades`, oldest first.

    Formula: a burst is a longest sequence of at least `min_trades` trades, each at most `gap_ms` after the
        one before. Its relative rate is (count / span) / (count of all / span of all); a span is the time
        from the first to the last trade plus 1 ms, as times are whole milliseconds.
    Source: the max interval method; E. Cotterill et al., "A comparison of computational methods for
        detecting bursts in neuronal spike trains", Journal of Neurophysiology 116 (2016) 306-321.
    """
    found = _split(trades, lambda _, last, new: new.exchange_ms - last.exchange_ms <= gap_ms)
    return [_burst(group, trades) for group in found if len(group) >= min_trades]


def sweeps(trades: Sequence[Traded], within_ms: int, min_levels: int) -> list[Sweep]:
    """Return the sweeps in `trades`, oldest first.

    Formula: per side, a longest sequence of trades whose price never gets better for the taker, the last at
        most `within_ms` after the first, at `min_levels` or more different prices. Within a millisecond,
        where the order may be unknown, trades count as if ordered by price. cost_bps = |last - first| /
        first * 10000.
    Source: the pattern of an order that walks the book; S. Chakravarty et al., "Clean Sweep: Informed
        Trading through Intermarket Sweep Orders", Journal of Financial and Quantitative Analysis 47 (2012).
    """
    found = [
        _sweep(side, group)
        for side in Side
        for group in _split(_in_takers_order(trades, side), _sweeping(side, within_ms))
    ]
    return sorted((sweep for sweep in found if sweep.levels >= min_levels), key=lambda sweep: sweep.from_ms)


def runs(trades: Sequence[Traded]) -> Runs:
    """Return the runs of same-side trades, and whether there are fewer than chance would make.

    Formula: with b buys, s sells and n = b + s, chance makes m = 2bs/n + 1 runs with variance
        (m - 1)(m - 2)/(n - 1); z = (runs - m) / sqrt(variance). Below about -2 sides persist (orders are
        split or herd), above 2 they alternate.
    Source: A. Wald and J. Wolfowitz, "On a Test Whether Two Samples are from the Same Population", Annals of
        Mathematical Statistics 11 (1940) 147-162.
    """
    found = [_run(side, list(group)) for side, group in groupby(trades, key=lambda trade: trade.side)]
    buys = sum(trade.side is Side.BUY for trade in trades)
    sells = len(trades) - buys
    expected, score = _wald_wolfowitz(buys, sells, len(found))
    return Runs(len(trades), buys, sells, len(found), expected, score, found)


#: Whether a new trade goes on with a group, of which the first and the last trade are given.
Joins = Callable[[Traded, Traded, Traded], bool]


def _split(trades: Sequence[TradedT], joins: Joins) -> Iterator[list[TradedT]]:
    group: list[TradedT] = []
    for trade in trades:
        if group and not joins(group[0], group[-1], trade):
            yield group
            group = []
        group.append(trade)
    if group:
        yield group


def _burst(group: Sequence[Traded], trades: Sequence[Traded]) -> Burst:
    quote, buy, sell = sums(group)
    faster = ratio(Decimal(len(group) * _span_ms(trades)), Decimal(_span_ms(group) * len(trades)))
    return Burst(
        from_ms=group[0].exchange_ms,
        to_ms=group[-1].exchange_ms,
        trade_count=len(group),
        relative_rate=faster,
        buy_volume=buy,
        sell_volume=sell,
        quote_volume=quote,
        from_price=group[0].price,
        to_price=group[-1].price,
    )


def _span_ms(trades: Sequence[Traded]) -> int:
    return trades[-1].exchange_ms - trades[0].exchange_ms + 1


def _in_takers_order(trades: Sequence[Traded], side: Side) -> list[Traded]:
    """Return the trades of `side` by time, within a millisecond from the taker's best to the worst price."""
    sign = _sign(side)
    return sorted(
        (trade for trade in trades if trade.side is side),
        key=lambda trade: (trade.exchange_ms, sign * trade.price),
    )


def _sweeping(side: Side, within_ms: int) -> Joins:
    sign = _sign(side)
    return lambda first, last, new: (
        new.exchange_ms - first.exchange_ms <= within_ms and sign * new.price >= sign * last.price
    )


def _sign(side: Side) -> int:
    return 1 if side is Side.BUY else -1


def _sweep(side: Side, group: Sequence[Traded]) -> Sweep:
    quote, buy, sell = sums(group)
    first, last = group[0], group[-1]
    with localcontext(EXACT):
        way = abs(last.price - first.price) * BPS
        base = buy + sell
    return Sweep(
        side=side,
        from_ms=first.exchange_ms,
        to_ms=last.exchange_ms,
        levels=len({trade.price for trade in group}),
        trade_count=len(group),
        base_volume=base,
        quote_volume=quote,
        from_price=first.price,
        to_price=last.price,
        cost_bps=ratio(way, first.price),
    )


def _run(side: Side, group: Sequence[Traded]) -> Run:
    _, buy, sell = sums(group)
    return Run(side, group[0].exchange_ms, group[-1].exchange_ms, len(group), buy + sell)


def _wald_wolfowitz(buys: int, sells: int, run_count: int) -> tuple[Decimal | None, Decimal | None]:
    """Return the expected number of runs and the z-score of `run_count`."""
    count, mixed = buys + sells, 2 * buys * sells
    if not mixed:
        return None, None
    expected = RATIO.divide(Decimal(mixed + count), Decimal(count))
    # (m - 1)(m - 2)/(n - 1) and runs - m over whole numbers, so that only the last steps round
    spread = Decimal(mixed * (mixed - count))
    off = Decimal((run_count - 1) * count - mixed)
    if not spread:
        return expected, None
    return expected, RATIO.divide(off, RATIO.sqrt(RATIO.divide(spread, Decimal(count - 1))))
