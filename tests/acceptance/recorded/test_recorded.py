"""Every recording through the whole line gives what a plain computation gives, to the last digit."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from collector.analytics.depth import Book, derive
from collector.model import Channel, OrderBook
from collector.protocol.codec import Subscription
from collector.protocol.current import CurrentCodec
from collector.recording import open_recording
from tests.acceptance.recorded import compare, plain
from tests.acceptance.recorded.line import Line
from tests.acceptance.recorded.sources import ALL, BOOKS, LEGACY, UPBIT, Source
from tests.samples.frames import read

pytestmark = pytest.mark.timeout(180)


@dataclass
class Played:
    """A recording, read by the plain computation and played through the line."""

    source: Source
    session: plain.Session
    summary: str
    line: Line


@pytest.fixture(scope="module", params=ALL, ids=lambda source: source.name)
def played(request: pytest.FixtureRequest, line: Line, shared_dir: Path) -> Played:
    """Each recording in turn, fresh from the line."""
    path = request.param.path(shared_dir)
    return Played(request.param, request.param.read(path), line.replay(path), line)


def test_a_recording_gives_the_figures_of_a_plain_computation(played: Played) -> None:
    """Candles, volumes, changes, trades and last books are equal, not nearly equal."""
    print(f"\n{played.source.name}: {played.summary}")
    assert_equal(compare.everything(played.line.reader, played.session))


def test_every_frame_is_accounted_for(played: Played) -> None:
    """The replay saw what is in the file, refused nothing, and each trade was counted once."""
    session, counters = played.session, played.line.reader.counters()
    distinct = sum(1 for _ in session.distinct_books())
    repeats = len(session.books) - distinct
    expected = [session.frames, len(session.trades), distinct, repeats, 0, 0]
    assert expected == [int(number) for number in re.findall(r"\d+", played.summary)]
    assert len(session.trades) == counters.get("trades_counted", 0)
    assert distinct == counters.get("books_stored", 0) + counters.get("books_merged", 0)


def test_a_second_replay_changes_nothing(line: Line, shared_dir: Path) -> None:
    """The same recording again is all duplicates: no candle moves."""
    session = UPBIT.read(UPBIT.path(shared_dir))
    line.replay(UPBIT.path(shared_dir))
    line.replay_again(UPBIT.path(shared_dir))
    assert_equal(compare.everything(line.reader, session))
    assert len(session.trades) == line.reader.counters()["trades_duplicate"]


def test_changes_without_a_whole_book_make_no_book(line: Line, shared_dir: Path) -> None:
    """The legacy capture holds changes alone, from which no book can be known: none is published."""
    assert LEGACY.read(LEGACY.path(shared_dir)).changes == 91
    line.replay(LEGACY.path(shared_dir))
    assert line.reader.book() == []
    assert line.reader.counters().get("books_stored", 0) == 0


@pytest.mark.parametrize("source", [*BOOKS, UPBIT], ids=lambda source: source.name)
def test_every_book_of_a_recording_is_measured_exactly(shared_dir: Path, source: Source) -> None:
    """Not the last book alone: each of them, and what changed from one to the next."""
    path = source.path(shared_dir)
    session = source.read(path)
    for market in {book.market for book in session.books}:
        expected = [book for book in session.distinct_books() if book.market == market]
        ours = list(_derived(path, market))
        assert len(expected) == len(ours)
        for (before, book), stored in zip(pairwise([None, *expected]), ours, strict=True):
            figures = plain.book_figures(book)
            assert figures == compare.picked(stored, figures)
            assert plain.changed_levels(before, book) == stored.changed_levels


def _derived(path: Path, market: str) -> Iterator[Book]:
    """Yield the books of `market` as the workers derive them, each against the one before."""
    codec, last = CurrentCodec(), None
    codec.subscribe(Subscription((market,), (Channel.ORDERBOOK,)))
    for frame in open_recording(path):
        for message in map(read, codec.decode(frame.raw, frame.received_ms)):
            if isinstance(message, OrderBook) and message.market == market:
                last = derive(message, last)
                yield last


def assert_equal(pairs: dict[Any, tuple[Any, Any]]) -> None:
    """Compare what was stored with what is expected, name by name."""
    for name, (stored, expected) in pairs.items():
        assert expected == stored, name
