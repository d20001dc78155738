"""The single frames people published: whole ones are stored as printed, cut ones are refused by name."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.recorded import compare, plain
from tests.acceptance.recorded.line import Line
from tests.acceptance.recorded.sources import OBSERVED, OBSERVED_LEGACY, VENDOR

pytestmark = pytest.mark.timeout(120)

#: Cut by whoever published them so that a field we need is gone.
CUT = {"ob-grouped-padding-fragment", "ob-simple-btc"}

#: Name in `show ticker` -> DEFAULT and SIMPLE name on the wire.
TICKER = {
    "price": ("trade_price", "tp"),
    "change_price": ("signed_change_price", "scp"),
    "change_rate": ("signed_change_rate", "scr"),
    "prev_closing_price": ("prev_closing_price", "pcp"),
    "open": ("opening_price", "op"),
    "high": ("high_price", "hp"),
    "low": ("low_price", "lp"),
    "base_volume_24h": ("acc_trade_volume_24h", "atv24h"),
    "quote_volume_24h": ("acc_trade_price_24h", "atp24h"),
    "exchange_ms": ("timestamp", "tms"),
}


def test_vendor_examples_are_stored_digit_for_digit(line: Line, shared_dir: Path) -> None:
    """Newest ticker per market with all 26 digits, the trade's candle, and the book."""
    path = shared_dir / "data" / VENDOR
    frames = [frame for _, frame in plain.read_examples(path)]
    summary = line.replay(path)
    assert summary == "8 frames: 1 trades, 1 order books (0 repeats left out), 6 tickers, 0 refused"
    tickers = [frame for frame in frames if "ticker" in (frame.get("type"), frame.get("ty"))]
    for market in ("KRW-BTC", "BTC-ETH"):
        expected = _ticker(max((t for t in tickers if _of(t, "code", "cd") == market), key=_time))
        stored = line.reader.ticker(market)
        assert expected == compare.picked(stored, expected)
    assert Decimal("730024172.79764567609921044") == line.reader.ticker("BTC-ETH").quote_volume_24h
    _assert_trade_and_book(line, frames)


def test_observed_frames_are_stored_or_refused_by_name(line: Line, shared_dir: Path) -> None:
    """Two cut books are refused, statuses and errors are no data; all else is stored, whatever is missing."""
    path = shared_dir / "data" / OBSERVED
    examples = plain.read_examples(path)
    assert {line["id"] for line, _ in examples} >= CUT
    summary = line.replay(path)
    assert (
        f"11 frames: 1 trades, 3 order books (0 repeats left out), 1 tickers, {len(CUT)} refused" == summary
    )
    assert line.reader.ticker("KRW-BTC").price == 116208000
    _assert_trade_and_book(line, [frame for about, frame in examples if about["id"] not in CUT])


def test_observed_legacy_frames_are_stored(line: Line, shared_dir: Path) -> None:
    """One trade, one whole book and one 24 h ticker; the change without a book makes none."""
    path = shared_dir / "data" / OBSERVED_LEGACY
    by_id = {about["id"]: frame for about, frame in plain.read_examples(path)}
    summary = line.replay(path)
    assert summary == "6 frames: 1 trades, 1 order books (0 repeats left out), 1 tickers, 0 refused"
    ticker = by_id["legacy-ticker-uni"]["content"]
    stored = line.reader.ticker("KRW-UNI")
    assert Decimal(ticker["value"]) == stored.quote_volume_24h
    assert Decimal(ticker["volume"]) == stored.base_volume_24h
    assert stored.exchange_ms == 1628655617000  # 2021-08-11 13:20:17 in Korea
    book = by_id["legacy-orderbooksnapshot"]["content"]
    sides = {name: tuple((Decimal(p), Decimal(s)) for p, s in book[name]) for name in ("bids", "asks")}
    expected = plain.book_figures(plain.PlainBook("KRW-BTC", int(book["datetime"]), **sides))
    assert [expected] == [compare.picked(row, expected) for row in line.reader.book()]
    entry = by_id["legacy-transaction-dai"]["content"]["list"][0]
    (candle,) = line.reader.candles("KRW-DAI")
    assert Decimal(entry["contPrice"]) * Decimal(entry["contQty"]) == candle.quote_volume
    assert (Decimal(0), Decimal(entry["contQty"])) == (candle.buy_volume, candle.sell_volume)


def _assert_trade_and_book(line: Line, frames: list[Any]) -> None:
    """Compare the DEFAULT trades and order books among `frames` with what is stored."""
    session = plain.Session()
    for frame in frames:
        if frame.get("type") == "trade":
            side = {"BID": "buy", "ASK": "sell"}[frame["ask_bid"]]
            price, volume = Decimal(frame["trade_price"]), Decimal(frame["trade_volume"])
            ms, number = frame["trade_timestamp"], frame["sequential_id"]
            session.trades.append(plain.PlainTrade(frame["code"], ms, number, price, volume, side, number))
        elif frame.get("type") == "orderbook":
            units = frame["orderbook_units"]
            bids = tuple((Decimal(unit["bid_price"]), Decimal(unit["bid_size"])) for unit in units)
            asks = tuple((Decimal(unit["ask_price"]), Decimal(unit["ask_size"])) for unit in units)
            us = frame["timestamp"] * (1 if frame["timestamp"] > 10**14 else 1000)
            session.books.append(plain.PlainBook(frame["code"], us, bids, asks))
    assert len(session.trades) == 1
    pairs = compare.candles(line.reader, session) | compare.trades(line.reader, session)
    for name, (stored, expected) in (pairs | compare.books(line.reader, session)).items():
        assert expected == stored, name


def _ticker(frame: Any) -> dict[str, Any]:
    return {name: _of(frame, *keys) for name, keys in TICKER.items()}


def _of(frame: Any, long: str, short: str) -> Any:
    return frame[long] if long in frame else frame[short]


def _time(frame: Any) -> int:
    return int(_of(frame, "timestamp", "tms"))
