"""What the system stored beside what the plain computation says."""

from typing import Any

from collector.store.read import Reader
from tests.acceptance.recorded import plain
from tests.acceptance.recorded.plain import Session


def candles(reader: Reader, session: Session) -> dict[Any, tuple[Any, Any]]:
    """Pair the candles of every market and interval: name -> (stored, plain)."""
    pairs = {}
    for market in session.markets:
        for interval, minutes in plain.INTERVALS.items():
            expected = plain.candles(session.of(market), minutes)
            stored = reader.candles(market, interval)
            pairs[market, interval] = ([picked(candle, expected[0]) for candle in stored], expected)
    return pairs


def volumes(reader: Reader, session: Session) -> dict[Any, tuple[Any, Any]]:
    """Pair the rolling volumes and the changes of every market."""
    as_of_ms = max(trade.ms for trade in session.trades)
    pairs: dict[Any, tuple[Any, Any]] = {}
    for market in session.markets:
        trades = session.of(market)
        expected = plain.volumes(trades, as_of_ms)
        stored = {row.window: picked(row, expected[row.window]) for row in reader.volume(market)}
        pairs[market, "volume"] = (stored, expected)
        changes = plain.changes(trades, as_of_ms)
        rows = {
            row.window: picked(row, changes[row.window])
            for row in reader.changes(market)
            if row.window in changes
        }
        pairs[market, "changes"] = (rows, changes)
    return pairs


def trades(reader: Reader, session: Session) -> dict[Any, tuple[Any, Any]]:
    """Pair the trades of every market, in order; the legacy socket gives no ids."""
    pairs: dict[Any, tuple[Any, Any]] = {}
    for market in session.markets:
        expected = session.of(market)
        stored = [
            (row.exchange_ms, row.price, row.volume, str(row.side), row.id if expected[0].id else None)
            for row in reader.trades(market)
        ]
        pairs[market, "trades"] = (stored, [(t.ms, t.price, t.volume, t.side, t.id) for t in expected])
    return pairs


def books(reader: Reader, session: Session) -> dict[Any, tuple[Any, Any]]:
    """Pair the last books."""
    pairs: dict[Any, tuple[Any, Any]] = {}
    for market, book in session.last_books().items():
        expected = plain.book_figures(book)
        pairs[market, "book"] = ([picked(row, expected) for row in reader.books([market])], [expected])
    return pairs


def everything(reader: Reader, session: Session) -> dict[Any, tuple[Any, Any]]:
    """Pair all that a session can be asked for."""
    pairs = books(reader, session)
    if session.trades:
        pairs |= candles(reader, session) | volumes(reader, session) | trades(reader, session)
    return pairs


def picked(row: object, wanted: dict[str, Any]) -> dict[str, Any]:
    """Return those fields of `row` that the plain computation has, too."""
    return {name: getattr(row, name) for name in wanted}
