"""Analyses that repeat by themselves, samples of the books, and what is made of them."""

import json
import logging
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import redis

from collector.analyses import catalog as analysis
from collector.analyses import inputs
from collector.analytics import book_window
from collector.analytics.depth import derive
from collector.errors import ConfigurationError
from collector.model import OrderBook
from collector.settings import AnalysisSettings, Settings
from collector.store.read import Reader
from collector.store.store import Store
from tasks import periodic
from tasks.periodic import Question
from tests.acceptance.recorded import compare
from tests.acceptance.recorded.sources import BOOKS, UPBIT, Source
from tests.samples import naive
from tests.samples.rows import BTC, T0, book, trade


@pytest.fixture
def chosen(
    settings: Settings, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Settings]:
    """A function that returns settings with some of the periodic tasks; analyses read the test server."""
    monkeypatch.setattr(inputs, "client", lambda: client)
    monkeypatch.setattr(inputs, "current", lambda: settings)
    return lambda **some: settings.model_copy(update={"analysis": AnalysisSettings(**some)})


@pytest.mark.parametrize("source", [UPBIT, *BOOKS], ids=lambda source: source.name)
def test_books_of_a_recording_over_time(shared_dir: Path, source: Source) -> None:
    """Spread statistics and changes of every book of every market are those of the plain computation."""
    session = source.read(source.path(shared_dir))
    looked_at = 0
    for market in {row.market for row in session.books}:
        books = [row for row in session.distinct_books() if row.market == market]
        samples, last = [], None
        for row in books:
            last = derive(OrderBook(market, row.us, 0, row.bids, row.asks), last)
            samples.append(book_window.sample(last))
        to_ms = samples[-1].exchange_ms + 777
        expected = naive.spread(books, to_ms)
        assert compare.picked(book_window.spread(samples, to_ms), expected) == expected
        expected = naive.book_changes(books)
        assert compare.picked(book_window.changes(samples), expected) == expected
        looked_at += len(books)
    print(f"{source.name}: {looked_at} books")


def test_one_sided_books_have_no_spread() -> None:
    """They are left out, and a window of nothing else has no figures."""
    samples = [
        book_window.sample(derive(book(((99, 1),), (), exchange_us=T0 * 1000), None)),
        book_window.sample(derive(book(exchange_us=(T0 + 50) * 1000), None)),
    ]
    assert book_window.spread(samples, T0 + 60).book_count == 1
    assert book_window.spread(samples[:1], T0 + 60).mean_spread_bps is None
    assert book_window.changes([]).mean_changed_levels is None


def test_each_book_is_sampled_once_and_only_so_many_are_kept(
    store: Store, client: redis.Redis, reader: Reader, chosen: Callable[..., Settings]
) -> None:
    """A book that stands is not sampled again; the oldest samples go, and all go when nothing comes."""
    settings = chosen(book_samples_s=10, book_samples_kept=3)
    for second in range(5):
        store.put_books([book(((99 - second, 1),), exchange_us=(T0 + second * 1000) * 1000)])
        for _ in range(2):
            periodic.keep_samples(client, settings)
    kept = reader.book_samples(BTC, T0, T0 + 60_000)
    assert [sample.spread for sample in kept] == [Decimal(4), Decimal(5), Decimal(6)]
    assert [sample.exchange_ms for sample in reader.book_samples(BTC, T0 + 3_000, T0 + 3_000)] == [T0 + 3_000]
    assert 0 < client.pttl("bithumb:book-samples:KRW-BTC") <= 60_000


def test_analyses_of_samples_are_exact(
    store: Store, client: redis.Redis, chosen: Callable[..., Settings]
) -> None:
    """A spread of 2 for 4 s and of 6 for 1 s: the mean is 4."""
    store.put_trades([trade(1, exchange_ms=T0 + 6_000)])
    for after_ms, bids in ((1_000, ((99, 1), (98, 1))), (5_000, ((95, 1),))):
        store.put_books([book(bids, ((101, 1),), exchange_us=(T0 + after_ms) * 1000)])
        periodic.keep_samples(client, chosen())
    spread = analysis.find("spread").run(BTC, "1m")
    assert (spread["mean_spread"], spread["median_spread"], spread["newest_spread"]) == ("4", "4", "6")
    weighted = (Decimal(2) * 10_000 / 100 * 4 + Decimal(6) * 10_000 / 98) / 5
    assert Decimal(spread["time_weighted_spread_bps"]) == pytest.approx(weighted, abs=Decimal("1e-20"))
    changes = analysis.find("book_changes").run(BTC, "1m")
    assert (changes["added"], changes["removed"], changes["best_moved_share"]) == (4, 2, "1")


def test_answers_are_kept_once_each_and_the_oldest_go(
    store: Store, client: redis.Redis, reader: Reader, chosen: Callable[..., Settings]
) -> None:
    """A run with nothing new adds nothing; three answers are kept."""
    settings = chosen(periodic="vwap KRW-BTC 5m; top_movers", periodic_kept=3)
    for number in range(5):
        store.put_trades([trade(number, 100 + number, exchange_ms=T0 + number * 1_000)])
        for _ in range(2):
            periodic.keep_answers(client, settings)
    kept = reader.kept_answers("vwap", (BTC, "5m"))
    assert [answer["to_ms"] for answer in kept] == [T0 + n * 1_000 for n in (2, 3, 4)]
    assert [answer["vwap"] for answer in kept] == ["101", "101.5", "102"]
    assert len(reader.kept_answers("top_movers", ("*", "15m"))) == 3


def test_a_question_without_an_answer_does_not_stop_the_others(
    store: Store, client: redis.Redis, reader: Reader, chosen: Callable[..., Settings],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """It is named in the log."""
    settings = chosen(periodic="vwap KRW-NONE 5m; walls KRW-BTC;; vwap krw-btc")
    store.put_trades([trade(1)])
    with caplog.at_level(logging.WARNING, "tasks.periodic"):
        periodic.keep_answers(client, settings)
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "vwap KRW-NONE 5m",
        "walls KRW-BTC",
    ]
    assert len(reader.kept_answers("vwap", (BTC, "15m"))) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("vwpa KRW-BTC", "there is no analysis"),
        ("vwap", "needs a market"),
        ("walls KRW-BTC 5m", "has no window"),
        ("vwap KRW-BTC 5m 10m", "is not `name"),
    ],
)
def test_what_cannot_be_repeated_is_said(text: str, said: str) -> None:
    """In one line."""
    with pytest.raises(ConfigurationError, match=said):
        list(periodic.questions(text))


def test_defaults_are_filled_in() -> None:
    """The same question has the same key, however it is written."""
    assert Question.of("vwap", "krw-btc") == Question.of("vwap", BTC, "15m")
    assert Question.of("top_movers").arguments == ("*", "15m")
    assert Question.of("walls", BTC).arguments == (BTC,)


def test_a_worker_repeats_and_samples_by_itself(
    store: Store, reader: Reader, start_worker: Any, eventually: Callable[..., None]
) -> None:
    """No scheduler beside it: an answer and a sample appear, and the next ones when the market moves."""
    store.put_trades([trade(1)])
    store.put_books([book()])
    start_worker(
        "-Q", "analysis", "--pool", "solo",
        COLLECTOR_ANALYSIS__PERIODIC="vwap KRW-BTC 5m", COLLECTOR_ANALYSIS__PERIODIC_S="1",
        COLLECTOR_ANALYSIS__BOOK_SAMPLES_S="1",
    )  # fmt: skip
    eventually(lambda: len(reader.kept_answers("vwap", (BTC, "5m"))) == 1, 20, "the first answer")
    eventually(lambda: len(reader.book_samples(BTC, T0, T0)) == 1, 20, "the first sample")
    store.put_trades([trade(2, 102, exchange_ms=T0 + 1_000)])
    eventually(lambda: len(reader.kept_answers("vwap", (BTC, "5m"))) == 2, 20, "the second answer")
    assert json.loads(json.dumps(reader.kept_answers("vwap", (BTC, "5m"))[1]))["vwap"] == "101"
