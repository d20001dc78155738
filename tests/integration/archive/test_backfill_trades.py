"""`collector backfill trades`: what was traded before our own data, in the archive."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from collector.archive import frames
from collector.archive.archiver import Archiver
from collector.cli import backfill
from collector.model import Trade
from collector.settings import Settings
from collector.store.store import Store
from tests.doubles.candles import BTC, Exchange
from tests.integration.cli.conftest import ROOT, Run

MINUTE_MS = 60_000


@pytest.fixture
def exchange(redis_in_force: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Exchange]:
    """A simulated exchange with some hours of history, in force."""
    with Exchange() as simulated:
        monkeypatch.setenv("COLLECTOR_EXCHANGE__REST_URL", simulated.url)
        monkeypatch.setenv("COLLECTOR_EXCHANGE__REST_REQUESTS_PER_S", "100")
        yield simulated


def plain(trades: list[Trade]) -> list[tuple[object, ...]]:
    return sorted((t.market, t.exchange_ms, t.price, t.volume, str(t.side)) for t in trades)


def archived(settings: Settings) -> list[tuple[object, ...]]:
    """Return what readers see, executions alone."""
    frame = frames.trades(settings=settings)
    return sorted(frame.select("market", "exchange_ms", "price", "volume", "side").rows())


def start_of(trades: list[Trade]) -> str:
    """Return a moment before which the exchange has none."""
    return str(min(trade.exchange_ms for trade in trades) + 30 * MINUTE_MS)


def test_everything_before_our_data_is_fetched_and_counted_once(
    run: Run, store: Store, archive: Archiver, exchange: Exchange, settings: Settings
) -> None:
    """Ours of the last hour, the exchange's before it, each trade once, and candles of both."""
    newest = max(trade.minute_ms for trade in exchange.trades)
    ours = [trade for trade in exchange.trades if trade.exchange_ms > newest - 47 * MINUTE_MS + 11_000]
    store.put_trades(ours)
    archive.run()
    start = start_of(exchange.trades)
    report = run("backfill", "trades", "KRW-*", "--from", start, "--json").json
    assert report["failed"] == {}
    expected = plain([trade for trade in exchange.trades if trade.exchange_ms >= int(start)])
    assert archived(settings) == expected
    assert archive.run(everything=True) == []
    assert archived(settings) == expected
    candles = frames.candles(settings=settings)
    assert candles["trade_count"].sum() == len(expected)
    assert candles["complete"].all()
    assert set(candles["source"]) == {"own"}
    again = run("backfill", "trades", "KRW-*", "--from", start, "--json").json
    assert again["trades"] < 60, "at most the minute in which our data begin"
    assert archived(settings) == expected


#: A process that kills itself when it has written two hours.
KILLED = """
import os, sys
from collector.archive.hours import Hours
from collector.cli import backfill_trades
from collector.settings import current
put, done = Hours.put, []
def some(self, *arguments):
    if len(done) == 2:
        os.kill(os.getpid(), 9)
    done.append(put(self, *arguments))
Hours.put = some
backfill_trades.trades(current(), "KRW-*", int(sys.argv[1]))
"""


def test_a_killed_backfill_goes_on_where_it_was(run: Run, exchange: Exchange, settings: Settings) -> None:
    """`kill -9` between two hours: the hours that are there are not fetched again."""
    start = start_of(exchange.trades)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, start], cwd=ROOT, env=dict(os.environ), timeout=60, capture_output=True
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    before = archived(settings)
    assert before
    report = run("backfill", "trades", "KRW-*", "--from", start, "--json").json
    newest = max(row[1] for row in before)
    expected = plain([t for t in exchange.trades if int(start) <= t.exchange_ms <= newest])
    assert [row for row in archived(settings) if row[1] <= newest] == expected
    assert report["trades"] < len(expected)


def test_a_market_that_fails_costs_itself(
    run: Run, exchange: Exchange, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the reason, and exit code 1."""
    monkeypatch.setattr(backfill, "FIRST_RETRY_S", 0.01)
    ended = run("backfill", "trades", f"{BTC},KRW-GONE", "--from", start_of(exchange.trades))
    assert (ended.code, "failed: KRW-GONE" in ended.out) == (1, True), ended
    assert {row[0] for row in archived(settings)} == {BTC}


def test_trades_older_than_the_exchange_keeps_are_refused(run: Run, exchange: Exchange) -> None:
    """In one line that has the oldest day."""
    ended = run("backfill", "trades", "btc", "--from", "-30d")
    assert (ended.code, "keeps trades for 7 days" in ended.err, ended.err.count("\n")) == (2, True, 1)
