"""The invented market is believable in what matters: exact counts, sane books, repeats, bursts, silence."""

import json
from collections import Counter
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.errors import ConfigurationError
from collector.simulator.current import CurrentDialect
from collector.simulator.events import ID_BITS, ID_EPOCH_MS, Event, SimBook, SimTicker, SimTrade, is_repeat
from collector.simulator.fixed import ONE, SIZE_UNIT, tick
from collector.simulator.model import MarketModel, Pace
from collector.simulator.requests import parse_current
from collector.simulator.source import AHEAD_MS, MarketStep

US = 1_790_133_505_546_000
STEP_US = 20_000


def run(model: MarketModel, seconds: float) -> list[Event]:
    events: list[Event] = []
    for i in range(1, int(seconds * 1e6 / STEP_US) + 1):
        events += model.advance(US + i * STEP_US)
    return events


def of(kind: type, events: list[Event]) -> list:
    return [event for event in events if type(event) is kind]


@pytest.fixture(scope="module")
def events() -> list[Event]:
    """Twenty seconds of a busy market."""
    return run(MarketModel(40, Pace(rate=500), seed=7, now_us=US), 20)


def test_one_seed_gives_one_history() -> None:
    """The same seed repeats, another differs."""
    first, second, other = (run(MarketModel(12, Pace(rate=100), seed, US), 2) for seed in (1, 1, 2))
    assert first == second
    assert first != other


def test_the_pace_is_kept(events: list[Event]) -> None:
    """Trades at the rate, about six books and up to half a ticker for each."""
    trades, books, tickers = (len(of(kind, events)) for kind in (SimTrade, SimBook, SimTicker))
    assert abs(trades - 10_000) <= 1
    assert abs(books - 60_000) <= 6
    assert 0.25 * trades < tickers <= 0.5 * trades


@given(st.integers(0, 300), st.floats(1, 3_000), st.integers(1, 30))
@settings(max_examples=30, deadline=None)
def test_exactly_so_many_trades_then_silence(stop: int, rate: float, markets: int) -> None:
    """With a number to stop after, exactly that many are made and then nothing moves."""
    model = MarketModel(markets, Pace(rate=rate, stop_after=stop), seed=1, now_us=US)
    made = of(SimTrade, run(model, min(3, stop / rate + 1)))
    if len(made) < stop:
        made += of(SimTrade, model.make(stop, US + 10**8))
    assert stop == len(made) == model.trades_made
    assert model.finished
    assert model.advance(US + 2 * 10**8) == []


def test_the_last_ticker_tells_the_last_trade() -> None:
    """When it stops, every market that traded has said its last price."""
    model = MarketModel(10, Pace(rate=500, stop_after=400), seed=3, now_us=US)
    events = run(model, 2)
    last_trade = {trade.market: trade.price for trade in of(SimTrade, events)}
    last_ticker = {ticker.market: ticker.price for ticker in of(SimTicker, events)}
    assert last_trade == last_ticker


def test_make_makes_exactly_so_many() -> None:
    """Trades on demand, whatever the pace."""
    model = MarketModel(5, Pace(rate=0), seed=1, now_us=US)
    assert [len(of(SimTrade, model.make(count, US + 1))) for count in (1, 0, 250)] == [1, 0, 250]


def test_ids_follow_the_shift_rule_and_are_unique(events: list[Event]) -> None:
    """`(id >> 25) + epoch` is the millisecond; no id twice, in neither scheme (per market)."""
    trades = of(SimTrade, events)
    assert all((trade.id >> ID_BITS) + ID_EPOCH_MS == trade.ms for trade in trades)
    assert all(trade.rest_id // 10_000 == trade.ms for trade in trades)
    assert len({trade.id for trade in trades}) == len(trades)
    assert len({(trade.market, trade.rest_id) for trade in trades}) == len(trades)


def test_time_never_goes_back(events: list[Event]) -> None:
    """Trades and books come in the order of their times."""
    times = [event.us for event in events if type(event) is not SimTicker]
    assert times == sorted(times)


def test_a_clock_that_goes_back_makes_nothing() -> None:
    """No trade twice, no trade in the past."""
    model = MarketModel(5, Pace(rate=1000), seed=1, now_us=US)
    assert model.advance(US + 1_000_000)
    assert model.advance(US) == []


def test_prices_are_on_the_grid(events: list[Event]) -> None:
    """Every trade price is a multiple of its tick."""
    for trade in of(SimTrade, events):
        assert trade.price % tick(trade.price, trade.market[:3]) == 0
        assert trade.volume > 0


def test_books_are_sorted_and_never_crossed(events: list[Event]) -> None:
    """Asks rise, bids fall, the best bid is below the best ask."""
    for book in of(SimBook, events):
        asks, bids = ([price for price, _ in side] for side in (book.asks, book.bids))
        assert asks == sorted(set(asks))
        assert bids == sorted(set(bids), reverse=True)
        assert not bids or bids[0] < asks[0]


def test_about_45_percent_of_books_repeat_the_one_before(events: list[Event]) -> None:
    """The share of equal books is what was measured on the live socket (protocol 1.5)."""
    last: dict[str, tuple] = {}
    repeats = 0
    books = of(SimBook, events)
    for book in books:
        repeats += last.get(book.market) == (book.asks[:15], book.bids[:15])
        last[book.market] = book.asks[:15], book.bids[:15]
    assert 0.4 < repeats / len(books) < 0.55


def test_quiet_thin_and_btc_markets_exist(events: list[Event]) -> None:
    """Some markets say nothing, one has a short side, some are quoted in BTC."""
    model = MarketModel(40, Pace(rate=500), seed=7, now_us=US)
    spoke = {event.market for event in events}
    assert len(model.markets.keys() - spoke) == 3
    assert sum(code.startswith("BTC-") for code in model.markets) == 3
    assert any(len(market.view.bids) < 15 for market in model.markets.values())


def test_activity_is_uneven_and_bursts(events: list[Event]) -> None:
    """A few markets carry most trades; several trades share a millisecond; equal twins occur."""
    trades = of(SimTrade, events)
    by_market = Counter(trade.market for trade in trades)
    by_ms = Counter((trade.market, trade.ms) for trade in trades)
    twins = Counter((trade.market, trade.ms, trade.price, trade.volume, trade.buy) for trade in trades)
    assert sum(count for _, count in by_market.most_common(4)) > 0.4 * len(trades)
    assert max(by_ms.values()) >= 5
    assert max(twins.values()) >= 2


def test_sizes_reach_from_dust_to_large(events: list[Event]) -> None:
    """Volumes of a few atoms, orders of millions of won, book sizes that print as zero."""
    trades = [trade for trade in of(SimTrade, events) if trade.market.startswith("KRW-")]
    worth = [Decimal(trade.price) * trade.volume / ONE**2 for trade in trades]
    assert min(trade.volume for trade in trades) < 1_000
    assert max(worth) > 1_000_000
    assert any(size < SIZE_UNIT // 2 for book in of(SimBook, events) for _, size in book.asks[:15])


@pytest.mark.parametrize("markets", [1, 2, 9, 10, 25, 120, 480])
def test_any_number_of_markets(markets: int) -> None:
    """As many as asked for, the real names first."""
    model = MarketModel(markets, Pace(rate=10), seed=1, now_us=US)
    assert markets == len(model.markets)
    assert next(iter(model.markets)) == "KRW-BTC"


def test_memory_is_bounded() -> None:
    """Old trades are forgotten; the newest stay."""
    model = MarketModel(1, Pace(rate=0, trades_kept_per_market=100), seed=1, now_us=US)
    made = of(SimTrade, model.make(1_000, US + 1))
    kept = model.markets["KRW-BTC"].trades
    assert 100 <= len(kept) < 200
    assert made[-len(kept) :] == kept


def test_a_new_day_starts_at_korean_midnight() -> None:
    """At 00:00 KST the day's figures begin again and the last price becomes the previous close."""
    midnight_us = 1_790_175_600_000_000  # 2026-09-24 00:00 KST
    model = MarketModel(1, Pace(rate=0), seed=1, now_us=midnight_us - 2_000_000)
    market = model.markets["KRW-BTC"]
    model.make(50, midnight_us - 1_000_000)
    close = market.price
    (made, *_) = of(SimTrade, model.make(1, midnight_us + 1_000_000))
    ticker = market.ticker(midnight_us // 1000 + 1_000)
    assert (close, made.price, made.volume) == (ticker.prev_close, ticker.open, ticker.day_volume)


def test_markets_come_and_go() -> None:
    """A listed market trades, a delisted one does not; the others go on at the same pace."""
    model = MarketModel(6, Pace(rate=500), seed=1, now_us=US)
    model.list_market("KRW-NEW", US)
    model.delist("KRW-BTC")
    spoke = {event.market for event in run(model, 3)}
    assert "KRW-NEW" in spoke
    assert "KRW-BTC" not in spoke
    assert abs(model.trades_made - 1_500) <= 1


def test_what_can_not_be_listed_is_refused() -> None:
    """A code of neither quote is named."""
    with pytest.raises(ConfigurationError, match="USDT-BTC"):
        MarketModel(1, Pace(rate=0), seed=1, now_us=US).list_market("USDT-BTC", US)


@pytest.mark.parametrize(("lag", "rounded"), [(False, False), (True, False), (False, True), (True, True)])
def test_totals_of_the_day_by_every_rule(lag: bool, rounded: bool) -> None:
    """With the trade a ticker names or without it, with all decimals or four."""
    pace = Pace(rate=300, totals_lag=lag, totals_are_rounded=rounded)
    model = MarketModel(3, pace, seed=3, now_us=US)
    made: dict[str, list[SimTrade]] = {code: [] for code in model.markets}
    checked = 0
    for event in run(model, 5):
        if isinstance(event, SimTrade):
            made[event.market].append(event)
        elif isinstance(event, SimTicker):
            counted = made[event.market][: -1 if lag else None]
            value = sum(trade.price * trade.volume for trade in counted)
            assert abs(event.day_value - value) <= (5 * 10**11 if rounded else 0)
            assert event.day_value % (10**12 if rounded else 1) == 0
            checked += 1
    assert checked > 300
    market = model.markets["KRW-BTC"]
    last = market.trades[-1]
    assert market.ticker_as_of(last.ms) == market.ticker(last.ms)


def test_volumes_alone_can_be_rounded() -> None:
    """Beside exact turnover, as one old frame of the exchange had them."""
    shown = {}
    for rounded in (False, True):
        model = MarketModel(1, Pace(rate=300, volumes_are_rounded=rounded), seed=3, now_us=US)
        shown[rounded] = [event for event in run(model, 2) if isinstance(event, SimTicker)]
    assert [it.day_value for it in shown[True]] == [it.day_value for it in shown[False]]
    assert any(it.day_volume % 10**4 for it in shown[False])
    assert not any(it.day_volume % 10**4 for it in shown[True])


def test_one_event_is_stamped_ahead_and_a_kind_in_korean_time() -> None:
    """On the wire alone."""
    step = MarketStep(run(MarketModel(1, Pace(rate=300), seed=3, now_us=US), 0.5), US // 1000)
    request = parse_current('[{"ticket":"t"},{"type":"trade","codes":["KRW-BTC"]}]')
    usual, odd, korean = (
        it.frames(CurrentDialect(kst=kst), request)
        for it, kst in ((step, "none"), (step.ahead("trade"), "none"), (step, "trade"))
    )
    stamps = [[json.loads(raw)["trade_timestamp"] for raw in frames] for frames in (usual, odd, korean)]
    assert [b - a for a, b in zip(stamps[0], stamps[1], strict=True)] == [AHEAD_MS, *[0] * (len(usual) - 1)]
    assert {b - a for a, b in zip(stamps[0], stamps[2], strict=True)} == {9 * 3_600_000}
    assert MarketStep([], 0).ahead("trade") is None


def test_a_book_that_looks_as_before_on_the_wire_is_no_news() -> None:
    """Sockets show 15 levels a side and sizes to four decimals: what changes beyond is not seen."""
    asks = tuple((price * ONE, ONE) for price in range(101, 131))
    bids = tuple((price * ONE, ONE) for price in range(100, 70, -1))
    deep = (*asks[:15], (asks[15][0], 2 * ONE), *asks[16:])
    fine = ((asks[0][0], ONE + 1), *asks[1:])
    seen = ((asks[0][0], ONE + SIZE_UNIT), *asks[1:])
    books = {name: SimBook("KRW-BTC", US, new, bids, asks, bids) for name, new in
             {"same": asks, "deep": deep, "fine": fine, "seen": seen}.items()}  # fmt: skip
    assert {name: is_repeat(book) for name, book in books.items()} == {
        "same": True, "deep": True, "fine": True, "seen": False,
    }  # fmt: skip
    step = MarketStep([*books.values()], US // 1000).ahead("orderbook")
    assert step is not None
    assert [book.us - US for book in step._events] == [0, 0, 0, AHEAD_MS * 1000]
