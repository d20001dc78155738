"""`collector export --for`: what is in the files, beside the trades that they were made of."""

import csv
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from collector.archive.archiver import Archiver
from collector.archive.backtests import BUY, DEPTH_CLEAR, DEPTH_SNAPSHOT, EXCHANGE, LOCAL, SELL, TRADE
from collector.model import Channel, Gap
from collector.store.store import Store
from tests.integration.cli.conftest import Run
from tests.samples.rows import BTC, T0, book, trade

MINUTE_MS = 60_000
T1 = T0 // MINUTE_MS * MINUTE_MS


@pytest.fixture
def traded(redis_in_force: str, store: Store, archive: Archiver) -> None:
    """Trades in minutes 0, 1, 4, 7; what there may have been in minute 5 is lost."""
    at = {1: 0, 2: 0, 3: 1, 4: 4, 5: 7}
    opens = {n: T1 + minute * MINUTE_MS for n, minute in at.items()}
    store.put_trades([trade(n, 100 + n, n, exchange_ms=open_ms + n) for n, open_ms in opens.items()])
    store.put_gaps([Gap(BTC, Channel.TRADE, T1 + 5 * MINUTE_MS, T1 + 5 * MINUTE_MS + 9, "stalled")])
    archive.run()


def rows(path: Path) -> list[tuple[int, str, str, str]]:
    """Return minute, open, close and volume of the rows of a CSV file."""
    found = []
    with path.open() as file:
        for row in csv.DictReader(file):
            minute = int(datetime.fromisoformat(row["time"]).timestamp() * 1000 - T1) // MINUTE_MS
            found.append((minute, row["Open"], row["Close"], row["Volume"]))
    return found


@pytest.mark.usefixtures("traded")
def test_intervals_without_trades_are_filled_as_asked(run: Run, tmp_path: Path) -> None:
    """Where trades may be missing, no price is made up."""
    traded = [(0, "101.0", "102.0", "3.0"), (1, "103.0", "103.0", "3.0"), (4, "104.0", "104.0", "4.0")]
    last = (7, "105.0", "105.0", "5.0")
    for fill, between, missing in (
        ("absent", [], []),
        ("flat", [(2, "103.0", "103.0", "0.0"), (3, "103.0", "103.0", "0.0")], [(5, "", "", "")]),
        ("null", [(2, "", "", "0.0"), (3, "", "", "0.0")], [(5, "", "", "")]),
    ):
        out = tmp_path / f"{fill}.csv"
        words = ("export", "candles", "btc", "--for", "backtesting", "--fill", fill)
        assert run(*words, "--out", str(out)).code == 0
        found = rows(out)
        assert [row for row in found if row[0] < 6] == [*traded[:2], *between, traded[2], *missing]
        assert found[-1] == last


@pytest.mark.usefixtures("traded")
def test_freqtrade_has_its_names(run: Run, tmp_path: Path) -> None:
    """A folder of `BASE_QUOTE-interval.feather`, dates in milliseconds UTC."""
    words = ("export", "candles", "KRW-*", "--for", "freqtrade", "--interval", "5m")
    ended = run(*words, "--out", "data", "--json")
    assert [row["file"] for row in ended.json] == ["data/BTC_KRW-5m.feather"]
    found = pl.read_ipc(tmp_path / "data/BTC_KRW-5m.feather")
    assert found.schema == {
        "date": pl.Datetime("ms", "UTC"),
        **dict.fromkeys(("open", "high", "low", "close", "volume"), pl.Float64),
    }
    assert found["volume"].sum() == 15


def test_events_of_hftbacktest_are_trades_and_books(
    run: Run, redis_in_force: str, store: Store, archive: Archiver, tmp_path: Path
) -> None:
    """Each twice, in the order of the exchange's times and in that of receipt."""
    store.put_books([book()])
    late = trade(2, 102, 2, exchange_ms=T0 + 5, received_ms=T0 + 90_000)
    store.put_trades([trade(1, 101, 1, exchange_ms=T0 + 1), late, trade(3, 103, 3, exchange_ms=T0 + 7)])
    archive.run()
    assert run("export", "trades", "btc", "--for", "hftbacktest", "--out", "btc.npz").code == 0
    events = np.load(tmp_path / "btc.npz")["data"]
    for flag, time in ((EXCHANGE, "exch_ts"), (LOCAL, "local_ts")):
        side = events[events["ev"] & flag == flag]
        assert (np.diff(side[time]) >= 0).all()
        trades = side[side["ev"] & 0xFF == TRADE]
        order = [1, 2, 3] if flag == EXCHANGE else [1, 3, 2]
        assert trades["px"].tolist() == [100 + n for n in order]
        assert trades["qty"].tolist() == order
        books = side[side["ev"] & 0xFF != TRADE]
        assert [int(ev) & ~(EXCHANGE | LOCAL) for ev in books["ev"]] == [
            DEPTH_CLEAR | BUY, DEPTH_SNAPSHOT | BUY, DEPTH_CLEAR | SELL, DEPTH_SNAPSHOT | SELL,
        ]  # fmt: skip
        assert [px for px in books["px"].tolist() if px == px] == [99, 101]
    assert events["exch_ts"].max() == (T0 + 7) * 1_000_000


@pytest.mark.usefixtures("traded")
@pytest.mark.parametrize("interval", ["5m", "1h", "1d"])
def test_candles_of_any_interval_can_be_exported(run: Run, interval: str) -> None:
    """As `show` has them."""
    assert run("export", "candles", "btc", "--interval", interval, "--out", "out.jsonl").code == 0
    shown = run("show", "candles", "btc", "--interval", interval, "--json").json
    found = pl.read_ndjson("out.jsonl")
    for name in ("open_ms", "open", "close", "trade_count", "complete", "interval"):
        assert found[name].to_list() == [row[name] for row in shown]


@pytest.mark.usefixtures("traded")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("candles", "btc", "--for", "nothing", "--out", "a.csv"), "one of backtesting"),
        (("candles", "btc", "--for", "hftbacktest", "--out", "a.npz"), "hftbacktest reads trades"),
        (("candles", "btc", "--for", "backtesting", "--out", "a.npz"), "no .csv file"),
        (("candles", "btc", "--for", "backtesting", "--fill", "x", "--out", "a.csv"), "one of absent"),
        (("candles", "btc", "--fill", "flat", "--out", "a.csv"), "--fill goes with --for"),
        (("candles", "btc", "--interval", "7m", "--out", "a.csv"), "not an interval"),
        (("candles", "btc", "--for", "freqtrade", "--to", "2001-01-02", "--out", "a"), "nothing to export"),
    ],
)
def test_an_export_that_cannot_be_is_one_line(run: Run, arguments: tuple[str, ...], said: str) -> None:
    """With what to do."""
    ended = run("export", *arguments)
    assert (ended.code in (1, 2), said in ended.err, ended.err.count("\n")) == (True, True, 1)
