"""`collector show`: the JSON promise of the interface to the letter, and tables for people."""

import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import redis
from msgspec.structs import replace

from collector.host.redis_server import PrivateRedis
from collector.settings import Settings
from collector.store.condition import Condition, Kind, Problem
from collector.store.keys import Keys
from collector.store.read import Reader
from collector.store.redis_client import connect
from collector.store.store import Store

from .conftest import GAPS, MINUTE, T0, Run, fill

FIRST_CANDLE = {
    "market": "KRW-BTC",
    "interval": "1m",
    "open_ms": T0,
    "open_time": "2026-09-21T14:13:00Z",
    "open": "100000000",
    "high": "100002000",
    "low": "100000000",
    "close": "100002000",
    "base_volume": "0.75",
    "quote_volume": "75000500.00",
    "buy_volume": "0.5",
    "sell_volume": "0.25",
    "vwap": "100000666.6666666666666666667",
    "trade_count": 2,
    "complete": False,
    "verified": None,
}
SECOND_CANDLE = {
    "market": "KRW-BTC",
    "interval": "1m",
    "open_ms": T0 + MINUTE,
    "open_time": "2026-09-21T14:14:00Z",
    "open": "99999000",
    "high": "99999000",
    "low": "99999000",
    "close": "99999000",
    "base_volume": "1.00000001",
    "quote_volume": "99999000.99999000",
    "buy_volume": "1.00000001",
    "sell_volume": "0",
    "vwap": "99999000",
    "trade_count": 1,
    "complete": True,
    "verified": None,
}
TICKER = {
    "market": "KRW-BTC",
    "price": "99999000",
    "change": "fall",
    "change_price": "-1000",
    "change_rate": "-0.00001",
    "prev_closing_price": "100000000",
    "open": "100000000",
    "high": "100002000",
    "low": "99999000",
    "base_volume_24h": "1234.5",
    "quote_volume_24h": "123456789012.5",
    "exchange_ms": T0 + MINUTE + 6,
    "received_ms": T0 + MINUTE + 26,
}
BOOK = {
    "market": "KRW-BTC",
    "exchange_ms": T0 + MINUTE + 7,
    "bids": [["99999000", "2"], ["99998000", "1"]],
    "asks": [["100001000", "1"]],
    "spread": "2000",
    "spread_bps": "0.2",
    "mid": "100000000",
    "microprice": "100000333.3333333333333333333",
    "imbalance": "0.5",
    "bid_depth": "3",
    "ask_depth": "1",
    "changed_levels": 3,
}
FIRST_VOLUME = {
    "market": "KRW-BTC",
    "window": "1m",
    "base_volume": "1.00000001",
    "quote_volume": "99999000.99999000",
    "buy_volume": "1.00000001",
    "sell_volume": "0",
    "vwap": "99999000",
    "trade_count": 1,
}
FIRST_CHANGE = {
    "market": "KRW-BTC",
    "window": "1m",
    "change_rate": "-0.00002999940001199976000479990400",
    "from_price": "100002000",
    "to_price": "99999000",
}
FIRST_TRADE = {
    "market": "KRW-BTC",
    "id": 1,
    "price": "100000000",
    "volume": "0.5",
    "side": "buy",
    "exchange_ms": T0 + 1,
    "received_ms": T0 + 20,
}
FIRST_GAP = {
    "market": "KRW-BTC",
    "channel": "trade",
    "from_ms": T0 + 100,
    "to_ms": T0 + 200,
    "reason": "disconnected",
    "recovered": False,
}


@pytest.mark.parametrize(
    ("what", "promised"),
    [
        ("candles", FIRST_CANDLE),
        ("ticker", TICKER),
        ("book", BOOK),
        ("volume", FIRST_VOLUME),
        ("changes", FIRST_CHANGE),
        ("trades", FIRST_TRADE),
        ("gaps", FIRST_GAP),
    ],
)
def test_json_has_the_promised_keys_and_values_in_order(
    run: Run, filled: str, what: str, promised: dict
) -> None:
    """Each row begins with the keys of the interface, exact decimals as strings without exponent."""
    rows = run("show", what, "KRW-BTC", "--json").json
    assert list(promised.items()) == list(rows[0].items())[: len(promised)]


def test_json_of_candles_is_one_array_oldest_first(run: Run, filled: str) -> None:
    """Two minutes with trades are two candles."""
    ended = run("show", "candles", "KRW-BTC", "--json")
    assert ended.json == [FIRST_CANDLE, SECOND_CANDLE]
    assert (ended.code, ended.err) == (0, "")


def test_windows_are_the_promised_ones(run: Run, filled: str) -> None:
    """Volumes of five windows; changes of the same and against the previous close."""
    windows = ["1m", "5m", "15m", "1h", "24h"]
    volumes = run("show", "volume", "KRW-BTC", "--json").json
    changes = run("show", "changes", "KRW-BTC", "--json").json
    assert windows == [row["window"] for row in volumes]
    assert [*windows, "prev_close"] == [row["window"] for row in changes]


def test_health_is_an_object_of_six(run: Run, filled: str) -> None:
    """Listeners, queues, workers, counters, Redis, what is proven; a queue for each channel, and analyses."""
    health = run("show", "health", "--json").json
    assert list(health) == ["listeners", "queues", "workers", "counters", "redis", "proof"]
    assert (health["proof"]["open_gaps"], health["proof"]["outages"]) == (1, [])
    assert {"trade", "orderbook", "ticker", "analysis"} <= health["queues"].keys()
    assert health["counters"]["trades_counted"] == 4


def test_tiny_price_has_no_exponent(run: Run, filled: str) -> None:
    """A price of 2.1E-7 is written 0.00000021."""
    assert run("show", "candles", "KRW-DUST", "--json").json[0]["close"] == "0.00000021"


@pytest.mark.parametrize("what", ["ticker", "book", "gaps"])
def test_without_a_market_all_are_shown(run: Run, filled: str, what: str) -> None:
    """Tickers, books and gaps of every market."""
    assert run("show", what, "--json").json[0]["market"] == "KRW-BTC"


def test_markets_are_listed_with_what_the_exchange_says_of_them(run: Run, filled: str) -> None:
    """Every market ever seen; one of which nothing is said is taken for active."""
    said = {"state": "active", "warning": None, "delisting_date": None, "last_trade_ms": T0 + MINUTE + 5}
    expected = [{"market": "KRW-BTC", **said}, {"market": "KRW-DUST", **said}]
    assert expected == run("show", "markets", "--json").json
    with connect(filled, Settings()) as client:
        keys = Keys(Settings().store.key_prefix)
        client.hset(keys.listings, "KRW-BTC", '[true,"CAUTION"]')
        client.hset(keys.listings, "KRW-DUST", "[false]")
    states = [(row["state"], row["warning"]) for row in run("show", "markets", "--json").json]
    assert states == [("active", "caution"), ("unlisted", None)]
    out = run("show", "markets").out
    assert "2 markets, 1 unlisted" in out
    assert re.search(r"KRW-BTC +active +caution ", out)


@pytest.mark.parametrize(
    ("options", "opens"),
    [
        (["--from", str(T0 + 1)], [T0 + MINUTE]),
        (["--to", str(T0)], [T0]),
        (["--from", "2026-09-21T14:13:00", "--to", "2026-09-21T14:13:59Z"], [T0]),
        (["--from", "2026-09-21T23:14:00+09:00"], [T0 + MINUTE]),
        (["--limit", "1"], [T0 + MINUTE]),
        (["--interval", "5m"], [T0 - 3 * MINUTE]),
        (["--from", str(T0 + 5 * MINUTE)], []),
    ],
)
def test_candles_can_be_chosen(run: Run, filled: str, options: list[str], opens: list[int]) -> None:
    """By time, both ends included, by number, by interval."""
    rows = run("show", "candles", "KRW-BTC", *options, "--json").json
    assert opens == [row["open_ms"] for row in rows]


def test_gaps_are_chosen_where_they_overlap(run: Run, filled: str) -> None:
    """A gap that reaches into the asked stretch is shown."""
    rows = run("show", "gaps", "KRW-BTC", "--from", str(T0 + 150), "--to", str(T0 + 160), "--json").json
    assert rows == [FIRST_GAP]


def test_gaps_that_are_open_come_first(run: Run, filled: str, settings: Settings) -> None:
    """People see those and the number of the others; `--all` and programs get every one."""
    out = run("show", "gaps").out
    assert "Gaps: 1 open, 0 recovered, 1 of tickers and books (--all), times in KST" in out
    assert ("disconnected" in out, "stalled" in out) == (True, False)
    every = run("show", "gaps", "--all").out
    assert ("disconnected" in every, "stalled" in every) == (True, True)
    assert len(run("show", "gaps", "--json").json) == 2
    later = run("show", "gaps", "--from", str(T0 + MINUTE)).out
    assert "Gaps: 0 open, 0 recovered, 1 of tickers and books (--all)" in later
    with connect(filled, settings) as client:
        store = Store(client, settings.store)
        store.put_gaps([replace(GAPS[0], from_ms=T0 - n * MINUTE, recovered=n == 3) for n in range(4)])
        store.put_gaps([replace(GAPS[0], market="KRW-DUST")])
    out = run("show", "gaps", "--limit", "2").out
    assert "Gaps: 5 open, 1 recovered, 1 of tickers and books (--all)" in out
    assert "the newest 2 lines; --limit shows more" in out
    (line,) = [line for line in run("show", "gaps").out.splitlines() if "2 markets" in line]
    assert line.split() == [
        "2",
        "markets",
        "trade",
        "2026-09-21",
        "23:13:00",
        "100",
        "ms",
        "disconnected",
        "open",
    ]


def test_old_data_are_said_to_be_old(run: Run, filled: str, settings: Settings) -> None:
    """Where no collector runs, or one without data; not beside one that streams, and never in JSON."""
    stopped = "No collector is running; the data end at 2026-09-21 23:14:00 KST, "
    for arguments in (["candles", "KRW-BTC"], ["ticker"], ["health"], ["gaps"]):
        assert run("show", *arguments).out.startswith(stopped)
        assert stopped not in run("show", *arguments, "--json").out
    key = Keys(settings.store.key_prefix).listener("a")
    with redis.Redis.from_url(filled) as client:
        for state, said in {
            "stopped": stopped,
            "waiting": "The collector has no data from the exchange; the data end at ",
            "streaming": "KRW-BTC, 1m candles",
        }.items():
            client.set(key, msgspec.json.encode({"id": "a", "state": state, "connections": []}))
            assert run("show", "candles", "KRW-BTC").out.startswith(said)


def test_a_full_disk_hides_no_collector(run: Run, filled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listener's reports do not reach a Redis that can't write: that none is seen means nothing."""
    full = Condition(1, 2, "noeviction", [Problem(Kind.DISK, "it can't write to its disk")])
    monkeypatch.setattr(Reader, "condition", lambda _: full)
    said = "Redis can't write to its disk, so a running collector is not seen; the data end at 2026-09-21"
    assert run("show", "candles", "KRW-BTC").out.startswith(said)


def test_a_pipe_with_columns_has_an_edge(run: Run, filled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`COLUMNS=80 collector show … | less` is what a terminal of 80 columns shows."""
    assert "2026-09-21 23:13" in run("show", "candles", "KRW-BTC").out
    monkeypatch.setenv("COLUMNS", "80")
    out = run("show", "candles", "KRW-BTC").out
    assert "times in KST on 2026-09-21" in out
    assert max(map(len, out.splitlines())) <= 80


def test_market_may_be_typed_small(run: Run, filled: str) -> None:
    """krw-btc is KRW-BTC."""
    assert run("show", "ticker", "krw-btc", "--json").json == [TICKER]


@pytest.mark.parametrize("name", ["btc", "KRW_BTC", "BTC/KRW", "BTCKRW", "KRW-BT*"])
def test_markets_are_named_as_people_write_them(run: Run, filled: str, name: str) -> None:
    """Every subject that takes a market takes every spelling of it."""
    for what in ("candles", "volume", "changes", "trades", "gaps", "book"):
        expected = run("show", what, "KRW-BTC", "--json")
        assert (expected.code, expected.json) == (0, run("show", what, name, "--json").json)
        assert expected.json


def test_several_markets_are_one_array_oldest_first(run: Run, filled: str) -> None:
    """With commas or a pattern; a limit is of each market, and tables are of one market each."""
    for names in ("dust,btc", "KRW-*"):
        rows = run("show", "trades", names, "--json").json
        assert [(row["market"], row["id"]) for row in rows] == [
            *(("KRW-BTC", 1), ("KRW-BTC", 2)),
            *sorted((("KRW-DUST", 9), ("KRW-BTC", 3)), reverse=names == "dust,btc"),
        ]
        newest = run("show", "candles", names, "--limit", "1", "--json").json
        assert {row["market"] for row in newest} == {"KRW-BTC", "KRW-DUST"}
        assert len(newest) == 2
    table = run("show", "candles", "KRW-*").out
    assert table.index("KRW-BTC, 1m candles") < table.index("KRW-DUST, 1m candles")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nonsense"], 2, "ticker, book, candles, volume, changes, trades, gaps, completeness, health"),
        (["candles"], 2, "collector show candles KRW-BTC"),
        (["volume"], 2, "needs a market"),
        (["candles", "KRW-BTC", "--interval", "2m"], 2, "1m, 3m, 5m, 15m, 30m, 1h, 4h, 1d"),
        (["ticker", "KRW-BTC", "--interval", "1m"], 2, "--interval is for"),
        (["ticker", "--from", "0"], 2, "leave --from and --to out"),
        (["health", "KRW-BTC"], 2, "leave KRW-BTC out"),
        (["trades", "KRW-BTC", "--all"], 2, "--all is for `show gaps` and `show completeness` alone"),
        (
            ["trades", "KRW-BTC", "--from", "tomorrow"],
            2,
            "write 2026-07-31 09:00, 09:00, yesterday, -2h, ISO 8601",
        ),
        (
            ["trades", "KRW-BTC", "--from", "5", "--to", "4"],
            2,
            "--from 5 (1970-01-01 09:00:00.005) is after --to 4 (1970-01-01 09:00:00.004)",
        ),
        (["trades", "KRW-BTC", "--limit", "0"], 2, "--limit"),
        (["candles", "KRW-NOPE"], 1, "KRW-NOPE is not a market we have data of: KRW-BTC, KRW-DUST"),
        (["ticker", "btc,KRW-DUSK"], 1, "KRW-DUSK is not a market we have data of: did you mean KRW-DUST?"),
        (["book", "KRW-NOPE"], 1, "KRW-BTC, KRW-DUST"),
        (["trades", "KRW-BTC", "--frm", "5"], 2, "--frm"),
    ],
)
def test_misuse_is_one_line_that_helps(
    run: Run, filled: str, arguments: list[str], code: int, said: str
) -> None:
    """Wrong usage is exit code 2, an unknown market 1; nothing goes to stdout."""
    ended = run("show", *arguments)
    assert (code, "", 1) == (ended.code, ended.out, ended.err.count("\n"))
    assert said in ended.err


@pytest.mark.parametrize("what", ["ticker", "book", "gaps", "markets", "rejected"])
def test_nothing_is_an_empty_array(run: Run, redis_in_force: str, what: str) -> None:
    """`[]` for programs, a sentence for people, and no error."""
    assert (run("show", what, "--json").code, run("show", what, "--json").json) == (0, [])
    assert "Nothing to show" in run("show", what).out


@pytest.mark.parametrize(
    "arguments",
    [
        ["candles", "KRW-BTC"],
        ["candles", "KRW-DUST"],
        ["ticker"],
        ["book"],
        ["book", "KRW-BTC"],
        ["volume", "KRW-BTC"],
        ["volume", "KRW-DUST"],
        ["changes", "KRW-BTC"],
        ["trades", "KRW-BTC"],
        ["gaps"],
        ["markets"],
        ["health"],
    ],
)
def test_table_is_plain_in_a_pipe(run: Run, filled: str, arguments: list[str]) -> None:
    """No colour codes, no cut numbers, whatever COLUMNS says."""
    ended = run("show", *arguments)
    assert ended.code == 0
    assert "\x1b" not in ended.out
    assert "…" not in ended.out.replace("last …", "")


def test_table_of_candles_reads_well(run: Run, filled: str) -> None:
    """Thousands separated, Korean time named, an incomplete candle marked and explained."""
    out = run("show", "candles", "KRW-BTC").out
    assert "times in KST" in out
    line = next(line for line in out.splitlines() if "23:13" in line)
    assert line.split()[:4] == ["2026-09-21", "23:13", "100,000,000", "100,002,000"]
    assert line.split()[-1] == "incomplete"
    assert "collector show completeness" in out


def test_times_are_read_in_the_zone_that_is_shown(
    run: Run, filled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a table prints can be typed: in Korea by default, elsewhere with COLLECTOR_TIME_ZONE."""
    asked = ("show", "candles", "KRW-BTC", "--json", "--from", "2026-09-21 23:14")
    assert [row["open_time"] for row in run(*asked).json] == ["2026-09-21T14:14:00Z"]
    monkeypatch.setenv("COLLECTOR_TIME_ZONE", "America/New_York")
    assert run("show", "candles", "KRW-BTC", "--json", "--from", "2026-09-21 23:14").json == []
    assert len(run("show", "candles", "KRW-BTC", "--json", "--from", "2026-09-21 10:14").json) == 1
    out = run("show", "candles", "KRW-BTC").out
    assert "times in America/New_York" in out
    assert any(line.split()[:2] == ["2026-09-21", "10:14"] for line in out.splitlines())


@pytest.mark.parametrize(
    ("what", "known"),
    [
        ("candles", "2026-09-21 23:13:00 to 2026-09-21 23:14:59.999"),
        ("trades", "2026-09-21 23:13:00.001 to 2026-09-21 23:14:00.005"),
        ("gaps", "2026-09-21 23:13:00.100 to 2026-09-21 23:14:00.050"),
    ],
)
def test_an_empty_answer_tells_how_it_was_read_and_what_there_is(
    run: Run, filled: str, what: str, known: str
) -> None:
    """The times as they were read, the zone, and the stretch there are data for; programs get `[]`."""
    ended = run("show", what, "KRW-BTC", "--from", "2026-09-22")
    read = f"Nothing to show: no {what} of KRW-BTC from 2026-09-22 00:00:00 (Asia/Seoul)"
    assert ended.out.endswith(f"\n{read}; there are {what} from {known} (Asia/Seoul).\n")
    programs = run("show", what, "KRW-BTC", "--from", "2026-09-22", "--json")
    assert (programs.code, programs.json) == (0, [])
    assert read in programs.err


def test_long_lists_are_short_for_people_alone(
    run: Run, filled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a word about how many, people get the newest few and are told so; programs get all."""
    monkeypatch.setattr("collector.cli.show.GLANCE_ROWS", 2)
    out = run("show", "trades", "KRW-BTC").out
    assert "The newest 2; --limit or --from shows more." in out
    assert len(run("show", "trades", "KRW-BTC", "--json").json) == 3


def test_refused_messages_are_shown(run: Run, filled: str, settings: Settings) -> None:
    """What a listener could not understand, oldest first."""
    kept = [{"at_ms": at, "reason": "not_json", "detail": "x", "raw": "{oops"} for at in (2, 1)]
    with redis.Redis.from_url(filled) as client:
        client.rpush("bithumb:rejected-frames", *map(msgspec.json.encode, kept))
    assert kept[::-1] == run("show", "rejected", "--json").json
    assert "{oops" in run("show", "rejected").out


@pytest.mark.server
def test_results_can_be_read_after_the_end(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The data of a private server that has stopped are read by starting it for a moment."""
    ours = Settings(data_dir=tmp_path / "data")
    with PrivateRedis(ours) as server:
        fill(server.url, ours)
    monkeypatch.setenv("COLLECTOR_DATA_DIR", str(ours.data_dir))
    assert run("show", "candles", "KRW-BTC", "--json").json == [FIRST_CANDLE, SECOND_CANDLE]
    with PrivateRedis(ours):  # the folder was given back
        pass


def test_without_redis_one_line_says_what_to_do(run: Run) -> None:
    """No REDIS_URL, no private server, no data."""
    ended = run("show", "ticker")
    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
    assert "collector up" in ended.err
    assert "REDIS_URL" in ended.err


def test_reader_that_leaves_early_is_no_error(filled: str) -> None:
    """`collector show … | head -0` ends quietly."""
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(
        [sys.executable, "-m", "collector", "show", "candles", "KRW-BTC", "--json"],
        stdout=writing,
        stderr=subprocess.PIPE,
        timeout=30,
        check=False,
    )
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (0, b"")
