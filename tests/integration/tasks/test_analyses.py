"""The analyses on the recorded Upbit session, in Redis and beside an independent computation.

The whole line is tested in tests/acceptance/recorded; here the trades are stored by the product's own store.
"""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import redis

from collector.analyses import catalog as analysis
from collector.analyses import inputs
from collector.errors import ConfigurationError, NoData
from collector.model import MINUTE_MS, Channel, Gap, OrderBook, Side, Trade
from collector.store.store import Store
from tests.acceptance.recorded import plain
from tests.acceptance.recorded.sources import UPBIT
from tests.samples import checks, naive
from tests.samples.rows import BTC, T0, book, trade

ROOT = Path(__file__).resolve().parents[3]
Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def ask(store: Store, client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """A function that runs an analysis in this process on the test server."""
    monkeypatch.setattr(inputs, "client", lambda: client)
    return lambda name, *arguments, **named: analysis.find(name).run(*arguments, **named)


@pytest.fixture(scope="module")
def session(shared_dir: Path) -> plain.Session:
    """Two minutes of Upbit's socket, read with the standard library."""
    return UPBIT.read(UPBIT.path(shared_dir))


@pytest.fixture
def recorded(session: plain.Session, store: Store) -> dict[str, list[Trade]]:
    """The recorded trades by market, first to last; they and the last books are in the store."""
    trades = {market: [stored(t) for t in session.of(market)] for market in session.markets}
    store.put_trades([t for of_market in trades.values() for t in of_market])
    store.put_books([OrderBook(b.market, b.us, 0, b.bids, b.asks) for b in session.last_books().values()])
    return trades


def stored(t: plain.PlainTrade) -> Trade:
    """Return a trade of the recording as the line would store it."""
    return Trade(t.market, t.id or 0, t.price, t.volume, Side(t.side), t.ms, t.ms, t.rank)


def test_patterns_of_the_recording(recorded: dict[str, list[Trade]], ask: Ask) -> None:
    """Every market's figures are those of the independent computation; some of everything was found."""
    counted = {}
    for market, trades in recorded.items():
        found = checks.check_arrivals(trades, 100, 2)
        vpin = checks.check_flow(trades, 50)
        rows = checks.check_profile(trades, 20)
        counted[market] = (len(trades), *found, vpin, rows.point_of_control_from)
        assert ask("runs", market)["run_count"] == found[2]
        assert ask("vpin", market)["vpin"] == format(vpin or Decimal(0), "f")
        assert Decimal(ask("volume_profile", market)["point_of_control_from"]) == rows.point_of_control_from
        assert len(ask("sweeps", market, within_ms=100)["sweeps"]) == found[1]
        assert len(ask("bursts", market, min_trades="3")["bursts"]) == found[0]
    print("\nmarket: trades, bursts, sweeps, runs, VPIN, point of control")
    for market, figures in counted.items():
        print(f"{market}: {', '.join(map(str, figures))}")
    assert all(sum(column) > 0 for column in list(zip(*counted.values(), strict=True))[1:4])


def test_books_of_the_recording(session: plain.Session, recorded: object, ask: Ask) -> None:
    """Depth, slippage, imbalance and walls of every market's last book."""
    books = session.last_books()
    assert books
    for market, last in books.items():
        bids, asks = (tuple(level for level in side if level[1]) for side in (last.bids, last.asks))
        size = ask("slippage", market)["size"]
        checks.check_book(bids, asks, Decimal(size))
        assert len(ask("depth_curve", market, levels=3)["bids"]) == 3
        walls = ask("walls", market, times=3)["walls"]
        assert [w["price"] for w in walls if w["side"] == "bid"] == (
            [format(price, "f") for price in naive.walls(bids, Decimal(3))]
        )


def test_returns_of_the_recording(recorded: dict[str, list[Trade]], ask: Ask) -> None:
    """Volatility from the closes of its minutes; movers against the first price of nobody are none."""
    for market, trades in recorded.items():
        ends = [c["close"] for c in plain.candles([_plain(t) for t in trades], 1)]
        figures = ask("realised_volatility", market)
        if len(ends) > 1:
            checks.check_volatility(ends)
            expected = pytest.approx(naive.volatility(ends)[1], rel=naive.REL, abs=1e-13)
            assert float(figures["realised_volatility"]) == expected
    assert ask("top_movers")["market_count"] == 0
    moved = ask("top_movers", "*", "1m")
    assert moved["market_count"] > 0
    for row in moved["risers"] + moved["fallers"]:
        earlier = [t for t in recorded[row["market"]] if t.exchange_ms < moved["from_ms"]]
        assert Decimal(row["from_price"]) == earlier[-1].price


def _plain(t: Trade) -> plain.PlainTrade:
    return plain.PlainTrade(t.market, t.exchange_ms, t.order, t.price, t.volume, t.side.value, t.id)


def walk(market: str, prices: list[int], number: int = 0) -> list[Trade]:
    """Return a trade a minute from `T0`."""
    return [
        trade(number + n, price, market=market, exchange_ms=T0 + n * MINUTE_MS)
        for n, price in enumerate(prices)
    ]


def test_markets_are_correlated_pair_by_pair(store: Store, ask: Ask) -> None:
    """One market with every other, several with each other, patterns too; strongest first."""
    ups = [100, 110, 105, 120, 118, 130]
    store.put_trades(walk(BTC, ups) + walk("KRW-ETH", [2 * p for p in ups]))
    store.put_trades(walk("KRW-XRP", [13_000 * 1000 // p for p in ups]) + walk("BTC-ETH", [5, 9, 5, 9, 5, 9]))
    first, second, third = ask("correlation", BTC)["correlations"]
    assert (first["market"], first["other"]) == (BTC, "KRW-ETH")
    assert Decimal(first["correlation"]) == pytest.approx(Decimal(1), abs=Decimal("1e-20"))
    assert (second["other"], round(Decimal(second["correlation"]), 3)) == ("KRW-XRP", -1)
    expected = naive.correlation([Decimal(p) for p in ups], [Decimal(p) for p in (5, 9, 5, 9, 5, 9)])
    assert float(third["correlation"]) == pytest.approx(expected, rel=naive.REL)
    assert ask("correlation", "KRW-*")["pair_count"] == 3
    assert ask("correlation", "krw-btc,krw-eth", limit=1)["pair_count"] == 1


def test_volume_spikes_look_back_only_as_far_as_the_data(store: Store, ask: Ask) -> None:
    """Three minutes of data are two windows of a minute before the newest."""
    store.put_trades([trade(n, 1, size, exchange_ms=T0 + n * MINUTE_MS) for n, size in enumerate((2, 4, 12))])
    figures = ask("volume_spikes", window="1m")
    assert (figures["windows"], figures["spike_count"]) == (2, 1)
    assert figures["spikes"][0]["relative_volume"] == "4"
    with pytest.raises(NoData, match="does not reach back to a whole 15m before"):
        ask("volume_spikes")


def test_figures_of_a_window_with_a_gap_are_not_complete(store: Store, ask: Ask) -> None:
    """Nor those of a window that begins before our data, which name where these begin."""
    store.put_trades(walk(BTC, [1, 2, 3]))
    assert (ask("vpin", BTC, "3m")["complete"], ask("vpin", BTC, "3m")["since_ms"]) == (True, None)
    assert (ask("vpin", BTC)["complete"], ask("vpin", BTC)["since_ms"]) == (False, T0)
    store.put_gaps([Gap(BTC, Channel.TRADE, T0, T0 + 5, "stalled")])
    assert not ask("vpin", BTC, "3m")["complete"]
    assert ask("vpin", BTC, "2m")["complete"]


def test_figures_that_start_from_an_older_price_are_as_complete_as_that(store: Store, ask: Ask) -> None:
    """A loss between the close before the window and the window counts; a volume has no such price."""
    store.put_trades([trade(1), trade(2, exchange_ms=T0 + 5 * MINUTE_MS)])
    store.put_gaps([Gap(BTC, Channel.TRADE, T0 + 2 * MINUTE_MS, T0 + 2 * MINUTE_MS, "stalled")])
    assert not any(ask(name, BTC, "2m")["complete"] for name in ("changes", "twap", "realised_volatility"))
    assert ask("volume", BTC, "2m")["complete"]


def test_figures_of_several_markets_count_those_that_are_not_complete(store: Store, ask: Ask) -> None:
    """Each row of the movers has its own word."""
    store.put_trades(walk(BTC, [1, 2, 3]) + walk("KRW-ETH", [5, 9, 7], 100))
    store.put_gaps([Gap("KRW-ETH", Channel.TRADE, T0 + MINUTE_MS, T0 + MINUTE_MS, "stalled")])
    moved = ask("top_movers", "*", "2m")
    assert (moved["complete"], moved["incomplete_count"], moved["since_ms"]) == (False, 1, None)
    assert {row["market"]: row["complete"] for row in moved["risers"]} == {BTC: True, "KRW-ETH": False}
    assert ask("top_movers", "*", "1m")["complete"]
    assert ask("correlation", "*", "4m")["since_ms"] == T0
    assert ask("volume_spikes", window="1m")["incomplete_count"] == 1


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("vpin", {"buckets": "many"}, "vpin: buckets=many: input should be a valid integer"),
        ("vpin", {"buckets": 0}, "vpin: buckets=0: input should be greater than or equal to 1"),
        ("slippage", {"size": "-1"}, "slippage: size=-1: input should be greater than 0"),
        ("slippage", {"size": "NaN"}, "slippage: size=NaN: input should be a finite number"),
        ("volume_profile", {"share": 2}, "volume_profile: share=2: input should be less than or equal to 1"),
        ("bursts", {"window": "9y"}, "'9y' is not a window"),
    ],
)
def test_a_bad_argument_is_named(ask: Ask, name: str, arguments: dict[str, object], said: str) -> None:
    """In one line, before anything is read."""
    with pytest.raises(ConfigurationError, match=said) as raised:
        ask(name, BTC, **arguments)
    assert "\n" not in str(raised.value)


def test_missing_and_surplus_arguments_are_named(ask: Ask) -> None:
    """A market is needed; only market and window go without a name."""
    with pytest.raises(ConfigurationError, match="vpin: market is missing"):
        ask("vpin")
    with pytest.raises(ConfigurationError, match="walls: '15m' is one argument too many"):
        ask("walls", BTC, "15m")
    with pytest.raises(ConfigurationError, match="vpin has no argument 'size': it has window, buckets"):
        analysis.find("vpin").check({"size": 5})
    with pytest.raises(
        ConfigurationError, match="there is no analysis 'vipn': one of book_changes, book_imbalance, bursts"
    ):
        analysis.find("vipn")


def test_what_there_is_no_data_for_is_said(ask: Ask, store: Store) -> None:
    """Nothing stored, no such market, no book, half a book."""
    with pytest.raises(NoData, match="no trade or ticker has been stored yet"):
        ask("top_movers")
    store.put_trades([trade(1)])
    with pytest.raises(NoData, match="KRW-NO is not a market"):
        ask("correlation", "KRW-NO")
    with pytest.raises(NoData, match="KRW-BTC has no order book yet"):
        ask("walls", BTC)
    store.put_books([book(((1, 1),), ())])
    with pytest.raises(NoData, match="one side of the order book is empty: name a size"):
        ask("slippage", BTC)
    assert ask("slippage", BTC, size=3)["orders"][1]["unfilled"] == "2"


def test_too_much_at_once_is_refused(ask: Ask, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it is read: the message says what to make smaller."""
    monkeypatch.setattr(inputs, "CANDLES_MAX", 100)
    store.put_trades([trade(1), trade(2, market="KRW-ETH")])
    with pytest.raises(ConfigurationError, match="2 markets x 195 minutes is too much at once"):
        ask("volume_spikes")


def test_the_page_is_what_the_registry_says() -> None:
    """`docs/analyses.md` is what `python -m tasks.analysis` prints, with a formula and a source for each."""
    page = (ROOT / "docs" / "analyses.md").read_text(encoding="utf-8")
    assert page == analysis.reference()
    assert (
        page.count("\nAnswer: ")
        == page.count("\nFormula: ")
        == page.count("\nSource: ")
        == len(analysis.names())
        == 21
    )
