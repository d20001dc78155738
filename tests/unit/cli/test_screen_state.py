"""The verdict of `top`, its sparklines, the order of markets, and candles drawn with characters."""

from datetime import UTC, datetime
from decimal import Decimal as D
from typing import Any

import pytest

from collector.analytics.candles import Candle
from collector.analytics.proof import OutageRow, Proof
from collector.cli.render.candles import drawn
from collector.cli.render.top import View
from collector.cli.screen.state import Mood, Rates, Trends, arranged, sparkline, verdict
from collector.store.read import Health, TickerRow

NOW = 1_796_000_000_000
LISTENER: dict[str, Any] = {"id": "one", "state": "streaming", "connections": []}
REFUSED = {"connections": [{"state": "waiting", "last_loss": "connect_failed: HTTP 503"}]}
WORKER = {"hostname": "ingest1@host"}


def proof(**changes: Any) -> Proof:
    values: dict[str, Any] = {
        "proven_until_ms": NOW - 60_000, "unproven_markets": 0, "open_gaps": 0, "recovered_gaps": 0,
        "recovered_trades": 0, "outages": [], "waiting_since_ms": None,
    }  # fmt: skip
    return Proof(**{**values, **changes})


def view(health: Health, **changes: Any) -> View:
    return View(now_ms=NOW, health=health, tickers=[], **changes)


def health(found: Proof | None, **changes: Any) -> Health:
    values: dict[str, Any] = {"listeners": [LISTENER], "queues": {}, "workers": [WORKER], "counters": {}}
    return Health(**{**values, **changes}, proof=found)


@pytest.mark.parametrize(
    ("report", "mood", "words"),
    [
        (health(proof()), Mood.GOOD, "all proven until"),
        (health(proof(open_gaps=2)), Mood.WARN, "2 gaps are open; proven until"),
        (health(proof(unproven_markets=3)), Mood.WARN, "3 markets have not been compared yet"),
        (health(proof(proven_until_ms=None)), Mood.WARN, "nothing has been compared"),
        (health(proof(waiting_since_ms=NOW)), Mood.WARN, "wait to be stored"),
        (health(proof(), queues={"dead-letters": 2}), Mood.BAD, "2 dead letters"),
        (health(proof(), workers=[]), Mood.BAD, "no worker is running"),
        (health(proof(), listeners=[]), Mood.BAD, "no listener is running"),
        (health(None), Mood.WARN, "nothing is known"),
        (
            health(proof(outages=[OutageRow(NOW - 12_000, "disconnected", 5)]), listeners=[REFUSED]),
            Mood.BAD,
            "no data for 12.0 s (connect_failed: HTTP 503)",
        ),
        (
            health(proof(outages=[OutageRow(NOW - 12_000, "stalled", 5)])),
            Mood.BAD,
            "no data for 12.0 s (stalled)",
        ),
    ],
)
def test_the_worst_is_said_first(report: Health, mood: Mood, words: str) -> None:
    found = verdict(view(report))
    assert found.mood is mood
    assert words in found.text


def test_a_redis_that_is_away_is_the_verdict() -> None:
    found = verdict(view(health(proof()), trouble="Redis: gone"))
    assert (found.text, found.mood) == ("Redis: gone", Mood.BAD)


def test_sparklines_are_as_wide_as_is_asked_and_end_with_the_newest() -> None:
    assert sparkline([0, 4, 8], 5) == "  ▁▅█"
    assert sparkline([1, 2, 3, 4], 2) == "▇█"
    assert sparkline([], 3) == "   "
    assert sparkline([0, 0], 2) == "▁▁"


def ticker(market: str, value: int | None, rate: str | None, price: int = 1) -> TickerRow:
    return TickerRow(
        market, D(price), None, None, None if rate is None else D(rate), None, None, None, None, None,
        None if value is None else D(value), NOW, NOW,
    )  # fmt: skip


def test_markets_are_found_and_sorted() -> None:
    """What is unknown counts as nothing; of equals by name."""
    rows = [ticker("KRW-B", 5, "-0.1"), ticker("KRW-A", 5, None), ticker("BTC-C", None, "0.2")]

    def names(wanted: str, sort: str, is_down: bool) -> list[str]:
        return [row.market for row in arranged(rows, wanted, sort, is_down=is_down)]

    assert names("", "value", True) == ["KRW-A", "KRW-B", "BTC-C"]
    assert names("krw", "change", False) == ["KRW-B", "KRW-A"]
    assert names("", "market", False) == ["BTC-C", "KRW-A", "KRW-B"]


def test_rates_and_trends_grow_with_each_look() -> None:
    rates, trends = Rates(), Trends()
    for step in range(4):
        shown = View(
            now_ms=NOW + step * 5_000,
            health=health(proof(), listeners=[LISTENER | {"lag_ms_p50": step}]),
            tickers=[ticker("KRW-A", 1, None, price=100 + step)],
            rates={"frames": 10.0 * step} if step else {},
        )
        rates.note(shown)
        trends.note(shown)
    assert list(rates.frames) == [10, 20, 30]
    assert list(rates.lag_ms) == [1, 2, 3]
    assert trends.line("KRW-A").strip() == "▁▃▆█"
    assert trends.line("KRW-B") == ""


def candle(minute: int, prices: tuple[int, int, int, int] | None, complete: bool = True) -> Candle:
    ms = NOW - NOW % 3_600_000 + minute * 60_000
    found = [None] * 4 if prices is None else [D(each) for each in prices]
    return Candle(
        "KRW-BTC", "1m", ms, datetime.fromtimestamp(ms / 1000, UTC), *found,
        D(0 if prices is None else 8), D(0), D(0), D(0), None, 1, complete, None,
    )  # fmt: skip


def test_candles_are_bodies_and_wicks_beside_round_prices() -> None:
    """Open, high, low, close; a minute without trades has nothing, one that may lack some a background."""
    shown = [candle(0, (10, 18, 10, 14)), candle(1, None, complete=False), candle(2, (14, 14, 10, 12), False)]
    lines = drawn(shown, 30, 12)
    picture = (
        "│", "│", "│", "│      15", "┃   ┃", "┃   ┃", "┃   ╿", "┃   │  10",
        "█   █  8", "█   █", "█   █", "09:00",
    )  # fmt: skip
    assert [line.plain.rstrip() for line in lines] == [" " * 20 + each for each in picture]
    assert [len(line.plain) <= 30 for line in lines] == [True] * 12
    assert any("on #4a3a10" in str(span.style) for span in lines[0].spans)


def test_too_small_or_empty_is_one_sentence() -> None:
    assert drawn([candle(0, (1, 1, 1, 1))], 10, 5)[0].plain == "too small for candles"
    assert drawn([], 80, 24)[0].plain == "no candles yet"
    assert drawn([candle(0, None)], 80, 24)[0].plain == "no candles yet"
