"""Stamps from the future: one event, a wrong time of ours, Korean wall time stamped as UTC."""

from collections import Counter

from collector.model import OrderBook, Ticker, Trade
from collector.stream.doubts import HOLD_S, Doubts, MarketEvent
from collector.stream.exchange_time import ExchangeTime
from collector.util.korean_time import KST_MS
from tests.samples.events import T0, book, ticker, trade

DAY_MS = 86_400_000


class Bench:
    """Doubts beside what passes without any, as in `Intake`."""

    def __init__(self, wrong_ms: int = 0) -> None:
        self.time = ExchangeTime(T0 + wrong_ms, 0.0)
        self.rows: Counter[str] = Counter()
        self.doubts = Doubts(self.time, self.rows)
        self.passed: list[MarketEvent] = []

    def take(self, now_s: float, *events: MarketEvent) -> list[int]:
        """Let events come; return the times of what passes, after `T0`."""
        before = len(self.passed)
        for event in events:
            if event.exchange_ms > self.time.at(now_s) + 10_000 or type(event) in self.doubts.in_kst:
                self.passed += self.doubts.take(event, now_s)
            else:
                self.time.saw(event.exchange_ms, now_s)
                self.passed.append(event)
            for one in self.passed[before:]:
                self.rows[
                    {Trade: "trade", Ticker: "ticker", OrderBook: "orderbook"}[type(one)] + "_rows"
                ] += 1
        self.passed += self.doubts.due(now_s)
        return [event.exchange_ms - T0 for event in self.passed[before:]]


def test_a_trade_stamped_a_day_ahead_passes_late_and_as_it_is() -> None:
    """It is a fact, whenever it was."""
    bench = Bench()
    bench.take(0.0, trade(1, ms=T0))
    assert bench.take(1.0, trade(2, ms=T0 + DAY_MS - 1), trade(3, ms=T0 + 1000)) == [1000]
    assert bench.take(1.0 + HOLD_S, trade(4, ms=T0 + 3000)) == [3000, DAY_MS - 1]
    assert bench.doubts.counts == {"trade_ahead": 1}
    assert len(bench.doubts) == 0


def test_tickers_and_books_from_the_future_are_dropped() -> None:
    """They would be the newest of their market until that time has come."""
    bench = Bench()
    bench.take(0.0, trade(1, ms=T0))
    assert bench.take(1.0, ticker(T0 + DAY_MS), book((T0 + 20_000) * 1000)) == []
    assert bench.take(1.0 + HOLD_S, ticker(T0 + 3000)) == [3000]
    assert bench.doubts.counts == {"ticker_ahead": 1, "orderbook_ahead": 1}


def test_what_was_held_passes_once_the_time_is_known_better() -> None:
    """The host started two days behind and no reply had a `Date`: nothing is lost."""
    bench = Bench(wrong_ms=-2 * DAY_MS)
    assert bench.take(0.0, ticker(T0)) == []
    assert bench.take(0.1, trade(1, ms=T0 + 100)) == [0, 100]
    assert bench.doubts.counts == {}


def test_a_stamp_in_korean_time_that_is_ahead_even_so_is_held() -> None:
    """Also one that was held before its kind was seen to be in Korean time."""
    bench = Bench()
    bench.take(0.0, ticker(T0))
    ahead_ms = KST_MS + 3_600_000
    assert bench.take(0.1, trade(1, ms=T0 + ahead_ms), trade(2, ms=T0 + KST_MS + 100)) == [100]
    assert bench.take(0.2, trade(3, ms=T0 + ahead_ms), trade(4, ms=T0 + KST_MS + 200)) == [200]
    assert len(bench.doubts) == 2
    assert bench.take(0.3 + HOLD_S) == [3_600_000, 3_600_000]


def test_a_kind_in_korean_time_is_put_right_from_its_first_event() -> None:
    """Trades are right, tickers 9 h ahead, the trade they name too."""
    bench = Bench()
    named = ticker(T0 + KST_MS + 200)
    named = Ticker(
        **{name: getattr(named, name) for name in named.__struct_fields__} | {"trade_ms": T0 + KST_MS}
    )
    assert bench.take(0.0, trade(1, ms=T0), named) == [0, 200]
    (_, passed) = bench.passed
    assert isinstance(passed, Ticker)
    assert passed.trade_ms == T0
    assert bench.take(60.0, ticker(T0 + KST_MS + 60_000), trade(2, ms=T0 + 60_000)) == [60_000, 60_000]
    old = KST_MS - 3 * 3_600_000
    assert bench.take(60.1, ticker(T0 + old)) == [old - KST_MS]
    assert bench.doubts.counts == {"ticker_in_kst": 3}


def test_old_snapshots_in_korean_time_wait_for_the_first_new_one() -> None:
    """A trade of three hours ago would be six hours ahead; a new one of its kind shows what it is."""
    bench = Bench()
    bench.take(0.0, book(T0 * 1000))
    assert bench.take(0.1, trade(1, "KRW-XLM", ms=T0 + KST_MS - 3 * 3_600_000)) == []
    assert bench.take(0.2, trade(2, ms=T0 + KST_MS)) == [-3 * 3_600_000, 0]


def test_a_kind_that_changes_to_korean_time_and_back() -> None:
    """Three in a row decide, and those three are put right as well."""
    bench = Bench()
    bench.take(0.0, book(T0 * 1000), trade(1, ms=T0))
    ahead = [trade(number, ms=T0 + KST_MS + number * 100) for number in (2, 3, 4)]
    assert bench.take(0.4, *ahead[:2]) == []
    assert bench.take(0.5, ahead[2], book((T0 + 500) * 1000)) == [200, 300, 400, 500]
    assert bench.take(1.0, *(trade(number, ms=T0 + number * 100) for number in (5, 6, 7))) == [500, 600, 700]
    assert bench.take(1.1, trade(8, ms=T0 + 1100)) == [1100]
    assert not bench.doubts.in_kst


def test_one_event_nine_hours_ahead_among_true_ones_is_no_korean_time() -> None:
    """Like any other stamp from the future."""
    bench = Bench()
    bench.take(0.0, trade(1, ms=T0))
    for number in range(2, 12):
        now_s = number / 10
        bench.take(
            now_s, trade(number, ms=T0 + number * 100), trade(100 + number, ms=T0 + number * 100 + KST_MS)
        )
    assert not bench.doubts.in_kst
    assert all(event.exchange_ms < T0 + 2000 for event in bench.passed)


def test_the_memory_is_bounded() -> None:
    """A flood of invented times does not fill it: trades pass, the rest is dropped."""
    bench = Bench()
    bench.time.hint(T0, 0.0)
    for number in range(3_000):
        bench.take(0.0, trade(number, ms=T0 + DAY_MS + number * 60_000))
    assert len(bench.doubts) <= 1_000
    assert len(bench.passed) + len(bench.doubts) == 3_000
