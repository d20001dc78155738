"""`collector query`, `export` and `audit` as they are typed."""

import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb
import polars as pl
import pyarrow as pa
import pytest
import redis

from collector.archive.archiver import Archiver
from collector.archive.decimals import shortest
from collector.cli.audit import day_span
from collector.model import Trade
from collector.settings import Settings
from collector.store.read import Reader
from collector.store.store import Store
from collector.store.verified import Verified
from tests.doubles.candles import BTC, Exchange
from tests.integration.cli.conftest import ROOT, Run
from tests.samples.rows import T0, trade

HOUR_MS = 3_600_000


@pytest.fixture
def stored(redis_in_force: str, store: Store, archive: Archiver, truth: list[Trade]) -> list[Trade]:
    """Half of the truth archived, all of it in Redis, which is in force."""
    store.put_trades(truth[: len(truth) // 2])
    archive.run(everything=True)
    store.put_trades(truth)
    return truth


# -- query


def test_query_answers_in_a_table_and_in_json(run: Run, stored: list[Trade]) -> None:
    """The same figures for people and for programs; decimals are exact text."""
    busiest = max({trade.market for trade in stored}, key=lambda m: sum(t.market == m for t in stored))
    mine = [trade for trade in stored if trade.market == busiest]
    volume = format(sum(trade.volume for trade in mine).normalize(), "f")
    sql = "select market, count(*) n, sum(volume) v from trades group by 1 order by n desc limit 1"
    assert run("query", sql, "--json").json == [{"market": busiest, "n": len(mine), "v": volume}]
    table = run("query", sql).out
    assert all(text in table for text in (busiest, str(len(mine)), volume))


def test_query_says_how_many_rows_are_not_shown(run: Run, stored: list[Trade]) -> None:
    """A table is cut, JSON is not."""
    assert "the first 3 rows" in run("query", "select id from trades", "--rows", "3").out
    rows = run("query", "select id from trades", "--json").json
    assert len(stored) == len(rows)


def test_query_values_of_every_kind(run: Run, stored: list[Trade]) -> None:
    """Times with a zone are UTC, without one as they are, no number is null, lists and structures stay."""
    sql = (
        "select make_timestamptz(1789997580123000) t, epoch_ms(1789997580123) w,"
        " make_timestamptz(1789997580123456) u,"
        " 1/0 x, [1.50, 2] l, {'a': 1.0::decimal(9,3)} s, true b, null n,"
        " interval 90 second i, date '2026-09-21' d, 1.5::double f, 170141183460469231731687303715884105727 h"
    )
    assert run("query", sql, "--json").json == [
        {
            "t": "2026-09-21T13:33:00.123Z", "w": "2026-09-21T13:33:00.123",
            "u": "2026-09-21T13:33:00.123456Z", "x": None, "l": ["1.5", "2"], "s": {"a": "1"}, "b": True,
            "n": None, "i": 90, "d": "2026-09-21", "f": 1.5, "h": 170141183460469231731687303715884105727,
        }
    ]  # fmt: skip
    assert run("query", sql).code == 0


def test_columns_of_one_name_are_all_in_the_answer(run: Run, stored: list[Trade]) -> None:
    """Named apart, in JSON and in the table."""
    sql = "select t.time, c.time, t.id from trades t join candles c using (market) limit 1"
    assert list(run("query", sql, "--json").json[0]) == ["time", "time_1", "id"]
    assert run("query", sql).out.split()[:3] == ["time", "time_1", "id"]


@pytest.mark.parametrize("zone", ["UTC", "Asia/Seoul", "America/New_York"])
def test_answers_do_not_depend_on_the_zone_of_the_host(
    redis_in_force: str, store: Store, zone: str, tmp_path: Path
) -> None:
    """`now()`, days and the instants in JSON are the same wherever it runs."""
    now_ms = time.time_ns() // 1_000_000
    store.put_trades([trade(number, exchange_ms=now_ms - number) for number in range(1, 6)])
    sql = (
        "select count(*) n, max(time) t, max(cast(time at time zone 'Asia/Seoul' as date)) d,"
        " max(cast(time as date)) e from trades where time > now() - interval '1 hour'"
    )
    argv = [sys.executable, "-m", "collector", "query", sql, "--json"]
    environment = {**os.environ, "TZ": zone, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(argv, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    newest = datetime.fromtimestamp((now_ms - 1) / 1000, UTC)
    day = f"{newest.astimezone(ZoneInfo('Asia/Seoul')):%Y-%m-%d}"
    iso = newest.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert json.loads(ended.stdout) == [{"n": 5, "t": iso, "d": day, "e": day}], ended.stderr


def test_threads_that_read_files_are_bounded_too(
    run: Run, stored: list[Trade], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arrow's, which decode what DuckDB asks for: by default it takes all of the machine."""
    usual = pa.cpu_count()
    monkeypatch.setenv("COLLECTOR_ARCHIVE__QUERY_THREADS", "3")
    try:
        sql = "select current_setting('threads') n from trades limit 1"
        assert run("query", sql, "--json").json == [{"n": 3}]
        assert pa.cpu_count() == 3
    finally:
        pa.set_cpu_count(usual)


def test_rounded_numbers_are_counted_on_stderr(
    run: Run, redis_in_force: str, store: Store, archive: Archiver
) -> None:
    """Those of the views in the query, each once; the answer is as it is."""
    store.put_trades([trade(1, 5, "1E-29"), trade(2, 5, 1)])
    archive.run()
    store.put_trades([trade(3, 5, 2)])
    ended = run("query", "select market, volume from trades order by volume desc limit 1", "--json")
    assert ended.json == [{"market": BTC, "volume": "2"}]
    assert "all digits in the column `rounded`: trades.volume 1\n" in ended.err
    assert "`rounded`" not in run("query", "select count(*) from gaps", "--json").err


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("selec 1", "Parser Error"),
        ("select * from candels", 'Did you mean "candles'),
        ("delete from trades", "a query is one SELECT"),
        ("from read_text('/etc/passwd')", "file system operations are disabled"),
    ],
)
def test_bad_sql_is_one_line(run: Run, stored: list[Trade], sql: str, said: str) -> None:
    """Wrong usage: exit code 2, one line that names the fault."""
    ended = run("query", sql)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert said in ended.err


def test_query_of_nothing_says_so(run: Run, redis_in_force: str) -> None:
    """Nothing archived, nothing in Redis: an empty answer, and why."""
    ended = run("query", "select count(*) n from trades", "--json")
    assert (ended.code, ended.json) == (0, [{"n": 0}])
    assert "nothing is archived" in ended.err


def test_query_without_redis_reads_the_archive(
    run: Run, stored: list[Trade], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Redis that is away costs what was not archived yet, and is said."""
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:9/0")
    ended = run("query", "select count(*) n from trades", "--json")
    assert ended.json == [{"n": len(stored) // 2}]
    assert "the archive only" in ended.err


def test_without_the_extra_one_line_names_it(
    run: Run, stored: list[Trade], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where DuckDB is not installed, the message says what to install."""
    monkeypatch.setitem(__import__("sys").modules, "duckdb", None)
    ended = run("query", "select 1")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "pip install 'bithumb-collector[history]'" in ended.err


# -- export


@pytest.mark.parametrize("kind", ["trades", "candles"])
def test_export_writes_what_show_shows(run: Run, stored: list[Trade], kind: str, tmp_path: Path) -> None:
    """CSV and JSON lines have the fields and numbers of `collector show --json`, Parquet the numbers."""
    shown = [shortest_numbers(row) for row in run("show", kind, BTC, "--json").json]
    for suffix in ("csv", "jsonl", "parquet"):
        ended = run("export", kind, BTC, "--out", f"out.{suffix}")
        assert (ended.code, ended.out) == (0, f"out.{suffix}: {len(shown)} {kind} of {BTC}\n")
    told = run("export", kind, BTC, "--out", "out.jsonl", "--json").json
    assert told == {"file": "out.jsonl", "kind": kind, "market": BTC, "rows": len(shown)}
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    assert shown == [json.loads(line) for line in lines]
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [{name: text(value) for name, value in row.items()} for row in shown] == rows
    frame = pl.read_parquet(tmp_path / "out.parquet")
    exact = "volume" if kind == "trades" else "quote_volume"
    assert sorted(Decimal(row[exact]) for row in shown) == sorted(frame[exact])


def shortest_numbers(row: dict[str, object]) -> dict[str, object]:
    """Return a row without the zeros at the end of its exact numbers: files have none."""
    names = ("price", "volume", "open", "high", "low", "close", "base_volume", "quote_volume",
             "buy_volume", "sell_volume")  # fmt: skip
    return row | {name: shortest(Decimal(str(row[name]))) for name in names if name in row}


def text(value: object) -> str:
    """Return a value as a CSV file says it."""
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def test_export_of_several_markets_is_one_file(run: Run, stored: list[Trade], tmp_path: Path) -> None:
    """Named as people write them, with commas or a pattern, the rows oldest first."""
    everything = sorted((trade.exchange_ms, trade.market) for trade in stored)
    for names in (",".join({market.lower() for _, market in everything}), "*"):
        ended = run("export", "trades", names, "--out", "out.jsonl")
        rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
        assert ended.code == 0
        assert everything == sorted((row["exchange_ms"], row["market"]) for row in rows)
        assert [row["exchange_ms"] for row in rows] == sorted(row["exchange_ms"] for row in rows)


def test_the_order_of_trades_is_the_exchanges_in_every_file(
    run: Run, redis_in_force: str, store: Store, archive: Archiver, tmp_path: Path
) -> None:
    """Of one millisecond, by arrival where it is known; `show`, CSV, JSON lines and Parquet alike."""
    store.put_trades([trade(100, 5, order=2), trade(900, 7, order=1), trade(50, 6, exchange_ms=T0 + 1)])
    for _ in range(2):
        for suffix in ("csv", "jsonl", "parquet"):
            run("export", "trades", BTC, "--out", f"out.{suffix}")
        found = [
            [int(row["id"]) for row in csv.DictReader((tmp_path / "out.csv").read_text().splitlines())],
            [json.loads(line)["id"] for line in (tmp_path / "out.jsonl").read_text().splitlines()],
            pl.read_parquet(tmp_path / "out.parquet")["id"].to_list(),
            [row["id"] for row in run("show", "trades", BTC, "--json").json],
        ]
        assert found == [[900, 100, 50]] * 4
        archive.run()


@pytest.mark.parametrize("zone", ["Asia/Seoul", "America/New_York"])
def test_two_exports_are_read_together(
    run: Run, redis_in_force: str, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zone: str
) -> None:
    """By plain DuckDB, in either order, every digit; the types do not depend on data or settings."""
    store.put_trades(
        [trade(1, "116208000", "1343.75"), trade(2, "0.00000021", "4.12345678", market="KRW-DUST")]
    )
    run("export", "trades", "KRW-BTC", "--out", "a.parquet")
    monkeypatch.setenv("COLLECTOR_TIME_ZONE", zone)
    run("export", "trades", "KRW-DUST", "--out", "b.parquet")
    assert pl.read_parquet_schema(tmp_path / "a.parquet") == pl.read_parquet_schema(tmp_path / "b.parquet")
    for names in (["a", "b"], ["b", "a"]):
        paths = [str(tmp_path / f"{name}.parquet") for name in names]
        found = duckdb.sql(f"SELECT price, volume FROM read_parquet({paths}) ORDER BY 1")  # noqa: S608
        assert found.fetchall() == [
            (Decimal("0.00000021"), Decimal("4.12345678")), (Decimal(116208000), Decimal("1343.75")),
        ]  # fmt: skip
    kinds = pl.read_parquet_schema(tmp_path / "a.parquet")
    assert (kinds["volume"], kinds["time"]) == (pl.Decimal(28, 12), pl.Datetime("us", "UTC"))


def test_an_export_has_every_digit_of_what_does_not_fit(
    run: Run, redis_in_force: str, store: Store, tmp_path: Path
) -> None:
    """As text in CSV and JSON lines, in `rounded` in Parquet."""
    store.put_trades([trade(1, "1E+20", "1E-29")])
    for kind in ("trades", "candles"):
        shown = [shortest_numbers(row) for row in run("show", kind, BTC, "--json").json]
        for suffix in ("jsonl", "parquet"):
            run("export", kind, BTC, "--out", f"{kind}.{suffix}")
        assert [json.loads(line) for line in (tmp_path / f"{kind}.jsonl").read_text().splitlines()] == shown
    (row,) = pl.read_parquet(tmp_path / "trades.parquet").to_dicts()
    assert json.loads(row["rounded"]) == {"price": "1" + "0" * 20, "volume": "0." + "0" * 28 + "1"}


def test_export_is_cut_to_the_span(run: Run, stored: list[Trade], tmp_path: Path) -> None:
    """`--from` and `--to` are both included."""
    times = sorted(trade.exchange_ms for trade in stored if trade.market == BTC)
    run("export", "trades", BTC, "--out", "out.jsonl", "--from", str(times[2]), "--to", str(times[-3]))
    found = [json.loads(line)["exchange_ms"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [ms for ms in times if times[2] <= ms <= times[-3]] == found


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("trades", "KRW-NO", "--out", "x.csv"), 1, "KRW-NO is not a market we have data of"),
        (("trades", BTC, "--out", "x.xls"), 2, "x.xls is no .csv, .parquet, .jsonl file"),
        (("trades", BTC, "--out", "none/x.csv"), 2, "can't be written"),
        (("books", BTC, "--out", "x.csv"), 2, "one of trades, candles"),
        (
            ("trades", BTC, "--out", "x.csv", "--to", "2020-01-01"),
            1,
            "no trades of KRW-BTC to 2020-01-01 23:59:59.999 (Asia/Seoul); there are trades from 2026-09-21 ",
        ),
    ],
)
def test_export_that_cannot_be_is_one_line(
    run: Run, stored: list[Trade], tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    """What can't be done is said in one line, and no file is left."""
    ended = run("export", *arguments)
    assert (ended.code, ended.err.count("\n")) == (code, 1)
    assert said in ended.err
    assert [name for name in os.listdir(tmp_path) if "x." in name] == []


# -- audit


@pytest.fixture(scope="module")
def history() -> Iterator[Exchange]:
    """A simulated exchange with some hours of history."""
    with Exchange() as exchange:
        yield exchange


@pytest.fixture
def exchange(redis_in_force: str, history: Exchange, monkeypatch: pytest.MonkeyPatch) -> Exchange:
    """That exchange, in force."""
    monkeypatch.setenv("COLLECTOR_EXCHANGE__REST_URL", history.url)
    return history


def minutes_of(trades: list[Trade]) -> int:
    """Return how many minutes have trades."""
    return len({trade.minute_ms for trade in trades})


def test_audit_of_all_trades_finds_no_difference(run: Run, store: Store, exchange: Exchange) -> None:
    """Every minute, to the last digit."""
    store.put_trades(exchange.trades)
    before = minutes_of(exchange.settled(BTC))
    ended = run("audit", BTC, "--json")
    assert (ended.code, ended.json["differences"]) == (0, [])
    assert ended.json["minutes_ours"] == ended.json["minutes_equal"]
    assert before <= ended.json["minutes_ours"] <= minutes_of(exchange.settled(BTC))
    assert "minutes equal the exchange's" in run("audit", "btc/krw").out


def test_audit_names_every_minute_we_lost_and_why(
    run: Run, store: Store, archive: Archiver, exchange: Exchange
) -> None:
    """One trade left out here, one too many there, a gap that is known: each minute with its reason."""
    times = sorted({trade.minute_ms for trade in exchange.settled(BTC)})
    lost, known, more = times[3], times[5], times[7]
    kept = [trade for trade in exchange.trades if trade.minute_ms not in (lost, known) or trade.market != BTC]
    store.put_trades(kept)
    store.put_trades([exchange.another(BTC, more)])
    store.put_gaps([exchange.gap(BTC, known)])
    archive.run(everything=True)
    ended = run("audit", BTC, "--json")
    found = [(row["open_ms"], row["why"]) for row in ended.json["differences"]]
    assert (ended.code, found) == (1, [(lost, "theirs"), (known, "gap"), (more, "ours")])
    table = run("audit", BTC).out
    assert f"3 of {len(times)} minutes differ" in table
    assert "gap 1, theirs 1, ours 1" in table


def test_audit_reads_the_archive_when_redis_has_forgotten(
    run: Run, client: redis.Redis, store: Store, archive: Archiver, exchange: Exchange
) -> None:
    """Minutes that only the archive still knows are compared too, page after page."""
    store.put_trades(exchange.trades)
    archive.run(everything=True)
    client.flushall()
    ended = run("audit", BTC, "--json")
    assert (ended.code, ended.json["differences"]) == (0, [])
    assert exchange.pages(BTC) > 1


def test_audit_of_all_markets(run: Run, store: Store, reader: Reader, exchange: Exchange) -> None:
    """One table and one exit code; with --repair the listener gets gaps to fetch."""
    store.put_trades(exchange.trades)
    ended = run("audit", "--all", "--json")
    markets = sorted({trade.market for trade in exchange.trades})
    assert (ended.code, [row["market"] for row in ended.json]) == (0, markets)
    assert all(row["differences"] == [] and row["error"] is None for row in ended.json)
    assert f"minutes of {len(markets)} markets equal the exchange's" in run("audit", "--all").out
    nothing = run("audit", "--all", "--date", "2001-01-01")
    assert (nothing.code, nothing.out.startswith("nothing to compare: ")) == (0, True)
    more = sorted({trade.minute_ms for trade in exchange.settled(BTC)})[7]
    store.put_trades([exchange.another(BTC, more)])
    ended = run("audit", "--all", "--repair")
    assert ended.code == 1

    assert f"in 1 of {len(markets)} markets" in ended.out
    assert "ours 1" in ended.out
    assert [gap for gap in reader.gaps() if gap.reason == "audit"] == []


def test_audit_repairs_what_lacks_trades(run: Run, store: Store, reader: Reader, exchange: Exchange) -> None:
    """A gap for each stretch of minutes; without the option nothing is opened."""
    times = sorted({trade.minute_ms for trade in exchange.settled(BTC)})
    lost = times[3]
    store.put_trades([trade for trade in exchange.trades if (trade.market, trade.minute_ms) != (BTC, lost)])
    assert run("audit", BTC).code == 1
    assert reader.gaps() == []
    assert "1 gaps opened" in run("audit", BTC, "--repair").out
    (gap,) = reader.gaps()
    assert (gap.market, gap.from_ms, gap.to_ms, gap.reason) == (BTC, lost, lost + 59_999, "audit")


def test_audit_leaves_verdicts(
    run: Run, client: redis.Redis, store: Store, reader: Reader, exchange: Exchange, settings: Settings
) -> None:
    """Of minutes that agree, differ, and have no trade."""
    markets = {trade.market for trade in exchange.trades}
    quietest = min(markets, key=lambda market: minutes_of(exchange.settled(market)))
    times = sorted({trade.minute_ms for trade in exchange.settled(quietest)})
    store.put_trades([trade for trade in exchange.trades if trade.market == quietest])
    store.put_trades([exchange.another(quietest, times[1])])
    assert run("audit", quietest).code == 1
    minutes = reader.minutes(quietest, times[0], times[-3])
    known = Verified(client, settings.store).read(quietest, times[0], times[-3])
    found = {ms: known.of(ms, minutes.get(ms)) for ms in range(times[0], times[-3], 60_000)}
    assert found == {ms: ms != times[1] for ms in found}
    assert len(found) > len(minutes), "there is a minute without a trade"


def test_audit_says_where_our_data_begin(run: Run, store: Store, exchange: Exchange) -> None:
    """What the exchange traded before is no loss, and yet not ours."""
    times = sorted({trade.minute_ms for trade in exchange.settled(BTC)})
    store.put_trades([trade for trade in exchange.trades if trade.minute_ms >= times[5]])
    ended = run("audit", BTC, "--json")
    assert {row["why"] for row in ended.json["differences"]} == {"before"}
    assert (ended.code, len(ended.json["differences"])) == (1, 5)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "give one market, or --all"),
        ((BTC, "--all"), 2, "give one market, or --all"),
        (("KRW-NO",), 1, "KRW-NO is not a market of the exchange"),
        ((BTC, "--date", "tomorrow"), 2, "--date 'tomorrow' is not a day"),
        ((BTC, "--date", "2026-09-21", "--from", "0"), 2, "not both"),
        ((BTC, "--from", "2099-01-01"), 2, "no whole minute"),
        (
            (BTC, "--date", "2020-01-01"),
            1,
            "nothing to compare, here or at the exchange: no candles of KRW-BTC from 2020-01-01 00:00:00",
        ),
    ],
)
def test_audit_that_cannot_be_is_one_line(
    run: Run, exchange: Exchange, arguments: tuple[str, ...], code: int, said: str
) -> None:
    """What can't be compared is said in one line."""
    ended = run("audit", *arguments)
    assert (ended.code, ended.err.count("\n"), said in ended.err) == (code, 1, True), ended.err


def test_a_day_of_the_audit_is_the_exchanges() -> None:
    """From midnight to midnight in Korea, whatever the zone of tables and host."""
    now_ms = 1_795_880_000_000  # 2026-11-29 00:33 in Seoul, still the 28th in UTC
    midnight_ms = 1_795_878_000_000
    assert day_span("2026-11-29", now_ms) == (midnight_ms, midnight_ms + 86_399_999)
    assert day_span("today", now_ms) == day_span("2026-11-29", now_ms)
    assert day_span("yesterday", now_ms) == (midnight_ms - 86_400_000, midnight_ms - 1)


def test_audit_without_the_exchange_is_one_line(
    run: Run, redis_in_force: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exchange that can't be reached is an error, not an empty comparison."""
    monkeypatch.setenv("COLLECTOR_EXCHANGE__REST_URL", "http://127.0.0.1:9")
    ended = run("audit", BTC)
    assert (ended.code, ended.out) == (1, "")
    assert "127.0.0.1:9" in ended.err.splitlines()[-1]
