"""Several listeners: a standby that takes over, and shares that cover every market exactly once."""

from collections import Counter

from collector.listener.markets import choose
from tests.acceptance.scenarios import waits
from tests.acceptance.scenarios.truth import compare_all
from tests.integration.pressure.conftest import SHORT_TIMES, Line

QUEUES = "trade,orderbook,ticker"
MARKETS = 6
RATE = 100
TTL_S = float(SHORT_TIMES["COLLECTOR_PUBLISH__LEASE_TTL_S"])


def test_a_standby_takes_over_from_a_listener_that_is_killed(line: Line, since_ms: int) -> None:
    """Within the lease's time and little more; the trades of the hole are fetched, none twice."""
    trades = RATE * 8
    line.ready(line.worker("worker", QUEUES))
    line.exchange(markets=MARKETS, rate=RATE, stop_after=trades)
    first = line.listener("first")
    waits.until(lambda: line.counted() > 0, 20, "the first trades", first.output)
    second = line.listener("second")
    waits.until(lambda: "on standby" in second.output(), 15, "the standby", second.output)
    (reported,) = line.reader.listeners()
    assert reported["pid"] == first.pid, "a standby opens no socket"
    first.kill()
    taken_s = waits.until(lambda: "is streaming" in second.output(), TTL_S * 3, "the takeover", second.output)
    waits.until(lambda: line.is_stored(trades), 60, "all trades are stored", line.report)
    print(f"taken over after {taken_s:.1f} s")
    verdict = compare_all(line.truth, line.reader, since_ms)
    assert (verdict.sent, verdict.lost, verdict.doubled, verdict.wrong) == (trades, 0, 0, [])


def test_two_shares_together_are_exactly_the_whole(line: Line, since_ms: int) -> None:
    """Listeners of 1/2 and 2/2 serve different markets, all of them, and every trade is stored once."""
    trades = RATE * 5
    line.ready(line.worker("worker", QUEUES))
    line.exchange(markets=20, rate=RATE, stop_after=trades)
    for number in (1, 2):
        line.listener(f"half{number}", {"COLLECTOR_SHARD": f"{number}/2"})
    waits.until(lambda: line.is_stored(trades), 60, "all trades are stored", line.report)
    rows = line.reader.listeners()
    assert sorted(row["id"].rpartition("-")[2] for row in rows) == ["1of2", "2of2"]
    assert sum(row["markets"] for row in rows) == 20
    assert min(row["markets"] for row in rows) > 0
    verdict = compare_all(line.truth, line.reader, since_ms)
    assert (verdict.sent, verdict.lost, verdict.doubled, verdict.wrong) == (trades, 0, 0, [])


def test_every_market_has_one_share_however_many_there_are() -> None:
    """And the same one, whatever other markets are listed beside it."""
    listed = [f"KRW-M{number}" for number in range(300)]
    for count in (1, 2, 3, 7):
        parts = [choose(("*",), listed, index=index, count=count).markets for index in range(count)]
        assert Counter(listed) == Counter(market for part in parts for market in part)
    before = choose(("*",), listed[:150], index=0, count=2).markets
    assert set(before) <= set(choose(("*",), listed, index=0, count=2).markets)


def test_of_three_on_one_share_one_works_and_hands_over_when_it_stops(line: Line) -> None:
    """A listener that stops gracefully gives its lease up, so a standby need not wait for the end of it."""
    line.exchange(markets=2, rate=20)
    long = {"COLLECTOR_PUBLISH__LEASE_TTL_S": "12"}
    three = [line.listener(f"listener{number}", long) for number in range(3)]

    def count(words: str) -> int:
        return sum(words in listener.output() for listener in three)

    waits.until(lambda: count("on standby") == 2 and count("is streaming") == 1, 20, "one at work")
    (holder,) = [listener for listener in three if "is streaming" in listener.output()]
    assert holder.stop() == 0
    waits.until(lambda: count("is streaming") == 2, 6, "the takeover")
