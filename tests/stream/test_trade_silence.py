"""Trades that stop while other data flows are noticed; a market that is merely quiet is left alone."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.stream.coverage import Hole, TradeSilence

START_S = 1000.0
BTC, ETH = "KRW-BTC", "KRW-ETH"


def trading(
    silence: TradeSilence, from_s: float, to_s: float, step_s: float = 0.1, markets=(BTC, ETH), told=None
) -> list[tuple[str | None, Hole]]:
    """Trade every `step_s` seconds, one market after the other; return the holes that showed."""
    found = []
    for number in range(round((to_s - from_s) / step_s) + 1):
        moment_s = START_S + from_s + number * step_s
        hole = silence.on_trade(markets[number % len(markets)], moment_s, told)
        found += [hole] if hole else []
    return found


class TestTradeSilence:
    def test_the_first_trade(self):
        """Nothing is known of the time before it."""
        assert TradeSilence().on_trade(BTC, START_S, None) is None

    def test_all_markets(self):
        """A silence of all markets is one hole, from the last trade before to the first after."""
        silence = TradeSilence()
        assert trading(silence, 0, 20) == []
        assert trading(silence, 28, 28) == [(None, Hole(START_S + 20, START_S + 28, "stalled"))]

    def test_one_market(self):
        """A silence of one market, with the others trading on, is a hole of that market."""
        silence = TradeSilence()
        trading(silence, 0, 20)
        assert trading(silence, 20.1, 28, markets=(ETH,)) == []
        ((market, hole),) = trading(silence, 28.1, 28.1, markets=(BTC,))
        assert market == BTC
        assert hole.from_s == pytest.approx(START_S + 20)

    def test_after_a_silence_of_all_each_market_is_quiet_about_it(self):
        """The hole of all markets covers each of them: it is not told once more per market."""
        silence = TradeSilence()
        trading(silence, 0, 20)
        ((_, hole),) = trading(silence, 28, 28)
        assert trading(silence, 28.1, 40, told=hole) == []

    def test_what_was_told(self):
        """A cut of all sockets is known as a hole already."""
        silence = TradeSilence()
        trading(silence, 0, 20)
        cut = Hole(START_S + 20.05, START_S + 27.9, "disconnected")
        assert trading(silence, 28, 40, told=cut) == []

    def test_a_short_cut_hides_no_long_silence(self):
        """Trades were missing for 8 s before the sockets were cut: that is a hole of its own."""
        silence = TradeSilence()
        trading(silence, 0, 20)
        cut = Hole(START_S + 28, START_S + 28.3, "disconnected")
        ((_, hole), *_) = trading(silence, 28.4, 30, told=cut)
        assert (hole.from_s, hole.to_s) == pytest.approx((START_S + 20, START_S + 28.4))

    @settings(max_examples=20, deadline=None)
    @given(seed=st.integers(0, 2**32), per_s=st.floats(0.05, 50))
    def test_a_quiet_market_is_not_suspicious(self, seed, per_s):
        """Trades at random, however rare: of 900 silences hardly one is a hole, once they are known."""
        dice, silence, now_s = Random(seed), TradeSilence(), START_S
        found = 0
        for number in range(1_000):
            now_s += dice.expovariate(per_s)
            is_suspicious = silence.on_trade(BTC, now_s, None) is not None
            found += is_suspicious and number >= 100
        assert found <= 3
