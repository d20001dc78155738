"""Assertions that our figures of any trades or book are those of `tests.samples.naive`."""

from decimal import Decimal
from fractions import Fraction

import pytest

from collector.analytics import bookstats, flow, profile, risk, trade_clustering
from collector.model import Level, Side
from tests.acceptance.recorded.plain import rounded
from tests.samples import naive

Levels = tuple[Level, ...]


def check_arrivals(trades: naive.Trades, gap_ms: int, levels: int) -> tuple[int, int, int]:
    """Bursts, sweeps and runs are equal; return how many there are."""
    ours = trade_clustering.bursts(trades, gap_ms, 3)
    assert [{name: getattr(burst, name) for name in burst.__struct_fields__} for burst in ours] == (
        naive.bursts(trades, gap_ms, 3)
    )
    swept = trade_clustering.sweeps(trades, gap_ms, levels)
    expected = naive.sweeps(trades, gap_ms, levels)
    assert [tuple(getattr(sweep, name) for name in sweep.__struct_fields__) for sweep in swept] == expected
    return len(ours), len(swept), check_runs(trades)


def check_runs(trades: naive.Trades) -> int:
    """Each run has its side, length and volume; the z-score is that of the formula."""
    found, plain = trade_clustering.runs(trades), naive.runs(trades)
    assert (found.buy_count, found.sell_count) == (plain["buys"], plain["sells"])
    for run, (start, end) in zip(found.runs, plain["spans"], strict=True):
        assert run.trade_count == end - start
        assert run.base_volume == naive.volume(trades[start:end], run.side)
        assert (run.from_ms, run.to_ms) == (trades[start].exchange_ms, trades[end - 1].exchange_ms)
    if found.expected_run_count is not None:
        assert found.expected_run_count == rounded(plain["expected"])
    assert (found.z_score is None) == (plain["z"] is None)
    if found.z_score is not None:
        assert float(found.z_score) == pytest.approx(plain["z"], rel=naive.REL, abs=1e-12)
    return found.run_count


def check_flow(trades: naive.Trades, buckets: int) -> Decimal | None:
    """VPIN is equal to the last digit; return it."""
    found = flow.vpin(trades, buckets)
    assert found.vpin == naive.vpin(trades, buckets)
    assert found.bucket_volume == rounded(naive.volume(trades) / buckets)
    return found.vpin


def check_profile(trades: naive.Trades, rows: int) -> profile.Profile:
    """Step, rows, point of control and value area are equal."""
    share = Decimal("0.7")
    found, plain = profile.volume_profile(trades, rows, share), naive.profile(trades, rows, Fraction(share))
    assert found.step == plain["step"]
    assert [row.base_volume for row in found.rows] == plain["rows"]
    assert found.point_of_control_from == plain["control"]
    assert (found.value_area_from, found.value_area_to) == (plain["from"], plain["to"])
    assert found.base_volume == sum(row.buy_volume + row.sell_volume for row in found.rows)
    return found


def check_volatility(prices: list[Decimal]) -> Decimal | None:
    """Variance and volatilities are those of numpy within floats; return the volatility."""
    found = risk.realised_volatility(prices)
    ours = (found.realised_variance, found.realised_volatility, found.annualised_volatility)
    for mine, expected in zip(ours, naive.volatility(prices), strict=True):
        assert float(mine or 0) == pytest.approx(expected, rel=naive.REL, abs=1e-13)
    return found.realised_volatility


def check_book(bids: Levels, asks: Levels, size: Decimal) -> None:
    """Depth, slippage, imbalance and walls are equal; of both sides."""
    mid = (Fraction(bids[0][0]) + Fraction(asks[0][0])) / 2
    for order, levels in zip(bookstats.slippage(bids, asks, size).orders, (asks, bids), strict=True):
        got, paid = naive.fill(levels, size)
        cost = (paid / got - mid) * (1 if order.side is Side.BUY else -1)
        assert (order.filled, order.unfilled, order.quote_volume) == (got, Fraction(size) - got, paid)
        assert order.average_price == rounded(paid / got)
        assert (order.slippage, order.slippage_bps) == (rounded(cost), rounded(cost / mid * 10_000))
    check_depth(bids, asks)
    for side, levels in (("bid", bids), ("ask", asks)):
        found = [wall for wall in bookstats.walls(bids, asks, Decimal(3)) if wall.side == side]
        assert [wall.price for wall in found] == naive.walls(levels, Decimal(3))


def check_depth(bids: Levels, asks: Levels) -> None:
    """Each point of the curve is what an order of all above it pays; imbalances follow from the depths."""
    curve = bookstats.depth_curve(bids, asks, 1000)
    for points, levels in ((curve.bids, bids), (curve.asks, asks)):
        assert [point.price for point in points] == [price for price, _ in levels]
        assert [(point.base_volume, point.quote_volume) for point in points] == [
            naive.fill(levels, point.base_volume) for point in points
        ]
    for row in bookstats.book_imbalance(bids, asks, 1000):
        bid, ask = (sum(Fraction(size) for _, size in side[: row.levels]) for side in (bids, asks))
        assert (row.bid_depth, row.ask_depth) == (bid, ask)
        assert row.imbalance == rounded(Fraction(bid - ask) / Fraction(bid + ask))
