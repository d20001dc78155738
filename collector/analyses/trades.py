"""Analyses of one market's trades and candles in a window."""

from decimal import Decimal

from collector.analyses import results
from collector.analyses.fields import (
    DEFAULT_WINDOW,
    LONG_WINDOW,
    Buckets,
    GapMs,
    Limit,
    Market,
    MinLevels,
    MinTrades,
    Rows,
    Share,
    Step,
    Window,
    WithinMs,
    ZScore,
)
from collector.analyses.inputs import window_of
from collector.analyses.registry import Answer, analysis
from collector.analytics import change, flow, profile, risk, trade_clustering
from collector.analytics import volume as volumes


@analysis(explained_by=profile.vwap, answers=results.Vwap)
def vwap(market: Market, window: Window = DEFAULT_WINDOW) -> Answer:
    """Volume-weighted average price: quote volume by base volume."""
    found = window_of(market, window)
    span = found.span
    figures = volumes.volume(found.market, found.minutes, window, span.length, span.as_of_ms)
    return found.answer(
        vwap=figures.vwap,
        base_volume=figures.base_volume,
        quote_volume=figures.quote_volume,
        trade_count=figures.trade_count,
    )


@analysis(explained_by=profile.twap, answers=results.Twap)
def twap(market: Market, window: Window = DEFAULT_WINDOW) -> Answer:
    """Time-weighted average price: the mean of the prices at the end of each minute."""
    found = window_of(market, window)
    before = found.end_before()
    return found.answer(twap=profile.twap(found.minutes, found.span.opens, before.price if before else None))


@analysis(explained_by=flow.imbalance, answers=results.Imbalance)
def imbalance(market: Market, window: Window = DEFAULT_WINDOW) -> Answer:
    """Buy against sell volume of the takers, from -1 (all sell) to 1 (all buy)."""
    found = window_of(market, window)
    span = found.span
    figures = volumes.volume(found.market, found.minutes, window, span.length, span.as_of_ms)
    return found.answer(
        imbalance=flow.imbalance(found.minutes.values()),
        buy_volume=figures.buy_volume,
        sell_volume=figures.sell_volume,
    )


@analysis(explained_by=flow.large_trades, answers=results.LargeTrades)
def large_trades(
    market: Market, window: Window = DEFAULT_WINDOW, *, z_score: ZScore = flow.LARGE_Z
) -> Answer:
    """Trades whose value stands out from the window's by a robust z-score."""
    found = window_of(market, window)
    trades = found.trades()
    large = [
        {"id": row.id, "price": row.price, "volume": row.volume, "side": row.side,
         "exchange_ms": row.exchange_ms, "value": value, "z_score": score}
        for row, value, score in flow.large_trades(trades, z_score)
    ]  # fmt: skip
    return found.answer(trades=large, trade_count=len(trades))


@analysis(explained_by=volumes.volume, answers=results.Volume)
def volume(market: Market, window: Window = DEFAULT_WINDOW) -> Answer:
    """Base, quote, buy and sell volume, and the number of trades."""
    found = window_of(market, window)
    span = found.span
    return found.answer(volumes.volume(found.market, found.minutes, window, span.length, span.as_of_ms))


@analysis(explained_by=change.change, answers=results.Changes)
def changes(market: Market, window: Window = DEFAULT_WINDOW) -> Answer:
    """Change of the price over the window, with its range."""
    found = window_of(market, window)
    newest = change.end_before(found.minutes, found.span.as_of_ms + 1)
    figures = change.change(
        found.market, window, found.end_before(), newest, found.span.start_ms, found.known
    )
    return found.answer(
        change_rate=figures.change_rate,
        from_price=figures.from_price,
        to_price=figures.to_price,
        high=max(minute.high for minute in found.minutes.values()),
        low=min(minute.low for minute in found.minutes.values()),
    )


@analysis(explained_by=trade_clustering.bursts, answers=results.Bursts)
def bursts(
    market: Market, window: Window = DEFAULT_WINDOW, *, gap_ms: GapMs = 100, min_trades: MinTrades = 5
) -> Answer:
    """Bursts of arrivals: trades in much quicker succession than usual."""
    found = window_of(market, window)
    trades = found.trades()
    return found.answer(trade_count=len(trades), bursts=trade_clustering.bursts(trades, gap_ms, min_trades))


@analysis(explained_by=trade_clustering.sweeps, answers=results.Sweeps)
def sweeps(
    market: Market, window: Window = DEFAULT_WINDOW, *, within_ms: WithinMs = 10, min_levels: MinLevels = 2
) -> Answer:
    """Sweeps: one taker through several price levels within milliseconds."""
    found = window_of(market, window)
    trades = found.trades()
    return found.answer(
        trade_count=len(trades), sweeps=trade_clustering.sweeps(trades, within_ms, min_levels)
    )


@analysis(explained_by=trade_clustering.runs, answers=results.Runs)
def runs(market: Market, window: Window = DEFAULT_WINDOW, *, limit: Limit = 10) -> Answer:
    """Runs of same-side trades: whether sides persist or alternate, and the longest runs."""
    found = window_of(market, window)
    figures = trade_clustering.runs(found.trades())
    longest = sorted(figures.runs, key=lambda run: (-run.trade_count, run.from_ms))[:limit]
    return found.answer(figures, runs=longest)


@analysis(explained_by=flow.vpin, answers=results.Vpin)
def vpin(market: Market, window: Window = LONG_WINDOW, *, buckets: Buckets = 50) -> Answer:
    """Volume-synchronised probability of informed trading, from 0 (balanced) to 1 (one-sided)."""
    found = window_of(market, window)
    return found.answer(flow.vpin(found.trades(), buckets))


@analysis(explained_by=profile.volume_profile, answers=results.VolumeProfile)
def volume_profile(
    market: Market,
    window: Window = LONG_WINDOW,
    *,
    rows: Rows = 20,
    step: Step = None,
    share: Share = Decimal("0.7"),
) -> Answer:
    """Volume by price, with the point of control and the value area."""
    found = window_of(market, window)
    return found.answer(profile.volume_profile(found.trades(), rows, share, step))


@analysis(explained_by=risk.realised_volatility, answers=results.RealisedVolatility)
def realised_volatility(market: Market, window: Window = LONG_WINDOW) -> Answer:
    """Realised volatility of minute returns, of the window and by the year."""
    found = window_of(market, window)
    end = found.end_before()
    before = end.price if end else None
    prices = [before, *profile.closes(found.minutes, found.span.opens, before)]
    return found.answer(risk.realised_volatility(prices))
