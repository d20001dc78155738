"""Refused trades become few gaps, and none of them lies outside."""

import random

from collector.stream.refused import LAG_MS, RefusedTrades, Stretch
from tests.samples.events import T0

KNOWN = ("KRW-BTC", "KRW-ETH")


def test_one_refused_trade_is_a_short_gap_of_its_market() -> None:
    """From a bit before it came until then."""
    assert list(RefusedTrades().on_refused(["KRW-BTC"], KNOWN, T0)) == [Stretch("KRW-BTC", T0 - LAG_MS, T0)]


def test_a_market_that_is_none_of_ours_may_be_any() -> None:
    """Garbled names, and names that could not be read: one gap for all markets."""
    refused = ["KRW-BTX", None, "KRW-LUNA"]
    assert list(RefusedTrades().on_refused(refused, KNOWN, T0)) == [Stretch(None, T0 - LAG_MS, T0)]


def test_what_lies_in_an_open_gap_needs_no_other() -> None:
    """Of its own market, or of all."""
    it = RefusedTrades()
    assert list(it.on_refused([None], KNOWN, T0))
    assert list(it.on_refused(["KRW-BTC"], KNOWN, T0)) == []
    assert list(it.on_refused(["KRW-BTC"], KNOWN, T0 + 1))


def test_a_flood_is_few_gaps_that_hold_every_refusal() -> None:
    """An hour of them, ten a second: a handful of gaps, each opened again seldom."""
    it, dice = RefusedTrades(), random.Random(1)
    times = sorted(T0 + dice.randrange(3_600_000) for _ in range(36_000))
    opened: list[Stretch] = []
    for now_ms in times:
        opened += it.on_refused(["KRW-BTC"], KNOWN, now_ms)
        assert any(each.from_ms <= now_ms - LAG_MS and now_ms <= each.to_ms for each in opened[-3:])
    assert len({each.from_ms for each in opened}) <= 8
    assert len(opened) <= 200


def test_refusals_far_apart_are_gaps_of_their_own() -> None:
    """An hour between two is not missing."""
    it = RefusedTrades()
    first, second = (list(it.on_refused(["KRW-BTC"], KNOWN, T0 + late)) for late in (0, 3_600_000))
    assert second == [Stretch("KRW-BTC", first[0].from_ms + 3_600_000, first[0].to_ms + 3_600_000)]


def test_a_time_that_went_back_is_a_new_gap() -> None:
    """The exchange's time was corrected."""
    it = RefusedTrades()
    assert list(it.on_refused(["KRW-BTC"], KNOWN, T0))
    assert list(it.on_refused(["KRW-BTC"], KNOWN, T0 - 90_000)) == [
        Stretch("KRW-BTC", T0 - 90_000 - LAG_MS, T0 - 90_000)
    ]
